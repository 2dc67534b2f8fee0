"""Turns of workflows in a queue, as a simulation: who is taken when, and what it costs nobody."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from indegree.engine.dispatch import Dispatch
from indegree.engine.plan import plan_of
from indegree.engine.state import Attempt, Run
from indegree.engine.turns import Turns
from indegree.events.definition import Definition


def ready(workflow: str, count: int, priority: int = 0, queued_ms: int = 0) -> Iterator[Attempt]:
    """Attempts of one task each, all of the same age."""
    task = {"id": "t", "command": "true", "priority": priority}
    plan = plan_of(Definition.from_normal({"id": workflow, "tasks": [task]}))
    for i in range(count):
        run = Run(f"{workflow}-{i}", plan, 1)
        run.attempts[0] = attempt = Attempt(run, 0, 1, 0, queued_ms)
        yield attempt


def push(dispatch: Dispatch, workflow: str, count: int, priority: int = 0, queued_ms: int = 0) -> list[Attempt]:
    found = list(ready(workflow, count, priority, queued_ms))
    for attempt in found:
        dispatch.push(attempt)
    return found


def take(dispatch: Dispatch, count: int) -> list[str]:
    """Workflows in the order in which so many attempts were taken."""
    found = []
    for _ in range(count):
        attempt = dispatch.take("default", "w")
        assert attempt is not None
        found.append(attempt.run.plan.workflow)
    return found


def test_ten_tasks_are_not_kept_waiting_by_ten_thousand_older_ones() -> None:
    dispatch = Dispatch(30_000, 5_000)
    push(dispatch, "large", 10_000, queued_ms=1)
    assert set(take(dispatch, 500)) == {"large"}
    push(dispatch, "small", 10, queued_ms=2)
    assert Counter(take(dispatch, 20)) == {"small": 10, "large": 10}
    assert set(take(dispatch, 9_490)) == {"large"}
    assert dispatch.take("default", "w") is None
    assert dispatch.counts == {}


def test_three_workflows_share_evenly() -> None:
    dispatch = Dispatch(30_000, 5_000)
    for name, count in (("a", 3_000), ("b", 500), ("c", 1_000)):
        push(dispatch, name, count)
    for _ in range(500):
        assert sorted(take(dispatch, 3)) == ["a", "b", "c"]
    for _ in range(500):
        assert sorted(take(dispatch, 2)) == ["a", "c"]
    assert set(take(dispatch, 2_000)) == {"a"}


def test_priority_beats_fairness() -> None:
    dispatch = Dispatch(30_000, 5_000)
    push(dispatch, "a", 10)
    push(dispatch, "b", 10)
    push(dispatch, "a", 100, priority=5)
    assert take(dispatch, 100) == ["a"] * 100
    assert Counter(take(dispatch, 10)) == {"a": 5, "b": 5}, "what was served at another priority does not count here"


def test_within_a_workflow_the_oldest_goes_first() -> None:
    dispatch = Dispatch(30_000, 5_000)
    young, old = push(dispatch, "a", 1, queued_ms=9)[0], push(dispatch, "a", 1, queued_ms=3)[0]
    push(dispatch, "b", 1, queued_ms=1)
    taken = [dispatch.take("default", "w") for _ in range(3)]
    assert [t for t in taken if t is not None and t.run.plan.workflow == "a"] == [old, young]


def test_a_workflow_that_comes_back_has_no_credit() -> None:
    dispatch = Dispatch(30_000, 5_000)
    push(dispatch, "a", 5_000)
    push(dispatch, "b", 1)
    take(dispatch, 2_000)  # b has not asked for anything since its one
    push(dispatch, "b", 1_000)
    push(dispatch, "new", 1_000)
    for _ in range(300):
        assert sorted(take(dispatch, 3)) == ["a", "b", "new"]


def test_one_that_comes_back_does_not_pass_who_has_waited_for_this_turn() -> None:
    dispatch = Dispatch(30_000, 5_000)
    for name, count in (("a", 10), ("b", 10), ("c", 1)):
        push(dispatch, name, count)
    assert take(dispatch, 3) == ["a", "b", "c"]
    assert take(dispatch, 5) == ["a", "b", "a", "b", "a"]
    push(dispatch, "c", 1)
    assert take(dispatch, 3) == ["b", "c", "a"]


def test_one_that_always_has_just_one_attempt_does_not_take_every_turn() -> None:
    dispatch = Dispatch(30_000, 5_000)
    push(dispatch, "large", 2_000)
    taken = Counter[str]()
    for _ in range(500):
        push(dispatch, "chain", 1)
        taken.update(take(dispatch, 1))
        if dispatch.counts["default"] > 2_000:  # not served yet
            taken.update(take(dispatch, 1))
    assert abs(taken["large"] - taken["chain"]) < 10, taken


def test_partitions_of_an_engine_share_turns() -> None:
    turns = Turns()
    one, two = Dispatch(30_000, 5_000, turns), Dispatch(30_000, 5_000, turns)
    push(one, "large", 1_000, queued_ms=1)
    take(one, 100)
    push(two, "large", 1_000, queued_ms=1)
    push(two, "small", 10, queued_ms=2)
    found = []
    for _ in range(20):
        first, second = one.best("default"), two.best("default")
        assert first is not None
        assert second is not None
        found += take(one if first <= second else two, 1)
    assert Counter(found) == {"small": 10, "large": 10}


def test_a_partition_that_is_given_up_leaves_nothing_of_its_turns() -> None:
    turns = Turns()
    one, two = Dispatch(30_000, 5_000, turns), Dispatch(30_000, 5_000, turns)
    push(one, "a", 1)
    push(two, "b", 1)
    level = turns.level("default", 0)
    assert set(level.turns) == {"a", "b"}
    del two
    gc.collect()
    assert set(level.turns) == {"a"}


def test_workflows_that_have_gone_are_forgotten() -> None:
    dispatch = Dispatch(30_000, 5_000)
    for i in range(6_000):
        push(dispatch, f"w{i}", 1)
        take(dispatch, 1)
    level = dispatch._turns.level("default", 0)
    assert len(level.turns) < 2_100


@pytest.mark.parametrize("seed", [7, 8])
def test_nothing_is_lost_or_given_twice_whatever_happens(seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    turns = Turns()
    places = [Dispatch(30_000, 5_000, turns) for _ in range(3)]
    owned: list[set[Attempt]] = [set() for _ in places]  # READY in each
    sent: list[set[Attempt]] = [set() for _ in places]
    parked: list[set[Attempt]] = [set() for _ in places]
    for step in range(6_000):
        place = rng.randrange(3)
        dispatch, mine = places[place], owned[place]
        match rng.randrange(8):
            case 0 | 1:
                mine.update(push(dispatch, rng.choice("abcde"), rng.randrange(4), rng.choice((0, 0, 5)), step))
            case 2 | 3 | 4:
                best = dispatch.best("default")
                attempt = dispatch.take("default", "w")
                assert (attempt is None) == (not mine) == (best is None)
                if attempt is not None and best is not None:
                    mine.remove(attempt)
                    sent[place].add(attempt)
                    assert best[0] == min(-attempt.run.plan.tasks[0].priority for attempt in mine | {attempt})
            case 5 if mine:
                attempt = rng.choice(sorted(mine, key=lambda a: a.run.run_id))
                mine.remove(attempt)
                dispatch.drop(attempt)
            case 6 if mine:
                attempt = rng.choice(sorted(mine, key=lambda a: a.run.run_id))
                mine.remove(attempt)
                attempt.run.paused = 1
                dispatch.park(attempt.run)
                parked[place].add(attempt)
            case 7:
                for attempt in parked[place]:
                    attempt.run.paused = 0
                    dispatch.unpark(attempt.run)
                mine |= parked[place]
                parked[place].clear()
                if sent[place]:
                    attempt = sent[place].pop()
                    dispatch.give_back(attempt)
                    mine.add(attempt)
            case _:
                pass
        assert dispatch.counts.get("default", 0) == len(mine)
    for dispatch, mine in zip(places, owned, strict=True):
        assert len(take(dispatch, len(mine))) == len(mine)
        assert dispatch.take("default", "w") is None
