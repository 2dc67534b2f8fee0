"""Trace context in and out of headers."""

import pytest

from indegree.events import trace

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_context_of_the_headers_is_kept() -> None:
    assert trace.from_headers([("x", b"1"), ("traceparent", GOOD.encode()), ("tracestate", b"a=1")]) == (GOOD, "a=1")
    assert trace.from_headers(trace.to_headers(GOOD, "a=1")) == (GOOD, "a=1")


@pytest.mark.parametrize(
    "bad", ["", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", GOOD[:-1], GOOD.upper(), "ff" + GOOD[2:], GOOD + "-x", "é"]
)
def test_unusable_context_is_as_good_as_none(bad: str) -> None:
    assert trace.from_headers([("traceparent", bad.encode())]) == ("", "")


def test_a_later_version_is_passed_on_as_what_is_known_of_it() -> None:
    assert trace.from_headers([("traceparent", ("01" + GOOD[2:] + "-more").encode())]) == (GOOD, "")


def test_several_tracestate_headers_are_one_list() -> None:
    headers = [("traceparent", GOOD.encode()), ("tracestate", b"a=1"), ("tracestate", b"b=2")]
    assert trace.from_headers(headers) == (GOOD, "a=1,b=2")


def test_the_root_of_a_record_is_derived_and_known_as_ours() -> None:
    root = trace.root_of("c.triggers", 3, 7)
    assert root == trace.root_of("c.triggers", 3, 7)
    assert trace.valid(root)
    assert trace.sampled(root)
    assert not trace.sampled(trace.root_of("c.triggers", 3, 7, sample=False))
    assert trace.is_our_root(root)
    assert not trace.is_our_root(GOOD)
    assert trace.run_span("r", root) == root[36:52]
    assert trace.run_span("r", GOOD) not in (GOOD[36:52], trace.run_span("s", GOOD))


def test_span_ids_of_attempts_differ_by_run_task_attempt_and_generation() -> None:
    ids = {
        trace.attempt_span(*key)
        for key in (("r", "a", 1), ("s", "a", 1), ("r", "b", 1), ("r", "a", 2), ("r", "a", 1, 1))
    }
    assert len(ids) == 5
    assert trace.valid(trace.with_span(GOOD, ids.pop()))
