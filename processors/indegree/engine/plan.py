"""A workflow version as the core runs it: its definition, laid out as columns that all runs of the version share.

Why: the hot path asks "which children, which rule, which queue" for each task of each run. Attribute by attribute
through dataclasses that is slow, and copying it into runs is large.

How: one column for each question, indexed by task. A plan is made once for each version and process (partitions share
it) and is never changed afterwards.

To read a definition of 100,000 tasks takes seconds. So `read_plan` does that alone: the shell calls it in a thread
and keeps what it gives before the core asks for it; where nobody did so, the core reads it itself. The newest plans are
kept, whether they are in use or not: the next takeover or start is not to wait for the same definition again.

It must never hold anything of a run.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import Final
from weakref import WeakValueDictionary

from indegree.engine import join
from indegree.events.definition import MAX_DEFINITION_BYTES, Definition, DefinitionError, Problem
from indegree.events.definition_model import Mapped, RetryPolicy, TaskDefinition, TaskKind
from indegree.events.expressions import Expression
from indegree.events.graph import Graph

DISPATCHED: Final = 0
"""A worker runs it."""
JOIN: Final = 1
"""Nothing to do: it succeeds when it is decided."""
WAIT: Final = 2
"""Waits for a signal, a record, a run or a time (waiting.py)."""
CHILD: Final = 3
"""Starts a run of another workflow (children.py)."""

_KINDS: Final = {
    TaskKind.PYTHON: DISPATCHED,
    TaskKind.COMMAND: DISPATCHED,
    TaskKind.JOIN: JOIN,
    TaskKind.WAIT: WAIT,
    TaskKind.WORKFLOW: CHILD,
}
HOOKS: Final = {"SUCCESS": "on_success", "FAILED": "on_failure", "CANCELLED": "on_cancel"}
"""The hooks of each end of a run; `on_end` comes with all."""


class Plan:
    """Columns of a version. Lists and bytes are indexed by task; nothing here but the caches is ever written to again.

    definition: as given; version: content hash; workflow: its name
    graph:     of the tasks and, behind them, the hooks
    n:         number of tasks and hooks; main: of tasks alone
    hooks:     state that a run ends in -> the hooks that then run; empty where there are none
    mapped:    Mapped or None for each task; None as a whole where no task is mapped
    followers: mapped task -> the tasks that follow it element by element (their edge to it is not in `children` and
               `degree`: each instance of theirs waits for one instance of it)
    follows:   such a task -> the one it follows
    limited:   bytes, 1 where a pool or a rate limit is asked before the task is queued
    children:  tuple of child indices for each task
    degree:    array('I'), in-degree at the start of a run; runs copy it
    rules:     bytes, join.CODES
    eager:     bytes, 1 where a taken edge may decide the rule while others are open (join.EAGER)
    first:     tasks that are decided when a run starts: roots and those with rule `always`, ascending
    kinds:     bytes, DISPATCHED, JOIN, WAIT or CHILD
    when:      condition or None for each task; None as a whole where no task has one
    allow:     bytes, 1 where allow_failure
    queue:     queue name of each task
    order:     sort key (-priority, depth) of each task, for the ready heaps
    timeout_ms, queue_timeout_ms: 0 for none
    retry:     RetryPolicy of each task
    run_timeout_ms: 0 for none
    recipes:   how task records are made, by task: a cache that records.py fills
    packed:    the definition as it stands on the log (zlib of its canonical form), None until it is needed
    defaults:  the bound parameters of a start that gives none: a cache that starts.py fills, None while unknown
    """

    __slots__ = (
        "__weakref__",
        "allow",
        "children",
        "defaults",
        "definition",
        "degree",
        "eager",
        "first",
        "followers",
        "follows",
        "graph",
        "hooks",
        "ids",
        "kinds",
        "limited",
        "main",
        "mapped",
        "n",
        "order",
        "packed",
        "queue",
        "queue_timeout_ms",
        "recipes",
        "retry",
        "rules",
        "run_timeout_ms",
        "tasks",
        "timeout_ms",
        "version",
        "when",
        "workflow",
    )

    def __init__(self, definition: Definition) -> None:
        tasks: tuple[TaskDefinition, ...] = definition.tasks
        graph: Graph = definition.graph
        self.main = len(tasks)
        self.hooks: dict[str, tuple[int, ...]] = {}
        if definition.hooks:
            tasks, graph = self._with_hooks(definition)
        self.definition = definition
        self.version: str = definition.hash
        self.workflow: str = definition.id
        self.graph = graph
        self.n = graph.n
        self.ids = graph.ids
        self.tasks = tasks
        self.children = graph.children
        self.degree = graph.degree
        self.follows: dict[int, int] = {}
        self.followers: dict[int, tuple[int, ...]] = {}
        mapped = [task.mapped for task in tasks]
        self.mapped: list[Mapped | None] | None = mapped if any(mapped) else None
        if self.mapped is not None:
            self._part_followers()
        self.rules = bytes(join.CODES[task.trigger_rule] for task in tasks)
        self.eager = bytes(rule in join.EAGER for rule in self.rules)
        self.first = tuple(
            i
            for i in range(self.main)
            if (not self.degree[i] or self.rules[i] == join.ALWAYS) and i not in self.follows
        )
        self.kinds = bytes(_KINDS[task.kind] for task in tasks)
        self.limited = bytes(task.pool is not None or task.rate_limit is not None for task in tasks)
        conditions = [task.when for task in tasks]
        self.when: list[Expression | None] | None = conditions if any(conditions) else None
        self.allow = bytes(task.allow_failure for task in tasks)
        self.queue = [task.queue for task in tasks]
        self.order = [(-task.priority, graph.depth[i]) for i, task in enumerate(tasks)]
        self.timeout_ms = [task.timeout_ms or 0 for task in tasks]
        self.queue_timeout_ms = [task.queue_timeout_ms or 0 for task in tasks]
        self.retry: list[RetryPolicy] = [task.retry for task in tasks]
        self.run_timeout_ms: int = definition.timeout_ms or 0
        self.recipes: dict[int, object] = {}
        self.packed: bytes | None = None
        self.defaults: bytes | None = None

    def _with_hooks(self, definition: Definition) -> tuple[tuple[TaskDefinition, ...], Graph]:
        """The tasks with all hooks behind them, and the graph of both; fills `hooks`."""
        tasks = list(definition.tasks)
        of: dict[str, list[int]] = {}
        for event, hooks in definition.hooks.items():
            of[event] = list(range(len(tasks), len(tasks) + len(hooks)))
            tasks.extend(hooks)
        for state, event in HOOKS.items():
            found = of.get(event, []) + of.get("on_end", [])
            if found:
                self.hooks[state] = tuple(found)
        return tuple(tasks), Graph.build([task.id for task in tasks], [task.depends_on for task in tasks])

    def _part_followers(self) -> None:
        """Takes the edges between a mapped task and what follows it element by element out of the counts."""
        assert self.mapped is not None
        children = list(self.children)
        degree = self.degree[:]
        followers: dict[int, list[int]] = {}
        for task, mapped in enumerate(self.mapped):
            if mapped is not None and mapped.follows is not None:
                parent = self.graph.index[mapped.follows]
                self.follows[task] = parent
                followers.setdefault(parent, []).append(task)
                children[parent] = tuple(child for child in children[parent] if child != task)
                degree[task] -= 1
        self.followers = {parent: tuple(found) for parent, found in followers.items()}
        self.children = tuple(children)
        self.degree = degree

    def pack(self) -> bytes:
        """`packed`, made where it is not known."""
        if self.packed is None:
            self.packed = zlib.compress(self.definition.canonical(), 6)
        return self.packed


def read_plan(version: str, packed: bytes, most: int = MAX_DEFINITION_BYTES) -> Plan:
    """The plan of a definition as the log and the workflows topic hold it. Blocks for some 4 s with 100,000 tasks.

    Changes nothing that is shared: it may run in a thread, and `keep` takes what it gives. `most`: bytes of canonical
    form. Raises DefinitionError (also for content that does not have the hash `version`) and zlib.error.
    """
    text = zlib.decompressobj().decompress(packed, most + 1)
    if len(text) > most:
        raise DefinitionError([Problem("", f"it is larger than {most} bytes (limits.definition_bytes)")])
    plan = Plan(Definition.from_canonical(text, version))
    plan.packed = packed
    return plan


_PLANS: WeakValueDictionary[str, Plan] = WeakValueDictionary()
_KEPT: OrderedDict[str, Plan] = OrderedDict()
"""The plans that were made, or looked for by a recovery, last."""
KEPT_TASKS: Final = 400_000
"""Of these, in sum; each takes some 3 KB with its definition."""
_KEPT_PLANS: Final = 256


def plan_of(definition: Definition) -> Plan:
    """The plan of a definition: the same object for the same content hash, as long as anybody uses it."""
    plan = _PLANS.get(definition.hash)
    return keep(Plan(definition)) if plan is None else plan


def known_plan(version: str) -> Plan | None:
    """The plan of a content hash if this process has it: a recovery need not parse a definition again."""
    plan = _PLANS.get(version)
    return None if plan is None else keep(plan)


def keep(plan: Plan) -> Plan:
    """The one plan of this version: from now on this, or the one that was there. It counts as the newest."""
    plan = _PLANS.setdefault(plan.version, plan)
    _KEPT[plan.version] = plan
    _KEPT.move_to_end(plan.version)
    tasks = sum(kept.n for kept in _KEPT.values())
    while tasks > KEPT_TASKS or len(_KEPT) > _KEPT_PLANS:
        tasks -= _KEPT.popitem(last=False)[1].n
    return plan
