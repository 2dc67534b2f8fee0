"""Cutting what others send to sizes that an event may have.

Why: an event that is larger than a record cannot be appended, and the input that causes it would come again and again.
So nothing that users or workers send goes into an event without a bound.

It must never cut what has a meaning (ids, keys, values): those are refused where they are too long.
"""

from __future__ import annotations

from indegree.engine.limits import Limits
from indegree.v1.trigger_pb2 import Origin
from indegree.v1.value_pb2 import Error

MAX_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: later times have no text."""
_TOPIC_CHARS = 249  # of Kafka
LOG_CUT = "[... cut ...]\n"


def text(value: str) -> str:
    """Text that protobuf can carry: lone surrogates are written as escapes."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def cut_error(error: Error, limits: Limits) -> Error:
    """The error as it is, or its nearest part if it is too large."""
    if error.ByteSize() <= limits.error_bytes:
        return error
    share = limits.error_bytes // 16
    small = Error(
        type=error.type[: limits.name_chars],
        bases=[base[: limits.name_chars] for base in error.bases[:20]],
        message=error.message[:share],
        traceback=error.traceback[-share:],
        cut=True,
        permanent=error.permanent,
    )
    if error.HasField("exit_code"):
        small.exit_code = error.exit_code
    return small


def cut_log(log: str, limits: Limits) -> str:
    """The end of captured output, with a mark in front where it is cut here. A worker marks what it has cut itself."""
    if len(log) * 4 <= limits.log_bytes or len(log.encode("utf-8", "replace")) <= limits.log_bytes:
        return log
    return LOG_CUT + log[-(limits.log_bytes // 4) :]


def bounded_origin(origin: Origin, limits: Limits) -> Origin:
    """Where a start came from, with a time that has a text, and a key and a trace of bounded size."""
    if origin.ByteSize() <= limits.key_bytes and 0 <= origin.timestamp_ms <= MAX_TIME_MS:
        return origin
    kept = Origin()
    kept.CopyFrom(origin)
    kept.DiscardUnknownFields()
    kept.topic = origin.topic[:_TOPIC_CHARS]
    kept.timestamp_ms = min(max(origin.timestamp_ms, 0), MAX_TIME_MS)
    kept.key = origin.key[: limits.key_bytes]
    if len(origin.traceparent) > limits.name_chars or len(origin.tracestate) > limits.key_bytes:
        kept.traceparent = kept.tracestate = ""  # half a trace context is none
    return kept
