"""The client for programs without asyncio: the same names, each call waits for its result.

Why: most scripts and tests are plain functions.

How: `Client` runs an `AsyncClient` on an event loop in a thread of its own; each call hands a coroutine over and waits.
Ctrl-C cancels the coroutine that is waited for and leaves the client usable.

It must never hold logic of its own: what a call means stands in client_async and client_run.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from indegree.events.definition import Definition
from indegree.events.settings import Settings

from .client_async import AsyncClient, Deployed
from .client_catalog import Catalog
from .client_commands import Commands
from .client_errors import Closed
from .client_events import RunEvent, StoredValue, TaskView
from .client_run import AsyncRun
from .workflow import Workflow

T = TypeVar("T")


class Client(Commands):
    """Talks to one cluster. Use it as a context manager: `with Client.from_settings() as client:`.

    Errors: see `AsyncClient`. May be used from several threads.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._inner = AsyncClient(settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **flags: Any) -> Self:
        """Settings as every other part reads them; `flags` win: `from_settings(kafka__bootstrap_servers="...")`."""
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        return cls(settings if settings is not None else Settings.load(dotted))

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connects; about 10 s at most. Raises Unreachable."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="indegree-client", daemon=True)
        self._thread.start()
        try:
            self.call(self._inner.open())
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Ends the connection and its thread. May be called twice."""
        if self._loop is not None:
            try:
                self.call(self._inner.close())
            finally:
                self._end()

    def _end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(10)
            loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine of the inner client on its loop and waits for it."""
        if self._loop is None:
            work.close()
            raise Closed("the client is not open: use it in a `with` block")
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def settings(self) -> Settings:
        return self._inner.settings

    @property
    def catalog(self) -> Catalog:
        """The definitions, active versions and labels as of the last refresh."""
        return self._inner.catalog

    def start(
        self,
        workflow: Workflow | Definition | str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        version: str = "",
        label: str = "",
        run_id: str = "",
        actor: str = "",
        not_before: datetime | None = None,
    ) -> Run:
        """See `AsyncClient.start`."""
        run = self.call(
            self._inner.start(
                workflow,
                params,
                idempotency_key=idempotency_key,
                version=version,
                label=label,
                run_id=run_id,
                actor=actor,
                not_before=not_before,
            )
        )
        return Run(self, run)

    def start_many(
        self,
        workflow: Workflow | Definition | str,
        params: Iterable[Mapping[str, Any]],
        idempotency_keys: Sequence[str] | None = None,
        *,
        version: str = "",
        label: str = "",
        actor: str = "",
    ) -> list[Run]:
        """See `AsyncClient.start_many`."""
        runs = self.call(
            self._inner.start_many(workflow, params, idempotency_keys, version=version, label=label, actor=actor)
        )
        return [Run(self, run) for run in runs]

    def run(self, run_id: str) -> Run:
        """See `AsyncClient.run`."""
        return Run(self, self.call(self._inner.run(run_id)))

    def follow_all(self) -> Iterator[RunEvent]:
        """See `AsyncClient.follow_all`."""
        return self._iterate(self._inner.follow_all())

    def deploy(
        self, workflow: Workflow | Definition, label: str | None = None, activate: bool = True, *, timeout: float = 30.0
    ) -> Deployed:
        """See `AsyncClient.deploy`."""
        return self.call(self._inner.deploy(workflow, label, activate, timeout=timeout))

    def activate(self, workflow: str, version: str = "", label: str = "", *, timeout: float = 30.0) -> Deployed:
        """See `AsyncClient.activate`."""
        return self.call(self._inner.activate(workflow, version, label, timeout=timeout))

    def fetch(self, value: StoredValue) -> Any:
        """See `AsyncClient.fetch`. Blocks."""
        return self.call(self._inner.fetch(value))

    def rollback(self, workflow: str, *, timeout: float = 30.0) -> Deployed:
        """See `AsyncClient.rollback`."""
        return self.call(self._inner.rollback(workflow, timeout=timeout))

    def refresh(self) -> Catalog:
        """The catalog as of now."""
        self.call(self._inner.catalog.refresh())
        return self._inner.catalog

    def _iterate(self, source: Any) -> Iterator[RunEvent]:
        async def step() -> RunEvent | None:
            try:
                event: RunEvent = await anext(source)
            except StopAsyncIteration:
                return None
            return event

        try:
            while (event := self.call(step())) is not None:
                yield event
        finally:
            with contextlib.suppress(Closed):
                self.call(source.aclose())


