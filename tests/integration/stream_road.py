"""What the tests of the engine process share: a cluster on the shared stack, engine processes, a hand-made worker.

Nothing here imports the engine: it is started as a process, as a user would, and judged by what is on Kafka. Starts are
sent and progress is read with confluent-kafka, a stock client with a partitioner of its own. The worker is written
against the documented protocol, without any code of `indegree.worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiokafka
from aiokafka import TopicPartition
from confluent_kafka import Consumer as StockConsumer
from confluent_kafka import Producer as StockProducer
from confluent_kafka import TopicPartition as StockPartition

from indegree.events.admin import ensure_topics
from indegree.events.frames import InForce, Verdict
from indegree.events.run_ids import partition_of_key
from indegree.events.settings import LOCAL, Settings
from indegree.v1.event_pb2 import Frame
from indegree.v1.task_pb2 import Control, Result, Task, Worker
from indegree.v1.trigger_pb2 import Command, Deploy
from indegree.v1.workflow_pb2 import DefinitionPart

DIAMOND: dict[str, Any] = {
    "id": "diamond",
    "tasks": [
        {"id": "a", "python": "m:a"},
        {"id": "b", "python": "m:b", "depends_on": ["a"]},
        {"id": "c", "python": "m:c", "depends_on": ["a"]},
        {"id": "d", "python": "m:d", "depends_on": ["b", "c"]},
    ],
}


def chain(n: int) -> dict[str, Any]:
    """A workflow of n tasks, one after the other."""
    tasks = [{"id": f"t{i}", "python": "m:t", **({"depends_on": [f"t{i - 1}"]} if i else {})} for i in range(n)]
    return {"id": f"chain{n}", "tasks": tasks}


def wait_until(true: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    """Polls until `true()` gives something true; fails with `what` otherwise."""
    deadline = time.monotonic() + within_s
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, Any]:
    """(status, body) of a page on this machine; (0, "") where nobody answers. JSON bodies are decoded."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            status, body = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read().decode()
    except OSError:
        return 0, ""
    with contextlib.suppress(ValueError):
        return status, json.loads(body)
    return status, body


