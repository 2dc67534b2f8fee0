"""What this worker recently did, so that a repeated record is answered and not run again.

An owner that takes over sends again what it has seen no start of; the first owner's record may have been run already.
Bounded in number and bytes: what has been forgotten runs again, which is allowed (at least once), only wasteful.
RETURNED and REJECTED are not kept: such an attempt may come back and be run.
"""

from __future__ import annotations

from collections import OrderedDict

from indegree.v1.task_pb2 import Result
from indegree.worker.attempt import Key

_MAX_STOPS = 10_000
_KEPT = frozenset({Result.SUCCEEDED, Result.FAILED, Result.STOPPED})


class Memory:
    """The last outcomes, and stops for attempts that have not arrived yet."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._limit = size
        self._results: OrderedDict[Key, Result] = OrderedDict()
        # Bytes of values, errors and logs in `_results`.
        self._size = 0
        self._stops: OrderedDict[Key, str] = OrderedDict()

    def keep(self, key: Key, result: Result) -> None:
        """Remembers an outcome."""
        if result.kind not in _KEPT:
            return
        self._results[key] = result
        self._size += _weight(result)
        while len(self._results) > self._count or self._size > self._limit:
            self._size -= _weight(self._results.popitem(last=False)[1])

    def result(self, key: Key) -> Result | None:
        """The outcome of an attempt, if it is remembered."""
        return self._results.get(key)

    def stop(self, key: Key, reason: str) -> None:
        """An attempt that is not here is to be stopped."""
        if key not in self._results:
            self._stops[key] = reason
            if len(self._stops) > _MAX_STOPS:
                self._stops.popitem(last=False)

    def stopped(self, key: Key) -> str | None:
        """The reason, if the attempt was stopped before it arrived. Asked once."""
        return self._stops.pop(key, None) if self._stops else None


def _weight(result: Result) -> int:
    # Only what can be large; the rest is bounded by the count.
    if result.kind == Result.SUCCEEDED:
        return len(result.output.json) + len(result.log)
    return result.ByteSize()
