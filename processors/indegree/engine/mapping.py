"""Mapped tasks: what an event does to the instances of a `foreach`.

Why: one task may stand for 100,000 pieces of work, each with its own attempts and end, and a takeover may come in the
middle of making them.

How: a mapped task is expanded by one event, which gives it `total` slots behind all others of its run (state.py) and
holds the first slice of its items; further slices follow as events. From then on it is RUNNING, which keeps its one
unit
of in-degree at its children until all instances have ended. Instances have states, attempts and outputs like tasks,
and no edges: an element of a parent that is followed element by element makes the instance of the same place ready.
Which maps have something to decide (`run.busy`) is derived here; expansion.py decides it.

It must never look at a limit or a definition's expression: the event says how many there are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from indegree.engine.state import Run, State
from indegree.engine.states import FAILED, ILLEGAL, ON_EXPANDED, PENDING, RUNNING, TERMINAL, IllegalTransition
from indegree.events import json_values

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event

ERRORS_KEPT = 1_000
"""Errors of failed instances that are kept for `tasks.X.errors`."""


class MapState:
    """One mapped task that has been expanded. Instances are named by their place, from 0.

    task:    index in the plan; first: slot of place 0; total: number of instances
    slices, starts, known: the items so far, as JSON lists; the place of each list's first item; how many there are
    follows: the task that it follows element by element, or -1
    limit:   instances at a time, 0 for no limit
    left:    instances that have not ended; failed: that are FAILED; active: that are begun and have not ended
    next:    no place before it is PENDING (without `follows`)
    ready:   a heap of places that may begin, with `follows`: what they follow has ended; of those that are not PENDING
             any more some stay until they come up
    errors:  place -> JSON object, of instances that failed
    """

    __slots__ = (
        "_texts",
        "_texts_of",
        "active",
        "errors",
        "failed",
        "first",
        "follows",
        "known",
        "left",
        "limit",
        "next",
        "ready",
        "slices",
        "starts",
        "task",
        "total",
    )

    def __init__(self, task: int, first: int, total: int, follows: int, limit: int) -> None:
        self.task = task
        self.first = first
        self.total = total
        self.follows = follows
        self.limit = limit
        self.slices: list[bytes] = []
        self.starts: list[int] = []
        self.known = 0
        self.left = total
        self.failed = 0
        self.active = 0
        self.next = 0
        self.ready: list[int] = []
        self.errors: dict[int, bytes] = {}
        self._texts: list[bytes] = []
        self._texts_of = -1

    def add(self, data: bytes) -> None:
        """A slice of items: a JSON list."""
        self.slices.append(data)
        self.starts.append(self.known)
        self.known += len(json_values.loads(data, max_depth=None))

    def item(self, place: int) -> bytes:
        """The item of a place below `known`, as JSON text."""
        index = bisect_right(self.starts, place) - 1
        if index != self._texts_of:
            self._texts = [json_values.dumps(item) for item in json_values.loads(self.slices[index], max_depth=None)]
            self._texts_of = index
        return self._texts[place - self.starts[index]]

    def place_to_begin(self) -> int:
        """The place that begins next, or -1: none may."""
        if self.limit and self.active >= self.limit:
            return -1
        if self.follows >= 0:
            return self.ready[0] if self.ready else -1
        return self.next if self.next < self.known else -1

    def has_work(self, run: Run) -> bool:
        """Whether there is something to decide: items to be written, instances to be begun, an end to be judged."""
        if run.ending or run.states[self.task] != RUNNING:
            return False
        if not self.left:
            return self.follows < 0 or run.states[self.follows] >= TERMINAL
        return (self.follows < 0 and self.known < self.total) or self.place_to_begin() >= 0


def map_of(run: Run, slot: int) -> MapState:
    """The map that an instance belongs to."""
    assert run.maps is not None
    return run.maps[run.node(slot)]


def expanded(state: State, run: Run, event: Event) -> None:
    """TASK_EXPANDED."""
    task, total = event.task, event.total
    if ON_EXPANDED[run.states[task]] == ILLEGAL:
        raise IllegalTransition(run.run_id, run.plan.ids[task], run.states[task], event.kind)
    run.states[task] = RUNNING
    mapped = run.plan.mapped[task] if run.plan.mapped is not None else None
    assert mapped is not None, "only a mapped task is expanded"
    found = MapState(task, len(run.states), total, run.plan.follows.get(task, -1), mapped.concurrency or 0)
    run.states.extend(bytes(total))
    if run.nodes is None:
        run.nodes = array("I")
        run.maps = {}
    assert run.maps is not None
    run.nodes.extend([task] * total)
    run.maps[task] = found
    run.left += total
    if event.data:
        add_items(state, run, found, event.data)
    if found.follows >= 0:
        found.ready.extend(_followable(run, found))
    refresh(state, run, found)


def add_items(state: State, run: Run, found: MapState, data: bytes) -> None:
    """A slice of items, a JSON list, counted with what lies inline."""
    found.add(data)
    run.inline_bytes += len(data)
    state.inline_bytes += len(data)


def items_came(state: State, run: Run, event: Event) -> None:
    """TASK_ITEMS."""
    found = run.maps.get(event.task) if run.maps is not None else None
    if found is not None and event.number == found.known:
        add_items(state, run, found, event.data)
        refresh(state, run, found)


def _followable(run: Run, follower: MapState) -> list[int]:
    """The places whose element of the parent has ended, of those that are PENDING."""
    assert run.maps is not None
    parent = run.maps.get(follower.follows)
    if parent is None:
        return []
    states, at, own = run.states, parent.first, follower.first
    return [i for i in range(follower.total) if states[own + i] == PENDING and states[at + i] >= TERMINAL]


def begun(state: State, run: Run, slot: int) -> None:
    """An instance has left PENDING and has not ended."""
    found = map_of(run, slot)
    found.active += 1
    refresh(state, run, found)


def ended(state: State, run: Run, slot: int, old: int) -> None:
    """An instance has ended; `old`: the state that it was in before."""
    found = map_of(run, slot)
    found.left -= 1
    if old != PENDING:
        found.active -= 1
    if run.states[slot] == FAILED:
        found.failed += 1
    place = slot - found.first
    for follower in run.plan.followers.get(found.task, ()):
        following = run.maps.get(follower) if run.maps is not None else None
        if following is not None and run.states[following.first + place] == PENDING:
            heappush(following.ready, place)
            refresh(state, run, following)
    refresh(state, run, found)


def task_ended(state: State, run: Run, task: int) -> None:
    """A mapped task as a whole has ended: those that follow it may be judged."""
    if run.busy is not None and run.busy.pop(task, None) is not None and not run.busy:
        run.busy = None
        if not run.is_decidable():
            state.decidable.pop(run.run_id, None)
    for follower in run.plan.followers.get(task, ()):
        following = run.maps.get(follower) if run.maps is not None else None
        if following is not None:
            refresh(state, run, following)


def refresh(state: State, run: Run, found: MapState) -> None:
    """Puts the map among those with something to decide, or takes it out."""
    states, first = run.states, found.first
    if found.follows >= 0:
        while found.ready and states[first + found.ready[0]] != PENDING:
            heappop(found.ready)
    else:
        while found.next < found.total and states[first + found.next] != PENDING:
            found.next += 1
    if found.has_work(run):
        if run.busy is None:
            run.busy = {}
        run.busy[found.task] = found
    elif run.busy is not None and run.busy.pop(found.task, None) is not None and not run.busy:
        run.busy = None
    if run.is_decidable():
        state.decidable[run.run_id] = run
    else:
        state.decidable.pop(run.run_id, None)


def recount(state: State, run: Run, found: MapState) -> None:
    """Everything that is derived, from the states of the instances: after a snapshot, or when some begin again."""
    states = run.states[found.first : found.first + found.total]
    found.left = sum(1 for s in states if s < TERMINAL)
    found.failed = states.count(FAILED)
    found.active = sum(1 for s in states if PENDING < s < TERMINAL)
    found.next = 0
    found.ready = _followable(run, found) if found.follows >= 0 else []
    refresh(state, run, found)
