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


def test_new_root_is_valid() -> None:
    root = trace.new_root(bytes(range(1, 17)), bytes(range(1, 9)))
    assert trace.valid(root)
    assert trace.sampled(root)
    assert not trace.sampled(trace.new_root(bytes(range(1, 17)), bytes(range(1, 9)), sample=False))
