"""The timers of one partition: timeouts of attempts and runs, and the ends of retry delays.

Why: most timeouts never fire, and there may be a million of them.

How: one heap. An owner (an attempt, a run, a schedule, ...) has at most one armed timer and keeps its number in
`timer`; an entry whose number is not that of its owner any more is dead and is dropped when it comes up. When the heap
has doubled since it was last cleaned, the dead are thrown out, so it stays within twice what is alive.

Timers are derived state: `apply` arms them, so a replay has them too. It must never decide anything: what a due timer
means is read from its owner's state.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, Protocol

_CLEAN_ABOVE = 4_096


class Timed(Protocol):
    """Whatever may have a timer. `timer`: number of the armed one, 0 for none."""

    timer: int


class Timers:
    """A heap of (due_ms, number, owner). `due_ms` is the owner's time, milliseconds since the epoch."""

    __slots__ = ("_clean_at", "_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Any]] = []
        self._number = 0  # of the last timer armed; unique, so that owners are never compared
        self._clean_at = _CLEAN_ABOVE

    def arm(self, owner: Timed, due_ms: int) -> None:
        """Sets the owner's one timer; one that was armed before is dead."""
        self._number += 1
        owner.timer = self._number
        heap = self._heap
        heappush(heap, (due_ms, self._number, owner))
        if len(heap) > self._clean_at:
            heap[:] = [entry for entry in heap if entry[2].timer == entry[1]]
            heapify(heap)
            self._clean_at = max(_CLEAN_ABOVE, 2 * len(heap))

    def next_due_ms(self) -> int | None:
        """When the next living timer is due, or None."""
        heap = self._heap
        while heap:
            due, number, owner = heap[0]
            if owner.timer == number:
                return due
            heappop(heap)
        return None

    def peek(self) -> Any:
        """Whose the living timer is that `next_due_ms` spoke of."""
        return self._heap[0][2]

    def pop(self) -> Any:
        """Takes the living timer that `next_due_ms` spoke of and disarms it."""
        _, _, owner = heappop(self._heap)
        owner.timer = 0
        return owner

    def alive(self) -> dict[int, int]:
        """For tests: due_ms by id() of each owner with an armed timer."""
        return {id(owner): due for due, number, owner in self._heap if owner.timer == number}
