"""Runs whose event logs are kept: one for each feature. What they do must never change; a new feature is a new one."""

from __future__ import annotations

from indegree.engine.limits import Limits
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Backfill, Command, Deploy
from indegree.v1.value_pb2 import Error
from tests.engine.reopening import mark, rerun, skip
from tests.engine.road import EPOCH_MS, Road, workflow
from tests.replay import scenarios_waits
from tests.replay.registry import SCENARIOS, scenario

__all__ = ["SCENARIOS", "scenarios_waits"]


@scenario
def diamond() -> Road:
    definition = workflow(
        {"id": "a", "args": {"n": "${{ params.n }}"}},
        {"id": "b", "args": {"a": "${{ a }}"}},
        {"id": "c", "args": {"a": "${{ a }}"}},
        {"id": "d", "args": {"b": "${{ b }}", "c": "${{ c }}"}},
        params={"n": {"type": "integer", "default": 1}},
    )
    road = Road()
    road.start(definition, {"n": 5}, request_id="r1", actor="me")
    road.ok("a", [1, 2])
    road.started("c")
    road.ok("b")
    road.ok("c", {"x": "ü"})
    road.ok("d", 7)
    return road


@scenario
def skips_and_joins() -> Road:
    definition = workflow(
        {"id": "check"},
        {"id": "yes", "when": "check.ok"},
        {"id": "no", "when": "not check.ok"},
        {"id": "after_no", "depends_on": ["no"]},
        {"id": "point", "join": True, "depends_on": ["yes", "no"], "trigger_rule": "one_success"},
        {"id": "end", "depends_on": ["yes", "after_no"], "trigger_rule": "none_failed_min_one_success"},
    )
    road = Road()
    road.start(definition)
    road.ok("check", {"ok": True})
    road.ok("yes")
    road.ok("end")
    return road


@scenario
def failures_and_retries() -> Road:
    definition = workflow(
        {"id": "a", "retry": {"max_attempts": 3, "delay": "1s", "backoff": 2, "jitter": 0.5}},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "allow_failure": True},
        {"id": "d", "depends_on": ["c"]},
        {"id": "e", "depends_on": ["a"], "trigger_rule": "one_failed"},
        {"id": "f", "when": "d < 1"},
    )
    road = Road()
    road.start(definition)
    road.fail("c", message="allowed")
    road.ok("d")
    road.fail("a", message="first")
    road.wait(1_000)
    road.fail("a", reason="timeout", type="timeout")
    road.wait(2_000)
    road.fail("a", permanent=True)
    road.ok("e")
    return road


@scenario
def timeouts_and_workers() -> Road:
    definition = workflow(
        {"id": "a", "timeout": "10s", "retry": {"max_attempts": 4}},
        {"id": "b", "queue": "slow", "queue_timeout": "1m"},
        timeout="1h",
    )
    road = Road(limits=Limits())
    road.start(definition)
    first = road.started("a")
    road.wait(10_000)
    road.wait(0)
    road.say(first, Result.SUCCEEDED)  # stale
    road.say(road.task("a"), Result.REJECTED, error=Error(type="rejected", message="no module m"))
    road.wait(1_000)
    road.started("a")
    road.core.begin(road.now)
    road.core.worker_lost("w1")
    road.step()
    road.wait(0)
    road.ok("a")
    road.wait(60_000)
    return road


@scenario
def cancelled() -> Road:
    road = Road(limits=Limits(frame_events=3))
    run = road.start(workflow(*[{"id": f"t{i}"} for i in range(4)], {"id": "last", "depends_on": ["t0", "t3"]}))
    road.started("t1")
    road.ok("t0")
    road.cancel(run, reason="changed my mind")
    road.cancel(run)
    return road


