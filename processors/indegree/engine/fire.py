"""Beginning a task, or one instance of a mapped task, whose rule and condition are met.

Why: what a task does decides how it begins: a worker is to run it, it waits for something, or another run does its
work.

How: one function for the first attempt and one for those after it. Tasks with a pool or a rate limit ask for it first
(tickets.py) and are queued when it is given.

It must never ask about rules or conditions: that is done.
"""

from __future__ import annotations

from indegree.engine import children, tickets, waiting
from indegree.engine.draft import Draft
from indegree.engine.failing import fail
from indegree.engine.kinds import Kind
from indegree.engine.plan import CHILD, WAIT
from indegree.engine.records import Builder, Unbuildable
from indegree.engine.state import Run


def fire(draft: Draft, builder: Builder, run: Run, slot: int, data: bytes = b"") -> None:
    """The first attempt. `data`: the operands of the task's condition. Raises Needs where a value is to be fetched
    first; then nothing was emitted."""
    plan = run.plan
    node = slot if slot < plan.n else run.node(slot)
    kind = plan.kinds[node]
    if kind == WAIT:
        waiting.begin(draft, builder, run, slot)
        return
    if kind == CHILD:
        if plan.limited[node]:
            tickets.begin(draft, builder, run, slot, 1)
        else:
            children.begin(draft, builder, run, slot, 1)
        return
    try:
        builder.check(run, slot)
    except Unbuildable as error:
        fail(draft, run, slot, str(error))
        return
    if plan.limited[node]:
        tickets.begin(draft, builder, run, slot, 1)
        return
    fields: dict[str, object] = {"data": data} if data else {}
    if run.generations is not None and (generation := run.generation(slot)):
        fields["generation"] = generation
    draft.emit(Kind.TASK_QUEUED, run.run_id, task=slot, attempt=1, **fields)


def again(draft: Draft, builder: Builder, run: Run, slot: int, number: int, generation: int) -> None:
    """Attempt `number`, when its delay is over."""
    node = run.node(slot)
    if run.plan.limited[node]:
        tickets.begin(draft, builder, run, slot, number)
    elif run.plan.kinds[node] == CHILD:
        children.begin(draft, builder, run, slot, number)
    else:
        draft.emit(Kind.TASK_QUEUED, run.run_id, task=slot, attempt=number, generation=generation)
