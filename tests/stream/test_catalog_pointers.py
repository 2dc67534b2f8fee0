"""Which version is active, as the `workflows` topic tells it: what was decided last, not what arrived last."""

from __future__ import annotations

import zlib

from indegree.events.settings import Settings
from indegree.stream.catalog import Catalog
from indegree.v1.trigger_pb2 import Start
from indegree.v1.workflow_pb2 import DefinitionPart, VersionPointer
from tests.engine.road import workflow

OLD, NEW = workflow({"id": "a"}), workflow({"id": "b"})


def catalog() -> Catalog:
    found = Catalog(Settings())
    for definition in (OLD, NEW):
        part = DefinitionPart(version=definition.hash, part=0, parts=1, data=zlib.compress(definition.canonical()))
        found.heard(f"{definition.hash}/0".encode(), part.SerializeToString())
    return found


def point(where: Catalog, version: str, time_ms: int) -> None:
    pointer = VersionPointer(workflow="w", version=version, time_ms=time_ms)
    where.heard(b"active/w", pointer.SerializeToString())


def active(where: Catalog) -> str:
    definition = where.find(Start(workflow="w"))
    return definition.hash if definition else ""


def test_a_pointer_that_an_earlier_owner_sends_late_changes_nothing() -> None:
    where = catalog()
    point(where, NEW.hash, 2_000)
    point(where, OLD.hash, 1_000)
    assert active(where) == NEW.hash


def test_of_two_pointers_of_one_moment_the_later_record_counts() -> None:
    where = catalog()
    point(where, OLD.hash, 1_000)
    point(where, NEW.hash, 1_000)
    assert active(where) == NEW.hash


def test_going_back_to_an_earlier_version_counts() -> None:
    where = catalog()
    point(where, NEW.hash, 1_000)
    point(where, OLD.hash, 2_000)
    assert active(where) == OLD.hash


def test_after_a_tombstone_any_pointer_counts() -> None:
    where = catalog()
    point(where, NEW.hash, 2_000)
    where.heard(b"active/w", None)
    assert active(where) == ""
    point(where, OLD.hash, 1_000)
    assert active(where) == OLD.hash


def test_a_line_of_the_history_moves_nothing() -> None:
    where = catalog()
    point(where, NEW.hash, 1_000)
    line = VersionPointer(workflow="w", version=OLD.hash, time_ms=2_000, what="deployed")
    where.heard(b"history/w/0000000002000-1", line.SerializeToString())
    assert active(where) == NEW.hash
