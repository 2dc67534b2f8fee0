"""What an engine counts, for Prometheus: by partition number and by nothing that users can make up.

Values are added a batch at a time. A registry per app, so that two apps in one process (tests) do not collide.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_PARTITION = ["partition"]
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The engine's metrics; names begin with `indegree_`."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        GCCollector(registry=r)
        self.inputs = Counter("indegree_inputs", "Records read from the inputs", ["partition", "topic"], registry=r)
        self.tombstones = Counter(
            "indegree_tombstones", "Input records without a value, skipped", _PARTITION, registry=r
        )
        self.refused = Counter(
            "indegree_inputs_refused", "Input records that could not be read or processed", _PARTITION, registry=r
        )
        self.frames = Counter("indegree_frames", "Frames in force that were appended", _PARTITION, registry=r)
        self.events = Counter("indegree_events", "Events in those frames", _PARTITION, registry=r)
        self.tasks = Counter("indegree_tasks_sent", "Task records sent to workers", _PARTITION, registry=r)
        self.void = Counter("indegree_void_frames", "Frames read that do not count", _PARTITION, registry=r)
        self.gaps = Counter(
            "indegree_offset_gaps", "Appends that were not at the expected offset", _PARTITION, registry=r
        )
        self.takeovers = Counter("indegree_takeovers", "Partitions taken over", registry=r)
        self.stops = Counter("indegree_partition_stops", "Ownerships that ended by an error", ["kind"], registry=r)
        self.append_seconds = Histogram(
            "indegree_append_seconds", "Hand-over of a frame to its acknowledgement", registry=r, buckets=_SECONDS
        )
        self.recovery_seconds = Histogram("indegree_recovery_seconds", "Replay of a partition's log", registry=r)
        self.runs = Gauge("indegree_runs", "Runs that have not ended", _PARTITION, registry=r)
        self.ready = Gauge("indegree_tasks_ready", "Tasks that wait for a worker with room", _PARTITION, registry=r)
        self.owned = Gauge("indegree_partitions_owned", "Partitions owned by this engine", registry=r)
        self.workers = Gauge("indegree_workers", "Workers that announce themselves", registry=r)
        self.backlog = Gauge("indegree_output_backlog", "Records handed over and not yet acknowledged", registry=r)

    def page(self) -> bytes:
        """The text form that Prometheus reads."""
        return generate_latest(self.registry)

    def forget(self, partition: int) -> None:
        """A partition has been given away: its gauges are somebody else's now."""
        for gauge in (self.runs, self.ready):
            try:
                gauge.remove(str(partition))
            except KeyError:
                pass
