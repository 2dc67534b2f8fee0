"""The definitions on the `workflows` topic: by content hash, by label, and the active version of each name.

Every engine reads the compacted topic once and then its tail. A definition counts when all its parts are there and what
they hold has the hash that they are filed under; it is built when it is first asked for, and kept.

Whether a start is refused as unknown must not depend on how fast we read: before `resolve` answers None it has read the
topic to its end as of a moment after the question was asked. One such reading serves all questions asked before it.

What it must never do: decide which version is active. That is the core of the partition of the workflow's name; this
topic only carries the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from bisect import insort
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from mode import Service

from indegree.engine.plan import KEPT_TASKS, keep, read_plan
from indegree.events import kafka
from indegree.events.definition import Definition, DefinitionError
from indegree.events.fetcher import Fetcher
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream import plans
from indegree.v1.trigger_pb2 import Activate, Deploy, Start
from indegree.v1.workflow_pb2 import DefinitionPart, VersionPointer

log = logging.getLogger(__name__)

_KEEP = 512  # definitions kept built; the bytes of all stay, so that any can be built again
_ACTIVATIONS = 50  # of each workflow that are remembered
_RETRY_S = 1.0
_Pointer = tuple[int, str]
"""When it was decided (owner's time), and the version."""
_NOWHERE: _Pointer = (-1, "")


class CatalogUnreachable(Exception):
    """The topic could not be read to its end; the question has to be asked again, not answered with None."""


class Catalog(Service):
    """See the module."""

    mundane_level = "debug"

    def __init__(self, settings: Settings, **service: Any) -> None:
        super().__init__(**service)
        self._settings = settings
        self._tp = TopicPartition(Topics(settings.cluster).workflows, 0)
        self._parts: dict[str, dict[int, bytes]] = {}
        self._counts: dict[str, int] = {}
        self._built: OrderedDict[str, Definition] = OrderedDict()
        self._built_tasks = 0  # of all of these
        self._bad: set[str] = set()  # complete, but not what their hash says
        self._active: dict[str, _Pointer] = {}
        self._labels: dict[tuple[str, str], _Pointer] = {}
        self._heard_of: dict[str, list[_Pointer]] = {}
        self.changes = 0
        """Counts every change of an active version."""
        self._current_as_of = float("-inf")  # the topic's end as of this moment has been read (monotonic)
        self._ask = asyncio.Event()
        self._answered = asyncio.Event()

    # -- questions

    async def resolve(self, what: Start | Deploy | Activate, asked_at: float | None = None) -> Definition | None:
        """The definition that a start, a deploy or an activate names; None: there is none as of now.

        `asked_at`: monotonic time when the record was received. Blocks only where the answer is not known; raises
        CatalogUnreachable when the topic cannot be read within 10 s.
        """
        found = await self._find(what)
        if found is None:
            await self.read_to_end(time.monotonic() if asked_at is None else asked_at)
            found = await self._find(what)
        return found

    async def _find(self, what: Start | Deploy | Activate) -> Definition | None:
        version = self._version(what)
        parts = self._parts.get(version, {})
        if version not in self._built and sum(map(len, parts.values())) > plans.LARGE and self._whole(version):
            # seconds of work: not on the loop that renews the lease; and then the core's part of it is done as well
            packed = b"".join(parts[i] for i in sorted(parts))
            plan = await plans.prepare(version, packed, self._settings.limits.definition_bytes)
            if plan is not None:
                self._keep(version, plan.definition)
        return self.by_hash(version)

    def find(self, what: Start | Deploy | Activate) -> Definition | None:
        """The same from what has been read so far."""
        return self.by_hash(self._version(what))

    def activations(self) -> dict[str, Sequence[tuple[int, str]]]:
        """Workflow to (when it was activated, version) of the latest of its activations, in order; the last is the
        active one."""
        return dict(self._heard_of)

    def mentions(self, version: str, field: bytes) -> bool:
        """Whether the canonical text of a version holds these bytes: a cheap look before it is built."""
        parts = self._parts.get(version)
        if parts is None or len(parts) < self._counts[version]:
            return True  # not known yet: ask `resolve`
        packed = zlib.decompressobj()
        try:
            return field in packed.decompress(
                b"".join(parts[i] for i in sorted(parts)), self._settings.limits.definition_bytes
            )
        except zlib.error:
            return True

    def by_hash(self, version: str) -> Definition | None:
        definition = self._built.get(version)
        if definition is not None:
            self._built.move_to_end(version)
            return definition
        if not self._whole(version):
            return None
        definition = self._build(version, self._parts[version])
        if definition is None:
            self._bad.add(version)
            return None
        self._keep(version, definition)
        return definition

    def _whole(self, version: str) -> bool:
        parts = self._parts.get(version)
        return parts is not None and len(parts) >= self._counts[version] and version not in self._bad

    def _keep(self, version: str, definition: Definition) -> None:
        if version not in self._built:
            self._built_tasks += definition.graph.n
        self._built[version] = definition
        while len(self._built) > 1 and (len(self._built) > _KEEP or self._built_tasks > KEPT_TASKS):
            self._built_tasks -= self._built.popitem(last=False)[1].graph.n

    def _version(self, what: Start | Deploy | Activate) -> str:
        if what.version:
            return what.version
        if what.label:
            return self._labels.get((what.workflow, what.label), _NOWHERE)[1]
        return self._active.get(what.workflow, _NOWHERE)[1] if isinstance(what, Start) else ""

    async def read_to_end(self, as_of: float) -> None:
        """Waits until the topic's end as of `as_of` (monotonic) has been read. Raises CatalogUnreachable."""
        deadline = time.monotonic() + 10
        while self._current_as_of < as_of:
            self._answered.clear()
            self._ask.set()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._answered.wait()
            except TimeoutError:
                raise CatalogUnreachable(f"{self._tp.topic} could not be read to its end within 10 s") from None

    # -- reading

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            try:
                await self._follow()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - Kafka away: questions wait, and are told so
                log.warning("reading %s: %s: %s; tries again", self._tp.topic, type(error).__name__, error)
                await self.sleep(_RETRY_S)

    async def _follow(self) -> None:
        # two connections: a broker would answer a question for the end behind a fetch that waits for records
        client, asker = kafka.consumer(self._settings, fetch_max_wait_ms=500), kafka.consumer(self._settings)
        try:
            await kafka.start(client, self._settings)
            await kafka.start(asker, self._settings)
            begin = (await asker.beginning_offsets([self._tp]))[self._tp]
            await kafka.assign(client, {self._tp: begin})
            fetcher = Fetcher(client, compacted=True)
            fetcher.begin(self._tp, begin)
            self._ask.set()
            waiter = asyncio.ensure_future(self._ask.wait())
            fetching = asyncio.ensure_future(fetcher.many(5000))
            try:
                while not self.should_stop:
                    await asyncio.wait([waiter, fetching], return_when=asyncio.FIRST_COMPLETED)
                    if fetching.done():
                        self._take(fetching.result())
                        fetching = asyncio.ensure_future(fetcher.many(5000))
                    if waiter.done():
                        self._ask.clear()  # before the work: who asks during it is answered by the next round
                        as_of = time.monotonic()
                        end = (await asker.end_offsets([self._tp]))[self._tp]
                        while await client.position(self._tp) < end or (fetching.done() and fetching.result()):
                            await asyncio.wait([fetching], timeout=1)
                            if fetching.done():
                                self._take(fetching.result())
                                fetching = asyncio.ensure_future(fetcher.many(5000))
                        self._current_as_of = as_of
                        self._answered.set()
                        waiter = asyncio.ensure_future(self._ask.wait())
            finally:
                waiter.cancel()
                fetching.cancel()
        finally:
            await client.stop()
            await asker.stop()

    def _take(self, fetched: dict[TopicPartition, list[Any]]) -> None:
        for records in fetched.values():
            for record in records:
                self.heard(record.key, record.value)

    def heard(self, key: bytes | None, value: bytes | None) -> None:
        """One record of the topic. Bytes that are not what their key says are left out, with a word."""
        name = (key or b"").decode("utf-8", "replace")
        head, _, rest = name.partition("/")
        try:
            if head == "active":
                self._point(self._active, rest, value)
                if rest in self._active:
                    self._activated(rest, self._active[rest])
            elif head == "label":
                workflow, _, label = rest.partition("/")
                self._point(self._labels, (workflow, label), value)
            elif head == "history" and value is not None:
                line = VersionPointer.FromString(value)
                if line.what in ("activated", "rolled_back"):  # the rest is for people
                    self._activated(line.workflow, (line.time_ms, line.version))
            elif rest and value is not None:
                part = DefinitionPart.FromString(value)
                if head != part.version or not 0 <= part.part < part.parts:
                    raise ValueError("its key does not match")
                self._parts.setdefault(part.version, {})[part.part] = part.data
                self._counts[part.version] = part.parts
                self._bad.discard(part.version)
        except Exception as error:  # noqa: BLE001 - somebody else's bytes
            log.warning("a record of %s with key %r is left out: %s", self._tp.topic, name, error)

    def _activated(self, workflow: str, pointer: _Pointer) -> None:
        known = self._heard_of.setdefault(workflow, [])
        if pointer not in known:
            insort(known, pointer, key=lambda at: at[0])
            del known[:-_ACTIVATIONS]
            self.changes += 1

    @staticmethod
    def _point(table: dict[Any, _Pointer], key: Any, value: bytes | None) -> None:
        if value is None:
            table.pop(key, None)
            return
        pointer = VersionPointer.FromString(value)
        # An owner that was cut off may be heard after the next one. Both wrote the time of the decision, which only
        # grows from one owner to the next; of one time the last one counts.
        if pointer.time_ms >= table.get(key, _NOWHERE)[0]:
            table[key] = pointer.time_ms, pointer.version

    def _build(self, version: str, parts: dict[int, bytes]) -> Definition | None:
        try:
            packed = b"".join(parts[i] for i in range(len(parts)))
            return keep(read_plan(version, packed, self._settings.limits.definition_bytes)).definition
        except (ValueError, KeyError, zlib.error, DefinitionError) as error:
            log.warning("definition %s of %s cannot be used: %s", version[:12], self._tp.topic, error)
            return None
