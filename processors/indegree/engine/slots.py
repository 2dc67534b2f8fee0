"""Names of tasks and instances, as people write them in commands, to slots.

It must never guess: a name that is not there comes back with what is near.
"""

from __future__ import annotations

from indegree.engine.state import Run
from indegree.engine.states import TASK_STATES
from indegree.events.spelling import did_you_mean

_DIGITS = 9


class NoSuchTask(Exception):
    """The message says what there is instead."""


def slot_of(run: Run, name: str) -> int:
    """The slot of `load` or `load[3]`. Raises NoSuchTask."""
    plan = run.plan
    slot = plan.graph.index.get(name)
    if slot is not None:
        return slot
    base, _, place = name.partition("[")
    node = plan.graph.index.get(base)
    if node is None:
        raise NoSuchTask(f"workflow {plan.workflow!r} has no task {name!r:.120}{did_you_mean(base, plan.ids)}")
    if plan.mapped is None or plan.mapped[node] is None:
        raise NoSuchTask(f"task {base!r} has no foreach, so it has no instance {name!r:.120}; did you mean {base!r}?")
    found = run.maps.get(node) if run.maps is not None else None
    if found is None:
        raise NoSuchTask(f"task {base!r} is {TASK_STATES[run.states[node]]} and has no instances")
    digits = place[:-1] if place.endswith("]") else ""
    if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS and int(digits) < found.total:
        return found.first + int(digits)
    raise NoSuchTask(f"there is no {name!r:.120}: the instances are {base}[0] to {base}[{found.total - 1}]")
