"""wait_for: signals, records, runs and times; early signals, forms, limits and defaults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indegree.engine.waiting import Observed
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import Command, Signal
from tests.engine.road import Road, workflow


def waits(wait_for: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "w", "wait_for": wait_for, "join": True, **fields}


AFTER = {"id": "after", "args": {"x": "${{ w }}"}}


def signal(road: Road, run: str, name: str, payload: Any = None, actor: str = "ann") -> str:
    data = b"" if payload is None else json.dumps(payload).encode()
    road.command(Command(request_id="s", actor=actor, signal=Signal(run_id=run, name=name, payload=data)))
    return [p for p in road.progress if p.request_id == "s"][-1].type


def test_a_signal_ends_the_wait_and_its_payload_is_the_output_with_who_and_when() -> None:
    road = Road()
    run = road.start(workflow(waits({"signal": "approve"}), AFTER))
    assert road.states(run)["w"] == "WAITING"
    assert (road.last("w").reason, road.last("w").waits_for) == ("signal", "approve")
    assert not road.take()  # it holds no slot
    road.take_over()
    assert signal(road, run, "approve", {"yes": True}) == "command.accepted"
    assert json.loads(road.task("after").args) == {"x": {"yes": True}}
    [event] = road.events(Event.SIGNAL_RECEIVED)
    assert (event.actor, event.label, event.request_id) == ("ann", "approve", "s")
    assert road.last("w").actor == "ann"


def test_a_signal_that_comes_early_is_kept_until_somebody_waits() -> None:
    road = Road()
    run = road.start(workflow({"id": "first"}, waits({"signal": "go"}, depends_on=["first"]), AFTER))
    signal(road, run, "go", 1)
    signal(road, run, "go", 2)
    road.snapshot()
    road.take_over()
    road.ok("first")
    assert json.loads(road.task("after").args) == {"x": 1}
    assert road.core.run(run).signals == [("go", b"2", "ann", road.now)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"ok": "yes"}, "must be of type boolean"),
        ({}, "the field 'ok' of the form is missing"),
        ({"ok": True, "okk": 1}, "no field 'okk'; did you mean 'ok'"),
        (7, "must be an object with ok: boolean"),
    ],
)
def test_a_payload_that_does_not_fit_the_form_is_refused_and_the_task_waits_on(payload: Any, words: str) -> None:
    road = Road()
    run = road.start(workflow(waits({"signal": "go", "form": {"ok": "boolean"}})))
    assert signal(road, run, "go", payload) == "command.refused"
    assert words in road.progress[-1].reason
    assert signal(road, run, "go", {"ok": False}) == "command.accepted"
    assert road.state(run) == "SUCCESS"


def test_a_signal_that_nobody_ever_waits_for_is_refused_by_name() -> None:
    road = Road()
    run = road.start(workflow(waits({"signal": "approve"})))
    assert signal(road, run, "aprove") == "command.refused"
    assert "did you mean 'approve'" in road.progress[-1].reason


def test_a_delay_ends_when_its_time_has_come_also_across_a_takeover_and_a_snapshot() -> None:
    road = Road()
    run = road.start(workflow(waits({"delay": "10m"}), AFTER))
    road.wait(599_000)
    road.snapshot()
    road.take_over()
    assert road.states(run)["w"] == "WAITING"
    road.wait(1_000)
    assert road.states(run)["w"] == "SUCCESS"


def test_until_waits_for_a_moment_and_one_that_is_past_is_over_at_once() -> None:
    road = Road()
    moment = {"at": {"type": "string", "required": True}}
    definition = workflow(waits({"until": "params.at"}), params=moment)
    run = road.start(definition, {"at": "2025-11-25T04:00:00+01:00"})
    assert road.states(run)["w"] == "WAITING"
    road.wait(1)
    assert road.state(run) == "SUCCESS"
    run = road.start(definition, {"at": "2025-11-25T03:30:00Z"})
    road.wait(29 * 60_000)
    assert road.states(run)["w"] == "WAITING"
    road.wait(60_000)
    assert road.state(run) == "SUCCESS"


def test_until_without_an_offset_fails_the_task_with_the_way_out() -> None:
    road = Road()
    definition = workflow(waits({"until": "params.at"}), params={"at": {"type": "string", "required": True}})
    run = road.start(definition, {"at": "2025-11-25T03:30:00"})
    assert "has no offset from UTC" in road.last("w").reason
    assert road.state(run) == "FAILED"


def test_a_wait_that_is_over_gives_its_default_or_fails() -> None:
    road = Road()
    run = road.start(workflow(waits({"signal": "go"}, timeout="1h", default={"ok": False}), AFTER))
    road.wait(3_600_000)
    assert json.loads(road.task("after").args) == {"x": {"ok": False}}
    assert road.last("w").reason == "default"
    run = road.start(workflow(waits({"signal": "go"}, timeout="1h")))
    road.wait(3_600_000)
    assert road.state(run) == "FAILED"
    assert road.last("w").reason == "timeout"


def test_a_late_signal_changes_nothing() -> None:
    road = Road()
    run = road.start(workflow(waits({"signal": "go"}, timeout="1h", default=0), AFTER))
    road.wait(3_600_000)
    signal(road, run, "go", 1)
    assert json.loads(road.task("after").args) == {"x": 0}


def test_the_first_record_that_passes_the_filter_ends_the_wait() -> None:
    road = Road()
    kafka = {"kafka": {"topic": "files", "filter": "value.size > params.least and key == 'eu'"}}
    definition = workflow(waits(kafka), AFTER, params={"least": {"type": "integer", "default": 10}})
    run = road.start(definition)
    assert road.core.awaited() == {("kafka", "files"): road.now}
    for value, key in (({"size": 5}, "eu"), ({"size": 50}, "us"), ({"size": 50}, "eu"), ({"size": 60}, "eu")):
        road.core.begin(road.now)
        assert road.core.observe(Observed("kafka", "files", road.now, value, key))
        road.step()
    assert json.loads(road.task("after").args) == {"x": {"size": 50}}
    assert road.core.awaited() == {}
    assert run


def test_a_record_from_before_the_wait_does_not_count() -> None:
    road = Road()
    run = road.start(workflow(waits({"kafka": {"topic": "files"}})))
    road.core.begin(road.now)
    road.core.observe(Observed("kafka", "files", road.now - 1, 1))
    road.step()
    assert road.states(run)["w"] == "WAITING"


def test_the_end_of_another_run_ends_the_wait() -> None:
    road = Road()
    run = road.start(
        workflow(
            waits({"run": {"workflow": "billing", "params": {"day": "${{ params.day }}"}}}),
            params={"day": {"default": "mon"}},
        )
    )
    for state, day in (("FAILED", "mon"), ("SUCCESS", "tue"), ("SUCCESS", "mon")):
        assert road.states(run)["w"] == "WAITING"
        road.core.begin(road.now)
        road.core.observe(Observed("run", "billing", road.now, {"state": state, "run_id": "r", "params": {"day": day}}))
        road.step()
    assert road.state(run) == "SUCCESS"


def test_a_cancel_ends_a_wait() -> None:
    road = Road()
    run = road.start(workflow(waits({"signal": "go"}), AFTER))
    road.cancel(run)
    assert road.state(run) == "CANCELLED"
