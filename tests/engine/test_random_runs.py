"""Random runs against the naive evaluator: whatever the order, the repetitions, the kills and the frame sizes.

After every step the state after replay equals the live state, and every derived count is what the states say (road.py).
"""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from indegree.engine.limits import Limits
from indegree.events.definition import Definition
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.value_pb2 import Error, Value
from tests.engine import oracle
from tests.engine.road import Road, replayed

RULES = [
    "all_success",
    "all_done",
    "all_failed",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_skipped",
    "none_failed_min_one_success",
    "always",
]
SEEDS = st.integers(0, 2**32 - 1)


def random_spec(rng: random.Random) -> list[dict[str, Any]]:
    """A DAG of 1 to 12 tasks with rules, conditions and scripted outcomes."""
    n = rng.randint(1, 12)
    density = rng.choice([0.1, 0.3, 0.6])
    spec: list[dict[str, Any]] = []
    for i in range(n):
        parents = [f"t{p}" for p in range(i) if rng.random() < density]
        max_attempts = rng.choice([1, 1, 2, 3])
        words = ["ok"] * rng.choice([1, 3, 8]) + ["error", "permanent", "lost", "timeout"]
        outcomes = [rng.choice(words) for _ in range(max_attempts)]
        spec.append(
            {
                "id": f"t{i}",
                "parents": parents,
                "rule": rng.choice(RULES) if rng.random() < 0.6 else "all_success",
                "when": rng.choice([None, None, None, None, True, False, "error"]),
                "outcomes": outcomes,
                "max_attempts": max_attempts,
                "allow_failure": rng.random() < 0.2,
                "join": rng.random() < 0.15,
            }
        )
    rng.shuffle(spec)
    return spec


def definition_of(spec: list[dict[str, Any]]) -> Definition:
    whens = {None: None, True: "params.yes", False: "not params.yes", "error": "params.none < 1"}
    tasks = []
    for task in spec:
        normal: dict[str, Any] = {"id": task["id"], "depends_on": task["parents"], "trigger_rule": task["rule"]}
        if not task["join"]:
            normal |= {
                "python": "m:f",
                "args": {p: f"${{{{ {p} }}}}" for p in task["parents"]},
                "retry": {"max_attempts": task["max_attempts"], "delay": "1s", "backoff": 2, "jitter": 0.5},
                "timeout": "1m",
                "queue_timeout": "1h",
                "allow_failure": task["allow_failure"],
            }
        elif task["allow_failure"]:
            normal["allow_failure"] = True
        if whens[task["when"]]:
            normal["when"] = whens[task["when"]]
        tasks.append(normal)
    params = {"yes": {"type": "boolean", "default": True}, "none": {}}
    return Definition.from_normal({"id": "w", "params": params, "tasks": tasks})


class Chaos:
    """Plays the workers of one run, in any order, with everything that must not matter."""

    def __init__(self, rng: random.Random, spec: list[dict[str, Any]], road: Road) -> None:
        self.rng, self.road = rng, road
        self.outcomes = {task["id"]: task["outcomes"] for task in spec}
        self.old: list[Result] = []  # results that were said already: to be repeated
        self.waiting: list[Task] = []
        self.rejections = 3

    def step(self) -> bool:
        """One random thing. False: nothing is under way and no timer is set."""
        rng, road = self.rng, self.road
        self.waiting += road.take(f"w{rng.randint(1, 3)}")
        chance = rng.random()
        if self.old and chance < 0.1:
            road.result(rng.choice(self.old))
            return True
        if chance < 0.14:
            road.take_over()
            self.waiting = [t for t in self.waiting if rng.random() < 0.7]  # the others are sent again anyway
            return True
        if chance < 0.17:
            road.core.begin(road.now)
            road.core.worker_lost(f"w{rng.randint(1, 3)}")
            road.step()
            return True
        if self.waiting and chance < 0.9:
            self._answer(self.waiting.pop(rng.randrange(len(self.waiting))))
            return True
        due = road.core.next_due_ms()
        if due is None:
            return bool(self.waiting)
        if not self.waiting or due - road.now < 10_000:
            road.now = max(road.now, due)
            road.timers()
        return True

    def _answer(self, task: Task) -> None:
        rng, road = self.rng, self.road
        word = self.outcomes[task.task_id][task.attempt - 1]
        chance = rng.random()
        if chance < 0.08 and self.rejections:
            self.rejections -= 1
            self._say(task, Result.REJECTED, error=Error(type="rejected"))
            return
        if chance < 0.14:
            self._say(task, Result.RETURNED)
            return
        if chance < 0.5 or word == "lost":
            self._say(task, Result.STARTED, started_ms=road.now)
        if chance < 0.3:
            self._say(task, Result.HEARTBEAT, progress=0.5)
        if word == "ok":
            self._say(task, Result.SUCCEEDED, output=Value(json=b'{"t":"%s"}' % task.task_id.encode()))
        elif word == "lost":
            self._say(task, Result.FAILED, reason="worker_lost", error=Error(type="signal", message="9"))
        else:
            reason = "timeout" if word == "timeout" else "error"
            error = Error(type="builtins.ValueError", permanent=word == "permanent")
            self._say(task, Result.FAILED, reason=reason, error=error)

    def _say(self, task: Task, kind: int, **fields: Any) -> None:
        result = Result(
            kind=kind,  # type: ignore[arg-type]
            run_id=task.run_id,
            task=task.task,
            attempt=task.attempt,
            worker=task.worker,
            **fields,
        )
        if kind in (Result.SUCCEEDED, Result.FAILED):
            self.old.append(result)
        self.road.result(result)


