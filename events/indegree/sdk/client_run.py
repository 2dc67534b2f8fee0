"""A run as the program that started it sees it: accepted, followed, waited for, cancelled.

Why: a start is known to the caller at once (the client makes the run id) while its acceptance, its transitions and its
end arrive later, out of one consumer that the client shares among all its runs.

How: `AsyncRun` owns a `RunState` and is a sink of the client's `ProgressFeed`. A run that this client did not see from
its first record is read from the topic's past first, and what arrives meanwhile waits; positions join the two.

It must never invent a state: before the first record a run is PENDING, whatever was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from indegree.v1.trigger_pb2 import Command

from .client_commands import RunCommands, done
from .client_errors import ClientError, ProgressGap, Refused, RunNotFound
from .client_events import RunEvent, RunState, StoredValue, TaskView
from .client_progress import Sink


class Link(Protocol):
    """What a run needs of its client."""

    def watch(self, run_id: str, sink: Sink) -> None: ...

    def forget(self, run_id: str) -> None: ...

    def past(self, run_id: str) -> AsyncIterator[RunEvent]: ...

    async def cancel_run(self, run_id: str, reason: str) -> None: ...

    async def command(self, command: Command, what: str) -> RunEvent: ...

    async def fetch(self, value: StoredValue) -> Any: ...


class AsyncRun(RunCommands):
    """One run. Made by `AsyncClient.start`, `start_many` and `run`."""

    def __init__(self, link: Link, run_id: str = "", workflow: str = "", request_id: str = "") -> None:
        self._link = link
        self._request_id = request_id  # of our own start; a refusal of somebody else's is none of ours
        self._view = RunState(run_id, workflow)
        self._problem: ClientError | None = None
        self._early: list[RunEvent] | None = None  # records that came while the past was being read
        self._catching_up: asyncio.Task[None] | None = None
        self._followers: list[asyncio.Queue[RunEvent | None]] = []  # None: look at _problem
        self._waiters: set[asyncio.Future[None]] = set()

    # -- what is known now

    @property
    def run_id(self) -> str:
        """Empty only for a start with an idempotency key that has not been accepted yet."""
        return self._view.run_id

    @property
    def workflow(self) -> str:
        return self._view.workflow

    @property
    def version(self) -> str:
        """Content hash of the version that runs, once accepted."""
        return self._view.version

    @property
    def state(self) -> str:
        """PENDING, RUNNING, PAUSED, SUCCESS, FAILED or CANCELLED, as of the last record that has arrived."""
        return self._view.state

    @property
    def reason(self) -> str:
        return self._view.reason

    @property
    def ends(self) -> int:
        """How often it has ended, as far as was heard: more than once where it was begun again by hand."""
        return self._view.ends

    @property
    def position(self) -> int:
        """Of the last record that has arrived; `follow(position)` resumes behind it."""
        return self._view.position

    @property
    def tasks(self) -> dict[str, TaskView]:
        """The tasks of which something was heard, in the order of their first record."""
        return self._view.tasks

    def __getitem__(self, task_id: str) -> TaskView:
        """The task's view: state, output, attempts, error. Raises KeyError for one of which nothing was heard."""
        task = self._view.tasks.get(task_id)
        if task is None:
            known = ", ".join(list(self._view.tasks)[:10]) or "none yet"
            raise KeyError(
                f"no record of task {task_id!r} in run {self.run_id or '(not accepted yet)'}; known: {known}"
            )
        return task

    async def output(self, task_id: str) -> Any:
        """The task's output, also where it lies in the payloads topic; `run[task_id].output` is the same from then on.

        Raises KeyError, ValueLost, Unreachable.
        """
        task = self[task_id]
        value = task.value
        if isinstance(value, StoredValue):
            found = await self._link.fetch(value)
            if task.value is value:  # else it was begun again meanwhile
                task.value = found
            return found
        return value

    def __repr__(self) -> str:
        return f"<Run {self.run_id or 'not accepted yet'} of {self.workflow or '?'}: {self.state}>"

    # -- waiting

    async def accepted(self, timeout: float | None = None) -> str:
        """Waits until an engine has accepted the start; gives the run id. Raises Refused, or TimeoutError."""
        await self._until(lambda: self._view.accepted, timeout, "to be accepted")
        return self.run_id

    async def wait(self, timeout: float | None = None) -> str:
        """Waits for the run's end; gives its state. A failed run is a state, not an error.

        Raises Refused, ProgressGap, and TimeoutError after `timeout` seconds (the run goes on).
        """
        await self._until(lambda: self._view.ended, timeout, "to end")
        return self.state

    async def follow(self, position: int = 0) -> AsyncIterator[RunEvent]:
        """Every transition behind `position`, in order, until the run ends. What has passed is read from the topic.

        Raises Refused, and ProgressGap when a record is missing.
        """
        queue: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        self._followers.append(queue)
        try:
            await self._until(lambda: self._view.accepted, None, "")
            last = position
            if self._view.position > last:
                async for event in self._link.past(self.run_id):
                    if event.position > last:
                        last = self._next(last, event)
                        yield event
                        if event.ends_run and last >= self._view.position:
                            return
            while not (self._view.ended and last >= self._view.position):
                item = await queue.get()
                if item is None:
                    self._raise()
                elif item.position > last:
                    last = self._next(last, item)
                    yield item
        finally:
            self._followers.remove(queue)

    async def cancel(self, reason: str = "") -> None:
        """Asks for the run's end; returns when an engine has taken the request. `wait()` then gives CANCELLED.

        Raises Refused when the run has ended or is ending already.
        """
        await self.accepted()
        await self._link.cancel_run(self.run_id, reason)

    async def carry_out(self, command: Command, what: str) -> str:
        """Sends a command about this run; gives what it did. A run that had ended is watched again: it may go on."""
        ended = self._view.ended
        answer = await self._link.command(command, f"{what} run {self.run_id}")
        if ended:
            await self.catch_up(must_exist=False)
        return done(answer)

    # -- for the client

    def begin(self) -> None:
        """The run id is ours and new: watch from its first record."""
        self._link.watch(self.run_id, self._sink)

    def answered(self, answer: RunEvent | ClientError) -> None:
        """The answer to a start whose run id the engine chose."""
        if isinstance(answer, ClientError):
            self._sink(answer)
            return
        if answer.type == "run.refused":
            self._view.refused = self._view.reason = answer.reason
            self._tell(None, forget=False)
            return
        self._view.run_id = answer.run_id
        if answer.position == 1:
            self.begin()  # the same record comes next, as the run's first
        else:
            self._catching_up = asyncio.ensure_future(self.catch_up(must_exist=False))

    async def catch_up(self, *, must_exist: bool) -> None:
        """Reads the run's past, then watches. Raises RunNotFound if `must_exist` and nothing is there."""
        self._early = []
        self._link.watch(self.run_id, self._sink)
        try:
            async for event in self._link.past(self.run_id):
                self._apply(event)
        except Exception as problem:
            self._early = None
            self._sink(problem if isinstance(problem, ClientError) else ClientError(str(problem)))
            if must_exist:
                raise
            return
        early, self._early = self._early or [], None
        for event in early:
            if self._view.position or event.position == 1:
                self._apply(event)
        if self._view.ended:
            self._link.forget(self.run_id)
        if must_exist and self._view.position == 0 and self._view.refused is None:
            self._link.forget(self.run_id)
            raise RunNotFound(
                f"no record of run {self.run_id!r} on the progress topic: check the id and the cluster's name "
                "(`indegree runs` lists runs)"
            )

    def _sink(self, item: RunEvent | ClientError) -> None:
        if isinstance(item, ClientError):
            self._problem = self._problem or item
            self._wake()
            for queue in self._followers:
                queue.put_nowait(None)
        elif self._early is not None:
            self._early.append(item)
        else:
            self._apply(item)

    def _apply(self, event: RunEvent) -> None:
        if event.type == "run.refused" and self._request_id:
            if event.request_id != self._request_id:
                return
            self._view.refused = self._view.reason = event.reason
            self._tell(None, forget=True)
            return
        if self._view.position == 0 and self._early is None and self._repeats(event):
            self._catching_up = asyncio.ensure_future(self.catch_up(must_exist=False))
            return
        accepted = self._view.accepted
        try:
            changed = self._view.apply(event)
        except ProgressGap as gap:
            self._link.forget(self.run_id)
            self._sink(gap)
            return
        if changed:
            # While the past is read an end need not be the last one: the run may have begun again since.
            over = self._view.ended
            self._tell(event, forget=over and self._early is None, wake=over or not accepted)

    @staticmethod
    def _repeats(event: RunEvent) -> bool:
        """Whether the run began before we looked: somebody has used the same run id or idempotency key before."""
        return event.position > 1 or (event.type == "run.accepted" and event.position == 0)

    def _tell(self, event: RunEvent | None, *, forget: bool, wake: bool = True) -> None:
        for queue in self._followers:
            queue.put_nowait(event)
        if forget:
            self._link.forget(self.run_id)
        if wake:
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _raise(self) -> None:
        if self._view.refused is not None:
            raise Refused(f"the start of {self.workflow or 'a workflow'}", self._view.refused, self.run_id)
        if self._problem is not None:
            raise self._problem

    async def _until(self, reached: Callable[[], bool], timeout: float | None, what: str) -> None:
        self._raise()
        try:
            async with asyncio.timeout(timeout):
                while not reached():
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
                    self._raise()
        except TimeoutError:
            raise TimeoutError(
                f"run {self.run_id or 'without an id yet'} of {self.workflow or 'a workflow'}: waited {timeout} s for "
                f"it {what}; it is {self.state} (position {self.position}) and goes on"
            ) from None

    def _next(self, last: int, event: RunEvent) -> int:
        if event.position != last + 1:
            raise ProgressGap(
                f"run {self.run_id}: progress position {event.position} follows {last}, so a record is missing; read "
                f"the event log with `indegree replay {self.run_id}`"
            )
        return event.position
