"""What an engine counts, for Prometheus. Labels are partition numbers, kinds, known queues: nothing that users make up.

Counters are added a batch at a time. What is a state and no count (runs under way, lag, epochs) is read when the page
is asked for (gauges.py), so that the hot path pays nothing for it. A registry per app, so that two apps in one process
(tests) do not collide. docs/observability.md lists all of it; a test compares.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from indegree.engine.core import DEAD_LETTER, OutboxEntry
from indegree.v1.task_pb2 import Result

_PARTITION = ["partition"]
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_KINDS = {number: name.lower() for name, number in Result.Kind.items() if number}


class Metrics:
    """The engine's metrics; names begin with `indegree_`."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        GCCollector(registry=r)
        self.inputs = Counter(
            "indegree_inputs",
            "Records read from the inputs; `intake`: from users' topics",
            ["partition", "topic"],
            registry=r,
        )
        self.tombstones = Counter(
            "indegree_tombstones", "Input records without a value, skipped", _PARTITION, registry=r
        )
        self.refused = Counter(
            "indegree_inputs_refused", "Input records that could not be read or processed", _PARTITION, registry=r
        )
        self.dead_letters = Counter(
            "indegree_dead_letters", "Inputs refused for good, for the topic dead-letter", _PARTITION, registry=r
        )
        self.results = Counter("indegree_results", "Results of workers, by kind", ["partition", "kind"], registry=r)
        self.stale = Counter(
            "indegree_results_stale",
            "Results of attempts that are not current: they change nothing",
            _PARTITION,
            registry=r,
        )
        self.unknown = Counter(
            "indegree_results_unknown", "Results of runs that this partition does not know", _PARTITION, registry=r
        )
        self.frames = Counter("indegree_frames", "Frames in force that were appended", _PARTITION, registry=r)
        self.events = Counter("indegree_events", "Events in those frames", _PARTITION, registry=r)
        self.tasks = Counter("indegree_tasks_sent", "Task records sent to workers", _PARTITION, registry=r)
        self.unstarted = Counter(
            "indegree_tasks_unstarted",
            "Of these, those that their worker did not begin in time: sent again",
            _PARTITION,
            registry=r,
        )
        self.void = Counter("indegree_void_frames", "Frames read that do not count", _PARTITION, registry=r)
        self.gaps = Counter(
            "indegree_offset_gaps", "Appends that were not at the expected offset", _PARTITION, registry=r
        )
        self.takeovers = Counter("indegree_takeovers", "Partitions taken over, each with a new epoch", registry=r)
        self.stops = Counter(
            "indegree_partition_stops", "Ownerships that an error ended, by its type", ["kind"], registry=r
        )
        self.restarts = Counter(
            "indegree_partition_restarts", "Of these, those that start anew here from the log", registry=r
        )
        self.records_deleted = Counter(
            "indegree_records_deleted",
            "Records that retention has deleted from the heads of the logs",
            ["topic"],
            registry=r,
        )
        self.append_seconds = Histogram(
            "indegree_append_seconds", "Hand-over of a frame to its acknowledgement", registry=r, buckets=_SECONDS
        )
        self.recovery_seconds = Histogram(
            "indegree_recovery_seconds", "Taking over a partition, its log's replay included", registry=r
        )

    def page(self) -> bytes:
        """The text form that Prometheus reads."""
        return generate_latest(self.registry)

    def judged(self, partition: int) -> Judged:
        """For one ownership."""
        return Judged(self, str(partition))


class Judged:
    """What became of the results and dead letters of one ownership.

    `kinds` counts results by kind since the last `results`; whoever reads results adds to it.
    """

    def __init__(self, metrics: Metrics, label: str) -> None:
        self.kinds: dict[int, int] = {}
        self._metrics, self._label = metrics, label
        self._stale, self._unknown = metrics.stale.labels(label), metrics.unknown.labels(label)
        self._letters = metrics.dead_letters.labels(label)
        self._seen = (0, 0)

    def results(self, counters: dict[str, int]) -> None:
        """After a batch of results. `counters`: the core's, which only grow."""
        for kind, count in self.kinds.items():
            self._metrics.results.labels(self._label, _KINDS.get(kind, "other")).inc(count)
        self.kinds.clear()
        seen = (counters["stale"], counters["unknown"])
        if seen != self._seen:
            self._stale.inc(seen[0] - self._seen[0])
            self._unknown.inc(seen[1] - self._seen[1])
            self._seen = seen

    def outbox(self, entries: list[OutboxEntry]) -> None:
        """These have become part of the log."""
        letters = sum(entry.target == DEAD_LETTER for entry in entries)
        if letters:
            self._letters.inc(letters)
