"""Who must hear of an end: the worker of an attempt, the child of a task, the parent of a run, the queue of a key.

Why: a run may be waited for by a task elsewhere, hold a place in a queue, or be the work of a backfill; whatever ends
it, all of them hear of it in the same frame.

How: `stop` before a task is ended from outside; `before_end` and `after_end` around RUN_FINISHED.

It must never change how something ends.
"""

from __future__ import annotations

from collections.abc import Callable

from indegree.engine import children, gates
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.records import Builder
from indegree.engine.state import Run

AFTER_END: list[Callable[[Draft, Builder, Run], None]] = []
"""Features that hear of every run that has ended (features.py)."""


def stop(draft: Draft, run: Run, slot: int, why: str) -> None:
    """An open task is about to be ended from outside: its worker is told, its child is cancelled.
    `why`: cancelled, timeout or stale."""
    attempt = run.attempts.get(slot)
    if attempt is not None:
        worker = attempt.worker or attempt.holder
        if worker:
            draft.stop(run.run_id, slot, attempt.number, attempt.generation, worker, why)
    elif run.waits is not None and (wait := run.waits.get(slot)) is not None and wait.kind == "workflow":
        children.cancel(draft, wait)


def before_end(draft: Draft, run: Run, state: str, reason: str) -> None:
    """The run is about to be finished; its state is still there."""
    if run.parent:
        children.tell_parent(draft, run, state, reason)


def after_end(draft: Draft, builder: Builder, run: Run) -> None:
    """RUN_FINISHED has been applied."""
    if run.gate:
        gates.left(draft, builder, run)
    for hear in AFTER_END:
        hear(draft, builder, run)


def time_has_come(draft: Draft, run: Run) -> Run | None:
    """A run that was accepted for later may begin, or queue up for its key."""
    if run.gate:
        return gates.time_has_come(draft, run)
    draft.emit(Kind.RUN_RELEASED, run.run_id)
    return run
