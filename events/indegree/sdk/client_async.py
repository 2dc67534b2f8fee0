"""The client for asyncio: start runs, follow them, deploy definitions.

Why: a program should be able to start a run in one line and know at once which run it is; everything behind that (which
partition, is the definition there, where does the answer come from) is the same for every program.

How: `Connection` carries, `client_starts` checks and makes the records, `AsyncRun` is what the caller gets. A start
gets a run id made here and goes to the partition in it; one with an idempotency key goes to the key's partition, and
the run id comes back with `run.accepted`. What can be checked here is checked before anything is sent.

It must never send a start twice: an append that failed is reported, and an idempotency key makes trying again safe.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from indegree.events import kafka, run_ids
from indegree.events.definition import Definition
from indegree.events.settings import Settings
from indegree.events.spelling import did_you_mean, listing
from indegree.v1.trigger_pb2 import Activate, Cancel, Command, Deploy

from .client_catalog import definition_records
from .client_commands import AsyncCommands, epoch_ms
from .client_connection import ANSWER_S, Connection, user
from .client_errors import ClientError, InvalidStart
from .client_events import RunEvent, StoredValue
from .client_progress import Sink, read_run
from .client_run import AsyncRun
from .client_spans import producing
from .client_starts import Wanted, fresh_run_id, runnable
from .workflow import Workflow

_POINTER_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deploy or an activation came to."""

    workflow: str
    version: str
    label: str
    new: bool  # the definition was not on the topic before
    active: bool


