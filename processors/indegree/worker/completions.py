"""From lanes back to the runner's loop: what has ended, in bulk.

Waking an event loop from another thread costs a system call, so it is done once for all that ends until the loop comes
round; with tiny functions that is hundreds of results.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from indegree.v1.task_pb2 import Result
from indegree.worker.attempt import Attempt


class Completions:
    """A queue from any thread to one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[list[tuple[Attempt, Result]]], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._queue: deque[tuple[Attempt, Result]] = deque()
        self._scheduled = False

    def put(self, attempt: Attempt, result: Result) -> None:
        """From any thread. Never blocks, never raises."""
        self._queue.append((attempt, result))
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                pass  # the loop is closed: nobody waits for results any more

    def _drain(self) -> None:
        # Cleared first: a result put from now on schedules the next round, so none is forgotten.
        self._scheduled = False
        queue = self._queue
        batch: list[tuple[Attempt, Result]] = []
        while queue:
            batch.append(queue.popleft())
        if batch:
            self._ended(batch)
