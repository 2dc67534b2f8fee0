"""Plain functions in threads: as many threads as slots at most, and as few as will do.

Why: handing each tiny function to a thread of its own costs far more than running it, and many runnable threads make
the interpreter's lock change hands without need. But a function that blocks must not hold up the others.

How: attempts lie in one queue. One thread takes them one after the other; more are woken only when that is of use: at
once for a function known to be slow, otherwise when every thread at work has been in one call for `STALL_S` and none
has come round since the last look (then twice as many each time, so 64 blocking functions all run within milliseconds).
Threads that only wait for the interpreter's lock are in their calls long too, but one of them comes round all the time.

A thread cannot be ended from outside. The runner keeps the slot of such an attempt until its function returns; since a
thread belongs to a slot, there is always one left for an attempt that has a slot.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence

from indegree.worker.attempt import Attempt, Phase
from indegree.worker.bounds import Bounds
from indegree.worker.completions import Completions
from indegree.worker.invocation import perform

STALL_S = 0.001
# A thread that is in one call so long blocks for certain, whatever the others do.
_BLOCKED_S = 0.02
_SLOW_S = 0.002
# So many slow calls one after the other make a function known to be slow: one may be the scheduler's doing.
_SLOW_CALLS = 3


class _Thread:
    """One thread: parked on its own lock when there is nothing to do."""

    __slots__ = ("parking", "since")

    def __init__(self) -> None:
        self.parking = threading.Lock()
        self.parking.acquire()
        # Monotonic time at which the current call began; 0.0 between calls.
        self.since = 0.0


class Threads:
    """The lane of plain functions. Used from one loop; `slots` is the greatest number of threads."""

    def __init__(
        self, slots: int, worker: str, bounds: Bounds, completions: Completions, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._slots = slots
        self._worker = worker
        self._bounds = bounds
        self._completions = completions
        self._loop = loop
        self._queue: deque[Attempt] = deque()
        self._threads: list[_Thread] = []
        self._parked: list[_Thread] = []
        self._closed = False
        self._looking = False
        # Calls that have ended, and as of the last look. Counted by threads without a lock: only a change matters.
        self._calls = 0
        self._calls_seen = 0

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Runs `attempts`, in order of their beginning. The caller holds a slot for each."""
        self._queue.extend(attempts)
        slow = sum(1 for attempt in attempts if attempt.plan is not None and attempt.plan.slow_calls >= _SLOW_CALLS)
        active = len(self._threads) - len(self._parked)
        self._wake(max(slow, 0 if active else 1))
        self._look_later()

    def withdraw(self, attempt: Attempt) -> bool:
        """Takes back an attempt that no thread has begun. False: too late."""
        try:
            self._queue.remove(attempt)
        except ValueError:
            return False
        return True

    def close(self) -> None:
        """Ends the threads that are free; those inside a function end with it (they are daemons)."""
        self._closed = True
        for _ in range(len(self._parked)):
            try:
                self._parked.pop().parking.release()
            except IndexError:
                break

    def _wake(self, count: int) -> None:
        for _ in range(count):
            try:
                self._parked.pop().parking.release()
            except IndexError:
                if len(self._threads) >= self._slots:
                    return
                thread = _Thread()
                self._threads.append(thread)
                name = f"indegree-task-{len(self._threads)}"
                threading.Thread(target=self._work, args=(thread,), name=name, daemon=True).start()

    def _look_later(self) -> None:
        if not self._looking and self._queue and not self._closed:
            self._looking = True
            self._loop.call_later(STALL_S, self._look)

    def _look(self) -> None:
        """More threads if those at work do not come round."""
        self._looking = False
        if not self._queue:
            return
        none_came_round = self._calls == self._calls_seen
        self._calls_seen = self._calls
        limit = time.monotonic() - (STALL_S if none_came_round else _BLOCKED_S)
        stalled = sum(1 for thread in self._threads if 0.0 < thread.since < limit)
        active = len(self._threads) - len(self._parked)
        if active <= stalled:
            self._wake(min(max(1, stalled), len(self._queue)))
        self._look_later()

    def _work(self, me: _Thread) -> None:
        queue, worker, bounds, put = self._queue, self._worker, self._bounds, self._completions.put
        while True:
            try:
                attempt = queue.popleft()
            except IndexError:
                if self._closed:
                    return
                self._park(me)
                continue
            if attempt.phase is not Phase.RUNNING:
                continue  # ended while it lay here
            me.since = began = time.monotonic()
            result = perform(attempt, worker, bounds)
            me.since = 0.0
            self._calls += 1
            plan = attempt.plan
            if plan is not None:
                plan.slow_calls = plan.slow_calls + 1 if time.monotonic() - began > _SLOW_S else 0
            put(attempt, result)

    def _park(self, me: _Thread) -> None:
        self._parked.append(me)
        # Whoever adds to the queue looks at `_parked` afterwards; either it sees this thread, or we see what it added.
        if self._queue or self._closed:
            try:
                self._parked.remove(me)
                return
            except ValueError:
                pass  # woken already: the lock is open
        me.parking.acquire()
