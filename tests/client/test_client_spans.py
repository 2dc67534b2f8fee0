"""What a start carries: a PRODUCER span's context where the process has a provider, else what is current."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from indegree.events import telemetry
from indegree.sdk.client_spans import producing
from indegree.v1.trigger_pb2 import Start

STARTS = [Start(workflow="w", request_id="r1", run_id="run-1"), Start(workflow="w", request_id="r2")]
TOPIC = "c.triggers"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """A provider of the process; the API allows only one, so it is put where it is asked for."""
    found, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(telemetry, "tracer", lambda: provider.get_tracer("test"))
    return found


def test_each_start_gets_a_span_whose_context_its_record_carries(exporter: InMemorySpanExporter) -> None:
    with producing(TOPIC, STARTS) as headers:
        assert exporter.get_finished_spans() == (), "it lasts until the record is acknowledged"
    spans = exporter.get_finished_spans()
    assert [dict(own)["traceparent"].decode() for own in headers] == [
        telemetry.traceparent_of(s) for s in spans_of(exporter)
    ]
    assert {(span.name, span.kind) for span in spans} == {("send c.triggers", SpanKind.PRODUCER)}
    assert [dict(span.attributes or {}).get("indegree.run_id") for span in spans] == ["run-1", None]
    assert len({span.context.trace_id for span in spans if span.context}) == 2, "nothing was current: two traces"


def spans_of(exporter: InMemorySpanExporter) -> list[trace.Span]:
    return [NonRecordingSpan(span.context) for span in exporter.get_finished_spans() if span.context]


def test_a_failed_send_marks_the_spans(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(OSError, match="down"), producing(TOPIC, STARTS):
        raise OSError("down")
    for span in exporter.get_finished_spans():
        assert not span.status.is_ok
        assert span.attributes is not None
        assert span.attributes["error.type"] == "OSError"


def test_without_a_provider_the_current_context_travels_or_nothing() -> None:
    with producing(TOPIC, STARTS) as headers:
        assert list(headers) == [[], []]
    current = NonRecordingSpan(SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(current), producing(TOPIC, STARTS) as headers:
        assert [dict(own) for own in headers] == [{"traceparent": f"00-{7:032x}-{9:016x}-01".encode()}] * 2
