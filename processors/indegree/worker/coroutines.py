"""Async functions, on an event loop in a thread of their own.

Why a loop of their own: a coroutine that blocks (a forgotten `time.sleep`, a large computation) stops every coroutine
of its loop. Were that the loop of the Kafka clients, the worker would fall silent and be taken for lost, with all it
runs.

A coroutine is ended by cancelling it; one that does not end is left to itself, and the runner counts its slot as
abandoned until it does.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Sequence

from indegree.worker import outcome
from indegree.worker.attempt import Attempt, Phase
from indegree.worker.bounds import Bounds
from indegree.worker.completions import Completions
from indegree.worker.invocation import perform_async


class Coroutines:
    """The lane of async functions. Used from one loop; the thread starts with the first attempt."""

    def __init__(self, worker: str, bounds: Bounds, completions: Completions) -> None:
        self._worker = worker
        self._bounds = bounds
        self._completions = completions
        self._queue: deque[Attempt] = deque()
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Runs `attempts`. The caller holds a slot for each."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run, args=(self._loop,), name="indegree-async", daemon=True).start()
        self._queue.extend(attempts)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._begin)

    def stop(self, attempt: Attempt) -> None:
        """Asks an attempt to end; its completion follows unless it refuses."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel, attempt)

    def close(self) -> None:
        """Ends the loop and its thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    # In the loop's thread:

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=1.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _begin(self) -> None:
        self._scheduled = False
        queue = self._queue
        loop = asyncio.get_running_loop()
        while queue:
            attempt = queue.popleft()
            if attempt.phase is Phase.RUNNING:
                self._tasks[attempt] = loop.create_task(self._perform(attempt), context=contextvars.Context())
            elif attempt.phase is Phase.STOPPING:
                self._completions.put(attempt, outcome.ended(attempt, self._worker))

    async def _perform(self, attempt: Attempt) -> None:
        result = await perform_async(attempt, self._worker, self._bounds)
        del self._tasks[attempt]
        self._completions.put(attempt, result)

    def _cancel(self, attempt: Attempt) -> None:
        task = self._tasks.get(attempt)
        if task is None:
            return
        task.cancel()
        if not attempt.began:  # one that is cancelled before its first step never runs at all
            del self._tasks[attempt]
            self._completions.put(attempt, outcome.ended(attempt, self._worker))
