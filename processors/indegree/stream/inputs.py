"""Bytes of an input record to what the core takes: decoded, with its origin, and with the definition that it names.

A record that cannot be read is not an error of ours: it comes out with the reason, and the core refuses it. A tombstone
comes out as one. The only thing that may block is a definition that is not known yet (catalog.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from indegree.engine.past import Reopened
from indegree.events import telemetry
from indegree.events.codec import Undecodable, decode_command, decode_result, decode_trigger
from indegree.events.definition import Definition
from indegree.events.topics import RESULTS, TRIGGERS, Topics
from indegree.events.trace import from_headers, root_of
from indegree.stream.catalog import Catalog
from indegree.stream.transport import Unreadable
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Activate, Command, Deploy, Origin, Start


@dataclass(slots=True)
class Decoded:
    """Exactly one of `start`, `command`, `result`, `tombstone`, `reason` is set. `origin` belongs to the first two.

    reopened: the run that has ended and that the command would have begin again, once it has been read back
    """

    start: Start | None = None
    command: Command | None = None
    result: Result | None = None
    origin: Origin = field(default_factory=Origin)
    definition: Definition | None = None
    tombstone: bool = False
    reason: str | None = None
    reopened: Reopened | None = None


_TOMBSTONE = Decoded(tombstone=True)
_BRACE = ord("{")  # begins the JSON form


class InputReader:
    """Of one partition."""

    def __init__(self, topics: Topics, number: int, catalog: Catalog, previous: Callable[[str], str]) -> None:
        """`previous`: the version that was active before the present one, by the core's word."""
        self._topics, self._number, self._catalog = topics.inputs, number, catalog
        self._previous = previous
        self.received_at = time.monotonic()
        """When the newest of the records at hand had been fetched: an unknown name is looked up as of then."""

    @staticmethod
    def result(record: Any) -> Result | None:
        """The result that a record of `results` holds, without the detour of `read`; None: ask `read`."""
        value: bytes | None = record.value
        if not value or value[0] == _BRACE:
            return None
        try:
            return decode_result(value)
        except Undecodable:
            return None

    async def read(self, index: int, record: Any) -> Decoded:
        """`record`: an aiokafka record of the input topic `index`. Raises CatalogUnreachable."""
        if isinstance(record, Unreadable):
            return Decoded(reason=record.reason)
        value: bytes | None = record.value
        if value is None:
            return _TOMBSTONE
        try:
            if index == RESULTS:
                return Decoded(result=decode_result(value))
            if index == TRIGGERS:
                start = decode_trigger(value).start
                definition = await self._catalog.resolve(start, self.received_at)
                return Decoded(start=start, origin=self._origin(index, record), definition=definition)
            command = decode_command(value)
        except Undecodable as error:
            return Decoded(reason=str(error))
        return Decoded(command=command, origin=self._origin(index, record), definition=await self._definition(command))

    async def _definition(self, command: Command) -> Definition | None:
        named = names_definition(command)
        if isinstance(named, Activate) and named.rollback:
            version = self._previous(named.workflow)
            named = Activate(workflow=named.workflow, version=version) if version else None
        return None if named is None else await self._catalog.resolve(named, self.received_at)

    def _origin(self, index: int, record: Any) -> Origin:
        parent, state = from_headers(record.headers)
        if not parent:
            parent = root_of(self._topics[index], self._number, record.offset)
            if not telemetry.samples(parent):  # decided once, and kept with the run
                parent = root_of(self._topics[index], self._number, record.offset, sample=False)
        return Origin(
            topic=self._topics[index],
            partition=self._number,
            offset=record.offset,
            timestamp_ms=max(0, record.timestamp),
            traceparent=parent,
            tracestate=state,
            key=record.key or b"",
        )


def names_definition(command: Command) -> Start | Deploy | Activate | None:
    """The part of a command that names a definition, however deep a message between partitions holds it."""
    match command.WhichOneof("command"):
        case "deploy":
            return command.deploy
        case "activate":
            return command.activate
        case "message":
            if command.message.WhichOneof("content") == "start":
                return command.message.start.start
            return names_definition(command.message.command)
        case _:
            return None
