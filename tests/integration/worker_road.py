"""What the worker's tests on a real Kafka share: a stand-in for the engine, written against the protocol.

It reads announcements, sends task records to the partition that a worker announced, and reads results.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from indegree.events import kafka
from indegree.events.admin import ensure_topics
from indegree.events.settings import LOCAL, Settings
from indegree.events.topics import Topics
from indegree.v1.task_pb2 import Control, Result, Task, Worker

FINAL = frozenset({Result.SUCCEEDED, Result.FAILED, Result.REJECTED, Result.RETURNED, Result.STOPPED})
_numbers = itertools.count(1)


def settings_for(bootstrap: str, cluster: str, **values: Any) -> Settings:
    """Settings of one test's cluster on the shared stack."""
    flags = {**LOCAL, "cluster": cluster, "kafka.bootstrap_servers": bootstrap, "topics.partitions": 2}
    return Settings.load({**flags, "topics.task_partitions": 3, **values}, environ={})


class Owner:
    """Stands for an engine that owns both partitions of `results`."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, reader: AIOKafkaConsumer, name: str) -> None:
        self.settings = settings
        self.topics = Topics(settings.cluster)
        self.name = name
        self.producer = producer
        self._reader = reader
        # (partition, result) in the order read, and the latest announcement of each instance (None: it has left).
        self.results: list[tuple[int, Result]] = []
        self.workers: dict[str, Worker | None] = {}
        self.announced: list[Worker] = []
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            for tp, records in (await self._reader.getmany(timeout_ms=500)).items():
                for record in records:
                    if tp.topic == self.topics.results:
                        self.results.append((tp.partition, Result.FromString(record.value)))
                        continue
                    instance = record.key.decode()
                    self.workers[instance] = Worker.FromString(record.value) if record.value is not None else None
                    if record.value is not None:
                        self.announced.append(Worker.FromString(record.value))
            async with self._news:
                self._news.notify_all()

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def until(self, there: Callable[[], Any], within_s: float = 20.0) -> Any:
        """Waits until `there()` is true; looks whenever records come."""
        async with asyncio.timeout(within_s):
            while not (found := there()):
                async with self._news:
                    await self._news.wait()
            return found

    async def worker(self, instance: str, wanted: Callable[[Worker], bool] = lambda worker: True) -> Worker:
        """The announcement of an instance, once it is as wanted."""

        def there() -> Worker | None:
            worker = self.workers.get(instance)
            return worker if worker is not None and wanted(worker) else None

        found = await self.until(there)
        assert isinstance(found, Worker)
        return found

    def task(self, instance: str, python: str, args: Mapping[str, Any] | None = None, **fields: Any) -> Task:
        """A task record for a worker."""
        number = next(_numbers)
        base: dict[str, Any] = {
            "run_id": f"20261125T101530.123Z-{number:012X}-{number % 2:04d}",
            "task_id": "t",
            "attempt": 1,
            "partition": number % 2,
            "epoch": 1,
            "seq": 1,
            "worker": instance,
            "workflow": "w",
            "python": python,
            "args": json.dumps(args or {}).encode(),
            "dispatched_ms": int(time.time() * 1000),
            "queue": "default",
            "owner": self.name,
        }
        return Task(**{**base, **fields})

    async def send(self, *tasks: Task, raw: bytes | None = None, instance: str = "") -> None:
        """Appends task records where their worker reads."""
        name = instance or tasks[0].worker
        worker = await self.worker(name)
        records: list[kafka.Record] = [(task.run_id.encode(), task.SerializeToString(), ()) for task in tasks]
        if raw is not None:
            records.insert(0, (b"k", raw, ()))
        partition = worker.queues[0].partition
        await kafka.append_wait(self.producer, self.topics.tasks("default"), partition, records)

    async def stop(self, task: Task, reason: str) -> None:
        """Appends a stop for an attempt."""
        stop = Control.Stop(
            run_id=task.run_id, task=task.task, attempt=task.attempt, generation=task.generation, reason=reason
        )
        control = Control(worker=task.worker, stop=stop)
        record: kafka.Record = (task.worker.encode(), control.SerializeToString(), ())
        await kafka.append_wait(self.producer, self.topics.control, 0, [record])

    def of(self, task: Task) -> list[Result]:
        """Everything that was said of a task; it must have been said at the partition that the record named."""
        found = [(p, r) for p, r in self.results if (r.run_id, r.attempt) == (task.run_id, task.attempt)]
        assert all(partition == task.partition for partition, _ in found)
        return [result for _, result in found]

    async def heard(self, task: Task, *kinds: Result.Kind, within_s: float = 20.0) -> Result:
        """The first result of one of these kinds."""
        found = await self.until(lambda: [r for r in self.of(task) if r.kind in kinds], within_s)
        assert isinstance(found[0], Result)
        return found[0]

    async def final(self, task: Task, within_s: float = 20.0) -> Result:
        """The final result of a task."""
        return await self.heard(task, *FINAL, within_s=within_s)


@contextlib.asynccontextmanager
async def owner(settings: Settings, name: str = "engine-1") -> AsyncIterator[Owner]:
    """Makes the topics and reads from their beginning."""
    await ensure_topics(settings)
    topics = Topics(settings.cluster)
    places = [TopicPartition(topics.workers, 0), *(TopicPartition(topics.results, number) for number in range(2))]
    producer = kafka.producer(settings)
    await kafka.start(producer, settings)
    async with kafka.reading(settings, dict.fromkeys(places, 0)) as reader:
        made = Owner(settings, producer, reader, name)
        try:
            yield made
        finally:
            await made.close()
            await producer.stop()
