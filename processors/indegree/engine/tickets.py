"""Skeleton: pools and rate limits (being written)."""

from __future__ import annotations

from indegree.engine.draft import Draft
from indegree.engine.failing import fail
from indegree.engine.records import Builder
from indegree.engine.state import Run


def begin(draft: Draft, builder: Builder, run: Run, slot: int, number: int) -> None:
    """Asks for what attempt `number` needs. Raises Needs before anything is emitted."""
    fail(draft, run, slot, "pool and rate_limit are not built yet")


def release(draft: Draft, run: Run, slot: int, name: str) -> None:
    """The task no longer holds or asks for the limit `name`: its owner is told."""
