"""The actors that run the streams: one for each owned partition number, started, restarted and ended one by one.

Why: Faust starts its actors once, for all partitions, and rebuilds them on a rebalance. Here etcd gives and takes
single numbers while the others go on.

How: `PartitionAgent` starts and ends one actor; `PartitionSupervisor` starts one that crashed anew.

What it must never do: leave an actor that was given away running, or a crashed one without a started successor.

Private names of faust-streaming and mode are used; tests/integration/test_stream_contract.py has a test for each.
"""

from __future__ import annotations

from typing import Any, cast

from faust.agents import Agent
from faust.types import TP
from mode.supervisors import OneForOneSupervisor

from indegree.stream.transport import OwnedConductor, OwnedConsumer


class PartitionSupervisor(OneForOneSupervisor):
    """Starts a crashed actor anew, at once and however often: the new body waits out its own backoff.

    Faust's own gives up after 100 restarts in a second by ending the process, finds actors by an index that is wrong
    once one has been removed, leaves a new actor unstarted (so that its next crash is seen 5 s late), and is deaf while
    it restarts something.
    """

    mundane_level = "debug"

    async def restart_services(self, services: list[Any]) -> None:
        while self.replacement is not None:
            crashed = [
                service for service in self._services if service.started and not self.service_operational(service)
            ]
            if not crashed:
                return
            for service in crashed:
                await self.restart_service(service)

    async def restart_service(self, service: Any) -> None:
        if service not in self._services or self.replacement is None:
            return
        new: Any = await self.replacement(service, 0)
        if service not in self._services:  # given away meanwhile: the new one must not live
            new.cancel()
            return
        new.supervisor = self
        self._services[self._services.index(service)] = new
        self._index.pop(service, None)
        self._index[new] = 0
        await new.maybe_start()


class PartitionAgent(Agent):
    """One actor per owned partition number; its stream carries that partition of every input topic. None at boot."""

    mundane_level = "debug"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["supervisor_strategy"] = PartitionSupervisor
        super().__init__(*args, **kwargs)

    async def _on_start_supervisor(self) -> None:
        await self.supervisor.start()

    def tps(self, number: int) -> set[TP]:
        return {TP(topic, number) for topic in self.get_topic_names()}

    def actor(self, number: int) -> Any:
        """The actor that runs the partition, or None."""
        tps = self.tps(number)
        return next(
            (actor for actor in cast(Any, self.supervisor)._services if actor.active_partitions == tps),
            None,
        )

    async def own(self, number: int) -> None:
        """Starts the partition's actor. Returns at once; the actor's body takes over."""
        actor = await self._start_one_supervised(None, self.tps(number))
        cast(OwnedConductor, self.app.topics).open(cast(Any, actor).stream.channel)

    async def disown(self, number: int) -> None:
        """Ends the partition's actor and waits until its body has drained."""
        actor = self.actor(number)
        if actor is None:
            return
        cast(OwnedConsumer, self.app.consumer).close_partitions(
            actor.active_partitions
        )  # before the conductor forgets them
        cast(OwnedConductor, self.app.topics).close(actor.stream.channel)
        self.supervisor.discard(actor)  # first: the supervisor restarts an actor whose task has ended by an error
        actor.cancel()  # ends the stream; the agent's body runs on to its end and drains
        await actor.actor_task
        self.add_future(actor.stop())  # mode's stop() sleeps 0.1 s and more; nobody needs to wait for it
