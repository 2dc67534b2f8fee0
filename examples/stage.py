"""The stage on which an example is shown: a cluster of its own with an engine and a worker, and the means to check it.

Why: an example is worth something when it runs as written, on a real Kafka and a real etcd, and says itself whether it
did what its README promises. What all of them need for that stands here, so that their own files hold nothing else.

How: `stage(...)` makes the topics of a cluster with a drawn name, starts `indegree engine` as a child process and opens
a client; an example's `show(stage)` deploys its workflows, starts a worker and looks at what comes of it. A thread
follows the progress of all runs. Every wait ends at one deadline, or as soon as a child process has ended by itself.
Topics of the example get the cluster's name in front, and so do the triggers that name them: two examples on one Kafka
do not notice each other.

It must never wait without an end, leave a process or a topic behind, or reach into the engine: what it knows of runs
comes from the client, as for everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from examples.demo.processes import Processes
from indegree import Client, Workflow
from indegree.events import admin
from indegree.events.definition import Definition
from indegree.events.settings import LOCAL, Settings
from indegree.sdk.client import Run
from indegree.sdk.client_errors import ClientError
from indegree.sdk.client_events import RunEvent, RunState

HERE = Path(__file__).parent
WITHIN_S = 60.0  # all of an example; the slowest takes a quarter of it on two busy cores
PARTITIONS = 4
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
T = TypeVar("T")


class NotShown(Exception):
    """The example did not do what it promises."""


def examples() -> dict[str, str]:
    """Name to what it shows, of each folder here that has a workflow; the words are those of its README's heading."""
    found = {}
    for folder in sorted(HERE.iterdir()):
        if (folder / "workflow.py").is_file() or (folder / "workflow.yaml").is_file():
            readme = folder / "README.md"
            heading = readme.read_text("utf-8").partition("\n")[0] if readme.is_file() else ""
            found[folder.name] = heading.removeprefix("#").strip().removeprefix(f"{folder.name}:").strip()
    return found


def cluster_settings(kafka: str, etcd: str, cluster: str) -> Settings:
    """Of a small cluster on the Kafka and the etcd at these addresses; others in the environment do not count."""
    return Settings.load(
        {
            **LOCAL,
            "cluster": cluster,
            "kafka.bootstrap_servers": kafka,
            "etcd.endpoints": etcd,
            "engine.lease_ttl_s": 2.0,
            "topics.partitions": PARTITIONS,
            "topics.task_partitions": 1,
        },
        environ={},
    )


def cluster_name(example: str) -> str:
    """A name that no other cluster has."""
    return f"example-{example}-{secrets.token_hex(3)}"


def play(example: str, settings: Settings, folder: Path, say: Callable[[str], None] = print) -> None:
    """Runs an example in the cluster of these settings; `folder` takes its data and logs. Blocks for WITHIN_S at most.

    Raises NotShown where it does not do what it promises, TimeoutError, and what the client raises.
    """
    show = importlib.import_module(f"examples.{example}.run").show
    with stage(settings, folder, say) as found:
        show(found)


def told(*runs: RunState) -> str:
    """Words for how far they are."""
    lines = []
    for run in runs:
        tasks = ", ".join(f"{task.id} {task.state}" for task in run.tasks.values())
        lines.append(f"{run.run_id} {run.state} ({tasks or 'nothing of its tasks yet'})")
    return "; ".join(lines) or "nothing was heard of any"


@contextlib.contextmanager
def stage(settings: Settings, folder: Path, say: Callable[[str], None] = print) -> Iterator[Stage]:
    """A cluster with an engine, and a client. All of it is gone afterwards, except the logs in `folder`."""
    found = None
    asyncio.run(admin.ensure_topics(settings))
    try:
        with Processes(settings, folder / "logs") as processes, Client.from_settings(settings) as client:
            processes.start("engine", "engine", INDEGREE_ENGINE__ID=f"{settings.cluster}-engine")
            found = Stage(settings, folder, processes, client, say)
            yield found
    finally:
        if found is not None:
            found.remove_topics()
        asyncio.run(admin.delete_cluster(settings))


