"""How many engines share this worker's slots: those whose tasks came within the last seconds.

Each owner may send its share of twice the slots, so the number goes out with each announcement. A record names its
owner; records of engines that do not are counted as one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from indegree.v1.task_pb2 import Task

WINDOW_S = 2.0


class Senders:
    """Owners heard from lately."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def heard(self, tasks: Iterable[Task]) -> None:
        """A batch of records has come."""
        now = time.monotonic()
        for owner in {task.owner for task in tasks}:
            self._last[owner] = now

    def count(self) -> int:
        """Owners heard from within the window."""
        limit = time.monotonic() - WINDOW_S
        for owner in [owner for owner, at in self._last.items() if at < limit]:
            del self._last[owner]
        return len(self._last)