class Run:
    """One run. Made by `Client.start`, `start_many` and `run`. See `AsyncRun` for what each call promises."""

    def __init__(self, client: Client, inner: AsyncRun) -> None:
        self._client = client
        self._inner = inner

    @property
    def run_id(self) -> str:
        return self._inner.run_id

    @property
    def workflow(self) -> str:
        return self._inner.workflow

    @property
    def version(self) -> str:
        return self._inner.version

    @property
    def state(self) -> str:
        return self._inner.state

    @property
    def reason(self) -> str:
        return self._inner.reason

    @property
    def position(self) -> int:
        return self._inner.position

    @property
    def tasks(self) -> dict[str, TaskView]:
        tasks = self._inner.tasks
        for task in list(tasks.values()):
            task.fetch = self._client.fetch
        return tasks

    def __getitem__(self, task_id: str) -> TaskView:
        """The task's view. An output that lies in the payloads topic is read when `.output` is first asked for."""
        task = self._inner[task_id]
        task.fetch = self._client.fetch
        return task

    def __repr__(self) -> str:
        return repr(self._inner)

    def accepted(self, timeout: float | None = None) -> str:
        """Blocks until an engine has accepted the start; gives the run id. Raises Refused, TimeoutError."""
        return self._client.call(self._inner.accepted(timeout))

    def wait(self, timeout: float | None = None) -> str:
        """Blocks until the run has ended; gives its state. Raises Refused, TimeoutError (the run goes on)."""
        return self._client.call(self._inner.wait(timeout))

    def follow(self, position: int = 0) -> Iterator[RunEvent]:
        """Every transition behind `position` until the run ends; blocks between them. Raises Refused, ProgressGap."""
        return self._client._iterate(self._inner.follow(position))

    def cancel(self, reason: str = "") -> None:
        """Asks for the run's end. Blocks until an engine has taken the request. Raises Refused."""
        self._client.call(self._inner.cancel(reason))

    def pause(self, reason: str = "") -> str:
        """Nothing more of the run begins; what runs goes on. Blocks for the answer. Raises Refused."""
        return self._client.call(self._inner.pause(reason))

    def resume(self, reason: str = "") -> str:
        """Ends a pause of this run. Blocks for the answer. Raises Refused."""
        return self._client.call(self._inner.resume(reason))

    def signal(self, name: str, payload: object = None, *, actor: str = "") -> str:
        """Delivers a signal to the tasks that wait for it, now or later; `actor`: see `RunCommands.signal`. Blocks for
        the answer. Raises Refused."""
        return self._client.call(self._inner.signal(name, payload, actor=actor))

    def rerun(self, tasks: Sequence[str] | None = None, reason: str = "") -> str:
        """Runs tasks again with their descendants; without any, all that failed. Blocks for the answer. Raises
        Refused."""
        return self._client.call(self._inner.rerun(tasks, reason))

    def skip(self, task: str, reason: str = "") -> str:
        """Ends an open task as SKIPPED (by_hand). Blocks for the answer. Raises Refused."""
        return self._client.call(self._inner.skip(task, reason))

    def mark_success(self, task: str, output: object = None, reason: str = "") -> str:
        """Ends an open or failed task as SUCCESS with this output. Blocks for the answer. Raises Refused."""
        return self._client.call(self._inner.mark_success(task, output, reason))
