"""The two forms of a progress record as bytes: protobuf, and JSON for those who read with `kcat` and `jq`.

Why: every transition of a task makes a record, so this is among the hottest code of an engine. To build a message field
by field, and to turn it into text by reflection, costs up to 20 us a record.

How: in both forms an encoded record is its encoded fields, joined. What many records share (of a version and task, a
run, a worker and millisecond) is encoded once; only the id and the two numbers that each record has for itself are put
between. Rare records are built as messages and encoded whole.

It must never say anything else than the message would: tests compare both forms with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Any, Final

from indegree.events.codec import progress_json, rfc3339, value_text
from indegree.v1.event_pb2 import ProgressPosition
from indegree.v1.progress_pb2 import Progress

_KEPT = 4_096


class Form(ABC):
    """Encodes the records of one frame after the other. Fields that are 0 or empty are left out.

    head(workflow, version, type, state, task_id, attempt), end(worker, started_ms, finished_ms): these fields, encoded
    """

    def __init__(self) -> None:
        self.head = lru_cache(_KEPT)(self._head)
        self.end = lru_cache(_KEPT)(self._end)

    def _head(self, workflow: str, version: str, type: str, state: str, task_id: str, attempt: int) -> bytes:
        return self.fields(workflow=workflow, version=version, type=type, state=state, task_id=task_id, attempt=attempt)

    def _end(self, worker: str, started_ms: int, finished_ms: int) -> bytes:
        return self.fields(worker=worker, started_ms=started_ms, finished_ms=finished_ms)

    @abstractmethod
    def fields(self, **fields: Any) -> bytes:
        """Fields of Progress: texts, numbers and values."""

    @abstractmethod
    def frame(self, epoch: int, seq: int) -> None:
        """The following records are of this frame."""

    @abstractmethod
    def record(self, head: bytes, of_run: bytes, own: bytes, id: bytes, position: int, index: int) -> bytes:
        """A record: encoded fields, its id, its position in the run and its number in the frame."""

    @abstractmethod
    def message(self, record: Progress) -> bytes:
        """The record of a message."""


class ProtobufForm(Form):
    """A field is its tag, then the number, or the length and the text."""

    def frame(self, epoch: int, seq: int) -> None:
        place = ProgressPosition(epoch=epoch, seq=seq).SerializeToString() + _INDEX
        self._logs = [_LOG + _varint(len(place) + size) + place for size in range(4)]  # by the size of the index

    def fields(self, **fields: Any) -> bytes:
        return Progress(**fields).SerializeToString()

    def record(self, head: bytes, of_run: bytes, own: bytes, id: bytes, position: int, index: int) -> bytes:
        number = _varint(index)
        log = self._logs[len(number)]
        return b"".join((_ID, _varint(len(id)), id, head, of_run, _POSITION, _varint(position), log, number, own))

    def message(self, record: Progress) -> bytes:
        return record.SerializeToString()


class JsonForm(Form):
    """Members of an object, each behind a comma."""

    def frame(self, epoch: int, seq: int) -> None:
        self._log = b',"log":{"epoch":%d,"seq":%d' % (epoch, seq)

    def fields(self, **fields: Any) -> bytes:
        parts = []
        for name, value in fields.items():
            if name == "time_ms":
                parts.append(f',"time":"{rfc3339(value)}"')
            elif name in ("output", "params"):
                parts.append(f',"{name}":{value_text(value)}')
            elif value:
                parts.append(f',"{name}":{quoted(value) if isinstance(value, str) else value}')
        return "".join(parts).encode()

    def record(self, head: bytes, of_run: bytes, own: bytes, id: bytes, position: int, index: int) -> bytes:
        number = b',"index":%d' % index if index else b""
        return b'{"id":"%b"%b%b,"position":%d%b%b}%b}' % (id, head, of_run, position, self._log, number, own)

    def message(self, record: Progress) -> bytes:
        return progress_json(record)


def _encode_varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL: Final = [_encode_varint(number) for number in range(5_000)]


def _varint(number: int) -> bytes:
    """Protobuf's encoding of a number that is not negative."""
    return _SMALL[number] if number < 5_000 else _encode_varint(number)


def _tag(name: str) -> bytes:
    field = Progress.DESCRIPTOR.fields_by_name[name]
    return _varint(field.number << 3 | (2 if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE) else 0))


_ID, _POSITION, _LOG = _tag("id"), _tag("position"), _tag("log")
_INDEX = _varint(ProgressPosition.INDEX_FIELD_NUMBER << 3)
