"""Span ids that are given and not drawn, for spans that several processes may have to know before they are sent.

The SDK of OpenTelemetry takes ids from its `IdGenerator`, a public place to hook in: all else (sampler, limits,
processors, exporters) stays as it is. This module imports the SDK; only `telemetry` imports it, where spans are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.sdk.trace.id_generator import IdGenerator

_given: ContextVar[tuple[int, int] | None] = ContextVar("indegree_given_ids", default=None)


class GivenIds(IdGenerator):
    """Draws ids with `inner`, except inside of `given`."""

    def __init__(self, inner: IdGenerator) -> None:
        self._inner = inner

    def generate_span_id(self) -> int:
        found = _given.get()
        return found[1] if found is not None else self._inner.generate_span_id()

    def generate_trace_id(self) -> int:
        found = _given.get()
        return found[0] if found is not None else self._inner.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return _given.get() is None and self._inner.is_trace_id_random()


@contextmanager
def given(trace_id: int, span_id: int) -> Iterator[None]:
    """The span that is started inside has this id, and this trace if it has no parent."""
    token = _given.set((trace_id, span_id))
    try:
        yield
    finally:
        _given.reset(token)
