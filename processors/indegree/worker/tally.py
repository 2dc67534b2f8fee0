"""Counts of one worker as plain integers; the metrics page reads them. Cheap enough for the fast path."""

from __future__ import annotations

from bisect import bisect_left

from indegree.v1.task_pb2 import Result

# Upper bounds of the histogram of run times, in milliseconds; what is longer is in the last, unbounded one.
BOUNDS_MS = (1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000, 300_000, 1_800_000, 7_200_000)


class Tally:
    """Counts since the start."""

    __slots__ = ("by_kind", "by_time", "repeated", "run_ms", "taken", "unreadable")

    def __init__(self) -> None:
        self.taken = 0
        self.repeated = 0
        self.unreadable = 0
        # Final results by kind, and by reason where failed.
        self.by_kind: dict[str, int] = {
            "succeeded": 0,
            "error": 0,
            "timeout": 0,
            "worker_lost": 0,
            "rejected": 0,
            "returned": 0,
            "stopped": 0,
        }
        # Attempts that began, by how long they ran (BOUNDS_MS), and milliseconds in sum.
        self.by_time = [0] * (len(BOUNDS_MS) + 1)
        self.run_ms = 0

    def ended(self, result: Result) -> None:
        """A final result."""
        kind = result.kind
        if kind == Result.SUCCEEDED:
            self.by_kind["succeeded"] += 1
        elif kind == Result.FAILED:
            self.by_kind[result.reason] += 1
        else:
            self.by_kind[Result.Kind.Name(kind).lower()] += 1
        if result.started_ms:
            took = max(0, result.finished_ms - result.started_ms)
            self.run_ms += took
            self.by_time[bisect_left(BOUNDS_MS, took)] += 1