@dataclass
class EngineProcess:
    """One `python -m indegree.stream`, or `python SCRIPT` that runs one in another way."""

    settings: Settings
    folder: Path
    name: str
    script: Path | None = None
    process: subprocess.Popen[bytes] = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.log = self.folder / f"{self.name}-{self.port}.log"
        mine = self.settings.with_values(engine__port=self.port, engine__id=f"{self.name}-{self.port}")
        self.id = mine.engine.id
        env = {k: v for k, v in os.environ.items() if not k.startswith("INDEGREE_")} | mine.environment()
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *([str(self.script)] if self.script else ["-m", "indegree.stream"])],
                stdout=out,
                stderr=out,
                env=env,
                cwd=self.folder,
            )

    def get(self, path: str) -> tuple[int, Any]:
        return get(self.port, path)

    def wait_ready(self, within_s: float = 40.0) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.words()
            return self.get("/readyz")[0] == 200

        try:
            wait_until(ready, f"{self.name} is ready", within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.words()}") from None

    def owned(self) -> dict[int, dict[str, Any]]:
        """Partition to what /state says of it, those that serve."""
        status, body = self.get("/state")
        if status != 200:
            return {}
        return {int(p): view for p, view in body["partitions"].items() if view["serving"]}

    def words(self) -> str:
        return self.log.read_text(errors="replace")[-20_000:]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, within_s: float = 30.0) -> int:
        """SIGTERM; gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.name} did not stop within {within_s} s:\n{self.words()}") from None
        return int(self.process.returncode)


@dataclass
class Road:
    """One cluster of a test."""

    settings: Settings
    folder: Path
    engines: list[EngineProcess] = field(default_factory=list)
    _consumer: StockConsumer | None = None
    _runs: dict[str, str] = field(default_factory=dict)  # run id -> request id
    _ended: dict[str, str] = field(default_factory=dict)  # run id -> state

    def engine(self, name: str = "engine", script: Path | None = None) -> EngineProcess:
        engine = EngineProcess(self.settings, self.folder, name, script)
        self.engines.append(engine)
        return engine

    # -- what users send

    @property
    def producer(self) -> StockProducer:
        return StockProducer({"bootstrap.servers": self.settings.kafka.bootstrap_servers, "acks": "all"})

    def produce(self, topic: str, records: list[tuple[int, bytes | None, bytes | None]]) -> list[int]:
        """(partition, or -1 to let the stock partitioner choose, key, value). Gives the offsets."""
        producer, offsets = self.producer, dict[int, int]()

        def delivered(place: int) -> Callable[[Any, Any], None]:
            def report(error: Any, message: Any) -> None:
                assert error is None, error
                offsets[place] = message.offset()

            return report

        for place, (partition, key, value) in enumerate(records):
            while True:
                try:
                    producer.produce(
                        f"{self.settings.cluster}.{topic}", value, key, partition, on_delivery=delivered(place)
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(30) == 0
        return [offsets[i] for i in range(len(records))]

    def trigger(self, workflow: str, n: int = 1, partition: int = -1, **start: Any) -> list[str]:
        """Sends n starts as JSON, each with a request id of its own; gives the request ids."""
        ids = [uuid.uuid4().hex for _ in range(n)]
        records: list[tuple[int, bytes | None, bytes | None]] = []
        for request in ids:
            body = {"start": {"workflow": workflow, "request_id": request, **start}}
            records.append((partition, request.encode(), json.dumps(body).encode()))
        self.produce("triggers", records)
        return ids

    def deploy(self, normal: dict[str, Any]) -> str:
        """Publishes a definition and activates it, by the records that any client would send."""
        from indegree.events.definition import Definition

        definition = Definition.from_normal(normal)
        version, packed = definition.hash, zlib.compress(definition.canonical())
        assert hashlib.sha256(definition.canonical()).hexdigest() == version
        pieces = [packed[i : i + 262_144] for i in range(0, len(packed), 262_144)]
        parts: list[tuple[int, bytes | None, bytes | None]] = [
            (
                0,
                f"{version}/{i}".encode(),
                DefinitionPart(
                    version=version, workflow=definition.id, part=i, parts=len(pieces), data=piece
                ).SerializeToString(),
            )
            for i, piece in enumerate(pieces)
        ]
        self.produce("workflows", parts)
        command = Command(
            request_id=uuid.uuid4().hex, deploy=Deploy(workflow=definition.id, version=version, activate=True)
        )
        home = partition_of_key("workflow", definition.id, "", self.settings.topics.partitions)
        self.produce("commands", [(home, None, command.SerializeToString())])
        key = f"active/{definition.id}".encode()
        wait_until(
            lambda: any(message.key() == key for message in self.read_all("workflows")), f"{definition.id} is active"
        )
        return version

    # -- what Kafka holds

    def read_all(self, topic: str) -> Iterator[Any]:
        """Every record of a topic up to its end as of now, by a stock client, partition by partition."""
        consumer = StockConsumer(
            {
                "bootstrap.servers": self.settings.kafka.bootstrap_servers,
                "group.id": uuid.uuid4().hex,
                "enable.auto.commit": False,
            }
        )
        try:
            name = f"{self.settings.cluster}.{topic}"
            for partition in consumer.list_topics(name, timeout=10).topics[name].partitions:
                low, high = consumer.get_watermark_offsets(StockPartition(name, partition), timeout=10)
                if low == high:
                    continue
                consumer.assign([StockPartition(name, partition, low)])
                at = low
                while at < high:
                    for message in consumer.consume(min(500, high - at), 1.0):
                        assert message.error() is None, message.error()
                        at = message.offset() + 1
                        yield message
        finally:
            consumer.close()

    def progress(self) -> list[dict[str, Any]]:
        """All progress records (JSON), markers left out, in the order of each partition."""
        found = [
            json.loads(message.value()) | {"partition": message.partition()} for message in self.read_all("progress")
        ]
        return [record for record in found if record["type"] != "marker"]

    def finished(self) -> dict[str, str]:
        """Request id to the state in which its run ended, as far as progress has been read; reads a little further."""
        for record in self._tail():
            if record["type"] == "run.accepted" and record.get("request_id"):
                self._runs[record["run_id"]] = record["request_id"]
            elif record["type"].startswith("run.") and record.get("state") in ("SUCCESS", "FAILED", "CANCELLED"):
                self._ended[record["run_id"]] = record["state"]
        return {request: self._ended[run] for run, request in self._runs.items() if run in self._ended}

    def _tail(self) -> Iterator[dict[str, Any]]:
        if self._consumer is None:
            servers = self.settings.kafka.bootstrap_servers
            self._consumer = StockConsumer(
                {"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "fetch.wait.max.ms": 50}
            )
            name = f"{self.settings.cluster}.progress"
            count = self.settings.topics.partitions
            self._consumer.assign([StockPartition(name, partition, 0) for partition in range(count)])
        for message in self._consumer.consume(1000, 0.05):
            assert message.error() is None, message.error()
            yield json.loads(message.value())

    def close(self) -> None:
        """Kills the engines that are left and closes what reads."""
        for engine in self.engines:
            engine.kill()
        if self._consumer is not None:
            self._consumer.close()

    def wait_finished(self, requests: list[str], within_s: float = 60.0) -> dict[str, str]:
        def all_ended() -> dict[str, str] | None:
            ended = self.finished()
            return ended if set(requests) <= ended.keys() else None

        try:
            return wait_until(all_ended, f"{len(requests)} runs end", within_s)  # type: ignore[no-any-return]
        except AssertionError as error:
            ended = self.finished()
            words = "\n".join(f"--- {engine.name}\n{engine.words()}" for engine in self.engines)
            raise AssertionError(f"{error}; {len(ended)} of {len(requests)} have\n{words}") from None

    def frames(self) -> dict[int, list[tuple[int, Frame, Verdict]]]:
        """Partition to (offset, frame, verdict) of the whole event log."""
        out: dict[int, list[tuple[int, Frame, Verdict]]] = {}
        rules: dict[int, InForce] = {}
        for message in self.read_all("events"):
            frame = Frame.FromString(message.value())
            rule = rules.setdefault(message.partition(), InForce())
            out.setdefault(message.partition(), []).append((message.offset(), frame, rule.judge(frame)))
        return out


class HandWorker:
    """A worker of the documented protocol, on a thread with a loop of its own. `delay_s`: how long each task takes.

    `answer(task)` makes the outcome; by default every task succeeds with its id. `ran` lists (run, task, attempt).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        slots: int = 16,
        delay_s: float = 0.0,
        queue: str = "default",
        partition: int = 0,
        answer: Callable[[Task], Result] | None = None,
    ) -> None:
        self.settings, self.slots, self.delay_s, self.queue, self.partition = settings, slots, delay_s, queue, partition
        self.instance = f"hand-{uuid.uuid4().hex[:8]}"
        self.ran: list[tuple[str, str, int]] = []
        self.stops: list[Control] = []
        self._answer = answer or self._succeed
        self._dead = False
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._ready = threading.Event()
        self._senders: dict[int, float] = {}
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._main(),), daemon=True)

    def __enter__(self) -> HandWorker:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def die(self) -> None:
        """Ends without a word: no announcement, no result, no tombstone."""
        self._dead = True
        self.__exit__()

    @staticmethod
    def _succeed(task: Task) -> Result:
        result = Result(kind=Result.SUCCEEDED)
        result.output.json = json.dumps(task.task_id).encode()
        return result

    async def _main(self) -> None:
        servers, cluster = self.settings.kafka.bootstrap_servers, self.settings.cluster
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=servers, acks="all")
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=servers, fetch_max_wait_ms=50)
        await producer.start()
        await consumer.start()
        try:
            tasks, control = (
                TopicPartition(f"{cluster}.tasks.{self.queue}", self.partition),
                TopicPartition(f"{cluster}.control", 0),
            )
            consumer.assign([tasks, control])
            for tp, end in (await consumer.end_offsets([tasks, control])).items():
                consumer.seek(tp, end)
            announcing = asyncio.create_task(self._announce(producer))
            gate = asyncio.Semaphore(self.slots)
            running: set[asyncio.Task[None]] = set()
            while not self._stopped.is_set():
                for tp, records in (await consumer.getmany(timeout_ms=50)).items():
                    for record in records:
                        if tp == control:
                            if record.key == self.instance.encode():
                                self.stops.append(Control.FromString(record.value))
                            continue
                        task = Task.FromString(record.value)
                        if task.worker == self.instance:
                            self._senders[task.partition] = time.monotonic()
                            job = asyncio.create_task(self._run(task, producer, gate))
                            running.add(job)
                            job.add_done_callback(running.discard)
            announcing.cancel()
            for job in list(running):
                job.cancel()
            if not self._dead:
                await producer.send_and_wait(f"{cluster}.workers", None, self.instance.encode(), 0)
        finally:
            await consumer.stop()
            await producer.stop()

    async def _announce(self, producer: aiokafka.AIOKafkaProducer) -> None:
        beat = 0
        while True:
            beat += 1
            now = time.monotonic()
            worker = Worker(
                instance=self.instance,
                slots=self.slots,
                senders=sum(now - at < 5 for at in self._senders.values()),
                beat=beat,
                interval_ms=500,
                queues=[Worker.Queue(name=self.queue, partition=self.partition)],
            )
            await producer.send_and_wait(
                f"{self.settings.cluster}.workers", worker.SerializeToString(), self.instance.encode(), 0
            )
            self._ready.set()
            await asyncio.sleep(0.5)

    async def _run(self, task: Task, producer: aiokafka.AIOKafkaProducer, gate: asyncio.Semaphore) -> None:
        async with gate:
            started = int(time.time() * 1000)
            if self.delay_s > 0.05:
                await self._send(producer, task, Result(kind=Result.STARTED, started_ms=started))
            await asyncio.sleep(self.delay_s)
            self.ran.append((task.run_id, task.task_id, task.attempt))
            result = self._answer(task)
            result.started_ms, result.finished_ms = started, int(time.time() * 1000)
            await self._send(producer, task, result)

    async def _send(self, producer: aiokafka.AIOKafkaProducer, task: Task, result: Result) -> None:
        result.run_id, result.task, result.attempt = task.run_id, task.task, task.attempt
        result.generation, result.worker = task.generation, self.instance
        topic = f"{self.settings.cluster}.results"
        await producer.send_and_wait(topic, result.SerializeToString(), task.run_id.encode(), task.partition)


