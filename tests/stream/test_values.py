"""The shell's part in values by reference: what the core asks for is done beside the stream and answered in a step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from indegree.events.payloads import PayloadLost, PayloadTooLarge
from indegree.stream.live import EXTERNAL
from indegree.stream.values import Values
from indegree.v1.value_pb2 import Reference


class Core:
    """What a core would ask, and what it was told."""

    def __init__(self) -> None:
        self.wanted: list[Reference] = []
        self.made: list[tuple[str, bytes]] = []
        self.told: list[tuple[Any, ...]] = []

    def wants(self) -> list[Reference]:
        wanted, self.wanted = self.wanted, []
        return wanted

    def supply(self, reference: Reference, data: bytes | None, error: str = "") -> None:
        self.told.append((reference.offset, data, error))

    def to_store(self) -> list[tuple[str, bytes]]:
        made, self.made = self.made, []
        return made

    def stored(self, token: str, reference: Reference | None, error: str = "") -> None:
        self.told.append((token, reference.offset if reference is not None else None, error))


class Road:
    """`Values` on payloads played by hand, which answer once `go` is set. `fault`: instead of an answer."""

    def __init__(self) -> None:
        self.core = Core()
        self.go = asyncio.Event()
        self.go.set()
        self.open = self.most = self.woken = 0
        self.fault: Exception | None = None
        self.stores: list[tuple[int, bytes]] = []
        self.failures: list[BaseException] = []
        payloads: Any = self
        self.news = asyncio.Event()
        self.values = Values(7, self.core, payloads, self._wake, self._failed)

    def _wake(self) -> None:
        self.woken += 1
        self.news.set()

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self.news.set()

    async def fetch(self, reference: Reference) -> bytes:
        await self._work()
        return b"%d" % reference.offset

    async def store(self, partition: int, data: bytes) -> Reference:
        await self._work()
        self.stores.append((partition, data))
        return Reference(partition=partition, offset=40 + len(self.stores), parts=1, size=len(data))

    async def _work(self) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0)
            await self.go.wait()
            if self.fault is not None:
                raise self.fault
        finally:
            self.open -= 1

    async def until(self, woken: int) -> None:
        async with asyncio.timeout(5):
            while self.woken < woken and not self.failures:
                self.news.clear()
                await self.news.wait()

    def want(self, *offsets: int) -> None:
        self.core.wanted += [Reference(offset=offset, parts=1, size=1) for offset in offsets]
        self.values.ask()


async def test_what_was_fetched_is_handed_over_in_the_next_step_and_not_before() -> None:
    road = Road()
    road.want(3)
    await road.until(woken=1)
    assert road.core.told == []
    road.values.answer()
    assert road.core.told == [(3, b"3", "")]


async def test_what_the_core_made_is_stored_on_its_own_partition() -> None:
    road = Road()
    road.core.made = [("run/2/10", b"list")]
    road.values.ask()
    await road.until(woken=1)
    road.values.answer()
    assert road.stores == [(7, b"list")]
    assert road.core.told == [("run/2/10", 41, "")]


async def test_a_value_that_cannot_be_had_or_stored_is_an_answer_with_the_reason() -> None:
    road = Road()
    road.fault = PayloadLost("deleted")
    road.want(3)
    await road.until(woken=1)
    road.fault = PayloadTooLarge("9 bytes > limit 8")
    road.core.made = [("token", b"123456789")]
    road.values.ask()
    await road.until(woken=2)
    road.values.answer()
    assert road.core.told == [(3, None, "deleted"), ("token", None, "9 bytes > limit 8")]
    assert not road.failures


async def test_two_values_at_most_are_in_memory_until_the_core_has_taken_them() -> None:
    road = Road()
    road.want(*range(7))
    for taken in (2, 4, 6, 7):
        await road.until(woken=taken)
        for _ in range(20):
            await asyncio.sleep(0)
        assert road.woken == taken, "nothing more is fetched before the core has taken these"
        road.values.answer()
    assert [offset for offset, _, _ in road.core.told] == list(range(7))
    assert road.most == 2


@pytest.mark.parametrize("error", [KafkaConnectionError(), TimeoutError(), OSError()])
async def test_kafka_that_does_not_answer_ends_the_ownership_as_something_external(error: Exception) -> None:
    road = Road()
    road.fault = error
    road.want(3)
    await road.until(woken=1)
    assert road.failures == [error]
    assert isinstance(error, EXTERNAL)
    assert not road.core.told


async def test_nothing_is_answered_once_the_ownership_is_over() -> None:
    road = Road()
    road.go.clear()
    road.want(1, 2, 3)
    await asyncio.sleep(0)
    road.values.stop()
    road.go.set()
    for _ in range(20):
        await asyncio.sleep(0)
    road.values.answer()
    assert (road.core.told, road.woken, road.failures, road.open) == ([], 0, [], 0)
