"""The owner's time: what the broker said at the last acknowledgement, plus monotonic time since. It never goes back.

Why: retries, timeouts and windows are decided by this time and written into the log, where the next owner, on another
machine with another wall clock, goes on with it. A wall clock that is set moves nothing here.

Beside it runs a steady time, which only this machine's monotonic clock moves: it measures how long somebody has been
silent, which a jump of the broker's clock must not lengthen.

The one reader of clocks in this package that decides anything. Milliseconds since the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class OwnerClock:
    """Begin with `acknowledged` (the announcement's timestamp); before that it stands at what the log said last."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic, self._wall = monotonic, wall
        self._base_ms = 0.0
        self._base_at = monotonic()
        self._steady_base_ms: float | None = None

    def not_before(self, time_ms: int) -> None:
        """The log holds a frame of this time: ours is not earlier."""
        self._rebase(float(time_ms))

    def acknowledged(self, timestamp_ms: int | None) -> None:
        """The broker's LogAppendTime of an append of ours; -1 or None (a topic without it): this machine's clock."""
        if timestamp_ms is None or timestamp_ms < 0:
            timestamp_ms = int(self._wall() * 1000)
        self._rebase(float(timestamp_ms))

    def now_ms(self) -> int:
        return int(self._now())

    def both_ms(self) -> tuple[int, int]:
        """The owner's time and the steady time. They are equal at the first call, which belongs behind the
        announcement: from there on the owner's may jump ahead."""
        now, monotonic_ms = self._now(), self._monotonic() * 1000
        if self._steady_base_ms is None:
            self._steady_base_ms = now - monotonic_ms
        return int(now), int(self._steady_base_ms + monotonic_ms)

    def seconds_until(self, due_ms: int) -> float:
        """How long until `due_ms`, at least 0."""
        return max(0.0, (due_ms - self._now()) / 1000)

    def _now(self) -> float:
        return self._base_ms + (self._monotonic() - self._base_at) * 1000

    def _rebase(self, time_ms: float) -> None:
        # a broker whose clock was set back does not stop our timers: we go on at monotonic speed
        now = self._now() if self._base_ms else time_ms
        self._base_ms, self._base_at = max(time_ms, now), self._monotonic()