def make_settings(kafka: str, etcd: str, cluster: str, partitions: int, **values: Any) -> Settings:
    """Settings of a test's cluster, with its topics made."""
    flags = {
        "cluster": cluster,
        "kafka.bootstrap_servers": kafka,
        "etcd.endpoints": etcd,
        "topics.partitions": partitions,
        "topics.task_partitions": 4,
        "engine.lease_ttl_s": 2,
        "engine.worker_timeout_s": 3,
        **LOCAL,
        **values,
    }
    settings = Settings.load(flags, folder=Path("/nonexistent"), environ={})
    with asyncio.Runner() as runner:
        runner.run(ensure_topics(settings))
    return settings


def check_log(road: Road) -> None:
    """What must hold of any log: times and positions never go back in force, seq without a gap, progress likewise."""
    for partition, frames in road.frames().items():
        time_ms, positions = 0, [0, 0, 0]
        for offset, frame, verdict in frames:
            if verdict is Verdict.VOID:
                continue
            if verdict is Verdict.IN_FORCE:
                assert frame.time_ms >= time_ms, f"partition {partition} offset {offset}: time goes back"
                time_ms = frame.time_ms
            assert all(a <= b for a, b in zip(positions, frame.next, strict=True)), (
                partition,
                offset,
                positions,
                frame,
            )
            positions = list(frame.next)
    check_progress(road)


def check_progress(road: Road) -> None:
    """No gap in the positions of any run; a repeat only with the id of the first."""
    seen: dict[str, dict[int, str]] = {}
    last: dict[str, int] = {}
    for record in road.progress():
        run, position = record.get("run_id"), record.get("position", 0)
        if not run or not position:
            continue
        known = seen.setdefault(run, {})
        if position in known:
            assert known[position] == record["id"], f"run {run} position {position} has two ids"
            continue
        assert position == last.get(run, 0) + 1, f"run {run}: position {position} follows {last.get(run, 0)}"
        known[position], last[run] = record["id"], position
