"""Spans: a child of the record's context, current in user code, its context in the result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from indegree.v1.task_pb2 import Result
from indegree.worker import inheriting, spans
from tests.worker.harness import bench, call, output, shell

TRACE = "c" * 32
SAMPLED = f"00-{TRACE}-{'d' * 16}-01"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A real provider that keeps its spans; the API allows only one for a process, so it is put where ours is kept."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "tracer", lambda: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


async def test_a_sampled_attempt_has_a_span_that_is_current_in_user_code(exported: InMemorySpanExporter) -> None:
    def see() -> str:
        return f"{trace.get_current_span().get_span_context().span_id:016x}"

    async with bench({"see": see}) as b:
        result = await b.run(call("see", traceparent=SAMPLED, tracestate="k=v"))
    (span,) = exported.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == "d" * 16
    assert output(result) == f"{span.context.span_id:016x}"
    assert result.traceparent == f"00-{TRACE}-{output(result)}-01"
    assert span.status.is_ok


async def test_a_command_gets_the_span_in_its_environment(exported: InMemorySpanExporter) -> None:
    async with bench() as b:
        result = await b.run(
            shell("echo $TRACEPARENT $TRACESTATE", output="text", traceparent=SAMPLED, tracestate="k=v")
        )
    assert output(result) == f"{result.traceparent} k=v"
    assert result.traceparent != SAMPLED
    assert result.traceparent[3:35] == TRACE


async def test_a_failed_attempt_marks_its_span_and_an_abandoned_one_ends_it(exported: InMemorySpanExporter) -> None:
    def bad() -> None:
        raise ValueError("no")

    async with bench({"bad": bad}) as b:
        assert (await b.run(call("bad", traceparent=SAMPLED))).kind == Result.FAILED
    (span,) = exported.get_finished_spans()
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"


async def test_an_unsampled_attempt_costs_no_span_and_passes_its_context_on(exported: InMemorySpanExporter) -> None:
    parent = f"00-{TRACE}-{'d' * 16}-00"

    def see() -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:032x}"

    async with bench({"see": see}) as b:
        result = await b.run(call("see", traceparent=parent))
    assert output(result) == TRACE
    assert result.traceparent == parent
    assert exported.get_finished_spans() == ()


async def test_threads_that_a_function_starts_have_its_context_and_their_output_is_its_own(
    exported: InMemorySpanExporter,
) -> None:
    def see() -> list[str]:
        found: list[str] = []

        def look() -> None:
            found.append(f"{trace.get_current_span().get_span_context().trace_id:032x}")
            print("from a thread of its own")

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(look).result()
        return found

    inheriting.install()
    try:
        async with bench({"see": see}) as b:
            result = await b.run(call("see", traceparent=SAMPLED))
    finally:
        inheriting.uninstall()
    assert output(result) == [TRACE, TRACE]
    assert result.log == "from a thread of its own\n" * 2


async def test_what_a_thread_prints_after_its_attempt_has_ended_goes_to_the_workers_own_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    go, said = threading.Event(), threading.Event()

    def outlived() -> None:
        def late() -> None:
            go.wait(10)
            print("too late")
            said.set()

        threading.Thread(target=late, daemon=True).start()

    inheriting.install()
    try:
        async with bench({"outlived": outlived}) as b:
            assert (await b.run(call("outlived"))).kind == Result.SUCCEEDED
            go.set()
            assert await asyncio.to_thread(said.wait, 10)
    finally:
        inheriting.uninstall()
    assert "too late" in capsys.readouterr().out
