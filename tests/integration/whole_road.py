"""What the end-to-end tests share: a cluster of real processes, healthy runs beside it, and the checker's verdict.

Why: these tests judge what a person would see, so engine and worker are the commands that a person starts, and what is
on Kafka is read with a stock client. Both halves exist already (cli_road runs commands, stream_road reads and writes
Kafka); `Whole` puts them on one cluster.

How: `whole(...)` makes the topics, starts one engine, gives the caller a `Whole`, and ends with the independent
checker, whose verdict fails the module. `ten_runs` are held in their middle by a file that is not there yet: whatever
the test does happens while they are under way, without any wait for a time.

It must never start an engine in a cluster that it did not make.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from indegree.events import admin
from indegree.events.run_ids import make_run_id
from indegree.events.settings import Settings
from indegree.stack.process import Child
from indegree.v1.task_pb2 import Worker
from tests.checker import check
from tests.integration import cli_road, stream_road
from tests.integration.stream_road import free_port, make_settings, wait_until

STEADY = """
import asyncio
import os

from indegree import Workflow

steady = Workflow("steady", params={"gate": str})

@steady.task
def begin(gate: str) -> str:
    return gate

@steady.task
async def hold(begin: str) -> int:
    for look in range(2_400):
        if os.path.exists(begin):
            return look
        await asyncio.sleep(0.05)
    raise TimeoutError(begin)

@steady.task
def end(hold: int) -> int:
    return hold
