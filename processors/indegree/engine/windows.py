"""What a partition remembers without a live run: idempotency keys, ids of ended runs, active versions, labels.

Why: the same key twice is one run, for the history setting (30 days); the same id with other content is refused; a late
result of an ended run is told from nonsense.

How: dicts in the order of insertion, which is the order of log time, so what is too old is always at the front. It is
evicted when something is inserted, by the time of that event, never by a clock: a replay evicts the same. In batches,
since a dict that is deleted from at its front, one by one, is searched for its first entry over and over.

It must never be asked without `now_ms`: an entry past its time does not count even where it is still there.
"""

from __future__ import annotations

from typing import NamedTuple


class Keyed(NamedTuple):
    """What an idempotency key stands for: its run, a digest of the start's content, when (log time)."""

    run_id: str
    digest: bytes
    time_ms: int


class Ended(NamedTuple):
    """A run that has ended: when (log time), and its digest (empty: the engine made its id)."""

    time_ms: int
    digest: bytes


class Windows:
    """The windows of one partition.

    keys:   (workflow, idempotency key) -> Keyed, ascending in time
    ended:  run id -> Ended, ascending in time, at most `ended_max`
    active: workflow -> content hash of its active version
    previous: workflow -> content hash of the version that was active before that one, where there was another
    labels: (workflow, label) -> content hash
    disordered: entries of a snapshot came behind newer ones; the end of it puts that right
    """

    __slots__ = ("active", "disordered", "ended", "ended_max", "history_ms", "keys", "labels", "previous")

    def __init__(self, history_ms: int, ended_max: int) -> None:
        self.history_ms = history_ms
        self.ended_max = ended_max
        self.keys: dict[tuple[str, str], Keyed] = {}
        self.ended: dict[str, Ended] = {}
        self.active: dict[str, str] = {}
        self.previous: dict[str, str] = {}
        self.labels: dict[tuple[str, str], str] = {}
        self.disordered = False

    def activate(self, workflow: str, version: str) -> None:
        """This version is the active one from now on."""
        before = self.active.get(workflow, version)
        if before != version:
            self.previous[workflow] = before
        self.active[workflow] = version

    def keyed(self, workflow: str, key: str, now_ms: int) -> Keyed | None:
        """What this key stands for, if it is still remembered."""
        entry = self.keys.get((workflow, key))
        return entry if entry is not None and entry.time_ms > now_ms - self.history_ms else None

    def ended_run(self, run_id: str, now_ms: int) -> Ended | None:
        """The ended run of this id, if it is still remembered."""
        entry = self.ended.get(run_id)
        return entry if entry is not None and entry.time_ms > now_ms - self.history_ms else None

    def add_key(self, workflow: str, key: str, run_id: str, digest: bytes, time_ms: int) -> None:
        """Remembers a key from now on."""
        keys = self.keys
        keys.pop((workflow, key), None)  # one that is too old to count: the new one goes to the end
        keys[workflow, key] = Keyed(run_id, digest, time_ms)
        oldest = time_ms - self.history_ms
        if keys[next(iter(keys))].time_ms <= oldest - self.history_ms // 16:
            doomed = []
            for name, entry in keys.items():
                if entry.time_ms > oldest:
                    break
                doomed.append(name)
            for name in doomed:
                del keys[name]

    def add_ended(self, run_id: str, digest: bytes, time_ms: int) -> None:
        """Remembers an ended run from now on."""
        ended = self.ended
        ended[run_id] = Ended(time_ms, digest)
        oldest = time_ms - self.history_ms
        over = len(ended) - self.ended_max
        if over > 0 or ended[next(iter(ended))].time_ms <= oldest - self.history_ms // 16:
            drop = over + self.ended_max // 8 if over > 0 else 0
            doomed = []
            for place, (run, entry) in enumerate(ended.items()):
                if place >= drop and entry.time_ms > oldest:
                    break
                doomed.append(run)
            for run in doomed:
                del ended[run]
