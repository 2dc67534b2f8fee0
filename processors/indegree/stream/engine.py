"""One engine process: its services, its partitions, and what ends an ownership.

Holds what the partitions share, starts and stops it in order (the session last, so that it stops first and every
partition is handed over while Kafka's clients still work), and gives each end of an ownership its consequence:

| what ended it | what follows |
| --- | --- |
| given away | nothing |
| fenced, lease not proven, a frame of a newer format | only etcd may give it back, after a pause |
| a damaged log, a position lost or unreadable, three failed recoveries, a state that always fails | quarantine |
| Kafka or etcd away, a fault of ours | the stream starts anew after a backoff, from the log |
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from typing import Any

from faust.types import TP
from mode import Service

from indegree.engine.core import PartitionCore
from indegree.engine.limits import Limits
from indegree.engine.turns import Turns
from indegree.events.admin import Cluster
from indegree.events.frames import NewerFormat
from indegree.events.payloads import Payloads
from indegree.events.settings import Settings
from indegree.events.telemetry import Tracer
from indegree.events.topics import Topics
from indegree.ownership.etcd import Etcd
from indegree.ownership.session import Session
from indegree.stream.catalog import Catalog
from indegree.stream.dispatch import Dispatcher
from indegree.stream.fitness import Fitness
from indegree.stream.holdings import Holdings
from indegree.stream.intake import Intake
from indegree.stream.live import EXTERNAL
from indegree.stream.log import LogDamaged
from indegree.stream.metrics import Metrics
from indegree.stream.observing import Observing
from indegree.stream.offers import Offers
from indegree.stream.outbound import Outbound
from indegree.stream.partition import Partition
from indegree.stream.preflight import connect_etcd
from indegree.stream.restarts import Restarts
from indegree.stream.retention import Retention
from indegree.stream.services import Services
from indegree.stream.spans import Spans
from indegree.stream.takeover import Fenced, GivenAway
from indegree.stream.transport import InputUnreadable, PositionLost
from indegree.stream.workers import Workers

log = logging.getLogger(__name__)

_DRAIN_S = 10.0


def engine_id(settings: Settings) -> str:
    """The id of this process: as set, else from host, pid and chance, so that no two processes ever share it."""
    return settings.engine.id or f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"


def limits(settings: Settings) -> Limits:
    """The core's limits from the settings."""
    return Limits(
        value_bytes=settings.limits.value_bytes,
        inputs_bytes=settings.limits.inputs_bytes,
        payload_bytes=settings.limits.payload_bytes,
        task_payload_bytes=settings.limits.task_payload_bytes,
        instances=settings.limits.instances,
        child_depth=settings.limits.child_depth,
        heartbeat_timeout_ms=int(settings.engine.heartbeat_timeout_s * 1000),
        start_timeout_ms=int(settings.engine.start_timeout_s * 1000),
        history_ms=int(settings.engine.history_days * 86_400_000),
    )


