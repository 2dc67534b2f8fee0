"""W3C trace context as text: read from headers, made new, put into headers.

The context travels inside the records (events, tasks, results, progress), not in thread state, so that it survives a
retry, a takeover and a restart. Spans themselves are made where a tracer is configured; nothing here depends on one.
Format: https://www.w3.org/TR/trace-context/ (version 00).

A run, and each attempt, may live across several engine processes, and so do their spans. Their span ids are therefore
derived (`run_span`, `attempt_span`): children can name the span before it is sent, and whoever owns the partition when
it ends sends it, once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_ROOT = 0x696E646567726565  # "indegree"
_MAX_TRACESTATE = 512  # the recommendation's minimum that everybody has to carry


def valid(traceparent: str) -> bool:
    """True if `traceparent` is a usable header value: known form, no all-zero ids, version not ff."""
    match = _TRACEPARENT.match(traceparent)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return False
    return match[2] != "0" * 32 and match[3] != "0" * 16


def sampled(traceparent: str) -> bool:
    """True if the sampled flag is set."""
    return len(traceparent) >= 55 and int(traceparent[53:55], 16) & 1 == 1


def trace_id(traceparent: str) -> str:
    """The 32 hex digits of the trace."""
    return traceparent[3:35]


def from_headers(headers: Iterable[tuple[str, bytes]] | None) -> tuple[str, str]:
    """(traceparent, tracestate) of a record, each empty where absent or not valid."""
    parent = state = ""
    for name, value in headers or ():
        if name == "traceparent":
            parent = value.decode("ascii", "replace") if value else ""
        elif name == "tracestate" and value:
            state = f"{state},{value.decode('ascii', 'replace')}" if state else value.decode("ascii", "replace")
    if not valid(parent):
        return "", ""
    parent = f"00{parent[2:55]}"  # what a later version adds is not ours to pass on
    return parent, state if len(state) <= _MAX_TRACESTATE else ""


def to_headers(traceparent: str, tracestate: str = "") -> Sequence[tuple[str, bytes]]:
    """The headers of a record that carries this context."""
    if not traceparent:
        return []
    headers = [("traceparent", traceparent.encode())]
    if tracestate:
        headers.append(("tracestate", tracestate.encode()))
    return headers


def root_of(topic: str, partition: int, offset: int, *, sample: bool = True) -> str:
    """The root context of a record that brings none: the same record always makes the same one."""
    trace = hashlib.sha256(f"{topic}\0{partition}\0{offset}".encode()).hexdigest()[:32]
    return f"00-{trace}-{_root_span(trace)}-{'01' if sample else '00'}"


def is_our_root(traceparent: str) -> bool:
    """True if `root_of` made this context: nobody has sent a span of that id, so the run's own span takes it."""
    return traceparent[36:52] == _root_span(trace_id(traceparent))


def run_span(run_id: str, traceparent: str) -> str:
    """The span id of a run: derived from the run id; where the trace begins with the run, the root's own."""
    return traceparent[36:52] if is_our_root(traceparent) else _span("run", run_id)


def attempt_span(run_id: str, task_id: str, attempt: int, generation: int = 0) -> str:
    """The span id of one attempt of a task."""
    return _span("attempt", run_id, task_id, str(attempt), str(generation))


def with_span(traceparent: str, span_id: str) -> str:
    """The same trace and flags, with another span as the parent."""
    return f"00-{trace_id(traceparent)}-{span_id}-{traceparent[53:55]}"


def _root_span(trace: str) -> str:
    """Told by the trace id, so that `is_our_root` needs no more than the context; a drawn id is it by no chance."""
    return f"{(int(trace[:16], 16) ^ _ROOT) or 1:016x}"


def _span(*parts: str) -> str:
    found = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return found if int(found, 16) else "1".zfill(16)  # all zero is no id
