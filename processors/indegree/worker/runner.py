"""The worker without Kafka: takes task records, gives slots, answers with results.

Every decision is made on one event loop, so there is one mutator and no lock: lanes (threads, coroutines, processes)
only run what they are given and report its end. For each record that is taken exactly one final result is reported
(SUCCEEDED, FAILED, REJECTED, RETURNED or STOPPED); before it STARTED and HEARTBEAT, if the attempt lasts.

A slot is held from the moment an attempt is given to its lane until its code has ended. That may be later than the
attempt's own end: a thread cannot be killed, so its slot is held (and shown as abandoned) until the function returns.
Values by reference (values.py) are moved while the slot is held too: inputs before the lane, an output after it.

It must never run the same attempt twice: a repeated record is answered from what runs, or from what was recently done.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from indegree.v1.task_pb2 import Result, Task
from indegree.worker import outcome, spans
from indegree.worker.attempt import Attempt, Key, Phase, Verdict
from indegree.worker.bounds import Bounds
from indegree.worker.completions import Completions
from indegree.worker.coroutines import Coroutines
from indegree.worker.failures import error_of, qualified
from indegree.worker.functions import Functions, Plan, Refused
from indegree.worker.memory import Memory
from indegree.worker.plain_text import described
from indegree.worker.processes import Processes
from indegree.worker.secret_values import Masking, SecretMissing, resolve
from indegree.worker.tally import Tally
from indegree.worker.threads import Threads
from indegree.worker.values import InputsUnread, Values, has_references

TICK_S = 0.02


def _why(error: Exception) -> str:
    """Our own refusals say it all; of others the type is told too."""
    ours = isinstance(error, Refused | SecretMissing)
    return described(error) if ours else f"{qualified(type(error))}: {described(error)}"


# Partition of `results`, and what to say there.
Report = Callable[[int, Result], None]


class Runner:
    """Runs attempts in `slots` slots. Made and used on one running loop. `report` must not block."""

    def __init__(
        self,
        functions: Functions,
        report: Report,
        *,
        worker: str,
        slots: int,
        commands: bool = False,
        bounds: Bounds | None = None,
        changed: Callable[[], None] = lambda: None,
        values: Values | None = None,
    ) -> None:
        self.functions = functions
        self.slots = slots
        self.worker = worker
        self.commands = commands
        self.bounds = bounds or Bounds()
        self.tally = Tally()
        self.draining = False
        self._report = report
        # Without it nothing is fetched or stored: references are refused, outputs of any size reported as they are.
        self._values = values
        # Holders of slots whose values are being fetched or stored.
        self._moving: dict[Attempt, asyncio.Task[None]] = {}
        # Called when `abandoned` has changed: it is announced at once.
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        # Waiting for a slot: (-priority, order of arrival, attempt). May hold attempts that are OVER.
        self._waiting: list[tuple[int, int, Attempt]] = []
        self._order = itertools.count()
        # Every attempt that is not OVER, by key; those ABANDONED too (a repeated record must not run beside them).
        self._known: dict[Key, Attempt] = {}
        # Holders of slots, in order of their beginning: RUNNING, STOPPING or ABANDONED.
        self._holding: dict[Attempt, None] = {}
        self.abandoned = 0
        self._memory = Memory(self.bounds.remembered, self.bounds.remembered_bytes)
        self._importing: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        completions = Completions(self._loop, self._ended)
        self._threads = Threads(slots, worker, self.bounds, completions, self._loop)
        self._coroutines = Coroutines(worker, self.bounds, completions)
        self._processes = Processes(worker, self.bounds, self._ended)

    # What is asked from outside ------------------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Slots that are held, abandoned ones included."""
        return len(self._holding)

    @property
    def waiting(self) -> int:
        """Attempts without a slot."""
        return len(self._known) - len(self._holding)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Takes task records. Each is answered through `report`, some of them before this returns. Never blocks."""
        for task in tasks:
            self._take(task)
        self._give_slots()

    def stop(self, key: Key, reason: str) -> None:
        """The engine ends an attempt: reported as STOPPED once its process is gone (a thread: at once). One that is not
        here yet is remembered, since `control` may be faster than `tasks`."""
        attempt = self._known.get(key)
        if attempt is None:
            self._memory.stop(key, reason)
        elif attempt.phase is Phase.WAITING:
            attempt.verdict, attempt.verdict_reason = Verdict.STOPPED, reason
            self._finish(attempt, outcome.stopped(attempt, self.worker))
        elif attempt.phase is Phase.RUNNING:
            self._stop(attempt, Verdict.STOPPED, reason)

    def hand_back(self) -> None:
        """From now on takes no more; what has not begun goes back."""
        self.draining = True
        for attempt in [attempt for _, _, attempt in self._waiting if attempt.phase is Phase.WAITING]:
            self._finish(attempt, outcome.returned(attempt, self.worker, "the worker stops"))
        self._waiting.clear()

    async def all_ended(self, within_s: float) -> bool:
        """Waits until every attempt that can end has done so (abandoned ones cannot), at most `within_s` seconds."""
        until = self._loop.time() + within_s
        while any(attempt.phase is not Phase.ABANDONED for attempt in self._known.values()):
            left = until - self._loop.time()
            if left <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), min(left, 0.05 if self.abandoned else left))
        return True

    async def end_all(self) -> None:
        """Ends what runs, as the worker's shutdown, and waits for it within the bounds."""
        for attempt in list(self._holding):
            if attempt.phase is Phase.RUNNING:
                self._stop(attempt, Verdict.SHUTDOWN, "shutdown")
        await self.all_ended(self.bounds.kill_after_s + 3.0)

    async def close(self) -> None:
        """Ends the lanes. What still runs is left to itself (threads) or killed (processes)."""
        for task in (*self._importing, *self._moving.values()):
            task.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
        self._threads.close()
        self._coroutines.close()
        await self._processes.close()

    # Taking --------------------------------------------------------------------------------------------------------

    def _take(self, task: Task) -> None:
        attempt = Attempt(task, None, self.bounds.log_bytes)
        key = attempt.key
        python = task.python
        self.tally.taken += 1
        running = self._known.get(key)
        if running is not None and running.phase is not Phase.ABANDONED:
            self.tally.repeated += 1
            if running.report_start_sent:
                self._report(task.partition, outcome.started(running, self.worker))
            return
        if (known := self._memory.result(key)) is not None:
            self.tally.repeated += 1
            self._report(task.partition, known)
            return
        if running is not None:
            return  # its outcome is forgotten, and its code still runs: it must not run twice
        if self.draining:
            self._answer(attempt, outcome.returned(attempt, self.worker, "the worker stops"))
            return
        if (reason := self._memory.stopped(key)) is not None:
            attempt.verdict_reason = reason
            self._answer(attempt, outcome.stopped(attempt, self.worker))
            return
        self._known[key] = attempt
        self._idle.clear()
        try:
            if self._values is None and has_references(task):
                raise Refused("an input is held by reference, and this worker was given no way to read it")
            if task.secrets:
                attempt.secrets = resolve(task.secrets)
                attempt.mask = Masking(attempt.secrets.values())
            if python:
                attempt.plan = self.functions.known(python)
                if attempt.plan is None:
                    if self.functions.needs_import(python):
                        self._import(attempt)
                        return
                    attempt.plan = self.functions.find(python)
            elif not task.command:
                raise Refused("the task record names neither a function (`python`) nor a `command`")
            elif not self.commands:
                raise Refused("this worker runs no commands; start it with --commands if it may")
        except Exception as error:  # noqa: BLE001 - reading a signature runs user code
            self._finish(attempt, outcome.rejected(attempt, self.worker, attempt.mask(_why(error))))
            return
        heapq.heappush(self._waiting, (-task.priority, next(self._order), attempt))

    def _import(self, attempt: Attempt) -> None:
        """Importing runs user code and may take long: not on this loop."""

        async def load() -> None:
            try:
                plan: Plan = await asyncio.to_thread(self.functions.find, attempt.task.python)
            except Exception as error:  # noqa: BLE001 - as above
                if attempt.phase is Phase.WAITING:
                    self._finish(attempt, outcome.rejected(attempt, self.worker, attempt.mask(_why(error))))
                return
            attempt.plan = plan
            attempt.arrived = time.monotonic()
            if attempt.phase is Phase.WAITING and not self.draining:
                heapq.heappush(self._waiting, (-attempt.task.priority, next(self._order), attempt))
                self._give_slots()
            elif attempt.phase is Phase.WAITING:
                self._finish(attempt, outcome.returned(attempt, self.worker, "the worker stops"))

        task = self._loop.create_task(load())
        self._importing.add(task)
        task.add_done_callback(self._importing.discard)

    def _give_slots(self) -> None:
        waiting, holding = self._waiting, self._holding
        begun: list[Attempt] = []
        now = time.monotonic()
        while waiting and len(holding) < self.slots:
            attempt = heapq.heappop(waiting)[2]
            if attempt.phase is not Phase.WAITING:
                continue
            attempt.phase = Phase.RUNNING
            attempt.last_report = now
            if attempt.task.timeout_ms:
                attempt.deadline = now + attempt.task.timeout_ms / 1000
            holding[attempt] = None
            if self._values is not None and has_references(attempt.task):
                attempt.begin()  # for the engine: fetching may take longer than it waits for a start
                self._move(attempt, self._fetch(self._values, attempt))
            else:
                begun.append(attempt)
        if begun:
            self._begin(begun)
        if self._ticking is None and (holding or waiting):
            self._ticking = self._loop.call_later(TICK_S, self._tick)

    def _begin(self, attempts: Iterable[Attempt]) -> None:
        """Hands attempts that hold a slot to their lanes."""
        threads: list[Attempt] = []
        coroutines: list[Attempt] = []
        processes: list[Attempt] = []
        for attempt in attempts:
            plan = attempt.plan
            if plan is None or attempt.task.isolate:
                processes.append(attempt)
            elif plan.is_async:
                coroutines.append(attempt)
            else:
                threads.append(attempt)
        if threads:
            self._threads.submit(threads)
        if coroutines:
            self._coroutines.submit(coroutines)
        if processes:
            self._processes.submit(processes)

    # Values by reference -------------------------------------------------------------------------------------------

    def _move(self, attempt: Attempt, moving: Coroutine[Any, Any, None]) -> None:
        self._moving[attempt] = self._loop.create_task(moving)

    async def _fetch(self, values: Values, attempt: Attempt) -> None:
        try:
            await values.fetch(attempt)
        except Exception as error:  # noqa: BLE001 - whatever it is, the attempt must have an end
            said = error.error if isinstance(error, InputsUnread) else error_of(error, self.bounds, attempt.mask)
            self._moving.pop(attempt, None)
            self._ended([(attempt, outcome.failed(attempt, self.worker, said))])
        else:
            self._moving.pop(attempt, None)
            attempt.began = 0.0  # its code has not
            self._begin([attempt])

    async def _store(self, values: Values, attempt: Attempt, result: Result) -> None:
        try:
            await values.store(attempt, result)
        except Exception as error:  # noqa: BLE001 - as above
            result = outcome.raised(attempt, self.worker, error, self.bounds)
        self._moving.pop(attempt, None)
        self._ended([(attempt, result)])

    # Ending --------------------------------------------------------------------------------------------------------

    def _ended(self, batch: list[tuple[Attempt, Result]]) -> None:
        """Lanes: the code of these attempts has ended, their slots are free."""
        for attempt, result in batch:
            if attempt.phase is Phase.RUNNING and self._values is not None and not self._values.inline(result):
                attempt.deadline = 0.0  # its code has ended in time
                self._move(attempt, self._store(self._values, attempt, result))
                continue
            self._holding.pop(attempt, None)
            match attempt.phase:
                case Phase.RUNNING:
                    self._finish(attempt, result)
                case Phase.STOPPING:
                    self._finish(attempt, outcome.ended(attempt, self.worker))
                case Phase.ABANDONED:
                    self.abandoned -= 1
                    attempt.phase = Phase.OVER
                    self._known.pop(attempt.key, None)
                    self._changed()
                case Phase.WAITING | Phase.OVER:
                    pass
        self._give_slots()
        if not self._known:
            self._idle.set()

    def _finish(self, attempt: Attempt, result: Result) -> None:
        """The attempt is over and holds no slot."""
        attempt.phase = Phase.OVER
        self._known.pop(attempt.key, None)
        self._answer(attempt, result)
        if not self._known:
            self._idle.set()

    def _answer(self, attempt: Attempt, result: Result) -> None:
        self.tally.ended(result)
        self._memory.keep(attempt.key, result)
        self._report(attempt.task.partition, result)

    def _stop(self, attempt: Attempt, verdict: Verdict, reason: str) -> None:
        """Ends a running attempt from outside."""
        attempt.verdict, attempt.verdict_reason = verdict, reason
        attempt.cancelled = True
        attempt.phase = Phase.STOPPING
        plan = attempt.plan
        if (moving := self._moving.pop(attempt, None)) is not None:
            moving.cancel()
            del self._holding[attempt]
            self._finish(attempt, outcome.ended(attempt, self.worker))
        elif plan is None or attempt.task.isolate:
            attempt.stop_by = float("inf")  # the lane kills it within its own bound
            self._processes.stop(attempt)
        elif plan.is_async:
            attempt.stop_by = time.monotonic() + self.bounds.kill_after_s
            self._coroutines.stop(attempt)
        elif self._threads.withdraw(attempt):
            del self._holding[attempt]
            self._finish(attempt, outcome.ended(attempt, self.worker))
        else:
            self._abandon(attempt)

    def _abandon(self, attempt: Attempt) -> None:
        """It is over for the engine; its code goes on and holds its slot."""
        attempt.phase = Phase.ABANDONED
        self.abandoned += 1
        result = outcome.ended(attempt, self.worker)
        spans.end(attempt, result)
        self._answer(attempt, result)
        self._changed()

    # Time ----------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """What is due: starts and heartbeats to report, time limits, tasks that have waited too long."""
        self._ticking = None
        now = time.monotonic()
        bounds = self.bounds
        for attempt in list(self._holding):
            if attempt.phase is Phase.RUNNING:
                if attempt.deadline and now >= attempt.deadline:
                    self._stop(attempt, Verdict.TIMEOUT, "timeout")
                elif attempt.began:
                    self._tell(attempt, now)
            elif attempt.phase is Phase.STOPPING and now >= attempt.stop_by:
                self._abandon(attempt)
        if len(self._holding) >= self.slots:
            late = now - bounds.hand_back_s
            for _, _, attempt in self._waiting:
                if attempt.phase is Phase.WAITING and attempt.arrived < late:
                    self._finish(attempt, outcome.returned(attempt, self.worker, "no slot in time"))
            if len(self._waiting) > 64 + 2 * self.waiting:
                self._waiting = [entry for entry in self._waiting if entry[2].phase is Phase.WAITING]
                heapq.heapify(self._waiting)
        self._give_slots()

    def _tell(self, attempt: Attempt, now: float) -> None:
        since = now - attempt.last_report
        if not attempt.report_start_sent:
            if now - attempt.began >= self.bounds.started_after_s:
                attempt.report_start_sent = True
                attempt.last_report = now
                self._report(attempt.task.partition, outcome.started(attempt, self.worker))
        elif since >= self.bounds.heartbeat_s or (
            attempt.progress is not attempt.progress_sent and since >= self.bounds.progress_every_s
        ):
            attempt.last_report = now
            attempt.progress_sent = attempt.progress
            self._report(attempt.task.partition, outcome.heartbeat(attempt, self.worker))
