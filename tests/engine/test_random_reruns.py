"""Random runs with reruns against the naive evaluator: tasks begin again at any moment, in runs that go on and in runs
that have ended, and the end is the one of a run in which nothing of that happened."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from tests.engine import oracle_features
from tests.engine.reopening import rerun
from tests.engine.test_random_features import World, _begun, definition_of
from tests.engine.test_random_runs import check_log

SEEDS = st.integers(0, 2**32 - 1)


def below(spec: list[dict[str, Any]], begin: set[str]) -> set[str]:
    """These tasks and all that depend on them."""
    found = set(begin)
    for task in spec:  # parents come first
        if found & set(task["parents"]):
            found.add(task["id"])
    return found


def without_hands(world: World, spec: list[dict[str, Any]], again: set[str]) -> None:
    """What begins again is decided by its rule, whoever ended it before, and waits for its signal anew."""
    for task in spec:
        if task["id"] in again:
            task.pop("hand", None)
            if task.get("wait") == "comes":
                world.signals.append(task["id"])


def compare(world: World, spec: list[dict[str, Any]]) -> None:
    road, run_id = world.road, world.run_id
    state, ends = oracle_features.ends(spec)
    states, reasons = road.states(run_id), road.reasons(run_id)
    # Of a task that was expanded once, and is not any more, the instances of then are known still.
    assert {name: states[name] for name in ends} == {name: end[0] for name, end in ends.items()}
    skipped = {name: end[1] for name, end in ends.items() if end[0] == "SKIPPED"}
    assert {name: reasons[name] for name in skipped} == skipped
    assert road.state(run_id) == state
    check_log(road, run_id, definition_of(spec))


@settings(max_examples=150, deadline=None, print_blob=True)
@given(seed=SEEDS)
@example(seed=0)
def test_tasks_that_begin_again_at_any_moment_change_nothing_of_the_end(seed: int) -> None:
    world, road, run_id, spec = _begun(seed)
    rng = world.rng
    for _ in range(rng.choice([1, 1, 2, 4])):
        for _ in range(rng.randint(0, 40)):
            if road.core.run(run_id) is not None:
                world.step()
        states = road.states(run_id)
        begun = [name for name, state in states.items() if state != "PENDING" and not name.startswith("gate")]
        run = road.core.run(run_id)
        names = rng.sample(begun, min(len(begun), rng.choice([1, 1, 2])))
        if run is None:  # instances of before may be over
            names = [name for name in names if "[" not in name]
        if not names:
            continue
        note(f"rerun {names}")
        problem = rerun(road, run_id, *names)
        if problem:  # an instance that a former rerun left behind
            assert "there is no" in problem or "has no instances" in problem, problem
            continue
        world.waiting = [task for task in world.waiting if rng.random() < 0.7 or task.task_id not in names]
        without_hands(world, spec, below(spec, {name.partition("[")[0] for name in names}))
    world.until_the_end()
    compare(world, spec)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(seed=SEEDS)
def test_a_rerun_from_failed_of_a_run_that_has_ended_keeps_what_succeeded(seed: int) -> None:
    world, road, run_id, spec = _begun(seed)
    world.until_the_end()
    _, ends = oracle_features.ends(spec)
    bad = {
        task["id"]
        for task in spec
        if (ends[task["id"]][0] == "FAILED" and not oracle_features._tolerates(task))
        or ends[task["id"]] == ("SKIPPED", "upstream_failed")
    }
    problem = rerun(road, run_id)
    assert bool(problem) == (not bad), problem
    if problem:
        return
    again = below(spec, bad)
    position = len(road.progress)
    for task in spec:
        if task["id"] in again:
            task["outcomes"] = ["ok"] * len(task["outcomes"])
            if task.get("map") is not None:
                task["map"] = [["ok"] * len(outcomes) for outcomes in task["map"]]
    without_hands(world, spec, again)
    world.until_the_end()
    compare(world, spec)
    repeated = {p.task_id.partition("[")[0] for p in road.progress[position:] if p.type == "task.queued"}
    assert repeated <= again
