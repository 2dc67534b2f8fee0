"""Whose turn it is: fairness between the workflows that have ready attempts in one queue. All of it is volatile.

Why: strict priority alone, with age behind it, lets one workflow that makes 10,000 tasks at a time keep all others
waiting until it is through.

How: strict priority comes first. Among workflows of equal priority it is start-time fair queueing (Goyal, Vin and
Cheng, 1996) with attempts of equal weight: each workflow has a tag, the virtual time at which its next attempt begins;
the smallest tag goes first, and an attempt that is taken moves its workflow's tag one on. Virtual time (`now`) is the
tag of what was taken last, and goes on to the end of that when nothing is left. A workflow that comes anew, or comes
back, begins at `now`: what it did not use before gives it no credit, so it starves nobody, and nobody is ahead of it
for longer than one turn each. One that always has just one attempt at a time keeps its tag meanwhile, so it cannot take
every turn either. Within a workflow the order is (depth, age).

The tags belong to the engine, not to a partition: all partitions that it owns share one `Turns`, so that what one of
them gives to a workflow counts on the others, and (priority, tag, depth, age) compares attempts of any two of them. A
Turn lives as long as some partition has a Flow of it; a partition that is given up takes its share along by itself.

While only one workflow is known at a priority of a queue, tags stand still, and it costs nothing.

It must never keep an attempt from being taken, and nothing here may change what an event means.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final
from weakref import ref

if TYPE_CHECKING:
    from indegree.engine.state import Attempt

READY: Final = 1
"""Place of an attempt that may be taken (the other places stand in dispatch.py)."""

_CLEAN_ABOVE: Final = 1_024

Entry = tuple[int, int, int, int, "Attempt"]
"""(depth, queued_ms, order of arrival, attempt number, attempt)"""


class Turn:
    """A workflow at one priority of one queue, over all partitions of the engine. tag: virtual time of its next."""

    __slots__ = ("__weakref__", "tag")

    def __init__(self, tag: int) -> None:
        self.tag = tag


class Level:
    """One priority of one queue, over all partitions of the engine.

    now:   virtual time
    turns: workflow -> its Turn, of those that some partition still holds
    """

    __slots__ = ("now", "turns")

    def __init__(self) -> None:
        self.now = 0
        self.turns: dict[str, ref[Turn]] = {}

    def turn(self, workflow: str) -> Turn:
        """The Turn of a workflow, from now on if there is none."""
        known = self.turns.get(workflow)
        turn = known() if known is not None else None
        if turn is None:
            turn = Turn(self.now)
            turns = self.turns

            def gone(dead: ref[Turn]) -> None:
                if turns.get(workflow) is dead:
                    del turns[workflow]

            turns[workflow] = ref(turn, gone)
        return turn

    def caught_up(self, turn: Turn) -> None:
        """The last attempt of a line was taken, for this workflow: what anybody had before counts no more."""
        if turn.tag > self.now:
            self.now = turn.tag


class Turns:
    """What the partitions of one engine share. Queues and priorities are few, so a Level is never forgotten."""

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: dict[tuple[str, int], Level] = {}

    def level(self, queue: str, priority: int) -> Level:
        """That of a queue and a priority."""
        found = self._levels.get((queue, priority))
        if found is None:
            found = self._levels[queue, priority] = Level()
        return found


class Flow:
    """The attempts of a workflow at one priority of one queue, on one partition.

    priority: negated, so that smaller goes first
    entries:  a heap; an entry is dead when its attempt has moved on, and is dropped when it comes up
    listed:   whether it stands in its line's order
    """

    __slots__ = ("entries", "level", "listed", "priority", "turn")

    def __init__(self, priority: int, level: Level, turn: Turn) -> None:
        self.priority = priority
        self.level = level
        self.turn = turn
        self.entries: list[Entry] = []
        self.listed = False

    def served(self) -> None:
        """An attempt was taken: the workflow's next turn comes later. Of no use while it is alone (`level.turns`)."""
        level, turn = self.level, self.turn
        if turn.tag > level.now:  # where it is behind, it could not be served for a while: that gives no credit either
            level.now = turn.tag
        turn.tag = level.now + 1


class Line:
    """One queue on one partition.

    dead: entries whose attempt has moved on; whoever takes an attempt out of turn counts it
    """

    __slots__ = ("_flows", "_forget_at", "_listings", "_order", "_queue", "_turns", "dead")

    def __init__(self, queue: str, turns: Turns) -> None:
        self.dead = 0
        self._queue = queue
        self._turns = turns
        self._flows: dict[int, dict[str, Flow]] = {}  # by priority and workflow
        self._order: list[tuple[int, int, int, Flow]] = []  # priority, tag as of then, listing, flow
        self._listings = 0
        self._forget_at = _CLEAN_ABOVE  # listings

    def flow(self, priority: int, workflow: str) -> Flow:
        """Where to push an attempt, which must follow. `priority` is negated: smaller goes first."""
        try:
            flow = self._flows[priority][workflow]
            if flow.listed:
                return flow
        except KeyError:
            level = self._turns.level(self._queue, priority)
            flow = Flow(priority, level, level.turn(workflow))
            self._flows.setdefault(priority, {})[workflow] = flow
        if flow.turn.tag < flow.level.now:
            flow.turn.tag = flow.level.now  # it comes anew: at the present virtual time, or at its own if that is later
        flow.listed = True
        self._listings += 1
        heappush(self._order, (priority, flow.turn.tag, self._listings, flow))
        if self._listings >= self._forget_at:
            self._forget()
        return flow

    def head(self) -> Flow | None:
        """The flow whose turn it is; its first entry can be taken. None: there is nothing."""
        order = self._order
        while order:
            priority, tag, listing, flow = order[0]
            if flow.turn.tag != tag:  # it was served meanwhile, here or on another partition
                heapreplace(order, (priority, flow.turn.tag, listing, flow))
                continue
            entries = flow.entries
            while entries:
                first = entries[0]
                if first[4].place == READY and first[4].number == first[3]:
                    return flow
                heappop(entries)
                self.dead -= 1
            if len(order) == 1:
                return None  # it stays listed: a queue that now and then has an attempt is not built up anew each time
            heappop(order)
            flow.listed = False
        return None

    def clean(self) -> None:
        """Drops dead entries from everywhere."""
        for flows in self._flows.values():
            for flow in flows.values():
                entries = flow.entries
                entries[:] = [entry for entry in entries if entry[4].place == READY and entry[4].number == entry[3]]
                heapify(entries)
        self.dead = 0

    def _forget(self) -> None:
        """Drops flows that have nothing and whose tag would be `now` anyway if they came back."""
        kept = 0
        for flows in self._flows.values():
            for workflow, flow in list(flows.items()):
                if flow.listed or flow.turn.tag > flow.level.now:
                    kept += 1
                else:
                    del flows[workflow]
        self._forget_at = self._listings + _CLEAN_ABOVE + kept
