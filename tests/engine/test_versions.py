"""Versions of a workflow in the core: the one before the active one, the way back to it, and the history."""

from __future__ import annotations

import pytest

from indegree.engine.core import WORKFLOWS
from indegree.events.definition import Definition
from indegree.v1.trigger_pb2 import Activate, Command, Deploy
from indegree.v1.workflow_pb2 import VersionPointer
from tests.engine.road import Road, workflow

ONE, TWO, THREE = (workflow(*[{"id": f"t{i}"} for i in range(n)]) for n in (1, 2, 3))
KNOWN = {version.hash: version for version in (ONE, TWO, THREE)}


def deploy(road: Road, definition: Definition, label: str = "") -> None:
    wanted = Deploy(workflow="w", version=definition.hash, label=label, activate=True)
    road.command(Command(request_id="q", actor="ann", deploy=wanted), definition)


def rollback(road: Road, **fields: str) -> str:
    """Asks for it as the shell does, with the definition that the core names; gives the answer's type and reason."""
    definition = KNOWN.get(road.core.state.windows.previous.get("w", ""))
    wanted = Activate(workflow="w", rollback=True, **fields)  # type: ignore[arg-type]
    road.command(Command(request_id="back", actor="bob", activate=wanted), definition)
    answer = [p for p in road.progress if p.request_id == "back"][-1]
    return f"{answer.type} {answer.reason}".strip()


def active(road: Road) -> str:
    return road.core.state.windows.active["w"]


def test_a_rollback_activates_the_version_that_was_active_before_and_another_one_comes_back() -> None:
    road = Road()
    for definition in (ONE, TWO, THREE):
        deploy(road, definition)
    assert rollback(road) == "workflow.activated"
    assert (active(road), road.progress[-1].version, road.progress[-1].actor) == (TWO.hash, TWO.hash, "bob")
    assert rollback(road) == "workflow.activated"
    assert active(road) == THREE.hash


def test_a_version_that_is_activated_twice_is_not_the_one_before_itself() -> None:
    road = Road()
    deploy(road, ONE)
    deploy(road, TWO)
    deploy(road, TWO)
    rollback(road)
    assert active(road) == ONE.hash


@pytest.mark.parametrize("between", ["nothing", "takeover", "snapshot"])
def test_the_version_before_outlives_a_takeover(between: str) -> None:
    road = Road()
    deploy(road, ONE)
    deploy(road, TWO)
    if between == "snapshot":
        for _ in range(3):
            road.start(TWO)
        road.snapshot(budget=1, between=lambda: deploy(road, THREE) if active(road) == TWO.hash else None)
    if between != "nothing":
        road.take_over()
    before = road.core.state.windows.previous["w"]
    assert before == (TWO.hash if between == "snapshot" else ONE.hash)
    rollback(road)
    assert active(road) == before


def test_a_rollback_without_a_version_before_is_refused_with_the_way_out() -> None:
    road = Road()
    assert rollback(road).startswith("workflow.refused workflow 'w' is not known, or has no active version")
    deploy(road, ONE)
    assert rollback(road) == (
        f"workflow.refused no version of workflow 'w' was active before the present one, {ONE.hash[:12]}: activate one "
        "by its version or label"
    )
    assert rollback(road, version=ONE.hash).startswith("workflow.refused a rollback names no version")
    assert active(road) == ONE.hash


def test_what_was_done_to_a_workflow_is_told_with_who_and_when() -> None:
    road = Road()
    deploy(road, ONE, "v1")
    road.now += 1_000
    deploy(road, TWO)
    rollback(road)
    told = [VersionPointer.FromString(e.data) for f in road.effects for e in f.outbox if e.target == WORKFLOWS]
    begun = road.now - 1_000
    assert [(p.what, p.version, p.label, p.actor, p.time_ms) for p in told if p.what] == [
        ("deployed", ONE.hash, "v1", "ann", begun),
        ("activated", ONE.hash, "v1", "ann", begun),
        ("deployed", TWO.hash, "", "ann", road.now),
        ("activated", TWO.hash, "", "ann", road.now),
        ("rolled_back", ONE.hash, "", "bob", road.now),
    ]


def test_a_run_keeps_the_version_that_it_began_with() -> None:
    road = Road()
    deploy(road, TWO)
    run = road.start(TWO)
    road.ok("t0")
    deploy(road, ONE)
    road.ok("t1")
    assert (road.state(run), road.progress[-1].version) == ("SUCCESS", TWO.hash)