@scenario
def answers() -> Road:
    one = workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    road = Road()
    road.start(None, request_id="r1")
    road.start(one, {"x": 1}, request_id="r2")
    road.start(one, idempotency_key="k", request_id="r3")
    road.start(one, idempotency_key="k", request_id="r4")
    road.start(one, idempotency_key="k", request_id="r5", label="other")
    deploy = Deploy(workflow="w", version=one.hash, label="v1", activate=True)
    road.command(Command(request_id="q1", actor="me", deploy=deploy), one)
    road.core.begin(road.now)
    road.core.poison(0, road.offsets[0], "not a Trigger record")
    road.step()
    road.core.begin(road.now)
    road.core.sent(4_294_967_294, 2)
    road.step()
    return road


@scenario
def schedules_and_backfills() -> Road:
    hour = 3_600_000
    first = workflow(
        {"id": "a", "args": {"day": "${{ trigger.date }}", "at": "${{ trigger.scheduled_at }}"}},
        triggers=[
            {"cron": {"schedule": "0 * * * *", "timezone": "America/New_York", "catch_up": "last"}},
            {"cron": {"schedule": "30 */2 * * *"}},
        ],
    )
    second = workflow({"id": "a"}, triggers=[{"cron": {"schedule": "30 */2 * * *"}}])
    road = Road()
    road.command(Command(actor="ann", deploy=Deploy(workflow="w", version=first.hash, activate=True)), first)
    road.wait(hour)
    road.ok("a")
    road.now += 5 * hour  # nobody is there
    road.take_over()
    road.timers()
    ask = Backfill(workflow="w", start_ms=EPOCH_MS - hour, end_ms=EPOCH_MS + 2 * hour, concurrency=2)
    road.command(Command(request_id="b", actor="ann", backfill=ask))
    road.timers()
    road.ok("a")
    road.timers()
    road.command(Command(request_id="c", actor="bob", backfill=Backfill(workflow="w", cancel=True)))
    road.command(Command(request_id="d", actor="bob", backfill=Backfill(workflow="w", start_ms=2, end_ms=1)))
    road.command(Command(actor="ann", deploy=Deploy(workflow="w", version=second.hash, activate=True)), second)
    return road


@scenario
def hooks_and_hands() -> Road:
    definition = workflow(
        {"id": "list"},
        {"id": "load", "foreach": "list", "args": {"x": "${{ item }}"}},
        {"id": "ask", "wait_for": {"signal": "go"}, "join": True},
        {"id": "end", "args": {"loaded": "${{ load }}"}, "depends_on": ["ask"]},
        hooks={
            "on_success": [{"id": "tell", "python": "m:f", "args": {"state": "${{ run.state }}"}}],
            "on_end": [{"id": "clean", "python": "m:f", "depends_on": ["look"]}, {"id": "look", "python": "m:f"}],
        },
    )
    road = Road()
    run = road.start(definition)
    road.ok("list", ["a", "b", "c"])
    road.started("load[2]")
    skip(road, run, "load[2]", "not today")
    road.ok("load[0]", 1)
    mark(road, run, "load[1]", b"2")
    mark(road, run, "ask", b'{"who":"ann"}')
    road.ok("end")
    road.fail("look")
    skip(road, run, "nothing")
    road.ok("tell")
    return road


@scenario
def reruns() -> Road:
    definition = workflow(
        {"id": "a"},
        {"id": "b", "args": {"a": "${{ a }}"}},
        {"id": "load", "foreach": "a", "args": {"x": "${{ item }}"}},
        {"id": "end", "depends_on": ["b", "load"]},
        timeout="1h",
        hooks={"on_failure": [{"id": "undo", "python": "m:f"}]},
    )
    road = Road()
    run = road.start(definition)
    road.ok("a", [1, 2])
    road.ok("b", "b")
    road.ok("load[0]")
    road.fail("load[1]")
    road.ok("undo")
    rerun(road, run, reason="the disk was full")
    late = road.started("load[1]")
    road.wait(1_000)
    rerun(road, run, "a")
    road.say(late, Result.SUCCEEDED)  # stale
    road.ok("a", [3])
    road.fail("b")
    road.ok("load[0]")
    mark(road, run, "b", b"5")
    road.ok("end")
    return road