"""


def says(text: str, *words: str) -> None:
    """Fails with the whole text and what is missing in it."""
    assert [word for word in words if word not in text] == [], text


class ProgressTail:
    """The progress topic as a stock consumer sees it, read a little further at each look. `records`: all so far."""

    def __init__(self, settings: Settings) -> None:
        self.records: list[dict[str, Any]] = []
        self._by_run: dict[str, list[dict[str, Any]]] = {}
        servers = settings.kafka.bootstrap_servers
        options = {"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "enable.auto.commit": False}
        self._consumer = Consumer({**options, "fetch.wait.max.ms": 50})
        topic = f"{settings.cluster}.progress"
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(settings.topics.partitions)])

    def look(self) -> list[dict[str, Any]]:
        """All records so far, markers left out."""
        for message in self._consumer.consume(1_000, 0.05):
            assert message.error() is None, message.error()
            record = json.loads(message.value() or b"") | {"partition": message.partition()}
            if record["type"] != "marker":
                self.records.append(record)
                self._by_run.setdefault(record.get("run_id", ""), []).append(record)
        return self.records

    def of(self, run_id: str) -> list[dict[str, Any]]:
        """Those of one run, in their order."""
        self.look()
        return self._by_run.get(run_id, [])

    def close(self) -> None:
        self._consumer.close()


@dataclass
class Whole:
    """One cluster. `kafka` produces and reads, `commands` runs `indegree`, `port` is that of the first engine."""

    settings: Settings
    folder: Path
    kafka: stream_road.Road
    commands: cli_road.Road
    tail: ProgressTail
    port: int = 0

    # -- processes

    def engine(self, name: str = "e1", *arguments: str) -> Child:
        """An engine that serves every partition that is its own."""
        port = free_port()
        child = self.commands.serve(
            "engine", "--id", f"{self.settings.cluster}-{name}", "--port", str(port), *arguments
        )
        self._until(lambda: stream_road.get(port, "/readyz")[0] == 200, child, f"engine {name} is ready")
        self.port = self.port or port
        return child

    def worker(self, *arguments: str) -> Child:
        """A worker that has announced itself."""
        before = self.workers().keys()
        child = self.commands.serve("worker", *arguments)
        self._until(lambda: self.workers().keys() - before, child, f"a worker with {arguments} announces itself")
        return child

    def _until(self, true: Callable[[], Any], child: Child, what: str) -> None:
        def look() -> Any:
            assert child.alive(), f"{what}: it ended\n{child.last_lines()}"
            return true()

        try:
            wait_until(look, what, 45)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{child.last_lines()}") from None

    def workers(self) -> dict[str, Worker]:
        """The announcements of workers that have not left."""
        found: dict[str, Worker] = {}
        for record in self.kafka.read_all("workers"):
            instance = record.key().decode()
            if record.value() is None:
                found.pop(instance, None)
            else:
                found[instance] = Worker.FromString(record.value())
        return found

    def page(self, path: str) -> tuple[int, Any]:
        return stream_road.get(self.port, path)

    def lines(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """What `indegree ARGUMENTS --json` prints."""
        done = self.commands.command(*arguments, "--json")
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    # -- runs, as a stock client starts and sees them

    def start(self, workflow: str, params: dict[str, Any] | None = None, partition: int = 0, **start: Any) -> str:
        """Starts a run on a partition, with a run id of ours; gives the id."""
        run_id = self.new_id(partition)
        body = {"start": {"workflow": workflow, "params": params or {}, "run_id": run_id, **start}}
        self.kafka.produce("triggers", [(partition, None, json.dumps(body).encode())])
        return run_id

    def new_id(self, partition: int = 0) -> str:
        return make_run_id(1_795_000_000_000, uuid.uuid4().hex[:12].upper(), partition)

    def progress(self, run_id: str, type_: str = "", task: str = "") -> list[dict[str, Any]]:
        """The progress records of one run, of one type and one task where these are given."""
        return [
            record
            for record in self.tail.of(run_id)
            if record["type"].startswith(type_) and (not task or record.get("task_id") == task)
        ]

    def wait_for(self, run_id: str, type_: str, task: str = "", within_s: float = 30) -> dict[str, Any]:
        """The first such record, once it is there."""
        return wait_until(lambda: self.progress(run_id, type_, task), f"{type_} {task} of {run_id}", within_s)[0]  # type: ignore[no-any-return]

    def ended(self, run_id: str, within_s: float = 40) -> str:
        """The state in which a run ends."""

        def state() -> str:
            for record in self.progress(run_id, "run."):
                if record["type"] in ("run.success", "run.failed", "run.cancelled", "run.refused"):
                    return str(record.get("state") or record["type"])
            return ""

        try:
            return str(wait_until(state, f"run {run_id} ends", within_s))
        except AssertionError as error:
            story = "\n".join(json.dumps(record) for record in self.progress(run_id))
            raise AssertionError(f"{error}\n{story}") from None

    def story(self, run_id: str) -> list[tuple[str, str, int]]:
        """(type, task, attempt) of every transition of a run."""
        return [(r["type"], r.get("task_id", ""), r.get("attempt", 0)) for r in self.progress(run_id)]

    def refusal(self, request_id: str) -> str:
        """Why a start or command with this request id was refused."""

        def find() -> str:
            for record in self.tail.look():
                if record.get("request_id") == request_id and record["type"].endswith(".refused"):
                    return str(record["reason"])
            return ""

        return str(wait_until(find, f"request {request_id} is refused"))

    @contextlib.contextmanager
    def ten_runs(self, partition: int = 0) -> Iterator[list[str]]:
        """Ten runs that are in their middle all the time, and end with SUCCESS afterwards, with one more."""
        gate = self.folder / f"gate-{uuid.uuid4().hex}"
        runs = [self.start("steady", {"gate": str(gate)}, partition) for _ in range(10)]

        def held() -> int:
            records = self.tail.look()
            found = {r["run_id"] for r in records if r["type"] == "task.running" and r.get("task_id") == "hold"}
            return len(found & set(runs))

        try:
            wait_until(lambda: held() == 10, "ten healthy runs are under way")
            yield runs
        finally:
            gate.touch()
        runs.append(self.start("steady", {"gate": str(gate)}, partition))
        assert {run: self.ended(run) for run in runs} == dict.fromkeys(runs, "SUCCESS")


@contextlib.contextmanager
def whole(
    stack: Any,
    folder: Path,
    *,
    modules: dict[str, str],
    worker: list[str] | None,
    partitions: int = 2,
    cluster: str = "",
    **values: Any,
) -> Iterator[Whole]:
    """A cluster with an engine and, where `worker` gives its arguments, a worker. `modules`: name to source.

    Every workflow of the modules that the worker is given is deployed. Ends with the checker's verdict.
    """
    name = cluster or f"w{uuid.uuid4().hex[:10]}"
    settings = make_settings(stack.kafka, stack.etcd, name, partitions, **values)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    place = Whole(
        settings, folder, stream_road.Road(settings, folder), cli_road.Road(settings, folder), ProgressTail(settings)
    )
    try:
        place.engine()
        if worker is not None:
            for module in worker:
                if module in modules:
                    done = place.commands.command("workflow", "deploy", module)
                    assert done.returncode == 0, done.stderr
            place.worker(*worker)
        yield place
        verdict = check(settings.kafka.bootstrap_servers, settings.cluster)
        assert verdict.ok, verdict.report()
    finally:
        for child in reversed(place.commands.children):
            child.stop(timeout_s=10)
        place.tail.close()
        asyncio.run(admin.delete_cluster(settings))
