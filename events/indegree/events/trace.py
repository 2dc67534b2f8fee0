"""W3C trace context as text: read from headers, made new, put into headers.

The context travels inside the records (events, tasks, results, progress), not in thread state, so that it survives a
retry, a takeover and a restart. Spans themselves are made where a tracer is configured; nothing here depends on one.
Format: https://www.w3.org/TR/trace-context/ (version 00).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
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
        elif name == "tracestate":
            state = value.decode("ascii", "replace") if value else ""
    if not valid(parent):
        return "", ""
    return parent, state if len(state) <= _MAX_TRACESTATE else ""


def to_headers(traceparent: str, tracestate: str = "") -> Sequence[tuple[str, bytes]]:
    """The headers of a record that carries this context."""
    if not traceparent:
        return []
    headers = [("traceparent", traceparent.encode())]
    if tracestate:
        headers.append(("tracestate", tracestate.encode()))
    return headers


def new_root(random16: bytes, random8: bytes, *, sample: bool = True) -> str:
    """A root context from 16 and 8 random bytes (or digest bytes, where it must be derived and not drawn)."""
    return f"00-{random16.hex()}-{random8.hex()}-{'01' if sample else '00'}"