class Engine(Service):
    """Started by the app once Faust runs. `app` is the Faust app, `agent` its PartitionAgent."""

    mundane_level = "debug"

    def __init__(
        self, settings: Settings, cluster: Cluster, app: Any, address: str, tracer: Tracer | None, **service: Any
    ) -> None:
        super().__init__(**service)
        self.settings, self.app, self.address = settings, app, address
        self.cluster, self.partitions = cluster, cluster.partitions
        self.id = engine_id(settings)
        self.topics = Topics(settings.cluster)
        self.metrics = Metrics()
        self.agent: Any = None  # set by app.py once the agent is declared
        self.owned: dict[int, Partition] = {}
        self.restarts: dict[int, Restarts] = {}
        self.started_at = time.time()
        self._tracer = tracer
        self.workers: Workers
        self.catalog: Catalog
        self.fitness: Fitness
        self.session: Session
        self.dispatcher: Dispatcher
        self.services: Services
        self.intake: Intake
        self.payloads: Payloads
        self._etcd: Etcd | None = None
        self._told = self._seen = Holdings()  # what the log said last, and what was there at the last look

    # -- starting and stopping

    async def on_start(self) -> None:
        settings = self.settings
        self._etcd = connect_etcd(settings)
        self.workers = Workers(settings, changed=self._worker_news, lost=self._worker_lost)
        self.catalog = Catalog(settings)
        self.fitness = Fitness(settings, self.cluster, self._topics_changed)
        self.session = Session(
            self.id, settings.cluster, self.partitions, self._etcd,
            take=self.agent.own, give=self.agent.disown, fit=self.fitness.fit, address=self.address,
            metadata={"kind": "engine", "pid": str(os.getpid())}, ttl_s=int(settings.engine.lease_ttl_s),
            warm_s=int(settings.engine.lease_ttl_s) / 2,
        )  # fmt: skip
        outbound = Outbound(lambda: self.app.producer.appender)
        outbound.learned = self._worker_news
        # nothing is kept: the cores do that, within a bound of their own
        self.payloads = Payloads(settings, lambda: self.app.producer.appender, cache_bytes=0)
        spans = Spans(self._tracer, self.topics) if self._tracer is not None else None
        self.dispatcher = Dispatcher(self.id, self.topics, self.workers, outbound, spans)
        core_limits = limits(settings)
        turns = Turns()  # of all partitions: what one gives to a workflow counts on the others
        self.services = Services(
            settings=settings,
            topics=self.topics,
            partitions=self.partitions,
            owner=self.id,
            valid=self.session.valid,
            warm=self.session.warm,
            consumer=lambda: self.app.consumer,
            new_core=lambda number: PartitionCore(number, self.partitions, core_limits, turns),
            workers=self.workers,
            catalog=self.catalog,
            outbound=outbound,
            payloads=self.payloads,
            metrics=self.metrics,
            dispatcher=self.dispatcher,
            spans=spans,
        )
        retention = Retention(
            settings, self.topics, lambda: list(self.owned.values()), self.session.valid, self.metrics
        )
        self.intake = Intake(settings, self.partitions, self.catalog, self._offers)
        observing = Observing(settings, self._offers)
        for service in (self.workers, self.catalog, self.fitness, retention, self.intake, observing, self.session):
            await self.add_runtime_dependency(service)

    async def on_shutdown(self) -> None:
        with contextlib.suppress(Exception):  # an error here would leave Faust hanging
            if self._etcd is not None:
                await self._etcd.close()
            await self.payloads.stop()

    async def drain(self) -> None:
        """Marks this engine as draining and waits until its partitions have moved, at most 10 s."""
        with contextlib.suppress(Exception):
            moved = await self.session.drain(_DRAIN_S)
            log.info(
                "engine %s: %s", self.id, "all partitions have moved" if moved else "stops with partitions nobody took"
            )

    @property
    def ready(self) -> bool:
        """The lease is proven and every partition that is ours serves (false while one recovers)."""
        session: Session | None = getattr(self, "session", None)
        if session is None or not session.valid() or session.counters.rounds < 1:
            return False
        assignment = session.members().assignment
        if assignment is None:
            return False
        mine = [p for p, member in assignment.items() if member == self.id]
        return all(p in self.owned and self.owned[p].serving for p in mine)

    # -- an ownership, as the agent's body sees it

    def partition(self, stream: Any) -> Partition:
        """A new ownership for a stream's body. Forgets what an earlier one left in its channel."""
        number: int = next(iter(stream.active_partitions)).partition
        channel = stream.channel
        channel.queue.clear()
        part = Partition(number, self.services, channel, self.restarts.setdefault(number, Restarts()))
        self.owned[number] = part
        return part

    async def begin(self, part: Partition) -> None:
        """Waits out the backoff, then takes over. Raises what take_over raises."""
        grant = self.session.grant(part.number)
        if grant is None or grant.revoked:
            raise GivenAway(f"partition {part.number} is not assigned to this engine")
        if self.fitness.fault:
            raise Fenced(self.fitness.fault)
        delay = part.restarts.delay_s()
        if delay:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await grant.ended()
        await part.begin(grant)
        part.restarts.recovered()

    def ended(self, part: Partition, error: Exception) -> bool:
        """An ownership ended by an error. False: the supervisor shall start it anew (the error is raised on)."""
        number, recovering = part.number, not part.epoch
        if isinstance(error, GivenAway):
            return True
        kind = type(error).__name__
        self.metrics.stops.labels(kind).inc()
        if isinstance(error, (Fenced, NewerFormat)):
            log.warning("partition %d is given back: %s: %s", number, kind, error)
            self.session.fenced(number)
            return True
        if isinstance(error, (LogDamaged, PositionLost, InputUnreadable)):
            self.add_future(self._damaged(number, f"{kind}: {error}"))
            return True
        external = isinstance(error, EXTERNAL)
        part.restarts.failed(time.monotonic(), outage=external)
        log.warning(
            "partition %d stops: %s: %s; starts anew from the log in %.1f s",
            number, kind, error, part.restarts.delay_s(),
            exc_info=None if external else error,
        )  # fmt: skip
        if part.restarts.hopeless:
            self.session.quarantine(number, part.restarts.hopeless)
            part.restarts.hopeless = ""
            return True
        if recovering and not external and part.restarts.failed_in_recovery():
            self.session.quarantine(number, f"three recoveries failed, the last by {kind}: {error}")
            return True
        self.metrics.restarts.inc()
        return False

    async def _damaged(self, number: int, reason: str) -> None:
        """Quarantine; but where a topic was made anew, that is what is wrong, and no partition is to blame."""
        await self.fitness.look()
        if self.fitness.fault:
            log.warning("partition %d is given back: %s", number, reason)
            self.session.fenced(number)
        else:
            self.session.quarantine(number, reason)

    async def end(self, part: Partition) -> None:
        """Stops reading, then lets go as graciously as the grant's end allows."""
        self.app.consumer.close_partitions({TP(topic, part.number) for topic in self.topics.inputs})
        had = part.epoch
        try:
            await part.drain(self.session.grant(part.number))
        finally:
            if self.owned.get(part.number) is part:
                del self.owned[part.number]
        grant = self.session.grant(part.number)
        if had and grant is not None and grant.ending is not None:
            log.debug("gave partition %d, epoch %d: %s", part.number, had, grant.ending.value)

    def _topics_changed(self, reason: str) -> None:
        """Every partition is given back, and none is taken any more (see `begin`)."""
        for part in list(self.owned.values()):
            part.halt(Fenced(reason))

    def _offers(self) -> dict[int, Offers]:
        """Of the partitions that serve."""
        return {number: part.offers for number, part in self.owned.items() if part.offers is not None}

    # -- workers

    def _worker_news(self) -> None:
        """There may be room at a worker that was not there before."""
        if self.session.valid():
            self.dispatcher.run()

    def _worker_lost(self, instance: str) -> None:
        for part in list(self.owned.values()):
            part.worker_lost(instance)

    @Service.timer(0.5)
    async def _tell_holdings(self) -> None:
        """One line for all that came and went, once nothing more comes or goes."""
        now = Holdings.of((part.number, part.epoch) for part in self.owned.values() if part.serving)
        if now == self._seen and now != self._told:
            log.info("engine %s %s", self.id, now.since(self._told))
            self._told = now
        self._seen = now

    @Service.timer(1.0)
    async def _look(self) -> None:
        """Workers that hold attempts and never announced themselves to us are lost too."""
        settled = self.workers.settled
        for part in list(self.owned.values()):
            core = part.core
            if core is None or not part.serving:
                continue
            if settled:
                for instance in core.holders():
                    if self.workers.get(instance) is None:
                        part.worker_lost(instance)
