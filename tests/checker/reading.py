"""Reads a cluster's topics to their end with librdkafka, and bytes to records: the checker's only source.

JSON records are read without the engine's codec. Fields that hold a free JSON value are left out of them: the proof is
about identities and states, never about values.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
_FREE = ("params", "output", "args", "error", "payload", "time")
_LIMIT_S = 120.0  # of one topic: a million records take 5 s
_QUIET_S = 1.0  # nothing grew for so long: nobody is still writing


class Record(NamedTuple):
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | None = None


Partitions = dict[int, list[Record]]


@dataclass(slots=True)
class Records:
    """Everything of one cluster: partition to records in the order of their offsets; `tasks` by queue."""

    triggers: Partitions = field(default_factory=dict)
    commands: Partitions = field(default_factory=dict)
    results: Partitions = field(default_factory=dict)
    events: Partitions = field(default_factory=dict)
    progress: Partitions = field(default_factory=dict)
    dead_letters: Partitions = field(default_factory=dict)
    tasks: dict[str, Partitions] = field(default_factory=dict)


def parse(kind: type[M], data: bytes) -> M:
    """A record in either form. Raises ValueError (DecodeError is one of protobuf's own)."""
    if data.lstrip()[:1] != b"{":
        return kind.FromString(data)

    def known(value: Any) -> Any:
        return {k: known(v) for k, v in value.items() if k not in _FREE} if isinstance(value, dict) else value

    message = kind()
    ParseDict(known(json.loads(data)), message)
    return message


def read_cluster(bootstrap: str, cluster: str, *, quiet: bool = True) -> Records:
    """All records as of now. `quiet`: first wait (at most 15 s) until nobody writes any more.

    What follows from something else is read before it (task records and progress before events), so that whatever is
    there has its cause; and inputs last. Raises KafkaException, and TimeoutError.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    metadata = admin.list_topics(timeout=15)
    present = {name: sorted(topic.partitions) for name, topic in metadata.topics.items()}
    if f"{cluster}.events" not in present:
        raise KafkaException(f"there is no topic {cluster}.events at {bootstrap}: check the cluster's name")
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{cluster}-checker",  # librdkafka wants a name; no group is joined, nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 20,
            "queued.max.messages.kbytes": 131_072,
            "fetch.message.max.bytes": 4_194_304,
            "check.crcs": False,
        }
    )
    try:
        queues = {
            name.removeprefix(f"{cluster}.tasks."): name for name in present if name.startswith(f"{cluster}.tasks.")
        }
        names = ["progress", "dead-letter", "events", "triggers", "commands", "results"]
        if quiet:
            _wait_until_quiet(consumer, {f"{cluster}.{name}": present[f"{cluster}.{name}"] for name in names})
        tasks = {queue: _read(consumer, name, present[name]) for queue, name in queues.items()}
        found = {name: _read(consumer, f"{cluster}.{name}", present[f"{cluster}.{name}"]) for name in names}
    finally:
        consumer.close()
    found["dead_letters"] = found.pop("dead-letter")
    return Records(tasks=tasks, **found)


def _wait_until_quiet(consumer: Consumer, topics: dict[str, list[int]]) -> None:
    seen: dict[tuple[str, int], int] = {}
    deadline, since = time.monotonic() + 15, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < _QUIET_S:
        ends = {
            (name, p): consumer.get_watermark_offsets(TopicPartition(name, p), timeout=15)[1]
            for name, partitions in topics.items()
            for p in partitions
        }
        if ends != seen:
            seen, since = ends, time.monotonic()
        time.sleep(0.1)


def _read(consumer: Consumer, topic: str, partitions: list[int]) -> Partitions:
    out: Partitions = defaultdict(list)
    left: dict[int, int] = {}
    starts: list[TopicPartition] = []
    for p in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=15)
        out[p] = []
        if high > low:
            left[p] = high
            starts.append(TopicPartition(topic, p, low))
    with_headers = topic.endswith(".dead-letter")
    if starts:
        consumer.assign(starts)
    deadline = time.monotonic() + _LIMIT_S
    while left:
        for message in consumer.consume(10_000, timeout=0.2):
            if error := message.error():
                raise KafkaException(error)
            p, offset = message.partition() or 0, message.offset() or 0
            if p not in left or offset >= left[p]:
                continue
            headers = _headers(message.headers()) if with_headers else None
            out[p].append(Record(offset, message.timestamp()[1], message.key(), message.value(), headers))
            if offset + 1 >= left[p]:
                del left[p]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic}: partitions {sorted(left)} were not read to their end in {_LIMIT_S:.0f} s")
    consumer.unassign()
    return dict(out)


def _headers(found: Any) -> list[tuple[str, bytes]]:
    return [(name, value.encode() if isinstance(value, str) else value or b"") for name, value in found or ()]
