"""The engine's spans against a core on an in-memory log: which there are, once each, across takeovers."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Tracer

from indegree.events import trace
from indegree.events.given_ids import GivenIds
from indegree.events.run_ids import partition_of_key
from indegree.events.topics import Topics
from indegree.stream.spans import MAX_LINKS, PartitionSpans, Spans
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command
from tests.engine import road as roads
from tests.engine.road import Road, workflow


class Traced(Road):
    """A road whose settled frames make spans."""

    def __init__(self, spans: Spans) -> None:
        self.spans: PartitionSpans | None = None
        self.maker, self.settled = spans, 0
        super().__init__()

    def take_over(self) -> None:
        super().take_over()
        self.spans, self.settled = self.maker.of(self.core), len(self.effects)

    def cut(self, force: bool = False) -> None:
        super().cut(force)
        for effects in self.effects[self.settled :]:
            assert self.spans is not None
            self.spans.settled(effects)
        self.settled = len(self.effects)


class Sent:
    """What was sent."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(id_generator=GivenIds(RandomIdGenerator()))
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = provider.get_tracer("test")
        self.spans = Spans(self.tracer, Topics("c"))

    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def attempts(self) -> dict[tuple[str, int], str]:
        """(task, attempt) to the state in which it ended; each once."""
        found = [s.attributes for s in self.all() if s.attributes and "indegree.attempt" in s.attributes]
        keys = [(str(a["indegree.task_id"]), int(str(a["indegree.attempt"]))) for a in found]
        assert len(set(keys)) == len(keys), f"twice: {keys}"
        return {key: str(a["indegree.state"]) for key, a in zip(keys, found, strict=True)}

    def of(self, task_id: str, attempt: int = 1) -> ReadableSpan:
        (span,) = [
            s
            for s in self.all()
            if s.attributes
            and (s.attributes.get("indegree.task_id"), s.attributes.get("indegree.attempt")) == (task_id, attempt)
        ]
        return span

    def run(self) -> ReadableSpan:
        (span,) = [s for s in self.all() if s.name.startswith("run ")]
        return span


@pytest.fixture
def sent() -> Sent:
    return Sent()


def hex_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


RETRIED = {"max_attempts": 3, "delay": "100ms", "jitter": 0.0}


def test_each_attempt_and_the_run_are_sent_once_when_they_end(sent: Sent) -> None:
    road = Traced(sent.spans)
    run_id = road.start(
        workflow(
            {"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["a", "b"], "when": "${{ false }}"}
        )
    )
    road.take()
    assert sent.all() == []
    road.ok("a")
    assert sent.attempts() == {("a", 1): "SUCCESS"}
    road.ok("b")
    assert sent.attempts() == {("a", 1): "SUCCESS", ("b", 1): "SUCCESS"}, "a skipped task has no attempt"
    run = sent.run()
    assert run.attributes is not None
    assert (run.attributes["indegree.state"], run.attributes["indegree.run_id"]) == ("SUCCESS", run_id)
    assert run.parent is not None
    assert f"{run.parent.span_id:016x}" == roads.TRACE[36:52]
    for task in ("a", "b"):
        span = sent.of(task)
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == hex_of(run)
        assert span.name == "send c.tasks.default"


def test_the_record_of_an_attempt_names_the_span_that_is_sent_later(sent: Sent) -> None:
    road = Traced(sent.spans)
    road.start(workflow({"id": "a"}))
    (task,) = road.take()
    record = Task.FromString(task.SerializeToString())
    sent.spans.dispatched(record)
    road.ok("a")
    assert record.traceparent == trace.with_span(roads.TRACE, hex_of(sent.of("a")))


def test_a_takeover_sends_nothing_again_and_what_ends_later_is_complete(sent: Sent) -> None:
    road = Traced(sent.spans)
    retried = {"id": "b", "depends_on": ["a"], "retry": RETRIED}
    road.start(workflow({"id": "a"}, retried, {"id": "c", "depends_on": ["a", "b"]}))
    road.ok("a")
    road.take_over()
    road.fail("b")
    road.take_over()
    road.wait(1_000)
    road.started("b")
    road.take_over()
    (bound,) = [t for t in road.taken if t.task_id == "b" and t.attempt == 2]
    road.say(bound, Result.SUCCEEDED)
    road.snapshot()
    road.take_over()
    road.ok("c")
    road.take_over()
    assert sent.attempts() == {("a", 1): "SUCCESS", ("b", 1): "RETRYING", ("b", 2): "SUCCESS", ("c", 1): "SUCCESS"}
    assert not sent.of("b", 1).status.is_ok
    assert [f"{link.context.span_id:016x}" for link in sent.of("c").links] == [
        hex_of(sent.of("a")),
        hex_of(sent.of("b", 2)),
    ]
    assert len(sent.all()) == 5


def test_a_cancelled_run_ends_the_spans_of_what_was_under_way(sent: Sent) -> None:
    road = Traced(sent.spans)
    run_id = road.start(workflow({"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a"]}))
    road.started("a")
    road.cancel(run_id)
    assert sent.attempts() == {("a", 1): "CANCELLED", ("b", 1): "CANCELLED"}
    attributes = sent.run().attributes
    assert attributes is not None
    assert attributes["indegree.state"] == "CANCELLED"


