"""Records of users' topics as the core takes them: JSON text, headers as text, a trace context.

Why: intake and observing read the same topics, and a record must mean the same to both.

How: values are JSON, or what a decoder makes of them (decoders.py). Records of the cluster's own progress topic are
decoded by our codec, in either of its forms; those whose type nobody asks for are passed over by their header alone.

It must never refuse a record itself: what cannot be decoded comes out with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from aiokafka import TopicPartition

from indegree.engine.intake import Route, Taken, ends_of
from indegree.events import telemetry
from indegree.events.codec import Undecodable, decode_progress, header, progress_json
from indegree.events.definition import KafkaTrigger
from indegree.events.trace import from_headers, root_of
from indegree.stream.decoders import Decoders
from indegree.stream.transport import Unreadable


class Taker:
    """`progress`: full name of the cluster's progress topic."""

    def __init__(self, decoders: Decoders, progress: str) -> None:
        self._decoders, self._progress = decoders, progress

    async def take(self, tp: TopicPartition, records: Sequence[Any], routes: Sequence[Route] = ()) -> list[Taken]:
        """All of them, in order. Raises DecoderUnusable."""
        if tp.topic == self._progress and (types := types_of(routes)):
            return [progress_taken(tp, record, types) for record in records]
        if not self._decoders.name_of(tp.topic):
            return [_taken(tp, record, record.value, "") for record in records]
        whole = [record for record in records if record.value is not None]
        values = [(record.value, texts(record.headers)) for record in whole]
        decoded = dict(zip(map(id, whole), await self._decoders.decode(tp.topic, values), strict=True))
        return [_taken(tp, record, *decoded.get(id(record), (None, ""))) for record in records]


def types_of(routes: Sequence[Route]) -> Collection[bytes]:
    """The `ce_type` headers that run triggers ask for; empty where a plain Kafka trigger reads the topic as well."""
    found: set[bytes] = set()
    for route in routes:
        for place in route.places:
            trigger: Any = route.definition.triggers[place]
            if isinstance(trigger, KafkaTrigger):
                return ()
            found |= {f"indegree.{end}".encode() for end in ends_of(trigger)}
    return found


def progress_taken(tp: TopicPartition, record: Any, types: Collection[bytes]) -> Taken:
    """A record of the progress topic; without its value where its type is none of these."""
    kind = next((value for name, value in record.headers if name == "ce_type"), None)
    if record.value is None or (kind is not None and kind not in types):
        return Taken(record.offset, record.timestamp, None)
    try:
        progress = decode_progress(record.value)
    except Undecodable as error:
        return _taken(tp, record, None, str(error))
    if f"indegree.{progress.type}".encode() not in types:
        return Taken(record.offset, record.timestamp, None)
    return _taken(tp, record, progress_json(progress), "")


def texts(headers: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """Headers as text; of several with one name the last counts."""
    return {name: value.decode("utf-8", "replace") if value else "" for name, value in headers}


def _taken(tp: TopicPartition, record: Any, data: bytes | None, error: str) -> Taken:
    if isinstance(record, Unreadable):
        return Taken(
            record.offset,
            0,
            None,
            record.reason,
            traceparent=root_of(tp.topic, tp.partition, record.offset, sample=False),
        )
    parent = state = ""
    headers = record.headers
    if headers and header(headers, "traceparent"):
        parent, state = from_headers(headers)
    if not parent and (data is not None or error):
        parent = root_of(tp.topic, tp.partition, record.offset)
        if not telemetry.samples(parent):
            parent = root_of(tp.topic, tp.partition, record.offset, sample=False)
    return Taken(
        record.offset,
        record.timestamp,
        None if error else data,
        error,
        record.key or b"",
        texts(headers) if headers else {},
        parent,
        state,
    )
