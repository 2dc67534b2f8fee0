"""The engine as a Faust app: read this first.

`advance` is the heart: one actor of it runs for each partition that is ours, its body **is** an ownership. It takes the
partition over from its log, steps through what arrives, and lets go at the end. Faust gives the app, the agent with its
supervisor, the streams, services, timers and web pages; the consumer, the conductor and the guarantees are ours
(transport.py). Consumer groups, rebalance, tables, acks and commits are not used.

`run_engine` blocks until the process is told to stop: SIGTERM and SIGINT first have the partitions move to other
engines.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Any, cast

import faust
import yarl
from faust.tables import TableManager

from indegree.events import telemetry
from indegree.events.admin import Cluster, ensure_topics
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.actors import PartitionAgent
from indegree.stream.engine import Engine, engine_id
from indegree.stream.pages import add_pages
from indegree.stream.preflight import etcd_answers, page_port
from indegree.stream.transport import BatchSchema, Transport

log = logging.getLogger(__name__)


class EngineApp(faust.App):
    """Faust's app without a data folder: an engine keeps nothing on its disk."""

    mundane_level = "debug"

    async def on_first_start(self) -> None:
        """Faust would make its folders here."""


class NoTables(TableManager):
    """Faust's tables are not used: its manager without the second that it waits for them."""

    mundane_level = "debug"

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class EngineWorker(faust.Worker):
    """Faust's worker, which hands the partitions over before it stops."""

    def __init__(self, app: EngineApp, engine: Engine, ready: Callable[[str], None] | None) -> None:
        super().__init__(app, redirect_stdouts=False, override_logging=False, loglevel=None, quiet=True)
        self.spinner = None
        self._engine, self._ready = engine, ready

    async def on_startup_finished(self) -> None:
        await super().on_startup_finished()
        gc.collect()
        gc.freeze()  # what is loaded by now stays: no collection looks at it again
        log.info(
            "engine %s of cluster %s serves http://%s",
            self._engine.id,
            self._engine.settings.cluster,
            self._engine.address,
        )
        if self._ready is not None:
            self._ready(self._engine.address)

    async def _sentinel_task(self) -> None:
        """mode waits a second here, at the very end, for nothing."""

    async def _stop_on_signal(self, signal: signal.Signals) -> None:
        log.info("engine %s stops (%s)", self._engine.id, signal.name)
        await self._engine.drain()
        await super()._stop_on_signal(signal)


def build(settings: Settings, cluster: Cluster, queues: Collection[str] = ("default",)) -> tuple[EngineApp, Engine]:
    """The app and its engine, not started. Call it where the event loop's policy is set."""
    settings = settings.with_values(engine__id=engine_id(settings))  # one, for etcd, the log and the spans
    topics = Topics(settings.cluster)
    port = page_port(settings)
    app = EngineApp(
        f"{settings.cluster}-engine",
        broker="kafka://of-the-settings",
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        web_enabled=True,
        web_bind=settings.engine.host,
        web_host=settings.engine.host,
        web_port=port,
        Agent=PartitionAgent,
        TableManager=NoTables,
    )
    app.transport = Transport(
        [yarl.URL("kafka://of-the-settings")],
        app,
        settings=settings,
        inputs=topics.inputs,
        partitions=cluster.partitions,
    )
    tracer = telemetry.configure("indegree-engine", settings.engine.id)
    engine = Engine(settings, cluster, app, f"{settings.engine.host}:{port}", tracer)
    inputs = app.topic(*topics.inputs, schema=BatchSchema(), acks=False)

    @app.agent(inputs, isolated_partitions=True)
    async def advance(stream: Any) -> None:
        part = engine.partition(stream)
        try:
            await engine.begin(part)
            async with aclosing(aiter(stream)) as batches:
                async for batch in batches:
                    await part.step(batch)
        except Exception as error:
            if not engine.ended(part, error):
                raise  # Faust's supervisor starts this body anew, which recovers from the log
        finally:
            await engine.end(part)

    engine.agent = advance
    app.service(cast(Any, engine))  # an instance: Faust starts it as it is
    add_pages(app, engine, queues)
    return app, engine


async def _preflight(settings: Settings, queues: Collection[str]) -> Cluster:
    cluster = await ensure_topics(settings, queues)
    await etcd_answers(settings)
    return cluster


def run_engine(
    settings: Settings,
    *,
    queues: Collection[str] = ("default",),
    ready: Callable[[str], None] | None = None,
) -> int:
    """Runs an engine until SIGTERM or SIGINT; returns the exit code. Blocks.

    Makes the topics that are missing and checks all of them; `queues` are those whose topics are made. `ready(address)`
    is called once the page is served. Raises KafkaUnreachable, TopicFault, EtcdUnreachable, PortInUse, SettingsError
    before anything is started.
    """
    try:
        import uvloop

        uvloop.install()
    except ImportError:  # no wheel for this platform: asyncio's own loop, a fifth slower
        pass
    page_port(settings)
    cluster = asyncio.run(_preflight(settings, queues))
    asyncio.set_event_loop(asyncio.new_event_loop())
    for name in ("faust", "mode", "aiokafka", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.getLogger(name).level, logging.WARNING))
    gc.set_threshold(50_000, 20, 50)  # long lists of small objects live here: collect the young ones less often
    app, engine = build(settings, cluster, queues)
    try:
        EngineWorker(app, engine, ready).execute_from_commandline()
    except SystemExit as end:
        return int(end.code or 0) if isinstance(end.code, int | None) else 1
    finally:
        telemetry.shutdown()
