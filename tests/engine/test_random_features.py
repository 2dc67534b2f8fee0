"""Random runs with maps, waits and hands against the naive evaluator: whatever the order, the kills, the snapshots and
the frame sizes. After every step the state after replay equals the live state (road.py)."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from indegree.engine.limits import Limits
from indegree.engine.states import WAITING
from indegree.events.definition import Definition
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command, MarkSuccess, Signal, Skip
from indegree.v1.value_pb2 import Error, Value
from tests.engine import oracle_features
from tests.engine.road import Road
from tests.engine.test_random_runs import RULES, check_log

SEEDS = st.integers(0, 2**32 - 1)
WHENS = {None: None, True: "params.yes", False: "not params.yes", "error": "params.none < 1"}


def _outcomes(rng: random.Random, most: int) -> list[str]:
    words = ["ok"] * rng.choice([1, 3, 8]) + ["error", "permanent"]
    return [rng.choice(words) for _ in range(most)]


def random_spec(rng: random.Random) -> list[dict[str, Any]]:
    """A DAG of 1 to 10 tasks: work, joins, maps (some following each other), waits, and hands."""
    spec: list[dict[str, Any]] = []
    density = rng.choice([0.15, 0.3, 0.6])
    for i in range(rng.randint(1, 10)):
        parents = [f"t{p}" for p in range(i) if rng.random() < density]
        most = rng.choice([1, 1, 2, 3])
        task: dict[str, Any] = {
            "id": f"t{i}",
            "parents": parents,
            "rule": rng.choice(RULES) if rng.random() < 0.5 else "all_success",
            "when": rng.choice([None, None, None, None, True, False, "error"]),
            "outcomes": _outcomes(rng, most),
            "max_attempts": most,
            "allow_failure": False,
            "join": False,
        }
        kind = rng.choice(["work", "work", "map", "map", "wait", "join"])
        maps = [t["id"] for t in spec if t.get("map") is not None]
        if kind == "map":
            task["map"] = [_outcomes(rng, most) for _ in range(rng.choice([0, 1, 2, 5]))]
            task["allow"] = rng.choice([None, None, True, 1])
            task["concurrency"] = rng.choice([None, 1, 2])
            if maps and rng.random() < 0.5:
                task["follow"] = rng.choice(maps)
                task["map"] = task["map"] or [_outcomes(rng, most)]
                task["parents"] = sorted({*parents, task["follow"]})
        elif kind == "wait":
            task["wait"] = rng.choice(["comes", "comes", "default", "never", "delay"])
        elif kind == "join":
            task["join"] = True
        else:
            task["allow_failure"] = rng.random() < 0.2
        if task["parents"] and rng.random() < 0.1:
            task["hand"] = rng.choice(["skip", "mark"])
        spec.append(task)
    return spec


def definition_of(spec: list[dict[str, Any]]) -> Definition:
    tasks = []
    for task in spec:
        normal: dict[str, Any] = {"id": task["id"], "depends_on": task["parents"], "trigger_rule": task["rule"]}
        if WHENS[task["when"]]:
            normal["when"] = WHENS[task["when"]]
        if task.get("wait") == "delay":
            normal["wait_for"] = {"delay": "5s"}
        elif task.get("wait"):
            normal |= {"wait_for": {"signal": task["id"]}, "timeout": "1h"}
            if task["wait"] == "default":
                normal["default"] = 1
        elif not task["join"]:
            normal |= {
                "python": "m:f",
                "retry": {"max_attempts": task["max_attempts"], "delay": "1s"},
                "allow_failure": task["allow_failure"],
            }
            if task.get("map") is not None:
                normal["args"] = {"x": "${{ item }}"}
                allow = task["allow"]
                normal["allow_failure"] = bool(allow) if allow is None or allow is True else {"max": allow}
                if task["concurrency"]:
                    normal["concurrency"] = task["concurrency"]
                if "follow" in task:
                    normal["foreach_with"] = task["follow"]
                else:
                    normal["foreach"] = list(range(len(task["map"])))
        tasks.append(normal)
    params = {"yes": {"type": "boolean", "default": True}, "none": {}}
    return Definition.from_normal({"id": "w", "params": params, "tasks": tasks})


class World:
    """Workers, people and time around one run, in any order."""

    def __init__(self, rng: random.Random, spec: list[dict[str, Any]], road: Road, run_id: str) -> None:
        self.rng, self.road, self.run_id = rng, road, run_id
        self.spec = {task["id"]: task for task in spec}
        self.signals = [task["id"] for task in spec if task.get("wait") == "comes"]
        self.waiting: list[Task] = []
        self.old: list[Result] = []
        self.all_ok = False

    def step(self) -> None:
        rng, road = self.rng, self.road
        self.waiting += road.take(f"w{rng.randint(1, 3)}")
        chance = rng.random()
        if self.old and chance < 0.08:
            road.result(rng.choice(self.old))
        elif chance < 0.12:
            road.take_over()
            self.waiting = []
        elif chance < 0.15:
            road.snapshot()
        elif self.signals and (chance < 0.25 or not self.waiting):
            name = self.signals.pop(rng.randrange(len(self.signals)))
            road.command(Command(signal=Signal(run_id=self.run_id, name=name, payload=b"true")))
        elif self.waiting:
            self._answer(self.waiting.pop(rng.randrange(len(self.waiting))))
        else:
            due = road.core.next_due_ms()
            assert due is not None, "nothing can happen any more, and the run has not ended"
            road.now = max(road.now, due)
            road.timers()

    def _answer(self, task: Task) -> None:
        base, _, place = task.task_id.partition("[")
        spec = self.spec[base]
        outcomes = spec["outcomes"]
        if place:
            outcomes = spec["map"][int(place[:-1]) % len(spec["map"])]
        word = "ok" if self.all_ok else outcomes[task.attempt - 1]
        result = Result(
            run_id=task.run_id, task=task.task, attempt=task.attempt, generation=task.generation, worker=task.worker
        )
        if word == "ok":
            result.kind = Result.SUCCEEDED
            result.output.CopyFrom(Value(json=json.dumps(task.task_id).encode()))
        else:
            result.kind = Result.FAILED
            result.error.CopyFrom(Error(type="builtins.ValueError", permanent=word == "permanent"))
        self.old.append(result)
        self.road.result(result)

    def until_the_end(self) -> None:
        for _ in range(5_000):
            if self.road.core.run(self.run_id) is None:
                return
            self.step()
        raise AssertionError("the run did not end")


def _begun(seed: int) -> tuple[World, Road, str, list[dict[str, Any]]]:
    note(f"seed {seed}")
    rng = random.Random(seed)
    spec = random_spec(rng)
    road = Road(
        limits=Limits(
            frame_events=rng.choice([1, 2, 5, 5_000]),
            step_tasks=rng.choice([1, 4, 256]),
            heartbeat_timeout_ms=10**12,
            start_timeout_ms=10**12,
        )
    )
    # The first task of all is held until the hands have done their work.
    gate = {"id": "gate", "parents": [], "rule": "all_success", "when": None, "outcomes": ["ok"], "max_attempts": 1}
    gate |= {"allow_failure": False, "join": False}
    for task in spec:
        if not task["parents"]:
            task["parents"] = ["gate"]
    spec = [gate, *spec]
    run_id = road.start(definition_of(spec), {})
    for task in spec:
        if road.states(run_id)[task["id"]] != "PENDING":  # by its rule, or by an earlier hand, it is decided already
            task.pop("hand", None)
        if hand := task.get("hand"):
            which = {"skip": Skip(run_id=run_id, task_id=task["id"])} if hand == "skip" else {}
            which = which or {"mark_success": MarkSuccess(run_id=run_id, task_id=task["id"])}  # type: ignore[dict-item]
            road.command(Command(request_id="h", actor="ann", **which))  # type: ignore[arg-type]
            assert road.progress[-1].type != "command.refused", road.progress[-1].reason
    return World(rng, spec, road, run_id), road, run_id, spec


def _compare(road: Road, run_id: str, ends: dict[str, tuple[str, str]]) -> None:
    states, reasons = road.states(run_id), road.reasons(run_id)
    assert states == {task_id: end[0] for task_id, end in ends.items()}
    skipped = {i: end[1] for i, end in ends.items() if end[0] == "SKIPPED"}
    assert {i: reasons[i] for i in skipped} == skipped


@settings(max_examples=150, deadline=None, print_blob=True)
@given(seed=SEEDS)
@example(seed=0)
def test_maps_waits_and_hands_end_as_the_naive_evaluator_says(seed: int) -> None:
    world, road, run_id, spec = _begun(seed)
    world.until_the_end()
    state, ends = oracle_features.ends(spec)
    _compare(road, run_id, ends)
    assert road.state(run_id) == state
    check_log(road, run_id, definition_of(spec))


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=SEEDS)
def test_a_cancel_at_any_step_ends_all_that_is_open(seed: int) -> None:
    world, road, run_id, _ = _begun(seed)
    for _ in range(world.rng.randint(0, 30)):
        if road.core.run(run_id) is not None:
            world.step()
    if road.core.run(run_id) is None:
        return
    before = road.states(run_id)
    road.cancel(run_id)
    assert road.state(run_id) == "CANCELLED"
    after = road.states(run_id)
    for task_id, state in before.items():
        assert after[task_id] == (state if state in ("SUCCESS", "FAILED", "SKIPPED") else "CANCELLED")


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=SEEDS)
def test_a_task_that_waits_holds_no_slot_whatever_happens(seed: int) -> None:
    world, road, run_id, _ = _begun(seed)
    for _ in range(60):
        run = road.core.run(run_id)
        if run is None:
            return
        waiting = {slot for slot, state in enumerate(run.states) if state == WAITING}
        assert not waiting & set(run.attempts)
        world.step()