class Stage:
    """What `show(stage)` gets.

    client:  of the cluster; folder: for the example's own files (absolute)
    runs:    the state of every run that was heard of, by workflow, in the order in which they were accepted
    refused: what was refused: the records of type run.refused
    """

    def __init__(
        self, settings: Settings, folder: Path, processes: Processes, client: Client, say: Callable[[str], None]
    ) -> None:
        self.settings, self.client, self.say = settings, client, say
        self.folder = folder.absolute()
        self.refused: list[RunEvent] = []
        self._processes = processes
        self._admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
        self._begun = time.monotonic()
        self._topics: dict[str, str] = {}
        self._runs: dict[str, RunState] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._follow, name="progress", daemon=True).start()

    # -- parts

    def worker(self, *arguments: str, slots: int = 16, **environment: str) -> None:
        """Starts `indegree worker ARGUMENTS`. A task that it is needed for waits for it, so nobody else has to."""
        self._processes.start("worker", "worker", *arguments, "--slots", str(slots), **environment)

    def deploy(self, workflow: Workflow | str | Path) -> Workflow:
        """Makes a workflow (or that of a file) the active version of its name. Gives it as it was deployed: with the
        topics of this stage in place of those that it names."""
        given = workflow if isinstance(workflow, Workflow) else Workflow.from_file(workflow)
        form = self._renamed(given.definition().normal())
        own = Workflow.from_definition(Definition.from_normal(form))
        self.client.deploy(own, timeout=self.left_s)
        return own

    def topic(self, name: str, partitions: int = 2) -> None:
        """Makes a topic of the example's own."""
        real = self._topics[name] = f"{self.settings.cluster}.user.{name}"
        self._admin.create_topics([NewTopic(real, partitions, 1)])[real].result(self.left_s)

    def produce(self, topic: str, records: Sequence[tuple[str, Any]]) -> None:
        """Writes (key, value) records with a stock Kafka client, values as JSON. Returns once all are acknowledged."""
        producer = Producer({"bootstrap.servers": self.settings.kafka.bootstrap_servers, "linger.ms": 5})
        for key, value in records:
            producer.produce(self._topics[topic], json.dumps(value).encode(), key.encode())
        if missing := producer.flush(self.left_s):
            raise NotShown(f"{missing} of {len(records)} records were not acknowledged")

    def remove_topics(self) -> None:
        """Deletes the topics of the example."""
        if self._topics:
            for future in self._admin.delete_topics(list(self._topics.values())).values():
                future.result(15)

    # -- looking

    def runs(self, workflow: str) -> list[RunState]:
        """The runs of a workflow, as far as was heard, in the order in which they were accepted."""
        with self._lock:
            return [run for run in self._runs.values() if run.workflow == workflow]

    def ended(self, workflow: str, count: int) -> list[RunState]:
        """The runs of a workflow once so many have ended. Raises TimeoutError."""

        def there() -> list[RunState]:
            found = [run for run in self.runs(workflow) if run.state in ENDED]
            return found if len(found) >= count else []

        return self.until(there, lambda: f"{count} runs of {workflow} end: {told(*self.runs(workflow))}")

    def wait(self, run: Run) -> str:
        """The state in which a run ends. Raises Refused, TimeoutError."""
        return self.until(
            lambda: run.wait(0.2) if run.state in ENDED or self._seen(run) else "",
            lambda: f"run {run.run_id} of {run.workflow} ends: {told(*self._heard(run))}",
        )

    def until(self, true: Callable[[], T], what: str | Callable[[], str]) -> T:
        """What `true()` gives, once it is true. Raises TimeoutError, and RuntimeError if a child process ends."""
        while True:
            found = true()
            if found:
                return found
            self._processes.check()
            if self.left_s <= 0:
                text = what if isinstance(what, str) else what()
                raise TimeoutError(f"not within {WITHIN_S:g} s: {text}")
            time.sleep(0.05)

    def topics_with(self, text: str) -> set[str]:
        """The topics of this cluster in which any record, as it is now, holds this text: what a stock consumer sees."""
        servers = {"bootstrap.servers": self.settings.kafka.bootstrap_servers, "enable.partition.eof": True}
        consumer = Consumer({**servers, "group.id": self.settings.cluster, "enable.auto.commit": False})
        topics = self._admin.list_topics(timeout=10).topics
        mine = [name for name in topics if name.startswith(f"{self.settings.cluster}.")]
        parts = [TopicPartition(name, part, 0) for name in mine for part in topics[name].partitions]
        consumer.assign(parts)
        open_parts, found = {(part.topic, part.partition) for part in parts}, set()
        while open_parts and self.left_s:
            for record in consumer.consume(1_000, 0.1):
                error = record.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise NotShown(f"{record.topic()} cannot be read: {error}")
                if error is not None:
                    open_parts.discard((record.topic(), record.partition()))  # read to its end
                elif text.encode() in b"".join(
                    [record.key() or b"", record.value() or b"", repr(record.headers()).encode()]
                ):
                    found.add(str(record.topic()).removeprefix(f"{self.settings.cluster}."))
        consumer.close()
        if open_parts:
            raise TimeoutError(f"not read to their ends: {sorted(open_parts)}")
        return found

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._begun + WITHIN_S - time.monotonic())

    def shows(self, what: str, seen: object, expected: object) -> None:
        """Says that it is so. Raises NotShown where it is not."""
        if seen != expected:
            raise NotShown(f"{what}: expected {expected!r}, and it is {seen!r}")
        self.say(f"{time.monotonic() - self._begun:5.1f} s  {what}")

    # -- inside

    def _seen(self, run: Run) -> bool:
        refused = any(one.run_id == run.run_id for one in self.refused)
        return refused or any(known.ended for known in self._heard(run))

    def _heard(self, run: Run) -> list[RunState]:
        with self._lock:
            return [self._runs[run.run_id]] if run.run_id in self._runs else []

    def _follow(self) -> None:
        with contextlib.suppress(ClientError):  # it was closed
            for event in self.client.follow_all():
                self._take(event)

    def _take(self, event: RunEvent) -> None:
        with self._lock:
            if event.type == "run.refused":
                self.refused.append(event)
            elif event.position:
                run = self._runs.setdefault(event.run_id, RunState(event.run_id))
                run.apply(event)
                for task in run.tasks.values():
                    task.fetch = self.client.fetch

    def _renamed(self, form: Any) -> Any:
        match form:
            case {"topic": str(topic)} if topic in self._topics:
                return {**form, "topic": self._topics[topic]}
            case Mapping():
                return {name: self._renamed(value) for name, value in form.items()}
            case list():
                return [self._renamed(value) for value in form]
            case _:
                return form
