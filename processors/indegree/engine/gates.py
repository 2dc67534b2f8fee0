"""Skeleton: queues of concurrency keys (being written)."""

from __future__ import annotations

from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.records import Builder
from indegree.engine.state import Run


def left(draft: Draft, builder: Builder, run: Run) -> None:
    """A run of a key has ended: the next one begins (RUN_RELEASED; `proceed` goes on with it)."""


def time_has_come(draft: Draft, run: Run) -> Run | None:
    """A run that was accepted for later has its time: it begins, or queues up."""
    draft.emit(Kind.RUN_RELEASED, run.run_id)
    return run
