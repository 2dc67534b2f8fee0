"""The worker's page: /metrics for Prometheus, /healthz (the process lives), /readyz (it may be sent tasks).

Off unless a port is set. Counts are plain integers that are read when the page is asked for, so the fast path pays
nothing. No label has a value that users can make up.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from indegree.worker.tally import BOUNDS_MS
from indegree.worker.worker import Worker


class _Counts(Collector):
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        worker = self._worker
        if not worker.started:
            return
        runner = worker.runner
        tally = runner.tally
        gauges = {
            "slots": ("Tasks that it runs at the same time", runner.slots),
            "tasks_running": ("Attempts whose code runs, abandoned ones left out", runner.used - runner.abandoned),
            "slots_used": ("Slots that are held, abandoned ones included", runner.used),
            "slots_abandoned": ("Slots held by code whose attempt is over and which cannot be ended", runner.abandoned),
            "tasks_waiting": ("Tasks taken that wait for a slot", runner.waiting),
            "senders": ("Engines heard from in the last seconds", worker.senders),
            "draining": ("1 while it stops", int(runner.draining)),
        }
        for name, (about, value) in gauges.items():
            yield GaugeMetricFamily(f"indegree_worker_{name}", about, value=value)
        attempts = CounterMetricFamily("indegree_worker_attempts", "Attempts by how they ended", labels=["outcome"])
        for outcome, count in tally.by_kind.items():
            attempts.add_metric([outcome], count)
        yield attempts
        counters = {
            "tasks": ("Task records taken", tally.taken),
            "tasks_repeated": ("Task records of attempts that ran or had run here", tally.repeated),
            "records_unreadable": ("Records that could not be read", tally.unreadable),
            "tasks_handed_back": (
                "Attempts given back unbegun: no slot in time, or the worker stops",
                tally.by_kind["returned"],
            ),
            "results_acknowledged": ("Results acknowledged by Kafka", worker.results_acknowledged),
            "results_repeated": ("Appends of results that had to be repeated", worker.results_repeated),
        }
        for name, (about, number) in counters.items():
            yield CounterMetricFamily(f"indegree_worker_{name}", about, value=number)
        bounds = [*(str(bound / 1000) for bound in BOUNDS_MS), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(tally.by_time)), strict=True))
        yield HistogramMetricFamily(
            "indegree_worker_attempt_seconds", "How long attempts ran", buckets=buckets, sum_value=tally.run_ms / 1000
        )


def registry_of(worker: Worker) -> CollectorRegistry:
    """A registry per worker, so that two in one process do not collide."""
    registry = CollectorRegistry()
    registry.register(_Counts(worker))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class PortInUse(ValueError):
    """The page cannot be served where the setting says."""


class Page:
    """Serves the page of one worker on `host`:`port` (0: a free one)."""

    def __init__(self, worker: Worker, port: int, host: str = "127.0.0.1") -> None:
        self._worker = worker
        self._host, self._port = host, port
        self._registry = registry_of(worker)
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Begins to serve; gives the address. Raises PortInUse."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthy)
        app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise PortInUse(
                f"port {self._port} on {self._host} cannot be used ({error.strerror}); "
                "set worker.port to another one, or to 0 for a free one"
            ) from error
        host, port = self._runner.addresses[0][:2]
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Ends it."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        if self._worker.ready:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: starting or stopping\n")