class AsyncClient(AsyncCommands):
    """Talks to one cluster. Use it as an async context manager, on one event loop.

    Errors: Unreachable when Kafka does not answer, InvalidStart for what can be refused here, Refused for what the
    engine refuses.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings if settings is not None else Settings.load()
        self._connection = Connection(self.settings)
        self.topics = self._connection.topics
        self.catalog = self._connection.catalog
        self._introduced: set[str] = set()  # versions that this client knows to be on the topic and deployed

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **flags: Any) -> Self:
        """Settings as every other part reads them; `flags` win: `from_settings(kafka__bootstrap_servers="...")`."""
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        return cls(settings if settings is not None else Settings.load(dotted))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connects; about 10 s at most. Raises Unreachable, and ClientError where the cluster was never set up."""
        await self._connection.open()

    async def close(self) -> None:
        """Ends everything; whoever still waits on a run gets Closed."""
        await self._connection.close()

    @property
    def partitions(self) -> int:
        """The partition count of the cluster, by which keys are mapped. 0 before `open`."""
        return self._connection.partitions

    # -- runs

    async def start(
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
    ) -> AsyncRun:
        """Starts a run; returns once Kafka has acknowledged the start. `await run.accepted()` is the engine's answer.

        A workflow object runs its own version, which is published and deployed if it is new (and activated only where
        none is active); a name runs `version`, `label`, or the active version. With `not_before` (an aware datetime)
        the run is accepted now and begins then. Raises InvalidStart.
        """
        not_before_ms = 0 if not_before is None else epoch_ms(not_before, "not_before")
        wanted = replace(await self._resolve(workflow, version, label, actor), not_before_ms=not_before_ms)
        keys = None if idempotency_key is None else [idempotency_key]
        [run] = await self._send(wanted, [params if params is not None else {}], keys, run_id)
        return run

    async def start_many(
        self,
        workflow: Workflow | Definition | str,
        params: Iterable[Mapping[str, Any]],
        idempotency_keys: Sequence[str] | None = None,
        *,
        version: str = "",
        label: str = "",
        actor: str = "",
    ) -> list[AsyncRun]:
        """Starts a run for each of `params`, in batches; returns when all are acknowledged. Nothing is sent if one
        of them is refused here."""
        rows = list(params)
        if idempotency_keys is not None and len(idempotency_keys) != len(rows):
            raise InvalidStart(
                f"{len(idempotency_keys)} idempotency keys for {len(rows)} starts: one for each is needed"
            )
        wanted = await self._resolve(workflow, version, label, actor)
        return await self._send(wanted, rows, idempotency_keys, "")

    async def run(self, run_id: str) -> AsyncRun:
        """A run by its id, whoever started it, with its state up to now. Raises run_ids.InvalidId, RunNotFound."""
        run_ids.time_of_run(run_id)
        if run_ids.partition_of_run(run_id) >= self.partitions:
            raise InvalidStart(
                f"run id {run_id!r} names a partition that the cluster does not have: it has {self.partitions}"
            )
        run = AsyncRun(self, run_id)
        await run.catch_up(must_exist=True)
        return run

    async def follow_all(self) -> AsyncIterator[RunEvent]:
        """Every progress record of the cluster from now on, of all runs. One such iteration at a time."""
        queue: asyncio.Queue[RunEvent | ClientError] = asyncio.Queue()
        self._connection.feed.watch_all(queue.put_nowait)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, ClientError):
                    raise item
                yield item
        finally:
            self._connection.feed.watch_all(None)

    # -- definitions

    async def deploy(
        self,
        workflow: Workflow | Definition,
        label: str | None = None,
        activate: bool = True,
        *,
        timeout: float = ANSWER_S,
    ) -> Deployed:
        """Publishes the definition if it is new and makes it a version of its name (and the active one).

        Returns when it can be started by name. Raises Refused (a label that stands for other content), and TimeoutError
        when no engine has answered within `timeout` seconds.
        """
        definition = runnable(workflow)
        new = await self._publish(definition)
        await self._connection.ask(
            self._of_name(definition.id),
            definition.id,
            Command(
                deploy=Deploy(workflow=definition.id, version=definition.hash, label=label or "", activate=activate)
            ),
            f"the deploy of {definition.id} {definition.hash[:12]}",
            timeout,
        )
        self._introduced.add(definition.hash)
        if activate:
            await self._active(definition.id, definition.hash, timeout)
        pointer = self.catalog.active.get(definition.id)
        active = pointer is not None and pointer.version == definition.hash
        await self._deploy_below(workflow)
        return Deployed(definition.id, definition.hash, label or "", new, active)

    async def activate(
        self, workflow: str, version: str = "", label: str = "", *, timeout: float = ANSWER_S
    ) -> Deployed:
        """Makes a known version (by hash, its first 7 digits or more, or label) the active one. Raises Refused."""
        await self.catalog.refresh()
        wanted = self.catalog.resolve(workflow, version, label) if version or label else ""
        if not wanted:
            raise InvalidStart(
                f"workflow {workflow!r} has no version {version or label!r}: see `indegree workflow history {workflow}`"
            )
        command = Command(activate=Activate(workflow=workflow, version=wanted))
        await self._connection.ask(
            self._of_name(workflow), workflow, command, f"the activation of {workflow} {wanted[:12]}", timeout
        )
        await self._active(workflow, wanted, timeout)
        return Deployed(workflow, wanted, label, False, True)

    async def rollback(self, workflow: str, *, timeout: float = ANSWER_S) -> Deployed:
        """Makes the version active that was active before the present one. Raises Refused where there is none."""
        command = Command(activate=Activate(workflow=workflow, rollback=True))
        answer = await self.command(command, f"the rollback of {workflow}", timeout=timeout)
        await self._active(workflow, answer.version, timeout)
        return Deployed(workflow, answer.version, answer.label, False, True)

    # -- what runs need

    def watch(self, run_id: str, sink: Sink) -> None:
        self._connection.feed.watch(run_id, sink)

    def forget(self, run_id: str) -> None:
        self._connection.feed.forget(run_id)

    def past(self, run_id: str) -> AsyncIterator[RunEvent]:
        return read_run(self.settings, self.topics.progress, run_id)

    async def fetch(self, value: StoredValue) -> Any:
        """Reads an output that lies in the payloads topic, as records of progress name it. Raises ValueLost (deleted by
        retention, damaged, or over `limits.payload_bytes`) and Unreachable."""
        return await self._connection.fetch(value)

    async def cancel_run(self, run_id: str, reason: str = "", *, timeout: float = ANSWER_S) -> None:
        """Asks for the end of a run, and waits for the engine's answer. Raises Refused (it has ended), TimeoutError."""
        command = Command(cancel=Cancel(run_id=run_id, reason=reason))
        await self._connection.ask(
            run_ids.partition_of_run(run_id), run_id, command, f"the cancel of run {run_id}", timeout
        )

    # -- inside

    async def _resolve(self, workflow: Workflow | Definition | str, version: str, label: str, actor: str) -> Wanted:
        """What is to be started, as far as it can be known here. Raises InvalidStart."""
        if version and label:
            raise InvalidStart("give a version or a label, not both")
        definition: Definition | None
        if not isinstance(workflow, str):
            if version or label:
                raise InvalidStart("a workflow object runs its own version: start it by name to choose another")
            definition = runnable(workflow)
            await self._introduce(definition)
            await self._deploy_below(workflow)
            name, version = definition.id, definition.hash
        else:
            name = workflow
            definition, version = await self._known(name, version, label)
        limit = self.settings.limits.value_bytes
        return Wanted(definition, name, version, label, actor or user(), self.partitions, limit)

    async def _deploy_below(self, workflow: Workflow | Definition) -> None:
        """The sub-workflows that came as objects: a version of each has to be active before a task starts it."""
        found = workflow.subworkflows() if isinstance(workflow, Workflow) else []
        if any(below.id not in self.catalog.active for below in found):
            await self.catalog.refresh()
        for below in found:
            if below.id not in self.catalog.active:
                await self.deploy(below)

    async def _known(self, name: str, version: str, label: str) -> tuple[Definition | None, str]:
        """The definition behind a name, and the whole version where one was asked for. Raises InvalidStart."""
        if not run_ids.is_id(name):
            raise InvalidStart(
                f"workflow {name!r}: a name has letters, digits, '_', '-' and '.', at most 100, and begins with a "
                "letter or digit"
            )
        found = self.catalog.resolve(name, version, label)
        if not version or not self.catalog.has(found):
            await self.catalog.refresh()  # what is active, and what a label means, may have just changed
            found = self.catalog.resolve(name, version, label)
        if not found or not self.catalog.has(found):
            raise InvalidStart(self._unknown(name, version, label))
        return self.catalog.definition(found), found if version else ""

    def _unknown(self, workflow: str, version: str, label: str) -> str:
        names = self.catalog.names()
        if workflow not in names:
            known = f"; it has {listing(names)}" if names else ""
            near = did_you_mean(workflow, names)
            hint = near or "; deploy it first: `indegree workflow deploy FILE`"
            return f"unknown workflow {workflow!r} in cluster {self.settings.cluster!r}{known}{hint}"
        if version or label:
            return (
                f"workflow {workflow!r} has no version {version or label!r}: see `indegree workflow history {workflow}`"
            )
        return (
            f"workflow {workflow!r} has no active version: start one by version or label, or make one active with "
            f"`indegree workflow activate {workflow} VERSION`"
        )

    async def _publish(self, definition: Definition) -> bool:
        """Whether the definition was new. Large ones go in parts; the reader takes none before all are there."""
        await self.catalog.refresh()
        if self.catalog.has(definition.hash):
            return False
        size = len(definition.canonical())
        if size > self.settings.limits.definition_bytes:
            raise InvalidStart(
                f"the definition of {definition.id!r} has {size} bytes, more than limits.definition_bytes = "
                f"{self.settings.limits.definition_bytes}"
            )
        await self._connection.append(self.topics.workflows, 0, definition_records(definition))
        return True

    async def _introduce(self, definition: Definition) -> None:
        """Publishes and deploys a definition that this client starts for the first time; waits for no answer."""
        if definition.hash in self._introduced:
            return
        new = await self._publish(definition)
        if new or definition.id not in self.catalog.active:
            deploy = Deploy(workflow=definition.id, version=definition.hash, activate_if_none=True)
            await self._connection.tell(self._of_name(definition.id), definition.id, Command(deploy=deploy))
        self._introduced.add(definition.hash)

    async def _send(
        self,
        wanted: Wanted,
        rows: Sequence[Mapping[str, Any]],
        keys: Sequence[str] | None,
        run_id: str,
    ) -> list[AsyncRun]:
        """All starts are made and checked before the first is sent; all answers are expected before that, too."""
        if run_id and keys is not None:
            raise InvalidStart("give a run id or an idempotency key, not both: the key decides which run it is")
        now_ms = int(time.time() * 1000)
        planned = [
            wanted.plan(
                row,
                place="params" if len(rows) == 1 else f"params[{number}]",
                request_id=secrets.token_hex(8),
                idempotency_key=keys[number] if keys is not None else None,
                run_id=run_id or fresh_run_id(now_ms, secrets.token_hex, secrets.randbelow, wanted.partitions),
            )
            for number, row in enumerate(rows)
        ]
        runs: list[AsyncRun] = []
        by_partition: dict[int, list[kafka.Record]] = {}
        with producing(self.topics.triggers, [one.start for one in planned]) as all_headers:
            for one, headers in zip(planned, all_headers, strict=True):
                known = "" if keys is not None else one.start.run_id
                run = AsyncRun(self, known, wanted.workflow, one.start.request_id)
                runs.append(run)
                by_partition.setdefault(one.partition, []).append((one.key, one.value, headers))
                if keys is not None:
                    self._connection.feed.expect(one.start.request_id, run.answered)
                else:
                    run.begin()
            try:
                await self._connection.append_all(self.topics.triggers, by_partition)
            except BaseException:
                for run, one in zip(runs, planned, strict=True):
                    self._connection.feed.forget(run.run_id)
                    self._connection.feed.withdraw(one.start.request_id)
                raise
        return runs

    async def _active(self, workflow: str, version: str, timeout: float) -> None:
        """Waits until the activation lies on the workflows topic, from where every engine reads it."""
        deadline = time.monotonic() + timeout
        while True:
            await self.catalog.refresh()
            pointer = self.catalog.active.get(workflow)
            if pointer is not None and pointer.version == version:
                return
            if time.monotonic() > deadline:
                now = f"{pointer.version[:12]} by {pointer.actor}" if pointer else "none"
                raise TimeoutError(
                    f"workflow {workflow!r}: {version[:12]} did not become active in {timeout:g} s; active: {now}"
                )
            await asyncio.sleep(_POINTER_POLL_S)

    def _of_name(self, workflow: str) -> int:
        return run_ids.partition_of_key("workflow", workflow, "", self.partitions)
