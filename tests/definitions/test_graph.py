"""The graph: which shapes are accepted, which are refused, and with which words."""

from __future__ import annotations

import time
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indegree.events.graph import CycleError, DuplicateId, Graph, UnknownParent

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def build(tasks: dict[str, list[str]]) -> Graph:
    return Graph.build(list(tasks), list(tasks.values()))


@pytest.mark.parametrize("order", list(permutations("abcd")))
def test_tasks_may_be_written_in_any_order(order: tuple[str, ...]) -> None:
    # CASES row 15: all 24 orders of a diamond are one and the same DAG.
    graph = build({task: DIAMOND[task] for task in order})

    edges = {(graph.ids[p], graph.ids[c]) for p in range(graph.n) for c in graph.children[p]}
    assert edges == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")}
    assert [graph.degree[graph.index[task]] for task in "abcd"] == [0, 1, 1, 2]
    assert [graph.depth[graph.index[task]] for task in "abcd"] == [0, 1, 1, 2]
    assert [graph.ids[root] for root in graph.roots] == ["a"]


def test_a_parent_named_twice_is_one_edge() -> None:
    # CASES row 18
    graph = build({"p": [], "q": ["p", "p", "p"]})

    assert (graph.degree[1], graph.parents[1], graph.children[0]) == (1, (0,), (1,))


def test_a_task_that_depends_on_itself_is_named() -> None:
    # CASES row 17
    with pytest.raises(CycleError, match="task 'a' depends on itself"):
        build({"b": [], "a": ["b", "a"]})


def test_a_cycle_is_told_with_its_path() -> None:
    with pytest.raises(CycleError, match=r"a -> b -> c -> a") as caught:
        build({"root": [], "a": ["c", "root"], "b": ["a"], "c": ["b"], "below": ["c"]})

    assert caught.value.path == ("a", "b", "c", "a")


def test_a_long_cycle_is_shown_in_part() -> None:
    n = 50_000
    with pytest.raises(CycleError) as caught:
        Graph.build([f"t{i}" for i in range(n)], [[f"t{(i - 1) % n}"] for i in range(n)])

    assert len(caught.value.path) == n + 1
    assert len(str(caught.value)) < 1_000


def test_an_unknown_parent_is_named_with_a_suggestion() -> None:
    with pytest.raises(UnknownParent, match=r"'load' depends on 'extrct'.*did you mean 'extract'"):
        build({"extract": [], "load": ["extrct"]})


def test_two_tasks_of_one_id_are_refused_with_both_places() -> None:
    # CASES row 19
    with pytest.raises(DuplicateId, match="'load'") as caught:
        Graph.build(["a", "load", "load"], [[], [], []])

    assert caught.value.indices == (1, 2)


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_order_is_topological_and_depth_the_longest_path(n: int, random: object) -> None:
    choose = random.sample  # type: ignore[attr-defined]
    ids = [f"t{i}" for i in range(n)]
    parents = {ids[i]: choose(ids[:i], k=min(i, 3)) for i in range(n)}
    written = choose(ids, k=n)

    graph = Graph.build(written, [parents[task] for task in written])

    place = {task: at for at, task in enumerate(graph.order)}
    for task in range(n):
        above = graph.parents[task]
        assert all(place[parent] < place[task] for parent in above)
        assert graph.depth[task] == max((graph.depth[parent] + 1 for parent in above), default=0)
        assert graph.degree[task] == len(above)
        assert all(task in graph.children[parent] for parent in above)


@pytest.mark.parametrize("shape", ["chain", "wide"])
def test_a_hundred_thousand_tasks_build(shape: str) -> None:
    n = 100_000
    ids = [f"t{i}" for i in range(n)]
    if shape == "chain":
        parents = [[], *([task] for task in ids[:-1])]
    else:
        parents = [[], *([ids[0]] for _ in range(n - 2)), ids[1:-1]]

    started = time.perf_counter()
    graph = Graph.build(ids, parents)
    print(f"{shape} of {n} tasks: {time.perf_counter() - started:.2f} s")

    assert graph.depth[n - 1] == (n - 1 if shape == "chain" else 2)
