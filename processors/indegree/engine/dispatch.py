"""Who gets which attempt next: the ready queues and what is known of workers. All of it is volatile.

Why: priority, fairness and cancel mean something only if attempts wait here, not on a topic.

How: a line for each queue of tasks (turns.py). Strict priority comes first; among equal priority the workflows take
turns, and one that comes anew begins at the present turn, so that it neither starves nor is starved; within a workflow
the order is (depth, age). An entry is dead when its attempt has moved on; it is dropped when it comes up, and a line of
which most is dead is cleaned. An attempt goes NEW (its frame is not acknowledged) -> READY -> SENT (its record is on
its way) -> BOUND (its worker said `started`); HELD waits for a delay after a rejection; PARKED for the end of a pause
of its run; OVER needs nothing more. Who rejected an attempt is remembered: an instance never gets code that it did not
start with, so the next one to get it is one that has not said no, as long as there is one.

Two silences have a bound: of a worker about an attempt that it began (BOUND), and about one that it was sent and has
not begun (SENT). They are counted in steady time (`now_ms`), not in the owner's: that follows the broker's clock, which
may jump, and no worker is silent because of that. Workers hold few attempts, so all of them are looked at, seldom.

A takeover begins anew here: nothing of this is on the log, and nothing here may change what an event means.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from indegree.engine.state import Attempt, Run
from indegree.engine.turns import READY, Line, Turns

NEW: Final = 0
HELD: Final = 2
SENT: Final = 3
BOUND: Final = 4
OVER: Final = 5
PARKED: Final = 6

_CLEAN_ABOVE = 1_024
_NEVER: Final = 1 << 62

Worth = tuple[int, int, int, int]
"""(-priority, tag of the workflow's turn, depth, queued_ms) of an attempt: smaller goes first."""


class Dispatch:
    """Ready attempts by queue, attempts by worker, and the deadlines that no event holds.

    counts:  queue -> number of READY attempts; never 0, so its keys are the queues with work
    now_ms:  steady time, in milliseconds from anywhere; it stands while a frame is open
    bound_ms, sent_ms: how long nothing may be heard of an attempt that is BOUND, or SENT
    turns:   shared by the partitions of an engine
    """

    __slots__ = ("_anew_ms", "_arrivals", "_by_worker", "_held", "_lines", "_look_ms", "_turns", "bound_ms", "counts",
                 "now_ms", "sent_ms")  # fmt: skip

    def __init__(self, bound_ms: int, sent_ms: int, turns: Turns | None = None) -> None:
        self.counts: dict[str, int] = {}
        self.now_ms = 0
        self.bound_ms, self.sent_ms = bound_ms, sent_ms
        self._look_ms = _NEVER  # `overdue` finds nothing before that
        self._anew_ms = -_NEVER  # no silence is counted from before that
        self._turns = turns if turns is not None else Turns()
        self._lines: dict[str, Line] = {}
        self._arrivals = 0
        self._held: list[tuple[int, int, int, Attempt]] = []  # due_ms, order, attempt number, attempt
        self._by_worker: dict[str, dict[Attempt, None]] = {}  # sent to or bound to it, and not over

    # -- ready -------------------------------------------------------------------------------------------------------

    def push(self, attempt: Attempt) -> None:
        """The attempt may be taken from now on; or when its run goes on, where that is paused."""
        run = attempt.run
        if run.paused and not run.ending:
            attempt.place = PARKED
            return
        attempt.place = READY
        plan, node = run.plan, attempt.node
        queue = plan.queue[node]
        line = self._lines.get(queue)
        if line is None:
            line = self._lines[queue] = Line(queue, self._turns)
        self._arrivals += 1
        priority, depth = plan.order[node]
        entries = line.flow(priority, plan.workflow).entries
        heappush(entries, (depth, attempt.queued_ms, self._arrivals, attempt.number, attempt))
        self.counts[queue] = self.counts.get(queue, 0) + 1

    def best(self, queue: str) -> Worth | None:
        """What `take` would give is worth so much: smaller goes first, on whatever partition of the engine."""
        line = self._lines.get(queue)
        flow = line.head() if line is not None else None
        if flow is None:
            return None
        depth, queued_ms, _, _, _ = flow.entries[0]
        return flow.priority, flow.turn.tag, depth, queued_ms

    def take(self, queue: str, worker: str) -> Attempt | None:
        """The READY attempt of a queue whose turn it is, now SENT to `worker`."""
        counts = self.counts
        flow = self._lines[queue].head() if queue in counts else None
        if flow is None:
            return None
        attempt = heappop(flow.entries)[4]
        if len(flow.level.turns) > 1:
            flow.served()
        count = counts[queue] - 1
        if count:
            counts[queue] = count
        else:
            del counts[queue]
            flow.level.caught_up(flow.turn)
        attempt.place = SENT
        self._give(attempt, worker)
        self._listen(attempt, self.sent_ms)
        return attempt

    def _first(self, queue: str) -> Attempt | None:
        line = self._lines.get(queue)
        flow = line.head() if line is not None else None
        return flow.entries[0][4] if flow is not None else None

    def _out_of_turn(self, attempt: Attempt) -> None:
        """It was READY, and was not taken: what its line has of it is dead."""
        queue = attempt.run.plan.queue[attempt.node]
        count = self.counts[queue] - 1
        if count:
            self.counts[queue] = count
        else:
            del self.counts[queue]
        line = self._lines[queue]
        line.dead += 1
        if line.dead > count + _CLEAN_ABOVE:
            line.clean()

    # -- pauses ------------------------------------------------------------------------------------------------------

    def park(self, run: Run) -> None:
        """The run is paused: nothing of it is taken from now on. What is SENT or BOUND goes on."""
        for attempt in run.attempts.values():
            if attempt.place == READY:
                attempt.place = PARKED
                self._out_of_turn(attempt)

    def unpark(self, run: Run) -> None:
        """The run goes on: what waited for that is READY."""
        for attempt in run.attempts.values():
            if attempt.place == PARKED:
                self.push(attempt)

    # -- workers -----------------------------------------------------------------------------------------------------

    def _give(self, attempt: Attempt, worker: str) -> None:
        if attempt.holder:
            self._leave_worker(attempt)
        attempt.holder = worker
        try:
            self._by_worker[worker][attempt] = None
        except KeyError:
            self._by_worker[worker] = {attempt: None}

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
        place, attempt.place = attempt.place, BOUND
        if place == READY:
            self._out_of_turn(attempt)
        self._give(attempt, attempt.worker)
        self._listen(attempt, self.bound_ms)

    def drop(self, attempt: Attempt) -> None:
        """The attempt is over, or waits for a retry."""
        place, attempt.place = attempt.place, OVER
        if place == READY:
            self._out_of_turn(attempt)
        self._leave_worker(attempt)

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
        first = self._first(queue)
        return first.refusers if first is not None else ()

    def postpone(self, queue: str, due_ms: int) -> None:
        """What `take` would give becomes READY again at `due_ms`; the next best takes its place."""
        first = self._first(queue)
        if first is not None:
            self.hold(first, due_ms)

    def recall(self, may_run: Callable[[str, Collection[str]], bool]) -> bool:
        """Makes READY what is HELD and `may_run(queue, refusers)` now. True if there was any."""
        kept, called = [], False
        for entry in self._held:
            number, attempt = entry[2], entry[3]
            if attempt.place != HELD or attempt.number != number:
                continue
            if may_run(attempt.run.plan.queue[attempt.node], attempt.refusers):
                self.push(attempt)
                called = True
            else:
                kept.append(entry)
        self._held = kept
        heapify(kept)
        return called

    def hold(self, attempt: Attempt, due_ms: int) -> None:
        """The attempt becomes READY at `due_ms`."""
        place, attempt.place = attempt.place, HELD
        if place == READY:
            self._out_of_turn(attempt)
        self._leave_worker(attempt)
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