def check_log(road: Road, run_id: str, definition: Definition) -> None:
    """What must hold in any log, read from its events alone."""
    ended: set[int] = set()
    started_at: dict[int, int] = {}
    cancelled = False
    own = ""
    for event in road.events():
        own = event.run_id or own
        if own != run_id:
            continue
        if event.kind == Event.RUN_CANCEL_REQUESTED:
            cancelled = True
        if event.kind == Event.RUN_RERUN:
            cancelled = False
            for slot in struct.unpack(f"<{len(event.data) // 4}I", event.data):
                ended.discard(slot)
                started_at.pop(slot, None)
        if event.kind == Event.TASK_QUEUED:
            assert not cancelled, "a cancelled run started something"
            assert event.task not in ended
            assert event.attempt == started_at.get(event.task, 0) + 1, "attempts count up by one"
            started_at[event.task] = event.attempt
        if event.kind in (Event.TASK_SUCCEEDED, Event.TASK_FAILED, Event.TASK_SKIPPED, Event.TASK_CANCELLED):
            assert event.task not in ended, "a task ended twice"
            ended.add(event.task)
    positions = [p.position for p in road.progress if p.run_id == run_id and p.position]
    assert positions == list(range(1, len(positions) + 1))
    ids = [p.id for p in road.progress]
    assert len(set(ids)) == len(ids)
    _, progress = replayed(road.log, road.limits)
    assert progress == road.progress


# Losing a worker uses an attempt of its own and moves the script on: outcomes are looked up by attempt number, and a
# loss counts like the scripted failure of that number would not. So a lost worker is only played where it holds nothing
# that it began: see `worker_lost` above, which is called between answers, when started tasks have been answered.


@settings(max_examples=150, deadline=None, print_blob=True)
@given(seed=SEEDS)
@example(seed=0)
def test_every_run_ends_as_the_naive_evaluator_says(seed: int) -> None:
    note(f"seed {seed}")
    rng = random.Random(seed)
    spec = random_spec(rng)
    definition = definition_of(spec)
    limits = Limits(
        frame_events=rng.choice([1, 2, 5, 5_000]), step_tasks=rng.choice([1, 4, 256]), heartbeat_timeout_ms=10**12
    )
    road = Road(limits=limits)
    run_id = road.start(definition, {})
    chaos = Chaos(rng, spec, road)
    for _ in range(3_000):
        if road.core.run(run_id) is None:
            break
        assert chaos.step()
    assert road.core.run(run_id) is None, "the run did not end"
    state, tasks = oracle.ends(spec)
    states, reasons = road.states(run_id), road.reasons(run_id)
    assert states == {task_id: end[0] for task_id, end in tasks.items()}
    assert {i: reasons[i] for i, s in states.items() if s == "SKIPPED"} == {
        i: end[1] for i, end in tasks.items() if end[0] == "SKIPPED"
    }
    assert road.state(run_id) == state
    check_log(road, run_id, definition)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(seed=SEEDS)
def test_a_run_that_is_cancelled_at_any_step_starts_nothing_more_and_ends(seed: int) -> None:
    note(f"seed {seed}")
    rng = random.Random(seed)
    spec = random_spec(rng)
    definition = definition_of(spec)
    road = Road(
        limits=Limits(
            frame_events=rng.choice([1, 2, 5_000]), step_tasks=rng.choice([1, 4, 256]), heartbeat_timeout_ms=10**12
        )
    )
    run_id = road.start(definition, {})
    chaos = Chaos(rng, spec, road)
    for _ in range(rng.randint(0, 20)):
        chaos.step()
    before = road.states(run_id)
    alive = road.core.run(run_id) is not None
    road.cancel(run_id)
    for _ in range(5):
        chaos.step()
    assert road.core.run(run_id) is None
    if not alive:
        assert road.progress[-1].type in ("command.refused", "run.success", "run.failed")
        return
    after = road.states(run_id)
    for task_id, state in before.items():
        terminal = state in ("SUCCESS", "FAILED", "SKIPPED")
        assert after[task_id] == (state if terminal else "CANCELLED")
    assert road.state(run_id) == "CANCELLED"
    check_log(road, run_id, definition)


@pytest.mark.parametrize("seed", range(20))
def test_many_runs_on_one_partition_do_not_disturb_each_other(seed: int) -> None:
    rng = random.Random(seed)
    road = Road(
        limits=Limits(
            frame_events=rng.choice([3, 50, 5_000]), step_tasks=rng.choice([1, 4, 256]), heartbeat_timeout_ms=10**12
        )
    )
    specs = [random_spec(rng) for _ in range(4)]
    runs = [road.start(definition_of(spec), {}) for spec in specs]
    outcomes = {run: {task["id"]: task["outcomes"] for task in spec} for run, spec in zip(runs, specs, strict=True)}
    chaos = Chaos(rng, specs[0], road)
    for _ in range(5_000):
        if not road.core.state.runs:
            break
        chaos.waiting += road.take(f"w{rng.randint(1, 3)}")
        if chaos.waiting:
            rng.shuffle(chaos.waiting)
            chaos.outcomes = outcomes[chaos.waiting[-1].run_id]
            chaos._answer(chaos.waiting.pop())
        elif (due := road.core.next_due_ms()) is not None:
            road.now = max(road.now, due)
            road.timers()
    for run, spec in zip(runs, specs, strict=True):
        state, tasks = oracle.ends(spec)
        assert road.state(run) == state
        assert road.states(run) == {task_id: end[0] for task_id, end in tasks.items()}
