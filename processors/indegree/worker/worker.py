"""A worker on Kafka: reads what is addressed to it, answers on `results`, announces itself.

Why no consumer group: the engine decides who runs what (ARCHITECTURE, "Dispatch: addressed by the engine"). The worker
says which partition of each queue's topic it reads; its position is the end of that partition **before** it announces
itself, so nothing that is addressed to it can be missed, and nothing older is read.

This module is thin on purpose: records to `Runner`, results to batches. It must never drop a result: an append that
failed is tried again (a repeated result is stale for the engine), and stopping waits for what is unsent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType, TracebackType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from indegree.events import kafka
from indegree.events.admin import ensure_topics
from indegree.events.appender import Appender
from indegree.events.codec import Undecodable, decode_task
from indegree.events.fetcher import Fetcher
from indegree.events.payloads import Payloads
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.v1.task_pb2 import Control, Task
from indegree.worker import capture, inheriting, spans
from indegree.worker.announcements import Announcements
from indegree.worker.attempt import Key
from indegree.worker.bounds import Bounds
from indegree.worker.functions import Functions
from indegree.worker.outgoing import Outgoing
from indegree.worker.runner import Runner
from indegree.worker.senders import Senders
from indegree.worker.values import Values

log = logging.getLogger(__name__)


class Worker:
    """Runs tasks of `queues`, `slots` at the same time, until stopped. `async with Worker(...)` starts and stops it.

    `functions`: names ("module:qualified.name") to functions that are at hand; `modules`: imported modules whose
    functions it may run; `allow_import`: patterns of further ones; `commands`: whether it runs shell commands.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        modules: Iterable[ModuleType] = (),
        allow_import: Iterable[str] = (),
        queues: Iterable[str] = ("default",),
        slots: int | None = None,
        commands: bool = False,
        grace_s: float | None = None,
        address: str = "",
    ) -> None:
        self.settings = settings
        self.queues = tuple(dict.fromkeys(queues))
        self.slots = settings.worker.slots if slots is None else slots
        if self.slots < 1:
            raise ValueError(f"slots = {self.slots}: a worker needs at least one (setting worker.slots)")
        self.commands = commands
        self.grace_s = settings.worker.grace_s if grace_s is None else grace_s
        # Where /metrics is served, or empty; announced.
        self.address = address
        self.functions = Functions(functions, modules, allow_import)
        # Unique for each start: an engine never mistakes a new process for the one that it lost.
        self.instance = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        # True once it has announced itself; false again when it stops.
        self.ready = False
        self._topics = Topics(settings.cluster)
        self._consumer: AIOKafkaConsumer | None = None
        self._appender: Appender | None = None
        self._runner: Runner | None = None
        self._payloads: Payloads | None = None
        self._outgoing: Outgoing | None = None
        self._announcements: Announcements | None = None
        self._senders = Senders()
        self._reader: asyncio.Task[None] | None = None
        self._stopped = False
        self._failed: asyncio.Future[None] | None = None

    @property
    def runner(self) -> Runner:
        """The worker without Kafka. Only while started."""
        if self._runner is None:
            raise RuntimeError("the worker has not been started")
        return self._runner

    @property
    def started(self) -> bool:
        """True once it has connected; stays true after the stop."""
        return self._runner is not None

    @property
    def senders(self) -> int:
        """Engines heard from lately."""
        return self._senders.count()

    @property
    def results_acknowledged(self) -> int:
        """Results that Kafka has acknowledged."""
        return 0 if self._outgoing is None else self._outgoing.acknowledged

    @property
    def results_repeated(self) -> int:
        """Appends of results that had to be repeated."""
        return 0 if self._outgoing is None else self._outgoing.repeated

    async def __aenter__(self) -> Worker:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connects, takes its positions, announces itself; returns when it may be sent tasks. Raises KafkaUnreachable,
        TopicFault."""
        await ensure_topics(self.settings, self.queues)
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise

    async def _start(self) -> None:
        settings = self.settings
        appender = self._appender = Appender(settings)
        await appender.start()
        options = {"fetch_max_wait_ms": settings.worker.fetch_max_wait_ms, "max_poll_records": 5_000}
        self._consumer = kafka.consumer(settings, **options)
        await kafka.start(self._consumer, settings)
        partitions = await self._assign(self._consumer)
        self._outgoing = Outgoing(self._appender, self._topics.results)
        self._payloads = Payloads(settings, lambda: appender)
        bounds = Bounds.of(settings)
        self._runner = Runner(
            self.functions,
            self._outgoing.put,
            worker=self.instance,
            slots=self.slots,
            commands=self.commands,
            bounds=bounds,
            changed=self._changed,
            values=Values(self._payloads, bounds),
        )
        self._announcements = Announcements(self, self._appender, partitions, self._senders)
        capture.install()
        inheriting.install()
        spans.of_cluster(settings.cluster)
        self._failed = asyncio.get_running_loop().create_future()
        self._outgoing.start()
        self._reader = asyncio.create_task(self._read(self._runner), name="indegree-worker-reader")
        self._reader.add_done_callback(self._part_ended)
        (await self._announcements.start()).add_done_callback(self._part_ended)
        self.ready = True
        log.info("worker %s serves %s with %d slots", self.instance, ", ".join(self.queues), self.slots)

    async def _assign(self, consumer: AIOKafkaConsumer) -> dict[str, int]:
        """Takes its position at the end of its partition of each queue and of `control`; the partitions by queue."""
        digest = int.from_bytes(hashlib.sha256(self.instance.encode()).digest()[:8], "big")
        partitions: dict[str, int] = {}
        for queue in self.queues:
            count = await kafka.partition_count(consumer, self._topics.tasks(queue))
            partitions[queue] = digest % max(1, count)
        mine = [TopicPartition(self._topics.tasks(queue), number) for queue, number in partitions.items()]
        ends = await consumer.end_offsets([*mine, TopicPartition(self._topics.control, 0)])
        await kafka.assign(consumer, ends)
        # What cannot be read is left out. A task among it that was addressed to us is sent again when no start comes.
        self._fetcher = Fetcher(consumer)
        for tp, end in ends.items():
            self._fetcher.begin(tp, end)
        return partitions

    async def wait(self) -> None:
        """Returns when the worker was stopped; raises what ended it otherwise."""
        if self._failed is not None:
            await asyncio.shield(self._failed)

    def drain_at_once(self) -> None:
        """A stop that is under way ends what runs now."""
        self.grace_s = 0.0

    async def stop(self, grace_s: float | None = None) -> None:
        """Announces that it drains, hands back what has not begun, finishes what runs within the grace time (seconds),
        ends the rest, sends every result, leaves. Safe to call more than once."""
        if self._stopped:
            return
        self._stopped = True
        self.ready = False
        if grace_s is not None:
            self.grace_s = grace_s
        try:
            if self._runner is not None and self._announcements is not None:
                self._runner.hand_back()
                with contextlib.suppress(KafkaError, kafka.KafkaUnreachable, OSError, TimeoutError):
                    await self._announcements.now()
                loop = asyncio.get_running_loop()
                begun = loop.time()
                while not await self._runner.all_ended(min(0.1, self.grace_s)):
                    # Asked each time: a second signal sets the grace time to 0.
                    if loop.time() - begun >= self.grace_s:
                        await self._runner.end_all()
                        break
            if self._outgoing is not None:
                await self._outgoing.stop(10.0)
            if self._announcements is not None:
                await self._announcements.leave()
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._reader
        if self._announcements is not None:
            await self._announcements.close()
        if self._outgoing is not None:
            await self._outgoing.stop(0.0)
        if self._runner is not None:
            await self._runner.close()
            capture.uninstall()
            inheriting.uninstall()
        if self._payloads is not None:
            await self._payloads.stop()
        if self._consumer is not None:
            # A task of its own: while Kafka is away, aiokafka's stop() ends by the CancelledError of its own fetches.
            stopping = asyncio.ensure_future(self._consumer.stop())
            await asyncio.wait([stopping], timeout=5.0)
            if not stopping.done():
                stopping.cancel()
            elif not stopping.cancelled():
                stopping.exception()  # whatever it is, the consumer is not used any more
        if self._appender is not None:
            await self._appender.stop(5.0)
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(None)

    # Reading -------------------------------------------------------------------------------------------------------

    async def _read(self, runner: Runner) -> None:
        control = self._topics.control
        me = self.instance
        key = me.encode()
        while True:
            try:
                batches = await self._fetcher.many(1_000)
            except OffsetOutOfRangeError as error:
                # Records were deleted before we read them (or the topic was made anew). Those addressed to us among
                # them are sent again by their engines when no start comes.
                for partition in error.args[0]:
                    log.warning("%s: our position is gone; reads on from what is there", partition)
                    await self._from_the_beginning(partition)
                continue
            tasks: list[Task] = []
            for partition, records in batches.items():
                if partition.topic == control:
                    for record in records:
                        if record.key == key and record.value is not None:
                            self._control(record.value, runner)
                    continue
                for record in records:
                    task = self._task(record.value, runner)
                    if task is not None and task.worker == me:
                        tasks.append(task)
            if tasks:
                capture.attribute_streams()
                self._senders.heard(tasks)
                runner.submit(tasks)

    async def _from_the_beginning(self, tp: TopicPartition) -> None:
        assert self._consumer is not None
        try:
            begin = await self._consumer.beginning_offsets([tp])
        except (KafkaError, OSError) as error:
            log.warning("reading %s: %s: %s; tries again", tp, type(error).__name__, error)
            await asyncio.sleep(0.5)
        else:
            self._fetcher.begin(tp, begin[tp])

    def _task(self, value: bytes | None, runner: Runner) -> Task | None:
        if value is None:
            return None
        try:
            return decode_task(value)
        except Undecodable as error:
            # Nobody to answer to: the record does not say whose it is. The engine that sent it will miss its start.
            runner.tally.unreadable += 1
            log.warning("a record of a tasks topic was left out: %s", error)
            return None

    def _control(self, value: bytes, runner: Runner) -> None:
        try:
            control = Control.FromString(value)
        except Exception as error:  # noqa: BLE001 - protobuf's own error type differs by implementation
            runner.tally.unreadable += 1
            log.warning("a record of the control topic was left out: %s", error)
            return
        if control.HasField("stop"):
            stop = control.stop
            runner.stop(Key(stop.run_id, stop.task, stop.attempt, stop.generation), stop.reason)

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self._failed is not None:
            log.error("%s ended", task.get_name(), exc_info=error)
            if not self._failed.done():
                self._failed.set_exception(error)

    def _changed(self) -> None:
        if self._announcements is not None:
            self._announcements.soon()
