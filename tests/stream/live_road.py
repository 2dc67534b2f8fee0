"""One owned partition, with the real shell, core, clock and dispatcher, and Kafka's part played by hand.

Every append is acknowledged at once. What lies on `results` is read only when a test says so, and time moves only when
a test moves it: so "the result lay there, unread, when its timeout was due" is a fact of the test and no luck.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.structs import RecordMetadata
from faust.types import TP

from indegree.engine.core import PartitionCore
from indegree.events.definition import Definition
from indegree.events.settings import LOCAL, Settings
from indegree.events.topics import Topics
from indegree.stream.clock import OwnerClock
from indegree.stream.dispatch import Dispatcher
from indegree.stream.engine import limits
from indegree.stream.live import Live
from indegree.stream.metrics import Metrics
from indegree.stream.progress import NOWHERE
from indegree.stream.restarts import Restarts
from indegree.stream.transport import Batch
from indegree.stream.workers import Workers
from indegree.v1.event_pb2 import Event, Frame, RecoverFrom
from indegree.v1.task_pb2 import Result, Task, Worker
from indegree.v1.trigger_pb2 import Start, Trigger

EPOCH_MS = 1_764_039_600_000


class Broker:
    """The consumer's side of Kafka, for the one partition. `away`: it answers nothing."""

    def __init__(self, topics: Topics) -> None:
        self.records: dict[str, list[Any]] = {topic: [] for topic in topics.inputs}
        self.read = dict.fromkeys(topics.inputs, 0)
        self.questions = 0  # for the end of a topic
        self.woken = 0
        self.away = False
        self.back = asyncio.Event()
        self._answers = 0

    def put(self, topic: str, value: bytes) -> None:
        records = self.records[topic]
        records.append(SimpleNamespace(offset=len(records), value=value, key=None, headers=(), topic=topic,
                                       partition=0, timestamp=EPOCH_MS, timestamp_type=1))  # fmt: skip

    def fetch(self, topic: str) -> Batch:
        at, records = self.read[topic], self.records[topic]
        self.read[topic] = len(records)
        return Batch(topic, records[at:])

    async def highwaters(self, tp: TP) -> dict[TP, int]:
        self.questions += 1
        if self.away:
            await self.back.wait()
        return {tp: len(self.records[tp.topic])}

    async def read_up_to(self, tp: TP) -> int:
        return self.read[tp.topic]

    def answered(self, tp: TP) -> object:
        self._answers += not self.away
        return self._answers

    def wake(self, channel: Any, tp: TP) -> None:
        self.woken += 1

    def hold(self, tp: TP, held: bool) -> None: ...


class Log:
    """The event log: acknowledges everything at once."""

    def __init__(self, monotonic: OwnersTime) -> None:
        self.frames: list[Frame] = []
        self._now = monotonic

    async def send(self, data: bytes) -> asyncio.Future[RecordMetadata]:
        self.frames.append(Frame.FromString(data))
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        stamp = EPOCH_MS + int(self._now() * 1000) + self._now.broker_ahead_ms
        tp: Any = None
        future.set_result(RecordMetadata("events", 0, tp, len(self.frames) - 1, stamp, 1, 0))
        return future

    async def abandon(self) -> None: ...


class OwnersTime:
    """Monotonic seconds, and how far the broker's clock is ahead of where it was."""

    def __init__(self) -> None:
        self.at = 0.0
        self.broker_ahead_ms = 0

    def __call__(self) -> float:
        return self.at


class Progress:
    position, backlog, put_count, acknowledged_count = NOWHERE, 0, 0, 0

    def put(self, projection: Any) -> None: ...

    async def idle(self) -> None: ...

    async def abandon(self) -> None: ...


class Sent:
    """What the dispatcher produces."""

    backlog = 0

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def knows(self, topic: str, partition: int) -> bool:
        return True

    def put(self, topic: str, partition: int, records: list[Any], ticket: Any, done: Any = None) -> None:
        if ".tasks." in topic:
            self.tasks += [Task.FromString(value) for _, value, _ in records]


