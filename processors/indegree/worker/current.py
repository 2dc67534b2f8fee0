"""Whose code is running here: the context variable that output, logging and `context` look up.

It is set for threads, for coroutines, and for whatever they copy their context to. A module of its own, because both
the attempt and the capture of its output need it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indegree.worker.attempt import Attempt

CURRENT: ContextVar[Attempt | None] = ContextVar("indegree_attempt", default=None)
