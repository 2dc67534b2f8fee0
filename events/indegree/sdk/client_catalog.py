"""The workflows topic as a client sees it: definitions, active versions and labels, and publishing new ones.

Why: a client checks what it can before it sends (an unknown name, a missing parameter), publishes a definition only
where it is new, and the command line lists and shows versions. The topic is compacted and small: it is read whole.

How: one consumer that stays open; `refresh()` reads from where it stands to the end as of that moment. A definition is
complete when all its parts are there and the inflated text has the hash that names it.

It must never decide which version is active: the owner of the name's partition does, and publishes it here.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from indegree.events import codec, kafka
from indegree.events.definition import Definition
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.v1.workflow_pb2 import ClusterSettings, DefinitionPart, VersionPointer

from .client_errors import ClientError
from .client_reading import open_reader

PART_BYTES = 256 * 1024  # DESIGN section 3: small enough for any broker's record limit


@dataclass(frozen=True, slots=True)
class Pointer:
    """An active version or a label: what it points to, who set it, and when (milliseconds since the epoch)."""

    workflow: str
    version: str
    label: str
    actor: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Done:
    """A line of a workflow's history. `what`: "deployed", "activated" or "rolled_back"; time in ms since the epoch."""

    what: str
    version: str
    label: str
    actor: str
    time_ms: int


def definition_records(definition: Definition) -> list[kafka.Record]:
    """The records that publish a definition: its canonical JSON, compressed, in parts."""
    slices = list(kafka.chunks(zlib.compress(definition.canonical(), 6), PART_BYTES))
    return [
        (
            f"{definition.hash}/{number}".encode(),
            DefinitionPart(
                version=definition.hash, workflow=definition.id, part=number, parts=len(slices), data=data
            ).SerializeToString(),
            [],
        )
        for number, data in enumerate(slices)
    ]


def _place(key: str) -> tuple[int, int]:
    """Where a line of the history stands: time, then number of NAME/TIME-NUMBER."""
    time_ms, _, number = key.rpartition("/")[2].partition("-")
    return (int(time_ms), int(number)) if time_ms.isdecimal() and number.isdecimal() else (0, 0)


class Catalog:
    """What lies on the workflows topic as of the last `refresh`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = Topics(settings.cluster).workflows
        self._consumer: Any = None
        self._reading = asyncio.Lock()  # one consumer, read by whoever refreshes
        self._parts: dict[str, dict[int, DefinitionPart]] = {}
        self._made: dict[str, Definition] = {}
        self.active: dict[str, Pointer] = {}
        self.labels: dict[tuple[str, str], Pointer] = {}
        self._history: dict[str, dict[str, Done]] = {}  # workflow to its history by the record's key
        self.partitions = 0  # of the cluster, 0 where not recorded
        self.published_ms: dict[str, int] = {}  # version to the time of its last part's record

    async def start(self) -> None:
        """Opens the reader and reads everything once."""
        self._consumer, _ = await open_reader(self._settings, self._topic)
        tp = TopicPartition(self._topic, 0)
        first = (await self._consumer.beginning_offsets([tp]))[tp]
        await kafka.assign(self._consumer, {tp: first})
        await self.refresh()

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def refresh(self) -> None:
        """Reads up to the end as of now."""
        tp = TopicPartition(self._topic, 0)
        async with self._reading:
            ends = await self._consumer.end_offsets([tp])
            async for _, records in kafka.read_range(self._consumer, ends):
                for record in records:
                    self._take(record)

    def _take(self, record: Any) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        head, _, rest = key.partition("/")
        if head == "cluster" and record.value:
            self.partitions = codec.decode(ClusterSettings, record.value).partitions
        elif head == "active":
            self._point(self.active, rest, record.value)
        elif head == "label":
            workflow, _, label = rest.partition("/")
            self._point(self.labels, (workflow, label), record.value)
        elif head == "history" and record.value:
            said = codec.decode(VersionPointer, record.value)
            done = Done(said.what, said.version, said.label, said.actor, said.time_ms)
            self._history.setdefault(said.workflow, {})[rest] = done
        elif record.value:
            part = codec.decode(DefinitionPart, record.value)
            self._parts.setdefault(part.version, {})[part.part] = part
            self.published_ms[part.version] = record.timestamp

    @staticmethod
    def _point(pointers: dict[Any, Pointer], key: Any, value: bytes | None) -> None:
        if not value:
            pointers.pop(key, None)
            return
        said = codec.decode(VersionPointer, value)
        pointers[key] = Pointer(said.workflow, said.version, said.label, said.actor, said.time_ms)

    def has(self, version: str) -> bool:
        """Whether all parts of this version are there."""
        parts = self._parts.get(version)
        return parts is not None and len(parts) == next(iter(parts.values())).parts

    def definition(self, version: str) -> Definition | None:
        """The definition with this hash; None where it is not there or not complete. Raises ClientError if broken."""
        if version in self._made:
            return self._made[version]
        if not self.has(version):
            return None
        parts = self._parts[version]
        try:
            text = zlib.decompress(b"".join(parts[number].data for number in range(len(parts))))
            made = Definition.from_canonical(text)
        except (zlib.error, KeyError, ValueError) as problem:
            raise ClientError(f"version {version} on {self._topic} cannot be read: {problem}") from problem
        if made.hash != version:
            raise ClientError(f"version {version} on {self._topic} has the content of {made.hash}: it was altered")
        self._made[version] = made
        return made

    def versions(self, workflow: str) -> Sequence[str]:
        """The complete versions of this name, oldest publication first."""
        mine = [
            version
            for version, parts in self._parts.items()
            if next(iter(parts.values())).workflow == workflow and self.has(version)
        ]
        return sorted(mine, key=lambda version: self.published_ms[version])

    def history(self, workflow: str) -> list[Done]:
        """What was done to this name, oldest first. A release that kept no history left none."""
        done = self._history.get(workflow, {})
        return [done[key] for key in sorted(done, key=_place)]

    def names(self) -> list[str]:
        """The names of all workflows with a complete version or an active one, sorted."""
        found = {next(iter(parts.values())).workflow for parts in self._parts.values()}
        return sorted(found | set(self.active))

    def resolve(self, workflow: str, version: str = "", label: str = "") -> str:
        """The hash that (version | label | active) stands for, empty where unknown. A version may be shortened to 7."""
        if version:
            if len(version) < 64:
                near = [known for known in self.versions(workflow) if known.startswith(version)]
                return near[0] if len(near) == 1 and len(version) >= 7 else ""
            return version
        pointer = self.labels.get((workflow, label)) if label else self.active.get(workflow)
        return pointer.version if pointer is not None else ""
