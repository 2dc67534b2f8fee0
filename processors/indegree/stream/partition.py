"""One ownership of one partition: taking over, living (live.py), letting go.

A stream's body makes one, calls `begin`, then `step` for each batch, then `drain`. Whatever it raises ends the
ownership; the next one starts from the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from faust.types import TP

from indegree.engine.core import PartitionCore
from indegree.ownership.grant import Grant
from indegree.stream.live import Live
from indegree.stream.offers import Offers
from indegree.stream.progress import ProgressLog
from indegree.stream.restarts import Restarts
from indegree.stream.services import Services
from indegree.stream.snapshots import Snapshots
from indegree.stream.takeover import Owned, take_over
from indegree.stream.transport import Batch, PositionLost

log = logging.getLogger(__name__)

_DRAIN_S = 3.0  # of a graceful handover; the session gives 5


class Partition:
    """`channel`: of the stream that runs it; an error thrown into it ends the stream."""

    def __init__(self, number: int, services: Services, channel: Any, restarts: Restarts) -> None:
        self.number, self.restarts = number, restarts
        self._services, self._channel = services, channel
        self._tps = [TP(topic, number) for topic in services.topics.inputs]
        self._live: Live | None = None
        self._lost_early: list[str] = []
        self.epoch = 0
        """Of this ownership; 0 until the partition is owned."""

    # -- views

    @property
    def serving(self) -> bool:
        """Owned, and all inputs of the takeover are read."""
        return self._live is not None and self._live.serving

    @property
    def core(self) -> PartitionCore | None:
        """The state while it is owned; never to be changed by who looks at it."""
        return self._live.core if self._live is not None else None

    @property
    def snapshots(self) -> Snapshots | None:
        """Where a recovery begins, while the partition is owned."""
        return self._live.snapshots if self._live is not None else None

    @property
    def offers(self) -> Offers | None:
        """Where to put what is read of users' topics; None: it does not serve."""
        return self._live.offers if self._live is not None and self._live.serving else None

    def now_ms(self) -> int:
        """The owner's time; 0 while the partition is not owned."""
        return self._live.now_ms() if self._live is not None else 0

    def wake(self) -> None:
        """Has the stream take a step soon."""
        if self._live is not None:
            self._live.wake()

    # -- the ownership

    async def begin(self, grant: Grant) -> None:
        """Takes the partition over and begins to read its inputs. See takeover.py for what it raises."""
        services, since = self._services, time.monotonic()
        progress = ProgressLog(services.settings, services.topics.progress, self.number)
        progress.connect()
        try:
            await self._begin(grant, progress, since)
        except BaseException:
            if self._live is None:
                await asyncio.shield(progress.abandon())
            raise

    async def _begin(self, grant: Grant, progress: ProgressLog, since: float) -> None:
        services = self._services
        owned = await take_over(
            services.settings,
            services.topics.events,
            self.number,
            grant,
            services.valid,
            lambda: services.warm(self.number),
            lambda: services.new_core(self.number),
            services.owner,
            services.topics.inputs,
        )
        try:
            core = owned.recovery.core
            core.announced(owned.epoch, *owned.clock.both_ms())
            ends = self._check_positions(core, owned)
            after = await progress.begin(owned.epoch, owned.takeover_id, owned.recovery.acknowledged)
        except BaseException:
            await asyncio.shield(owned.log.abandon())
            raise
        again = owned.recovery.unsent_after(after)
        owned.recovery.unsent.clear()
        live = Live(self.number, services, owned, progress, self.restarts, ends, self._channel)
        progress.failed = live.failed
        progress.put(again)
        self._live, self.epoch = live, owned.epoch
        for instance in self._lost_early:
            live.worker_lost(instance)
        self._say(owned, len(again), time.monotonic() - since)
        services.consumer().open(dict(zip(self._tps, core.state.next, strict=True)), self._channel)
        live.wake()

    async def step(self, batch: Batch) -> None:
        """Decides what a batch holds, and what has fallen due. Raises what ended the ownership."""
        assert self._live is not None, "begin() comes first"
        await self._live.step(batch)

    async def drain(self, grant: Grant | None) -> None:
        """Ends this ownership.

        Gracious: what is under way is finished and a closing frame written; else all of it is dropped at once.
        """
        live, self._live = self._live, None
        if live is None:
            return
        try:
            ending = grant.ending if grant is not None else None
            if ending is not None and ending.gracious and live.serving and self._services.valid():
                async with asyncio.timeout(_DRAIN_S):
                    await live.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the log has what the next owner needs
            log.warning("partition %d was not handed over whole: %s: %s", self.number, type(error).__name__, error)
        finally:
            await asyncio.shield(live.abandon())

    def _check_positions(self, core: PartitionCore, owned: Owned) -> list[int]:
        """The inputs' ends as of now. Raises PositionLost where the log wants to go on at a place that Kafka lacks."""
        for tp, at, (begin, end) in zip(self._tps, core.state.next, owned.inputs, strict=True):
            if not begin <= at <= end:
                raise PositionLost(
                    f"{tp.topic} partition {tp.partition} has offsets {begin} to {end}, but its events go on at {at}: "
                    "records were deleted or the topic was made anew; restore it, or begin a new cluster"
                )
        return [end for _, end in owned.inputs]

    def _say(self, owned: Owned, progress_again: int, seconds: float) -> None:
        metrics, recovery = self._services.metrics, owned.recovery
        metrics.takeovers.inc()
        metrics.void.labels(str(self.number)).inc(recovery.rule.void)
        metrics.recovery_seconds.observe(seconds)
        log.debug(
            "owns partition %d epoch %d: replayed %d frames (%d void), %d runs, %d progress records to send again, "
            "%.0f ms since the grant%s",
            self.number,
            owned.epoch,
            recovery.frames,
            recovery.rule.void,
            len(recovery.core.state.runs),
            progress_again,
            owned.silent_ms,
            ", handed over whole" if recovery.closed else "",
        )

    # -- news from outside

    def halt(self, error: BaseException) -> None:
        """Ends this ownership."""
        self._channel._throw(error)

    def worker_lost(self, instance: str) -> None:
        """A worker is gone for good."""
        if self._live is not None:
            self._live.worker_lost(instance)
        else:
            self._lost_early.append(instance)
