"""The order of what leaves an engine, when an append fails in the middle. The lanes are real, Kafka is not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaTimeoutError

from indegree.events.appender import Appender
from indegree.events.kafka import Record
from indegree.stream.outbound import Outbound, Ticket

TOPIC = "t"


class Kafka:
    """Stands for the appender. Fails the appends whose numbers are given: "handing" at once, "written" later; as the
    real one does, it then fails what was handed over behind them."""

    def __init__(self, fails: dict[int, str]) -> None:
        self.fails = fails
        self.calls = 0
        self.log: list[bytes | None] = []
        self.failures = 0

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[asyncio.Future[Any]]:
        self.calls += 1
        how, failures = self.fails.get(self.calls), self.failures
        await asyncio.sleep(0.01)  # so that what comes meanwhile goes out together
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if how == "handing" or self.failures > failures:
            raise KafkaTimeoutError
        if how == "written":
            asyncio.get_running_loop().call_later(0.002, self._fail, future)
        else:
            self.log += [value for _, value, _ in records]
            future.set_result(None)
        return [future]

    def _fail(self, future: asyncio.Future[Any]) -> None:
        self.failures += 1
        future.set_exception(KafkaTimeoutError())


def record(value: int | str) -> list[Record]:
    return [(None, str(value).encode(), ())]


async def put_apart(outbound: Outbound, ticket: Ticket, values: Sequence[int]) -> None:
    """Each in an append of its own, the next one put while the one before is under way."""
    for value in values:
        outbound.put(TOPIC, 0, record(value), ticket)
        await asyncio.sleep(0.005)
    async with asyncio.timeout(5):
        await ticket.idle()


@pytest.mark.parametrize("how", ["handing", "written"])
@pytest.mark.parametrize("which", [1, 2, 3])
async def test_nothing_of_an_ownership_follows_what_failed(how: str, which: int) -> None:
    kafka, errors = Kafka({which: how}), list[BaseException]()
    outbound = Outbound(lambda: cast(Appender, kafka))
    ticket = Ticket(errors.append)
    await put_apart(outbound, ticket, range(1, 9))
    written = [int(value or b"") for value in kafka.log]
    assert written == list(range(1, len(written) + 1)), "a later record has overtaken the one that failed"
    assert len(written) < 8
    assert [type(error) for error in errors] == [KafkaTimeoutError]
    assert (ticket.open, outbound.backlog) == (0, 0)


async def test_what_others_send_to_the_same_place_goes_on() -> None:
    kafka = Kafka({1: "written"})
    outbound = Outbound(lambda: cast(Appender, kafka))
    mine, other = Ticket(lambda _: None), Ticket(lambda _: None)
    outbound.put(TOPIC, 0, record("mine 1"), mine)
    await mine.idle()
    outbound.put(TOPIC, 0, record("mine 2"), mine)
    outbound.put(TOPIC, 0, [*record("other 1"), *record("other 2")], other)
    outbound.put(TOPIC, 0, record("mine 3"), mine)
    outbound.put(TOPIC, 0, record("other 3"), other)
    await asyncio.gather(mine.idle(), other.idle())
    assert kafka.log == [b"other 1", b"other 2", b"other 3"]
    assert (other.error, outbound.backlog) == (None, 0)


async def test_nothing_more_is_sent_of_an_ownership_that_was_given_up() -> None:
    kafka, errors = Kafka({}), list[BaseException]()
    outbound = Outbound(lambda: cast(Appender, kafka))
    ticket = Ticket(errors.append)
    outbound.put(TOPIC, 0, record(1), ticket)
    await asyncio.sleep(0.005)  # the first is under way
    outbound.put(TOPIC, 0, record(2), ticket)
    ticket.end(ConnectionError("given up"))
    await ticket.idle()
    assert kafka.log == [b"1"]
    assert errors == [], "who gives up need not be told"
