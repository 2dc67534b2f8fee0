"""When a partition that failed starts again, and what it then does more carefully.

A fault that repeats must not take down one engine after the other, nor stop its partition for good:

- restarts of a partition back off from 0.1 s to 30 s, and begin anew after a minute without a failure;
- after three failures at the same input, that input is refused (an event, then dead-letter) instead of being decided;
- after three failures at the same place that cannot be laid on one input, steps go one input at a time, so that the
  culprit shows; three more failures there, and none has shown: what is in the log is to blame, no input, and the
  partition goes into quarantine;
- after three failures in recovery the partition goes into quarantine, and the engine lives on.

Kept per partition number, across ownerships of one process. No IO here; failures of Kafka or etcd do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_S, LONGEST_S = 0.1, 30.0
LONGEST_OUTAGE_S = 2.0  # while Kafka or etcd is away, which is no reason to be late when it comes back
FORGET_S = 60.0
TIMES = 3

Input = tuple[int, int]
"""Topic index (Frame.next's order) and offset."""
Stranger = tuple[str, int, int]
"""A record of a user's topic: topic, partition, offset."""


@dataclass(slots=True)
class Restarts:
    """See the module. Times in seconds of a monotonic clock, handed in."""

    failures: int = 0
    """In a row, of any kind: what the backoff grows with."""
    recoveries: int = 0
    """Failed recoveries in a row."""
    culprits: dict[Input, str] = field(default_factory=dict)
    """Inputs that are refused unread, with the reason."""
    strangers: dict[Stranger, str] = field(default_factory=dict)
    """The same of users' topics. Whoever refuses one takes it out."""
    careful: bool = False
    """One input a frame, each acknowledged before the next."""
    hopeless: str = ""
    """Why the partition cannot go on, whatever input is left out; empty while it may."""
    _outage: bool = False
    _last_s: float = float("-inf")
    _at: Input | Stranger | tuple[int, ...] | None = None
    _times: int = 0

    def delay_s(self) -> float:
        """How long the next start waits: 0 for the first."""
        longest = LONGEST_OUTAGE_S if self._outage else LONGEST_S
        return min(FIRST_S * 2.0 ** min(self.failures - 1, 30), longest) if self.failures else 0.0

    def failed(self, now_s: float, outage: bool = False) -> None:
        """A start, or an ownership, ended by an error; `outage`: Kafka or etcd was away."""
        self._outage = outage
        if now_s - self._last_s > FORGET_S + LONGEST_S:
            self.failures = 0
        self._last_s = now_s
        self.failures += 1

    def failed_in_recovery(self) -> bool:
        """True: quarantine it."""
        self.recoveries += 1
        return self.recoveries >= TIMES

    def recovered(self) -> None:
        self.recoveries = 0

    def failed_at(self, suspect: Input | Stranger | None, positions: tuple[int, ...], reason: str) -> None:
        """A step failed by a fault of its own: at `suspect` if one input was being decided, else after `positions`."""
        at = suspect if suspect is not None else positions
        self._times = self._times + 1 if at == self._at else 1
        self._at = at
        if suspect is not None and (self._times >= TIMES or self.careful):
            why = f"it failed {TIMES} times to be processed: {reason}"
            if len(suspect) == 3:
                self.strangers[suspect] = why
            else:
                self.culprits[suspect] = why
            self.careful, self._times = False, 0
        elif suspect is None and self._times >= TIMES:
            if self.careful:
                self.hopeless = f"it failed {2 * TIMES} times at the same place, and no input is to blame: {reason}"
            self.careful, self._times = not self.careful, 0

    def passed(self, positions: tuple[int, ...]) -> None:
        """Inputs below `positions` are in the log: what was remembered of them is not needed any more."""
        for culprit in [c for c in self.culprits if c[1] < positions[c[0]]]:
            del self.culprits[culprit]

    def lived(self, now_s: float) -> None:
        """The partition works: called now and then; forgets old failures."""
        if self.failures and now_s - self._last_s > FORGET_S:
            self.failures, self.careful = 0, False
