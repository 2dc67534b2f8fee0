"""The two forms of a progress record as bytes: protobuf, and JSON for those who read with `kcat` and `jq`.

Why: every transition of a task makes a record, so this is among the hottest code of an engine. To build a message field
by field, and to turn it into text by reflection, costs up to 20 us a record.

How: in both forms an encoded record is its encoded fields, joined. Most of them were seen before (of the version, the
frame, the run, the worker, a time in milliseconds): they are encoded once and kept for a while. Rare records are built
as messages and encoded whole.

It must never say anything else than the message would: tests compare both forms with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Final, Protocol

from indegree.events.codec import progress_json, rfc3339, value_text
from indegree.v1.event_pb2 import ProgressPosition
from indegree.v1.progress_pb2 import Progress
from indegree.v1.value_pb2 import Value

_KEPT = 4_096


class Form(Protocol):
    """Fields of Progress, each encoded by itself; empty where the value is 0 or empty."""

    def text(self, name: str, value: str) -> bytes: ...

    def known_text(self, name: str, value: str) -> bytes:
        """A text that comes again and again."""

    def number(self, name: str, value: int) -> bytes: ...

    def output(self, value: Value) -> bytes: ...

    def time(self, time_ms: int) -> bytes: ...

    def place(self, epoch: int, seq: int, index: int) -> bytes:
        """The field `log`."""

    def whole(self, fields: Sequence[bytes]) -> bytes:
        """The record. Each field stands once; their order has no meaning."""

    def message(self, record: Progress) -> bytes:
        """The record of a message."""


class ProtobufForm:
    """Tag, then the number, or the length and the text (protobuf.dev/programming-guides/encoding)."""

    @staticmethod
    def text(name: str, value: str) -> bytes:
        data = value.encode()
        return b"%b%b%b" % (_TAGS[name], _varint(len(data)), data) if data else b""

    known_text = staticmethod(lru_cache(_KEPT)(text))

    @staticmethod
    @lru_cache(_KEPT)
    def number(name: str, value: int) -> bytes:
        return _TAGS[name] + _varint(value) if value else b""

    @staticmethod
    def output(value: Value) -> bytes:
        data = value.SerializeToString()
        return b"%b%b%b" % (_TAGS["output"], _varint(len(data)), data)

    @staticmethod
    def time(time_ms: int) -> bytes:
        return ProtobufForm.number("time_ms", time_ms)

    @staticmethod
    def place(epoch: int, seq: int, index: int) -> bytes:
        data = _place(epoch, seq) + _varint(index)
        return b"%b%b%b" % (_TAGS["log"], _varint(len(data)), data)

    @staticmethod
    def whole(fields: Sequence[bytes]) -> bytes:
        return b"".join(fields)

    @staticmethod
    def message(record: Progress) -> bytes:
        return record.SerializeToString()


class JsonForm:
    """Members of an object, each behind a comma, of which the first is dropped."""

    @staticmethod
    def text(name: str, value: str) -> bytes:
        return f',"{name}":{quoted(value)}'.encode() if value else b""

    known_text = staticmethod(lru_cache(_KEPT)(text))

    @staticmethod
    @lru_cache(_KEPT)
    def number(name: str, value: int) -> bytes:
        return b',"%b":%d' % (name.encode(), value) if value else b""

    @staticmethod
    def output(value: Value) -> bytes:
        return f',"output":{value_text(value)}'.encode()

    @staticmethod
    @lru_cache(16)
    def time(time_ms: int) -> bytes:
        return f',"time":"{rfc3339(time_ms)}"'.encode()

    @staticmethod
    def place(epoch: int, seq: int, index: int) -> bytes:
        if not index:
            return b',"log":{"epoch":%d,"seq":%d}' % (epoch, seq)
        return b',"log":{"epoch":%d,"seq":%d,"index":%d}' % (epoch, seq, index)

    @staticmethod
    def whole(fields: Sequence[bytes]) -> bytes:
        return b"{%b}" % b"".join(fields)[1:]

    @staticmethod
    def message(record: Progress) -> bytes:
        return progress_json(record)


def _varint(number: int) -> bytes:
    """Protobuf's encoding of a number that is not negative."""
    if number < 128:
        return _ONE_BYTE[number]
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_ONE_BYTE: Final = [bytes([number]) for number in range(128)]
_TAGS: Final = {  # wire type 2 has a length, 0 is a number
    field.name: _varint(field.number << 3 | (2 if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE) else 0))
    for field in Progress.DESCRIPTOR.fields
}
_INDEX_TAG: Final = _varint(ProgressPosition.INDEX_FIELD_NUMBER << 3)


@lru_cache(64)
def _place(epoch: int, seq: int) -> bytes:
    """A ProgressPosition up to its index."""
    return ProgressPosition(epoch=epoch, seq=seq).SerializeToString() + _INDEX_TAG
