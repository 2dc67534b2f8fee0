"""The shape of a workflow: which task waits for which, as numbers.

Why: the SDK refuses wrong graphs with names that people understand, and the engine counts in-degrees for up to 100,000
tasks. Both need one structure that is built once per workflow version and shared by all its runs.

How: tasks are indices in the order of writing, edges are tuples of indices, each edge once however often it was named.
Kahn's algorithm (A. B. Kahn, Topological sorting of large networks, 1962) gives the order and finds out whether there
is a cycle; only then a walk along parents that were never released names one. Nothing here recurses: a chain of 100,000
tasks is a legal workflow.

It must never hold anything of a run. `degree` is the initial in-degree of each task: a run copies it before it counts.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from indegree.events.spelling import did_you_mean

_SHOWN_IN_CYCLE = 20
"""A cycle may be as long as the workflow; the message shows this many of its tasks."""


class GraphError(ValueError):
    """The tasks and their parents do not form a DAG. `task_id` names the task at fault."""

    def __init__(self, message: str, task_id: str) -> None:
        super().__init__(message)
        self.task_id = task_id


class DuplicateId(GraphError):
    """Two tasks have one id. `indices` are both places in the order of writing."""

    def __init__(self, task_id: str, first: int, second: int) -> None:
        super().__init__(
            f"two tasks have the id {task_id!r} (numbers {first + 1} and {second + 1} in the list); ids are unique in "
            "a workflow, so rename one of them",
            task_id,
        )
        self.indices = (first, second)


class UnknownParent(GraphError):
    """A task depends on a task that the workflow does not have. `parent` is the unknown name."""

    def __init__(self, task_id: str, parent: str, suggestion: str) -> None:
        super().__init__(f"task {task_id!r} depends on {parent!r}, and there is no such task{suggestion}", task_id)
        self.parent = parent


class CycleError(GraphError):
    """Tasks wait for each other. `path` begins and ends with one task: each waits for the one before it."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        if len(path) == 2:
            text = f"task {path[0]!r} depends on itself; it could never start, so remove that dependency"
        else:
            shown = list(path)
            if len(shown) > _SHOWN_IN_CYCLE:
                half = _SHOWN_IN_CYCLE // 2
                shown = [*shown[:half], f"... {len(shown) - 2 * half} more ...", *shown[-half:]]
            text = f"tasks wait for each other in a circle: {' -> '.join(shown)}; remove one of these dependencies"
        super().__init__(text, path[0])


class Graph:
    """An immutable DAG. Build it with `Graph.build`; all attributes are indexed by the task's place in `ids`.

    n:        number of tasks
    ids:      task ids in the order of writing
    index:    id -> place in `ids`
    parents:  for each task the tasks it waits for, ascending, each once
    children: for each task the tasks that wait for it, ascending, each once (the inverse of `parents`)
    roots:    tasks without parents, ascending
    depth:    array('i'), edges on the longest path from a root (a root has 0)
    degree:   array('I'), len(parents[i]): the in-degree at the start of a run; copy it, never write to it
    order:    a topological order: every task stands after all its parents
    """

    __slots__ = ("children", "degree", "depth", "ids", "index", "n", "order", "parents", "roots")

    n: int
    ids: tuple[str, ...]
    index: dict[str, int]
    parents: tuple[tuple[int, ...], ...]
    children: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]
    depth: array[int]
    degree: array[int]
    order: tuple[int, ...]

    @classmethod
    def build(cls, ids: Sequence[str], parents: Sequence[Sequence[str]]) -> Graph:
        """Make the graph of tasks `ids`, where `parents[i]` names what `ids[i]` waits for (repetitions count once).

        Tasks may be written in any order. Raises DuplicateId, UnknownParent or CycleError (also for a task that
        depends on itself). Takes about a second for 100,000 tasks.
        """
        if len(ids) != len(parents):
            raise ValueError(f"{len(ids)} ids but {len(parents)} lists of parents; there must be one list for each id")
        index: dict[str, int] = {}
        for place, task_id in enumerate(ids):
            if index.setdefault(task_id, place) != place:
                raise DuplicateId(task_id, index[task_id], place)
        edges: list[tuple[int, ...]] = []
        children: list[list[int]] = [[] for _ in ids]
        for place, names in enumerate(parents):
            if not names:
                edges.append(())
                continue
            found = set()
            for name in names:
                parent = index.get(name)
                if parent is None:
                    raise UnknownParent(ids[place], name, did_you_mean(name, ids))
                if parent == place:
                    raise CycleError([name, name])
                found.add(parent)
            ordered = tuple(sorted(found))
            edges.append(ordered)
            for parent in ordered:
                children[parent].append(place)

        graph = cls.__new__(cls)
        graph.n = len(ids)
        graph.ids = tuple(ids)
        graph.index = index
        graph.parents = tuple(edges)
        graph.children = tuple(map(tuple, children))
        graph.degree = array("I", map(len, edges))
        graph.roots = tuple(place for place, found_parents in enumerate(edges) if not found_parents)
        graph._sort()
        return graph

    def _sort(self) -> None:
        """Fill `order` and `depth`, or raise CycleError."""
        open_edges = array("I", self.degree)
        depth = array("i", bytes(4 * self.n))
        order = list(self.roots)
        for place in order:  # grows while it is read: the list is Kahn's queue and its result at once
            below = depth[place] + 1
            for child in self.children[place]:
                open_edges[child] -= 1
                if depth[child] < below:
                    depth[child] = below
                if not open_edges[child]:
                    order.append(child)
        if len(order) != self.n:
            raise CycleError(self._one_cycle(open_edges))
        self.order = tuple(order)
        self.depth = depth

    def _one_cycle(self, open_edges: array[int]) -> list[str]:
        """A cycle among the tasks that Kahn's algorithm could not release, in the direction of the flow.

        Each such task has a parent that was not released either, so walking from parent to parent must come back to
        a task that was seen.
        """
        place = next(i for i in range(self.n) if open_edges[i])
        seen: dict[int, int] = {}
        walk: list[int] = []
        while place not in seen:
            seen[place] = len(walk)
            walk.append(place)
            place = next(parent for parent in self.parents[place] if open_edges[parent])
        cycle = walk[seen[place] :]
        cycle.reverse()
        first = cycle.index(min(cycle))  # begin with the task that is written first: the message is the same every time
        cycle = cycle[first:] + cycle[:first]
        return [self.ids[i] for i in [*cycle, cycle[0]]]

    def __repr__(self) -> str:
        return f"Graph({self.n} tasks, {sum(self.degree)} edges, {len(self.roots)} roots)"
