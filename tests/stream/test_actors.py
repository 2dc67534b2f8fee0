"""What becomes of an actor that crashes. The supervisor is real; the actors are plain services."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mode import Service

from indegree.stream.actors import PartitionSupervisor


class Actor(Service):
    """Says when it runs."""

    def __init__(self, made: asyncio.Queue[Actor], **service: Any) -> None:
        super().__init__(**service)
        self._made = made

    async def on_start(self) -> None:
        self._made.put_nowait(self)


async def begin(supervisor: PartitionSupervisor) -> None:
    """Starts it, and waits until its task looks out for crashes."""
    await supervisor.start()
    async with asyncio.timeout(5):
        while supervisor._please_wakeup is None:  # noqa: ASYNC110 - mode has no event for it
            await asyncio.sleep(0)


async def test_an_actor_is_started_anew_at_once_however_often_it_crashes() -> None:
    made: asyncio.Queue[Actor] = asyncio.Queue()

    async def replacement(_: Any, __: int) -> Any:
        return Actor(made)

    supervisor = PartitionSupervisor(Actor(made), replacement=replacement)
    await begin(supervisor)
    try:
        async with asyncio.timeout(3):
            actor = await made.get()
        for crash in range(1, 6):
            since = time.monotonic()
            await actor.crash(ValueError("it failed"))
            supervisor.wakeup()
            async with asyncio.timeout(10):
                actor = await made.get()
            assert time.monotonic() - since < 2, f"crash {crash} was seen late: its actor had never been started"
    finally:
        await supervisor.stop()


async def test_an_actor_that_was_given_away_is_not_replaced() -> None:
    made: asyncio.Queue[Actor] = asyncio.Queue()
    asked, go_on = asyncio.Event(), asyncio.Event()
    late = Actor(made)

    async def replacement(_: Any, __: int) -> Any:
        asked.set()
        await go_on.wait()
        return late

    supervisor = PartitionSupervisor(Actor(made), replacement=replacement)
    await begin(supervisor)
    try:
        async with asyncio.timeout(5):
            first = await made.get()
            await first.crash(ValueError("it failed"))
            supervisor.wakeup()
            await asked.wait()
            supervisor.discard(first)
            go_on.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0.05)
        assert made.empty()
        assert not late.started
    finally:
        await supervisor.stop()
