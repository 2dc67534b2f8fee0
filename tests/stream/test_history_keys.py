"""The history of a workflow from the core to the client: each line under a key of its own, told once, in order."""

from __future__ import annotations

from types import SimpleNamespace

from indegree.engine.core import WORKFLOWS
from indegree.engine.state import OutboxEntry
from indegree.events.settings import Settings
from indegree.sdk.client_catalog import Catalog
from indegree.stream.outbox import _pointer_key
from tests.engine.road import Road
from tests.engine.test_versions import ONE, TWO, deploy, rollback


def entries(road: Road) -> list[OutboxEntry]:
    return [entry for effects in road.effects for entry in effects.outbox if entry.target == WORKFLOWS]


def test_no_line_of_the_history_replaces_another_and_a_repeat_replaces_itself() -> None:
    road = Road()
    for definition in (ONE, TWO, ONE, ONE):
        deploy(road, definition)
    keys = [_pointer_key(entry) for entry in entries(road)]
    history = [key for key in keys if key.startswith(b"history/w/")]
    assert len(history) == len(set(history)) == 8
    assert set(keys) - set(history) == {b"active/w"}
    before = len(keys)
    road.take_over()  # nothing was acknowledged: all of it goes out again
    assert [_pointer_key(entry) for entry in entries(road)][before:] == keys


def test_a_client_reads_the_history_in_the_order_of_the_decisions() -> None:
    road = Road()
    deploy(road, ONE, "v1")
    road.now += 5
    deploy(road, TWO)
    rollback(road)
    catalog = Catalog(Settings())
    for entry in reversed(entries(road)):  # a compacted topic keeps no order among keys
        catalog._take(SimpleNamespace(key=_pointer_key(entry), value=entry.data, timestamp=0))
    told = [(done.what, done.version, done.label) for done in catalog.history("w")]
    assert told == [
        ("deployed", ONE.hash, "v1"),
        ("activated", ONE.hash, "v1"),
        ("deployed", TWO.hash, ""),
        ("activated", TWO.hash, ""),
        ("rolled_back", ONE.hash, ""),
    ]
    assert catalog.history("elsewhere") == []
