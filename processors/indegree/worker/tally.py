"""Counts of one worker as plain integers; the metrics page reads them. Cheap enough for the fast path."""

from __future__ import annotations

from indegree.v1.task_pb2 import Result


class Tally:
    """Counts since the start."""

    __slots__ = ("by_kind", "repeated", "run_ms", "taken", "unreadable")

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
        # Milliseconds that attempts ran, in sum.
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
            self.run_ms += max(0, result.finished_ms - result.started_ms)
