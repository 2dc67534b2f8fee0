"""Which workflows read which topics, as versions come and go."""

from __future__ import annotations

import asyncio
import zlib
from pathlib import Path
from typing import Any

from indegree.events.definition import Definition
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.catalog import Catalog
from indegree.stream.routes import Routes
from indegree.v1.workflow_pb2 import DefinitionPart, VersionPointer


class Known:
    """A catalog that is told by hand, and routes on top of it."""

    def __init__(self) -> None:
        settings = Settings.load(folder=Path("/nonexistent"), environ={})
        self.catalog = Catalog(settings)
        self.routes = Routes(self.catalog, Topics(settings.cluster))

    def activate(self, time_ms: int, workflow: str, *topics: str, point: str = "active", **trigger: Any) -> None:
        definition = Definition.from_normal(
            {
                "id": workflow,
                "tasks": [{"id": f"at{time_ms}"}],
                "triggers": [{"kafka": {"topic": topic, **trigger}} for topic in topics],
            }
        )
        part = DefinitionPart(version=definition.hash, workflow=workflow, parts=1)
        part.data = zlib.compress(definition.canonical())
        self.catalog.heard(f"{definition.hash}/0".encode(), part.SerializeToString())
        pointer = VersionPointer(workflow=workflow, version=definition.hash, time_ms=time_ms)
        pointer.what = "activated" if point == "history" else ""
        key = f"{point}/{workflow}" + (f"/{time_ms}-1" if point == "history" else "")
        self.catalog.heard(key.encode(), pointer.SerializeToString())

    def learn(self) -> dict[str, dict[str, int]]:
        """Topic to workflow to since when."""
        asyncio.run(self.routes.learn())
        return {topic: {w: r.since_ms for w, r in readers.items()} for topic, readers in self.routes.of.items()}


def test_a_topic_is_routed_to_every_workflow_that_reads_it() -> None:
    known = Known()
    known.activate(1, "w1", "a", "b")
    known.activate(2, "w2", "a")
    known.activate(3, "w3")
    assert known.learn() == {"a": {"w1": 1, "w2": 2}, "b": {"w1": 1}}


def test_a_new_version_that_reads_on_keeps_the_time_of_the_first_also_where_both_are_heard_of_at_once() -> None:
    known = Known()
    known.activate(1, "w", "a")
    known.activate(2, "w", "a", "b")
    assert known.learn() == {"a": {"w": 1}, "b": {"w": 2}}
    known.activate(3, "w", "a")
    assert known.learn() == {"a": {"w": 1}}


def test_a_version_without_the_trigger_ends_it_and_a_later_one_begins_anew() -> None:
    known = Known()
    known.activate(1, "w", "a")
    known.activate(2, "w")
    assert known.learn() == {}
    known.activate(3, "w", "a")
    assert known.learn() == {"a": {"w": 3}}


def test_the_history_tells_of_versions_that_the_compacted_topic_holds_as_active_no_more() -> None:
    known = Known()
    known.activate(1, "w", "a", point="history")
    known.activate(2, "w", "a", point="history")
    known.activate(2, "w", "a")
    assert known.learn() == {"a": {"w": 1}}


def test_nothing_is_learned_twice() -> None:
    known = Known()
    known.activate(1, "w", "a")
    known.learn()
    before = known.routes.of
    known.learn()
    assert known.routes.of is before


def test_the_beginning_that_a_trigger_asks_for() -> None:
    known = Known()
    known.activate(1, "w", "a", begin="earliest")
    known.learn()
    assert known.routes.of["a"]["w"].earliest
