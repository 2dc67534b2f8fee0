"""One trace from the producer's header to every attempt, over OTLP, whatever happens on the way (CASES 65)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from indegree.events import admin, trace
from indegree.events.frames import Verdict
from indegree.events.settings import LOCAL, Settings
from indegree.stack.process import Child
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result, Task
from tests.conftest import SharedStack
from tests.integration import stream_road
from tests.integration.cli_road import Road
from tests.integration.collector import Collector, Seen, collecting
from tests.integration.stream_road import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FLOWS = '''
import os, threading, time
from indegree import Retry, Workflow
from opentelemetry import trace

def now():
    span = trace.get_current_span().get_span_context()
    return [f"{span.trace_id:032x}", f"{span.span_id:016x}"]

traced = Workflow("traced", params={"gate": str})

@traced.task
async def first() -> list:
    return now()

@traced.task(retry=Retry(max_attempts=2, delay="50ms"))
def flaky(first: list, context) -> list:
    if context.attempt == 1:
        raise OSError("down")
    found = []
    thread = threading.Thread(target=lambda: found.extend(now()))
    thread.start()
    thread.join()
    return [*now(), *found]

@traced.task
def waits(flaky: list, gate: str) -> list:
    while not os.path.exists(gate):
        time.sleep(0.02)
    with trace.get_tracer("user").start_as_current_span("work of the user"):
        return now()

@traced.task(isolate=True)
def alone(waits: list) -> list:
    return now()

SAY = """printf '["%s","%s"]\\\\n' "$TRACEPARENT" "$TRACESTATE" """
traced.command("say", SAY, output="json", depends_on=["waits"])

@traced.task
def joined(alone: list, say: list, flaky: list) -> list:
    return now()

small = Workflow("small")

@small.task
def only() -> list:
    return now()

small.command("echo", 'echo "\\\\"$TRACEPARENT\\\\""', output="json")
'''


class Place(Road):
    """A cluster of one partition, so that it is known whose death matters."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder)
        self.engines: dict[str, Child] = {}

    def engine(self, name: str) -> Child:
        self.engines[name] = self.serve("engine", "--id", name, "--ttl", "2")
        return self.engines[name]

    def worker(self) -> Child:
        return self.serve("worker", "traced_flows", "--commands", "--slots", "8", "--deploy")

    @property
    def kafka(self) -> stream_road.Road:
        return stream_road.Road(self.settings, self.folder)

    def owner(self) -> str:
        """Of the partition, by its log."""
        announced = [frame for _, frame, verdict in self.kafka.frames().get(0, []) if verdict is Verdict.ANNOUNCEMENT]
        return announced[-1].owner if announced else ""

    def start(self, workflow: str, headers: dict[str, str], **params: str) -> str:
        """Sends a start as a stock client does; gives the run id."""
        request = uuid.uuid4().hex
        producer = Producer({"bootstrap.servers": self.settings.kafka.bootstrap_servers, "acks": "all"})
        body = json.dumps({"start": {"workflow": workflow, "request_id": request, "params": params}}).encode()
        producer.produce(
            f"{self.settings.cluster}.triggers",
            body,
            partition=0,
            headers=[(k, v.encode()) for k, v in headers.items()],
        )
        assert producer.flush(30) == 0

        def accepted() -> str:
            found = [r for r in self.kafka.progress() if r.get("request_id") == request]
            assert not found or found[0]["type"] == "run.accepted", found
            return found[0]["run_id"] if found else ""

        return str(wait_until(accepted, f"{request} is accepted"))

    def records(self, run_id: str) -> list[dict[str, Any]]:
        return [record for record in self.kafka.progress() if record.get("run_id") == run_id]

    def ended(self, run_id: str) -> dict[str, Any]:
        """Task id to output, once the run has succeeded."""

        def all_there() -> list[dict[str, Any]]:
            found = self.records(run_id)
            return found if any(r["type"] in ("run.success", "run.failed", "run.cancelled") for r in found) else []

        found = wait_until(all_there, f"run {run_id} ends", 60)
        assert found[-1]["type"] == "run.success", "\n".join(map(str, found))
        return {r["task_id"]: r.get("output") for r in found if r["type"] == "task.success"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Place]:
    """Two engines, one worker, all of which send spans."""
    folder = tmp_path_factory.mktemp("trace")
    (folder / "traced_flows.py").write_text(FLOWS)
    flags = {**LOCAL, "cluster": f"t{uuid.uuid4().hex[:10]}", "kafka.bootstrap_servers": stack.kafka}
    flags |= {"etcd.endpoints": [stack.etcd], "topics.partitions": 1, "topics.task_partitions": 2}
    settings = Settings.load({**flags, "engine.lease_ttl_s": 2.0}, environ={}, folder=folder)
    asyncio.run(admin.ensure_topics(settings))
    found = Place(settings, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in collector.environment.items():
            patch.setenv(name, value)
        try:
            found.engine("e1")
            found.engine("e2")
            found.worker()
            wait_until(found.owner, "the partition has an owner", 60)
            wait_until(
                lambda: sum(r["type"] == "workflow.activated" for r in found.kafka.progress()) == 2, "deployed", 60
            )
            yield found
        finally:
            for child in reversed(found.children):
                child.stop(timeout_s=10)
            asyncio.run(admin.delete_cluster(settings))


def chain(span: Seen, by_id: dict[str, Seen]) -> list[str]:
    """Span ids from this one up, the last of which nobody has sent."""
    found, at = [span.span], span.parent
    while at in by_id:
        assert at not in found, "a circle"
        found.append(at)
        at = by_id[at].parent
    return [*found, at]


def test_one_trace_leads_from_the_producer_to_each_attempt_across_retry_takeover_and_worker_restart(
    place: Place, collector: Collector, tmp_path: Path
) -> None:
    trace_id, producer = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    header = f"00-{trace_id}-{producer}-01"
    gate = tmp_path / "gate"
    # given a run whose trigger has a context, in the middle of which a task waits
    run_id = place.start("traced", {"traceparent": header, "tracestate": "vendor=7"}, gate=str(gate))
    wait_until(
        lambda: any(r.get("task_id") == "waits" and r["state"] == "RUNNING" for r in place.records(run_id)),
        "waits runs",
    )
    wait_until(lambda: sum("send" in s.name for s in collector.of_run(run_id)) == 3, "what has ended was sent")
    # when the owner is killed, another takes over, and the worker is replaced
    killed, old_worker = place.owner(), place.children[-1]
    place.engines[killed].stop(kill=True)
    wait_until(lambda: place.owner() not in ("", killed), "the other one takes over", 30)
    place.worker()
    stopping = threading.Thread(target=old_worker.stop)  # it ends when what it runs has ended
    stopping.start()
    wait_until(lambda: "told to stop" in old_worker.log.read_text(), "the old worker takes no more")
    gate.touch()
    outputs = place.ended(run_id)
    expected = {"first": 1, "flaky": 2, "waits": 1, "alone": 1, "say": 1, "joined": 1}
    spans = wait_until(
        lambda: found if len(found := collector.of_run(run_id)) >= 1 + 2 * sum(expected.values()) else None,
        "all spans arrive",
    )
    # then all of it is one trace
    assert {span.trace for span in spans} == {trace_id}
    assert len({span.span for span in spans}) == len(spans), "nothing is sent twice"
    by_id = {span.span: span for span in spans}
    (run,) = [span for span in spans if span.name == "run traced"]
    assert (run.parent, run.kind, run.attributes["indegree.state"]) == (producer, "CONSUMER", "SUCCESS")
    attempts = {
        (s.attributes["indegree.task_id"], s.attributes["indegree.attempt"]): s for s in spans if s.kind == "PRODUCER"
    }
    assert attempts.keys() == {(task, n) for task, last in expected.items() for n in range(1, last + 1)}
    topic = f"{place.settings.cluster}.tasks.default"
    for (task, number), attempt in attempts.items():
        assert attempt.name == f"send {topic}"
        assert attempt.parent == run.span
        (ran,) = [s for s in spans if s.parent == attempt.span]
        assert (ran.service, ran.kind, ran.name) == ("indegree-worker", "CONSUMER", f"process {topic}")
        assert (ran.attributes["indegree.task_id"], ran.attributes["indegree.attempt"]) == (task, number)
        assert ran.attributes["messaging.system"] == "kafka"
        assert chain(ran, by_id) == [ran.span, attempt.span, run.span, producer]
        assert ran.state == attempt.state == run.state == "vendor=7"
        assert attempt.failed == ran.failed == ((task, number) == ("flaky", 1))
        assert run.start_ns <= attempt.start_ns <= attempt.end_ns <= run.end_ns
        assert "indegree.started" in attempt.events
    worker_of = {
        s.attributes["indegree.task_id"]: s.attributes["messaging.client.id"]
        for s in spans
        if s.service[9:] == "worker"
    }
    assert worker_of["waits"] != worker_of["alone"], "by two workers"
    assert set(attempts["joined", 1].links) == {attempts[t, expected[t]].span for t in ("alone", "say", "flaky")}
    # and it is current in whatever runs user code
    ran_of = {
        s.attributes["indegree.task_id"]: s for s in spans if s.kind == "CONSUMER" and s is not run and not s.failed
    }
    for task in ("first", "alone", "joined"):
        assert outputs[task] == [trace_id, ran_of[task].span], task
    assert outputs["flaky"] == [trace_id, ran_of["flaky"].span] * 2, "and in a thread that it starts"
    assert outputs["say"] == [f"00-{trace_id}-{ran_of['say'].span}-01", "vendor=7"]
    (own,) = [span for span in collector.spans if span.name == "work of the user"]
    assert (own.trace, own.parent, [own.trace, own.span]) == (trace_id, ran_of["waits"].span, outputs["waits"])
    stopping.join()
    # and travels in every record
    assert_carried(place, run_id, trace_id, header)


def assert_carried(place: Place, run_id: str, trace_id: str, header: str) -> None:
    messages = [m for m in place.kafka.read_all("progress") if json.loads(m.value()).get("run_id") == run_id]
    assert {json.loads(m.value())["traceparent"] for m in messages} == {header}
    assert {dict(m.headers())["traceparent"].decode() for m in messages} == {header}
    started = [
        event
        for _, frame, verdict in place.kafka.frames()[0]
        if verdict is Verdict.IN_FORCE
        for event in frame.events
        if event.kind == Event.RUN_STARTED and event.run_id == run_id
    ]
    assert [(event.traceparent, event.tracestate) for event in started] == [(header, "vendor=7")]
    tasks = [
        task for m in place.kafka.read_all("tasks.default") if (task := Task.FromString(m.value())).run_id == run_id
    ]
    results = [r for m in place.kafka.read_all("results") if (r := Result.FromString(m.value())).run_id == run_id]
    carried = [*(task.traceparent for task in tasks), *(result.traceparent for result in results)]
    assert {trace.trace_id(context) for context in carried} == {trace_id}
    assert {task.tracestate for task in tasks} == {"vendor=7"}


def test_an_unsampled_trigger_sends_no_span_and_its_context_still_travels(place: Place, collector: Collector) -> None:
    trace_id, producer = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    header = f"00-{trace_id}-{producer}-00"
    run_id = place.start("small", {"traceparent": header})
    outputs = place.ended(run_id)
    assert outputs == {"only": [trace_id, producer], "echo": header}
    assert {record["traceparent"] for record in place.records(run_id)} == {header}
    # spans of a later run arrive, and none of this one
    later = place.start("small", {"traceparent": f"00-{uuid.uuid4().hex}-{producer}-01"})
    place.ended(later)
    wait_until(lambda: len(collector.of_run(later)) == 5, "spans of the later run")
    assert [span for span in collector.spans if span.trace == trace_id] == []


def test_without_a_context_the_run_is_the_root_of_a_trace_of_its_own(place: Place, collector: Collector) -> None:
    run_id = place.start("small", {})
    place.ended(run_id)
    spans = wait_until(lambda: found if len(found := collector.of_run(run_id)) == 5 else None, "all spans")
    (root,) = [span for span in spans if span.name == "run small"]
    assert root.parent == ""
    assert {span.trace for span in spans} == {root.trace}
    (header,) = {record["traceparent"] for record in place.records(run_id)}
    assert header == f"00-{root.trace}-{root.span}-01"


def test_a_start_of_the_command_line_is_the_root_above_its_run(place: Place, collector: Collector) -> None:
    done = place.command("trigger", "small", "--wait")
    assert done.returncode == 0, done.stderr
    run_id = next(word for word in done.stdout.split() if word.startswith("20"))
    spans = wait_until(lambda: found if len(found := collector.of_run(run_id)) == 6 else None, "all spans")
    (root,) = [span for span in spans if not span.parent]
    topic = f"{place.settings.cluster}.triggers"
    assert (root.service, root.kind, root.name) == ("indegree-cli", "PRODUCER", f"send {topic}")
    (run,) = [span for span in spans if span.parent == root.span]
    assert run.name == "run small"
    assert len({span.trace for span in spans}) == 1


def test_where_nothing_asks_for_spans_the_sdk_is_not_even_loaded() -> None:
    code = (
        "import sys; from indegree.events import telemetry; import indegree.stream.app, indegree.worker, indegree.sdk; "
        "assert telemetry.configure('x') is None and telemetry.tracer() is None; "
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
