"""Reads values out of one partition of the payloads topic: many in one pass, told apart by their parts.

Why: a value over 512 KiB lies in several records, and those of two writers may lie between each other. A list that a
mapped task gathered names thousands of values that lie close together: one seek for each would read the topic many
times over.

How: a part carries what it belongs to (`value`, chosen by its writer) and its place (`part`) in its headers; the record
at a reference's offset says which value that is. `scan` goes over the partition once in the order of offsets, keeps the
parts of what was asked for, leaves out all others, and seeks only over wide gaps.

It must never give out a value whose size or digest is not that of its reference, and never wait for a part that can not
come: a value is named only after all of its parts were acknowledged, so the end of the log as of now is the bound.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from indegree.events import codec
from indegree.v1.value_pb2 import Reference

Place: TypeAlias = tuple[int, int, bytes]
"""Partition, offset and digest: what makes two references the same value."""

VALUE, PART = "value", "part"  # headers of a part
ANSWER_S = 30.0  # without any record, before it is given up
_POLL_MS = 500
_AT_THE_END_S = 2.0  # without a record there: right after its election a leader may not show the last ones yet
_WIDE = 64  # records between two values, from which a seek costs less than reading over them
_IN_A_THREAD = 1_048_576  # bytes from which a digest is not made on the loop: some milliseconds


class PayloadLost(Exception):
    """A value cannot be had any more: deleted by retention, damaged, or not what its reference says."""


def place_of(reference: Reference) -> Place:
    """See Place."""
    return reference.partition, reference.offset, reference.sha256


def told(reference: Reference) -> str:
    """How a reference is named in errors."""
    return f"the value of {reference.size} bytes in payloads partition {reference.partition} at {reference.offset}"


@dataclass(slots=True)
class _Open:
    """A value of which the first part was read."""

    reference: Reference
    parts: dict[int, bytes] = field(default_factory=dict)
    size: int = 0

    def add(self, number: int, data: bytes) -> bool:
        """Whether it is whole now. A repeated part (its producer tried again) changes nothing. Raises PayloadLost."""
        reference = self.reference
        if number not in self.parts:
            self.size += len(data)
            if not 0 <= number < reference.parts or self.size > reference.size:
                raise PayloadLost(f"{told(reference)} is damaged: it has more than its {reference.parts} parts")
            self.parts[number] = data
        return len(self.parts) == reference.parts


async def scan(
    client: AIOKafkaConsumer, tp: TopicPartition, references: Iterable[Reference], within_s: float = ANSWER_S
) -> dict[Place, bytes]:
    """The bytes of each reference, all of which are of this partition. `client` is assigned to it, alone or with
    others that are paused.

    Raises PayloadLost for the first that cannot be had, TimeoutError when Kafka gives nothing for `within_s` seconds,
    and what aiokafka raises.
    """
    ahead = deque(sorted({place_of(r): r for r in references}.values(), key=lambda r: r.offset))
    found: dict[Place, bytes] = {}
    opened: dict[bytes, list[_Open]] = {}
    at, end = -1, -1
    silent_s = 0.0
    while ahead or opened:
        if not opened and (at < 0 or ahead[0].offset > at + _WIDE):
            at = ahead[0].offset
            client.seek(tp, at)
        expecting = next(iter(opened.values()))[0].reference if opened else ahead[0]
        try:
            records = (await client.getmany(tp, timeout_ms=_POLL_MS)).get(tp, [])
        except OffsetOutOfRangeError:
            raise PayloadLost(f"{told(expecting)} {await _gone(client, tp, at)}") from None
        for record in records:
            at = record.offset + 1
            await _take(record, ahead, opened, found)
        silent_s = 0.0 if records else silent_s + _POLL_MS / 1000
        if not records or (opened and end < 0):
            end = (await client.end_offsets([tp]))[tp]
        if at > end and opened if records else at >= end and silent_s >= _AT_THE_END_S:
            expecting = next(iter(opened.values()))[0].reference if opened else expecting
            raise PayloadLost(f"{told(expecting)} is not whole: {tp.topic} ends at {end}")
        if silent_s >= within_s:
            raise TimeoutError(f"{told(expecting)}: Kafka has given nothing of {tp.topic} for {within_s:g} s")
    return found


async def _take(
    record: Any, ahead: deque[Reference], opened: dict[bytes, list[_Open]], found: dict[Place, bytes]
) -> None:
    """One record: the beginning of what was asked for, a part of what is open, or somebody else's."""
    belongs = _belongs(record)
    while ahead and ahead[0].offset <= record.offset:
        reference = ahead.popleft()
        if reference.offset != record.offset or record.key != reference.sha256 or _part(record) != 0:
            raise PayloadLost(f"{told(reference)} is not there: the topic was made anew, or the reference is wrong")
        opened.setdefault(belongs, []).append(_Open(reference))
    waiting = opened.get(belongs)
    if waiting is None:
        return
    number, data = _part(record), record.value or b""
    left = []
    for value in waiting:
        if value.add(number, data):
            found[place_of(value.reference)] = await _whole(value)
        else:
            left.append(value)
    if left:
        opened[belongs] = left
    else:
        del opened[belongs]


def _belongs(record: Any) -> bytes:
    """Which value a part is of. A writer that sends no header has values of one part."""
    for name, data in record.headers:
        if name == VALUE:
            return bytes(data)
    return b"%d" % record.offset


def _part(record: Any) -> int:
    """Its place in its value, from 0; -1 for what is no number."""
    text = codec.header(record.headers, PART) or "0"
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


async def _whole(value: _Open) -> bytes:
    """All of it, if it is what the reference says. Raises PayloadLost."""
    reference, parts = value.reference, value.parts
    data = parts[0] if len(parts) == 1 else b"".join(parts[number] for number in sorted(parts))
    if len(data) != reference.size:
        raise PayloadLost(f"{told(reference)} is damaged: it has {len(data)} bytes")
    digest = await digest_of(data)
    if digest != reference.sha256:
        raise PayloadLost(
            f"{told(reference)} is damaged: its SHA-256 is {digest.hex()[:12]}, not {reference.sha256.hex()[:12]}"
        )
    return data


async def digest_of(data: bytes) -> bytes:
    """SHA-256; of large data in a thread."""
    if len(data) < _IN_A_THREAD:
        return hashlib.sha256(data).digest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).digest())


async def _gone(client: AIOKafkaConsumer, tp: TopicPartition, at: int) -> str:
    begins: Mapping[TopicPartition, int] = await client.beginning_offsets([tp])
    if at < begins[tp]:
        return f"was deleted: {tp.topic} begins at {begins[tp]} (setting engine.history_days says what is kept)"
    return f"is not there: {tp.topic} begins at {begins[tp]} and ends before it"
