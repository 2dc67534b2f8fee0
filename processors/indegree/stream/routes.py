"""Which workflows read which topics: the triggers of the active versions, as the catalog has them.

Why: an intake routes each record of a topic to all workflows that ask for it, and has to hear of a new version at once.

How: `learn` looks at each active version that it does not know yet, and builds only those that have triggers at all. A
run trigger reads the cluster's own progress topic.

It must never answer from a catalog that is older than the records it is asked for: whoever asks has it read to its end
first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from indegree.engine.intake import Route
from indegree.events.definition import CronTrigger, Definition, KafkaTrigger
from indegree.events.topics import Topics
from indegree.stream.catalog import Catalog
from indegree.v1.trigger_pb2 import Start

log = logging.getLogger(__name__)

_NEVER = (-1, "")


@dataclass(frozen=True, slots=True)
class Reader:
    """A workflow that reads a topic. since_ms: when the first of its versions in a row that read it was activated;
    earliest: also what lies there."""

    route: Route
    since_ms: int
    earliest: bool


class Routes:
    """`of`: topic to workflow to its Reader."""

    def __init__(self, catalog: Catalog, topics: Topics) -> None:
        self._catalog, self._topics = catalog, topics
        self._known: dict[str, tuple[int, str]] = {}  # workflow -> the last activation that was looked at
        self._reads: dict[str, dict[str, Reader]] = {}  # workflow -> topic -> reader
        self._seen = -1
        self.of: dict[str, dict[str, Reader]] = {}

    async def learn(self) -> bool:
        """Looks at what has changed. True: something has. Raises CatalogUnreachable."""
        if self._catalog.changes == self._seen:
            return False
        seen, changed = self._catalog.changes, False
        for workflow, activations in self._catalog.activations().items():
            for activation in list(activations):
                if activation[0] >= self._known.get(workflow, _NEVER)[0] and activation != self._known.get(workflow):
                    changed = await self._activated(workflow, *activation) or changed
        if changed:
            self.of = {}
            for workflow, reads in sorted(self._reads.items()):
                for topic, reader in reads.items():
                    self.of.setdefault(topic, {})[workflow] = reader
        self._seen = seen
        return changed

    async def _activated(self, workflow: str, time_ms: int, version: str) -> bool:
        """True: what the workflow reads has changed."""
        before, reads = self._reads.get(workflow, {}), dict[str, Reader]()
        if self._catalog.mentions(version, b'"triggers":'):
            definition = await self._catalog.resolve(Start(workflow=workflow, version=version))
            if definition is None:
                log.warning("the active version %s of %s cannot be read: its triggers rest", version[:12], workflow)
            else:
                reads = self._of(definition, time_ms, before)
        self._known[workflow] = time_ms, version
        if reads or before:
            self._reads[workflow] = reads
        return bool(reads or before)

    def routes(self, topic: str) -> tuple[Route, ...]:
        """Those of one topic, for the core."""
        return tuple(reader.route for reader in self.of.get(topic, {}).values())

    def _of(self, definition: Definition, time_ms: int, before: Mapping[str, Reader]) -> dict[str, Reader]:
        places: dict[str, list[int]] = {}
        earliest: set[str] = set()
        for place, trigger in enumerate(definition.triggers):
            if isinstance(trigger, CronTrigger):
                continue
            topic = trigger.topic if isinstance(trigger, KafkaTrigger) else self._topics.progress
            places.setdefault(topic, []).append(place)
            if isinstance(trigger, KafkaTrigger) and trigger.begin == "earliest":
                earliest.add(topic)
        since = {topic: before[topic].since_ms if topic in before else time_ms for topic in places}
        return {t: Reader(Route.of(definition, at), since[t], t in earliest) for t, at in places.items()}
