"""What an engine's page shows of its state: read when Prometheus asks, kept nowhere.

Queue names come from users' workflows, so only those are labels that a worker serves or the engine was started for, at
most 100; all others are added up under `other`. So are partitions of users' topics beyond 500.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from faust.types import TP
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from indegree.stream.engine import Engine

MAX_QUEUES = 100
MAX_INTAKES = 500
OTHER = "other"
_INPUTS = ("triggers", "commands", "results")


class Gauges(Collector):
    """Of one engine. `queues`: those whose topics it made."""

    def __init__(self, engine: Engine, queues: Collection[str]) -> None:
        self._engine, self._queues = engine, frozenset(queues)

    def describe(self) -> Iterable[Metric]:
        return self._families().values()

    def collect(self) -> Iterable[Metric]:
        found, engine = self._families(), self._engine
        found["ready"].add_metric([], int(engine.ready))
        if getattr(engine, "services", None) is None:  # not started yet
            return found.values()
        known = self._known()
        ready = dict.fromkeys([*sorted(known), OTHER], 0)
        paused: set[tuple[str, str]] = set()
        for number, part in sorted(engine.owned.items()):
            core, label = part.core, str(number)
            found["partition_serving"].add_metric([label], int(part.serving))
            found["partition_epoch"].add_metric([label], part.epoch)
            if core is None:
                continue
            found["runs"].add_metric([label], len(core.state.runs))
            paused.update(core.state.switches)
            for queue in core.queues():
                ready[queue if queue in known else OTHER] += core.ready(queue)
            for word, topic, position in zip(_INPUTS, engine.topics.inputs, core.state.next, strict=True):
                end = engine.app.consumer.highwater(TP(topic, number))
                found["input_lag"].add_metric([label, word], max(0, end - position))
        for queue, count in ready.items():
            found["tasks_ready"].add_metric([queue], count)
        for what in ("workflow", "queue"):
            found["paused"].add_metric([what], sum(kind == what for kind, _ in paused))
        found["partitions_owned"].add_metric([], sum(part.serving for part in engine.owned.values()))
        found["partitions_quarantined"].add_metric([], len(engine.session.members().quarantined))
        found["intake_stopped"].add_metric([], int(bool(engine.fitness.fault)))
        lags = [(tp.topic, str(tp.partition), lag) for tp, (_, lag) in sorted(engine.intake.lag().items())]
        for topic, partition, lag in lags[:MAX_INTAKES]:
            found["intake_lag"].add_metric([topic, partition], lag)
        if len(lags) > MAX_INTAKES:
            found["intake_lag"].add_metric([OTHER, ""], sum(lag for *_, lag in lags[MAX_INTAKES:]))
        found["intake_partitions_stopped"].add_metric([], len(engine.intake.stopped))
        found["leader"].add_metric([], int(engine.session.leads))
        found["lease_remaining_seconds"].add_metric([], max(0.0, engine.session.lease_remaining_s()))
        found["workers"].add_metric([], sum(known.live for known in engine.workers.all()))
        found["output_backlog"].add_metric([], engine.services.outbound.backlog)
        return found.values()

    def _known(self) -> frozenset[str]:
        served = {queue.name for known in self._engine.workers.all() for queue in known.worker.queues}
        return self._queues | set(sorted(served - self._queues)[: MAX_QUEUES - len(self._queues)])

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        return {
            name: GaugeMetricFamily(f"indegree_{name}", about, labels=labels)
            for name, about, labels in (
                ("ready", "1 while every partition that is this engine's is served", ()),
                ("runs", "Runs that have not ended", ("partition",)),
                ("tasks_ready", "Attempts that wait for a worker with room", ("queue",)),
                ("paused", "Workflows, and queues, that are paused", ("kind",)),
                ("input_lag", "Input records that were not yet decided", ("partition", "topic")),
                ("partition_serving", "1 while the partition is served, 0 while it is recovered", ("partition",)),
                ("partition_epoch", "Number of the ownership, 0 until the partition is owned", ("partition",)),
                ("partitions_owned", "Partitions that this engine serves", ()),
                ("partitions_quarantined", "Partitions of the cluster that no engine takes", ()),
                ("intake_stopped", "1 once a topic is not what it was: this engine takes nothing any more", ()),
                ("intake_lag", "Records of users' topics that were not yet decided", ("topic", "partition")),
                ("intake_partitions_stopped", "Partitions of users' topics that are read no further", ()),
                ("leader", "1 while this engine computes the assignment", ()),
                ("lease_remaining_seconds", "For how long the lease in etcd is proven", ()),
                ("workers", "Workers that announce themselves", ()),
                ("output_backlog", "Records handed to Kafka and not yet acknowledged", ()),
            )
        }
