"""Further scenarios: mapped tasks, values by reference, waits, sub-workflows, pauses, intake. See scenarios.py."""

from __future__ import annotations

from indegree.engine.limits import Limits
from indegree.engine.waiting import Observed
from indegree.events.definition import Definition
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Activate, Command, Deploy, Pause, Resume, SetPool, Signal
from indegree.v1.value_pb2 import Reference, Value
from tests.engine.cluster_road import Cluster
from tests.engine.road import EPOCH_MS, Road, workflow
from tests.replay.registry import scenario


@scenario
def mapped_tasks() -> Road:
    definition = workflow(
        {"id": "list"},
        {
            "id": "load",
            "foreach": "list",
            "args": {"x": "${{ item }}", "i": "${{ index }}"},
            "concurrency": 2,
            "retry": {"max_attempts": 2, "delay": "1s"},
            "allow_failure": {"max": 1},
        },
        {"id": "check", "foreach_with": "load", "args": {"x": "${{ item }}"}},
        {"id": "none", "foreach": [], "depends_on": ["list"]},
        {"id": "sum", "args": {"all": "${{ load }}", "bad": "${{ tasks.load.errors }}"}, "trigger_rule": "all_done"},
    )
    road = Road(limits=Limits(frame_events=4))
    road.start(definition)
    road.ok("list", ["a", "b", "c"])
    road.ok("load[0]", 0)
    road.fail("load[1]", message="down")
    road.take_over()
    road.ok("check[0]")
    road.wait(1_000)
    road.fail("load[1]", message="still down")
    road.ok("load[2]", 2)
    road.ok("check[2]")
    road.ok("sum")
    return road


@scenario
def values_by_reference() -> Road:
    definition = workflow(
        {"id": "list"},
        {"id": "load", "foreach": "list", "args": {"x": "${{ item }}"}},
        {"id": "sum", "args": {"all": "${{ load }}"}, "when": "len(list) > 1"},
    )
    road = Road(limits=Limits(gathered_bytes=10))
    road.start(definition)
    large = Reference(offset=3, parts=1, size=7, sha256=b"x" * 32)
    road.say(road.task("list"), Result.SUCCEEDED, output=Value(reference=large))
    road.core.supply(road.core.wants()[0], b"[10,20]")
    road.step()
    road.ok("load[0]", "a" * 20)
    road.say(road.task("load[1]"), Result.SUCCEEDED, output=Value(reference=large))
    [(token, data)] = road.core.to_store()
    road.core.stored(token, Reference(offset=9, parts=1, size=len(data), sha256=b"y" * 32))
    road.step()
    road.ok("sum")
    return road


@scenario
def waits_and_signals() -> Road:
    definition = workflow(
        {"id": "ask", "wait_for": {"signal": "go", "form": {"ok": "boolean"}}, "join": True},
        {"id": "late", "wait_for": {"signal": "never"}, "timeout": "1h", "default": {"ok": False}, "join": True},
        {"id": "over", "wait_for": {"signal": "never"}, "timeout": "2h", "join": True},
        {"id": "pause", "wait_for": {"delay": "10m"}, "join": True},
        {"id": "file", "wait_for": {"kafka": {"topic": "files", "filter": "value.size > 5"}}, "join": True},
        {"id": "other", "wait_for": {"run": {"workflow": "billing"}}, "join": True},
        {"id": "end", "args": {"who": "${{ ask }}", "file": "${{ file }}"}, "depends_on": ["other", "pause"]},
    )
    road = Road()
    run = road.start(definition)
    for payload in (b'{"ok":1}', b'{"ok":true}'):
        signal = Signal(run_id=run, name="go", payload=payload)
        road.command(Command(request_id="s", actor="ann", signal=signal))
    road.wait(600_000)
    for seen in (
        Observed("kafka", "files", road.now, {"size": 1}),
        Observed("kafka", "files", road.now, {"size": 9}, "k"),
        Observed("run", "billing", road.now, {"state": "SUCCESS", "run_id": "r"}),
    ):
        road.core.begin(road.now)
        road.core.observe(seen)
        road.step()
    road.ok("end")
    road.wait(3_000_000)
    road.take_over()
    road.wait(3_600_000)
    return road


@scenario
def sub_workflows() -> Road:
    child = Definition.from_normal(
        {"id": "child", "params": {"day": {"required": True}}, "tasks": [{"id": "work", "python": "m:f"}]}
    )
    definition = workflow(
        {"id": "kids", "foreach": ["mon", "tue"], "workflow": "child", "params": {"day": "${{ item }}"}, "join": True},
        {"id": "gone", "workflow": "child", "params": {"day": 1}, "wait": False, "join": True},
        {"id": "bad", "workflow": "child", "retry": {"max_attempts": 2}, "allow_failure": True, "join": True},
        {"id": "sum", "args": {"kids": "${{ kids }}"}},
    )
    cluster = Cluster(1)
    cluster.definitions["child"] = child
    cluster.start(0, definition)
    cluster.deliver()
    for number in range(3):
        cluster.ok("work", number)
        cluster.deliver()
    cluster.ok("sum")
    run = cluster.start(0, definition)
    cluster.deliver()
    cluster.roads[0].cancel(run)
    cluster.deliver()
    return cluster.roads[0]


@scenario
def pauses_and_versions() -> Road:
    first = workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    second = workflow({"id": "a"})
    road = Road()
    for definition in (first, second):
        deploy = Deploy(workflow="w", version=definition.hash, activate=True)
        road.command(Command(request_id="d", actor="ann", deploy=deploy), definition)
    road.command(Command(request_id="e", actor="bob", activate=Activate(workflow="w", rollback=True)), first)
    run = road.start(first)
    road.command(Command(request_id="p", actor="ann", pause=Pause(run_id=run, reason="look")))
    road.command(Command(request_id="q", actor="ann", pause=Pause(workflow="w")))
    road.command(Command(request_id="r", actor="ann", pause=Pause(queue="default")))
    road.start(first)
    road.command(Command(request_id="s", actor="ann", resume=Resume(run_id=run)))
    road.command(Command(request_id="t", actor="ann", resume=Resume(queue="default")))
    road.command(Command(request_id="u", actor="ann", resume=Resume(workflow="w")))
    road.ok("a")
    road.ok("a")
    road.ok("b")
    road.ok("b")
    return road


@scenario
def keys_pools_and_rates() -> Road:
    keyed = workflow(
        {"id": "a", "pool": "db"},
        {"id": "get", "foreach": ["x", "x", "y"], "rate_limit": {"limit": 1, "per": "1s", "key": "item"}},
        params={"c": {"default": "x"}},
        concurrency={"key": "params.c", "limit": 1},
    )
    cluster = Cluster(1)
    cluster.command(0, Command(request_id="p", actor="ann", set_pool=SetPool(name="db", limit=1)))
    cluster.start(0, keyed)
    cluster.start(0, keyed)
    cluster.start(0, keyed, {"c": "y"})
    cluster.start(0, keyed, {"c": "y"}, not_before_ms=EPOCH_MS + 500)
    for _ in range(14):
        cluster.deliver()
        for task in cluster.take():
            cluster.say_ok(task)
        cluster.deliver()
        cluster.wait(500)
    return cluster.roads[0]
