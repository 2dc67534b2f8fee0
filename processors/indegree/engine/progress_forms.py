"""The two forms of a progress record as bytes: protobuf, and JSON for those who read with `kcat` and `jq`.

Why: every transition of a task makes a record, so this is among the hottest code of an engine. To build a message, fill
in what is the same for all tasks of a version, and turn it into text by reflection costs up to 20 us.

How: what a task's record says of its workflow and kind is encoded once and kept; protobuf lets encoded pieces of a
message be joined, and so does JSON. All rarer records are built as messages and encoded whole (`message`).

It must never say anything else than the message would: tests compare both forms with it.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring as quoted
from typing import Final, Generic, Protocol, TypeVar

from indegree.engine.kinds import Kind
from indegree.engine.plan import Plan
from indegree.engine.state import Run
from indegree.events.codec import progress_json, rfc3339, value_text
from indegree.v1.event_pb2 import Event, ProgressPosition
from indegree.v1.progress_pb2 import Progress

TASK_TYPES: Final = {
    Kind.TASK_QUEUED: ("task.queued", "QUEUED"),
    Kind.TASK_STARTED: ("task.running", "RUNNING"),
    Kind.TASK_SUCCEEDED: ("task.success", "SUCCESS"),
    Kind.TASK_RETRYING: ("task.retrying", "RETRYING"),
    Kind.TASK_FAILED: ("task.failed", "FAILED"),
    Kind.TASK_SKIPPED: ("task.skipped", "SKIPPED"),
    Kind.TASK_CANCELLED: ("task.cancelled", "CANCELLED"),
    Kind.TASK_REJECTED: ("task.queued", "QUEUED"),
}
"""Type and state of a task's record."""

PLAIN: Final = frozenset({Kind.TASK_QUEUED, Kind.TASK_STARTED, Kind.TASK_SUCCEEDED})
"""Kinds that `task` encodes: those of a task that goes well."""

_HEADS_MAX = 3_000


class Form(Protocol):
    """Encodes the records of one frame after the other."""

    def frame(self, epoch: int, seq: int, time_ms: int) -> None:
        """The following records are of this frame."""

    def task(self, event: Event, kind: int, run: Run, id: str, position: int, index: int) -> bytes:
        """One of the PLAIN kinds. `index`: its number in the frame."""

    def message(self, record: Progress) -> bytes:
        """Any record."""


_Piece = TypeVar("_Piece", bytes, str)


class _Heads(Generic[_Piece]):
    """By version and kind: what all records of its tasks share. `make(plan, type, state)`."""

    def __init__(self, make: Callable[[Plan, str, str], _Piece]) -> None:
        self._make: Callable[[Plan, str, str], _Piece] = make
        self._known: dict[tuple[str, int], _Piece] = {}

    def of(self, plan: Plan, kind: int) -> _Piece:
        head = self._known.get((plan.version, kind))
        if head is None:
            if len(self._known) >= _HEADS_MAX:
                self._known.clear()
            head = self._known[plan.version, kind] = self._make(plan, *TASK_TYPES[kind])
        return head


class ProtobufForm:
    """A record is three encoded pieces of it, joined: the head, the place in the log, and what is its own."""

    _LOG = bytes([Progress.LOG_FIELD_NUMBER << 3 | 2])  # tag of a field with a length
    _INDEX = bytes([ProgressPosition.INDEX_FIELD_NUMBER << 3])  # tag of a number

    def __init__(self) -> None:
        self._heads = _Heads(
            lambda plan, type, state: Progress(
                type=type, state=state, workflow=plan.workflow, version=plan.version
            ).SerializeToString()
        )
        self._frame = b""
        self._time_ms = 0

    def frame(self, epoch: int, seq: int, time_ms: int) -> None:
        self._frame = ProgressPosition(epoch=epoch, seq=seq).SerializeToString() + self._INDEX
        self._time_ms = time_ms

    def task(self, event: Event, kind: int, run: Run, id: str, position: int, index: int) -> bytes:
        plan = run.plan
        record = Progress(
            id=id,
            run_id=run.run_id,
            task_id=plan.ids[event.task],
            attempt=event.attempt,
            position=position,
            time_ms=self._time_ms,
            traceparent=run.traceparent,
        )
        if kind != Kind.TASK_QUEUED:
            record.worker = event.worker
            record.started_ms = event.started_ms
            if kind == Kind.TASK_SUCCEEDED:
                record.finished_ms = event.finished_ms
                if event.HasField("value"):
                    record.output.CopyFrom(event.value)
        place = self._frame + _varint(index)
        return b"".join((self._heads.of(plan, kind), self._LOG, _varint(len(place)), place, record.SerializeToString()))

    def message(self, record: Progress) -> bytes:
        return record.SerializeToString()


class JsonForm:
    """Members of a JSON object, joined. Ids have been checked by a pattern: they need no escapes."""

    def __init__(self) -> None:
        self._heads = _Heads(
            lambda plan, type, state: (
                f',"type":"{type}","workflow":{quoted(plan.workflow)},"version":"{plan.version}","state":"{state}"'
            )
        )
        self._frame = ""
        self._time = ""

    def frame(self, epoch: int, seq: int, time_ms: int) -> None:
        self._frame = f'"epoch":{epoch},"seq":{seq}'
        self._time = rfc3339(time_ms)

    def task(self, event: Event, kind: int, run: Run, id: str, position: int, index: int) -> bytes:
        plan = run.plan
        parts = [
            f'{{"id":"{id}","run_id":"{run.run_id}"{self._heads.of(plan, kind)}',
            f',"task_id":{quoted(plan.ids[event.task])}',
        ]
        if attempt := event.attempt:  # as everywhere in this form: what is 0 or empty is left out
            parts.append(f',"attempt":{attempt}')
        parts.append(f',"position":{position},"log":{{{self._frame}' + (f',"index":{index}}}' if index else "}"))
        if kind != Kind.TASK_QUEUED:
            self._add_outcome(parts, event, kind)
        if run.traceparent:
            parts.append(f',"traceparent":{quoted(run.traceparent)}')
        parts.append(f',"time":"{self._time}"}}')
        return "".join(parts).encode()

    @staticmethod
    def _add_outcome(parts: list[str], event: Event, kind: int) -> None:
        if kind == Kind.TASK_SUCCEEDED and event.HasField("value"):
            parts.append(f',"output":{value_text(event.value)}')
        if worker := event.worker:
            parts.append(f',"worker":{quoted(worker)}')
        if started_ms := event.started_ms:
            parts.append(f',"started_ms":{started_ms}')
        if kind == Kind.TASK_SUCCEEDED and (finished_ms := event.finished_ms):
            parts.append(f',"finished_ms":{finished_ms}')

    def message(self, record: Progress) -> bytes:
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