def test_a_run_without_any_attempt_has_its_span(sent: Sent) -> None:
    road = Traced(sent.spans)
    road.start(workflow({"id": "a", "when": "${{ false }}"}))
    assert [span.name for span in sent.all()] == ["run w"]


def test_a_join_has_no_more_links_than_the_bound(sent: Sent) -> None:
    road = Traced(sent.spans)
    parents = [{"id": f"p{i}"} for i in range(MAX_LINKS + 8)]
    road.start(workflow(*parents, {"id": "join", "depends_on": [p["id"] for p in parents]}))
    for parent in parents:
        road.ok(str(parent["id"]))
    road.ok("join")
    assert len(sent.of("join").links) == MAX_LINKS


def test_an_unsampled_run_makes_no_span_and_its_records_stay_as_they_are(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsampled = roads.TRACE[:-2] + "00"
    monkeypatch.setattr(roads, "TRACE", unsampled)
    road = Traced(sent.spans)
    road.start(workflow({"id": "a"}))
    (task,) = road.take()
    sent.spans.dispatched(task)
    assert task.traceparent == unsampled
    road.ok("a")
    assert sent.all() == []


def test_where_the_trace_begins_with_the_run_its_span_is_the_root(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roads, "TRACE", trace.root_of("c.triggers", 0, 7))
    road = Traced(sent.spans)
    road.start(workflow({"id": "a"}))
    road.ok("a")
    run = sent.run()
    assert run.parent is None
    assert run.context is not None
    assert (f"{run.context.trace_id:032x}", hex_of(run)) == (roads.TRACE[3:35], roads.TRACE[36:52])
    parent = sent.of("a").parent
    assert parent is not None
    assert f"{parent.span_id:016x}" == hex_of(run)


def test_a_fault_of_telemetry_is_no_fault_of_the_run(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(type(sent.tracer), "start_span", broken)
    road = Traced(sent.spans)
    run_id = road.start(workflow({"id": "a"}))
    road.ok("a")
    assert road.state(run_id) == "SUCCESS"


def test_an_attempt_whose_worker_is_lost_has_its_span_from_the_engine(sent: Sent) -> None:
    road = Traced(sent.spans)
    road.start(workflow({"id": "a"}))
    road.started("a")
    road.core.worker_lost("w1")
    road.step()
    span = sent.of("a")
    assert not span.status.is_ok
    assert span.attributes is not None
    assert (span.attributes["error.type"], span.attributes["indegree.state"]) == ("worker_lost", "FAILED")


def test_a_start_that_lands_elsewhere_keeps_its_context(sent: Sent) -> None:
    here, there = Road(0, 2), Road(1, 2)
    definition = workflow({"id": "a"})
    keys = (f"k{i}" for i in range(100))
    key = next(k for k in keys if partition_of_key("idempotency", "w", k, 2) == 1)
    here.start(definition, idempotency_key=key)
    (entry,) = [entry for effects in here.effects for entry in effects.outbox]
    there.command(Command.FromString(entry.data), definition)
    (run,) = there.core.runs()
    assert run.traceparent == roads.TRACE
