"""Who gets which attempt next: the ready queues and what is known of workers. All of it is volatile.

Why: priority, fairness and cancel mean something only if attempts wait here, not on a topic.

How: a heap for each queue of tasks, ordered by (-priority, depth, age). An entry is dead when its attempt has moved on;
it is dropped when it comes up, and a heap of which most is dead is cleaned. An attempt goes NEW (its frame is not
acknowledged) -> READY -> SENT (its record is on its way) -> BOUND (its worker said `started`); HELD waits for a delay
after a rejection; OVER needs nothing more. Who rejected an attempt is remembered: an instance never gets code that it
did not start with, so the next one to get it is one that has not said no, as long as there is one.

Two silences have a bound: of a worker about an attempt that it began (BOUND), and about one that it was sent and has
not begun (SENT). They are counted in steady time (`now_ms`), not in the owner's: that follows the broker's clock, which
may jump, and no worker is silent because of that. Workers hold few attempts, so all of them are looked at, seldom.

A takeover begins anew here: nothing of this is on the log, and nothing here may change what an event means.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from indegree.engine.state import Attempt

NEW: Final = 0
READY: Final = 1
HELD: Final = 2
SENT: Final = 3
BOUND: Final = 4
OVER: Final = 5

_CLEAN_ABOVE = 1_024
_NEVER: Final = 1 << 62

Entry = tuple[int, int, int, int, int, Attempt]
"""(-priority, depth, queued_ms, order of arrival, attempt number, attempt)"""


class Dispatch:
    """Ready attempts by queue, attempts by worker, and the deadlines that no event holds.

    counts:  queue -> number of READY attempts; never 0, so its keys are the queues with work
    now_ms:  steady time, in milliseconds from anywhere; it stands while a frame is open
    bound_ms, sent_ms: how long nothing may be heard of an attempt that is BOUND, or SENT
    """

    __slots__ = ("_anew_ms", "_arrivals", "_by_worker", "_heaps", "_held", "_look_ms", "bound_ms", "counts", "now_ms",
                 "sent_ms")  # fmt: skip

    def __init__(self, bound_ms: int, sent_ms: int) -> None:
        self.counts: dict[str, int] = {}
        self.now_ms = 0
        self.bound_ms, self.sent_ms = bound_ms, sent_ms
        self._look_ms = _NEVER  # `overdue` finds nothing before that
        self._anew_ms = -_NEVER  # no silence is counted from before that
        self._heaps: dict[str, list[Entry]] = {}
        self._arrivals = 0
        self._held: list[tuple[int, int, int, Attempt]] = []  # due_ms, order, attempt number, attempt
        self._by_worker: dict[str, dict[Attempt, None]] = {}  # sent to or bound to it, and not over

    # -- ready -------------------------------------------------------------------------------------------------------

    def push(self, attempt: Attempt) -> None:
        """The attempt may be taken from now on."""
        attempt.place = READY
        plan = attempt.run.plan
        queue = plan.queue[attempt.task]
        heap = self._heaps.get(queue)
        if heap is None:
            heap = self._heaps[queue] = []
        self._arrivals += 1
        priority, depth = plan.order[attempt.task]
        heappush(heap, (priority, depth, attempt.queued_ms, self._arrivals, attempt.number, attempt))
        count = self.counts[queue] = self.counts.get(queue, 0) + 1
        if len(heap) > 2 * count + _CLEAN_ABOVE:
            heap[:] = [entry for entry in heap if entry[5].place == READY and entry[5].number == entry[4]]
            heapify(heap)

    def best(self, queue: str) -> tuple[int, int, int] | None:
        """(-priority, depth, queued_ms) of what `take` would give: smaller goes first."""
        heap = self._heaps.get(queue)
        while heap:
            priority, depth, queued_ms, _, number, attempt = heap[0]
            if attempt.place == READY and attempt.number == number:
                return priority, depth, queued_ms
            heappop(heap)
        return None

    def take(self, queue: str, worker: str) -> Attempt | None:
        """The best READY attempt of a queue, now SENT to `worker`."""
        heap = self._heaps.get(queue)
        if not heap or queue not in self.counts:
            return None
        while heap:
            _, _, _, _, number, attempt = heappop(heap)
            if attempt.place == READY and attempt.number == number:
                self._count_down(queue)
                attempt.place = SENT
                self._give(attempt, worker)
                self._listen(attempt, self.sent_ms)
                return attempt
        return None

    def _count_down(self, queue: str) -> None:
        count = self.counts[queue] - 1
        if count:
            self.counts[queue] = count
        else:
            del self.counts[queue]

    # -- workers -----------------------------------------------------------------------------------------------------

    def _give(self, attempt: Attempt, worker: str) -> None:
        self._leave_worker(attempt)
        attempt.holder = worker
        held = self._by_worker.get(worker)
        if held is None:
            held = self._by_worker[worker] = {}
        held[attempt] = None

    def _leave_worker(self, attempt: Attempt) -> None:
        if attempt.holder:
            held = self._by_worker.get(attempt.holder)
            if held is not None:
                held.pop(attempt, None)
                if not held:
                    del self._by_worker[attempt.holder]
            attempt.holder = ""

    def bind(self, attempt: Attempt) -> None:
        """Its worker said `started`: from now on only that one counts, and silence for too long ends it."""
        if attempt.place == READY:
            self._count_down(attempt.run.plan.queue[attempt.task])
        attempt.place = BOUND
        self._give(attempt, attempt.worker)
        self._listen(attempt, self.bound_ms)

    def drop(self, attempt: Attempt) -> None:
        """The attempt is over, or waits for a retry."""
        if attempt.place == READY:
            self._count_down(attempt.run.plan.queue[attempt.task])
        self._leave_worker(attempt)
        attempt.place = OVER

    def give_back(self, attempt: Attempt) -> None:
        """Its worker has not begun it and will not: somebody else may."""
        self._leave_worker(attempt)
        self.push(attempt)

    def holders(self) -> Iterable[str]:
        """Worker instances that hold an attempt."""
        return list(self._by_worker)

    def held_by(self, worker: str) -> list[Attempt]:
        """The attempts that were sent to or are bound to a worker, in the order they got there."""
        return list(self._by_worker.get(worker, ()))

    def held_count(self, worker: str) -> int:
        """How many attempts `held_by` would give."""
        held = self._by_worker.get(worker)
        return 0 if held is None else len(held)

    # -- deadlines ---------------------------------------------------------------------------------------------------

    def refused(self, attempt: Attempt, worker: str, due_ms: int) -> None:
        """`worker` lacks its code; the attempt becomes READY at `due_ms`."""
        attempt.refusers |= {worker}
        self.hold(attempt, due_ms)

    def refusers(self, queue: str) -> Collection[str]:
        """The workers that lack the code of what `take` would give."""
        return self._heaps[queue][0][5].refusers if self.best(queue) is not None else ()

    def postpone(self, queue: str, due_ms: int) -> None:
        """What `take` would give becomes READY again at `due_ms`; the next best takes its place."""
        if self.best(queue) is not None:
            self.hold(self._heaps[queue][0][5], due_ms)

    def recall(self, may_run: Callable[[str, Collection[str]], bool]) -> bool:
        """Makes READY what is HELD and `may_run(queue, refusers)` now. True if there was any."""
        kept, called = [], False
        for entry in self._held:
            number, attempt = entry[2], entry[3]
            if attempt.place != HELD or attempt.number != number:
                continue
            if may_run(attempt.run.plan.queue[attempt.task], attempt.refusers):
                self.push(attempt)
                called = True
            else:
                kept.append(entry)
        self._held = kept
        heapify(kept)
        return called

    def hold(self, attempt: Attempt, due_ms: int) -> None:
        """The attempt becomes READY at `due_ms`."""
        if attempt.place == READY:
            self._count_down(attempt.run.plan.queue[attempt.task])
        self._leave_worker(attempt)
        attempt.place = HELD
        self._arrivals += 1
        heappush(self._held, (due_ms, self._arrivals, attempt.number, attempt))

    def unhold(self, now_ms: int) -> None:
        """Makes READY what was held until now."""
        held = self._held
        while held and held[0][0] <= now_ms:
            _, _, number, attempt = heappop(held)
            if attempt.place == HELD and attempt.number == number:
                self.push(attempt)

    def _listen(self, attempt: Attempt, bound_ms: int) -> None:
        attempt.heard_ms = self.now_ms
        due = self.now_ms + bound_ms
        if due < self._look_ms:
            self._look_ms = due

    def heard(self, attempt: Attempt) -> None:
        """Its worker said something of it, or is given more time."""
        attempt.heard_ms = self.now_ms

    def hear_anew(self, now_ms: int) -> None:
        """Nobody could be heard until `now_ms` (steady time): all silences begin there."""
        self._anew_ms = now_ms

    def overdue(self, heard_ms: int) -> tuple[list[Attempt], bool]:
        """The BOUND and SENT attempts whose silence was too long at `heard_ms` (steady time); and whether there are
        others for which it has become so since then."""
        now = self.now_ms
        if self._look_ms > now:
            return [], False
        found: list[Attempt] = []
        later = False
        look = _NEVER
        for held in self._by_worker.values():
            for attempt in held:
                bound = self.bound_ms if attempt.place == BOUND else self.sent_ms
                due = max(attempt.heard_ms, self._anew_ms) + bound
                if due <= heard_ms:
                    found.append(attempt)
                elif due <= now:
                    later = True
                else:
                    look = min(look, due)
        if found or later:
            look = now
        elif look != _NEVER:  # at most ten looks in the time of the shorter bound
            look = max(look, now + min(self.bound_ms, self.sent_ms) // 10)
        self._look_ms = look
        return found, later

    def next_due_ms(self, time_ms: int) -> int | None:
        """When `unhold` or `overdue` may have something, or None. In the owner's time, which is `time_ms` at `now_ms`.
        Dead entries make it too early, never too late."""
        held = self._held[0][0] if self._held else _NEVER
        look = self._look_ms - self.now_ms + time_ms if self._look_ms != _NEVER else _NEVER
        due = min(held, look)
        return due if due != _NEVER else None