class LiveRoad:
    """Made by `await LiveRoad.open(definition)`; the partition serves then."""

    def __init__(self, definition: Definition, **settings: Any) -> None:
        self.definition = definition
        self.settings = Settings.load({**LOCAL, **settings}, environ={})
        self.topics = Topics(self.settings.cluster)
        self.time = OwnersTime()
        self.broker, self.log, self.out, self.metrics = Broker(self.topics), Log(self.time), Sent(), Metrics()
        self.workers = Workers(self.settings, changed=lambda: None, lost=lambda _: None, monotonic=self.time)
        outbound: Any = self.out
        self.dispatcher = Dispatcher("e1", self.topics, self.workers, outbound, None)
        clock = OwnerClock(self.time)
        clock.acknowledged(EPOCH_MS)
        self.core = PartitionCore(0, 1, limits(self.settings))
        self.core.announced(1, *clock.both_ms())
        services: Any = SimpleNamespace(
            settings=self.settings, topics=self.topics, partitions=1, owner="e1", valid=lambda: True,
            consumer=lambda: self.broker, workers=self.workers, catalog=self, outbound=self.out, metrics=self.metrics,
            dispatcher=self.dispatcher, spans=None, payloads=None,
        )  # fmt: skip
        recovery = SimpleNamespace(core=self.core, begin=RecoverFrom(), events=0)
        owned: Any = SimpleNamespace(recovery=recovery, clock=clock, log=self.log, epoch=1, tail=0)
        progress: Any = Progress()
        channel: Any = SimpleNamespace(_throw=self._thrown)
        self.errors: list[BaseException] = []
        self.live = Live(0, services, owned, progress, Restarts(), [0, 0, 0], channel)

    def _thrown(self, error: BaseException) -> None:
        self.errors.append(error)

    @classmethod
    async def open(cls, definition: Definition, **settings: Any) -> LiveRoad:
        road = cls(definition, **settings)
        await road.step()
        assert road.live.serving
        return road

    async def close(self) -> None:
        await self.live.abandon()
        assert not self.errors

    # the catalog's part

    def find(self, what: Any) -> Definition:
        return self.definition

    async def resolve(self, what: Any, asked_at: float | None = None) -> Definition:
        return self.definition

    # -- steps

    async def step(self, topic: str = "", times: int = 3) -> None:
        """What was fetched of one topic, if any, then steps without input: as many as the shell would wake itself."""
        await self.live.step(self.broker.fetch(topic) if topic else Batch(self.topics.triggers, []))
        for _ in range(times):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await self.live.step(Batch(self.topics.triggers, []))

    async def later(self, seconds: float, times: int = 3) -> None:
        """Time passes, with the shell's looks at Kafka; then the timer of the partition comes."""
        until = self.time.at + seconds
        while self.time.at < until:
            self.time.at = min(until, self.time.at + 0.5)
            self.live._hearing.notice()
        await self.step(times=times)

    async def start(self) -> None:
        start = Trigger(start=Start(workflow=self.definition.id))
        self.broker.put(self.topics.triggers, start.SerializeToString())
        await self.step(self.topics.triggers)

    def come(self, instance: str, slots: int = 4) -> None:
        """A worker announces itself."""
        worker = Worker(instance=instance, slots=slots, interval_ms=1000, queues=[Worker.Queue(name="default")])
        self.workers.heard(instance.encode(), worker.SerializeToString(), live=True)

    def say(self, task: Task, kind: int, worker: str = "") -> None:
        """A result lies on the topic; nobody has read it."""
        result = Result(run_id=task.run_id, task=task.task, attempt=task.attempt, worker=worker or task.worker)
        result.kind = kind  # type: ignore[assignment]
        self.broker.put(self.topics.results, result.SerializeToString())

    async def read(self) -> None:
        """What lies on `results` is read."""
        await self.step(self.topics.results)

    # -- what came of it

    def events(self, kind: int) -> list[Event]:
        return [event for frame in self.log.frames for event in frame.events if event.kind == kind]

    def ended(self) -> str:
        """The state in which the run ended, or ""."""
        found = self.events(Event.RUN_FINISHED)
        return found[-1].state if found else ""
