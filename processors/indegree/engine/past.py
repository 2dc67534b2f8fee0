"""A run that has ended, as it was at its end: read back from frames in force.

Why: a run that has ended is no longer in the state of its partition, and a rerun needs it whole.

How: the frames are given in the order of the log, from anywhere before the run's start (or before a snapshot of it).
Only the events of this one run are applied, by the same `apply`, to a state of its own. What was kept last is the run
as of the last RUN_FINISHED.

It must never touch the state of a partition, nor anything else that is shared: it may work in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from indegree.engine.apply import apply
from indegree.engine.kinds import Kind
from indegree.engine.plan import read_plan
from indegree.engine.restore import apply_snapshot
from indegree.engine.state import Run, State
from indegree.engine.windows import Windows
from indegree.v1.event_pb2 import Event, Frame, RunSnapshot


@dataclass(frozen=True, slots=True)
class Reopened:
    """What there is of a run that has ended: `run`, or None and the `problem`."""

    run_id: str
    run: Run | None = None
    problem: str = ""


class Past:
    """Of one run.

    run:      as of its last end that was read; None: none was
    ended_ms: the owner's time of that
    """

    def __init__(self, run_id: str) -> None:
        self.run: Run | None = None
        self.ended_ms = 0
        self._run_id = run_id
        self._name = run_id.encode()
        self._state = State(Windows(1, 1))
        self._parts: dict[str, list[bytes]] = {}
        self._pieces: list[bytes] = []

    def use(self, frame: Frame) -> None:
        """The next frame in force. May block for seconds where the run's definition is large."""
        state, own = self._state, ""
        state.time_ms = frame.time_ms
        for event in frame.events:
            own = event.run_id or own
            kind = event.kind
            if kind == Kind.DEFINITION_RECORDED:
                parts = self._parts.setdefault(event.version, [])
                if event.part == 0:
                    parts.clear()
                parts.append(event.data)
            elif kind == Kind.SNAPSHOT:
                self._snapshot(event)
            elif own == self._run_id and kind < Kind.DEFINITION_RECORDED:
                if kind == Kind.RUN_STARTED and not self._knows(event.version):
                    continue
                run = apply(state, event, own)
                if kind == Kind.RUN_FINISHED and run is not None:
                    self.run, self.ended_ms = run, frame.time_ms

    def _knows(self, version: str) -> bool:
        """Whether the definition stands in what was read."""
        if version not in self._state.versions:
            if version not in self._parts:
                return False
            self._state.versions[version] = read_plan(version, b"".join(self._parts[version]))
        return True

    def _snapshot(self, event: Event) -> None:
        data = b""
        if event.state == "run":
            data = event.data
        elif event.state == "piece":
            if event.part == 0:
                self._pieces.clear()
            self._pieces.append(event.data)
            if len(self._pieces) == event.parts:
                data = b"".join(self._pieces)
                self._pieces.clear()
        if self._name not in data:
            return
        base = RunSnapshot.FromString(data)
        if base.run_id == self._run_id:
            if base.version and not self._knows(base.version):
                return
            apply_snapshot(self._state, Event(state="run", data=data))
