"""What was read of users' topics waits in order, within a bound, and records that do not follow are never decided."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import TopicPartition

from indegree.engine import intake, starts
from indegree.engine.core import DEAD_LETTER, PartitionCore
from indegree.engine.intake import Route, Taken
from indegree.events.definition import Definition
from indegree.stream.offers import FULL, Joined, Left, Lost, Offers, OffersSkipped, Records
from indegree.stream.restarts import Restarts
from indegree.v1.workflow_pb2 import DeadLetter

TP = TopicPartition("orders", 0)
FLOW = Definition.from_normal({"id": "w", "tasks": [{"id": "a"}], "triggers": [{"kafka": {"topic": "orders"}}]})


@pytest.fixture
def offers() -> Offers:
    core = PartitionCore(0, 1)
    core.announced(1, 1_000)
    core.begin(1_000)
    return Offers(core, lambda: None)


def records(begin: int, *offsets: int, at_least: int = 1) -> Records:
    taken = [Taken(offset, offset, json.dumps(offset).encode()) for offset in offsets]
    return Records(TP, begin, taken, [Route.of(FLOW, [0])], at_least)


def decide(offers: Offers) -> None:
    while not offers.is_empty():
        offers.decide()
        while offers.core.cut() is not None:
            pass


def position(offers: Offers) -> Any:
    known = offers.core.state.intakes.get((TP.topic, TP.partition))
    return known.next if known is not None else None


def test_offers_are_decided_in_order(offers: Offers) -> None:
    offers.put(Joined(TP, {"w": 0}))
    offers.put(records(0, *range(700)))
    offers.put(records(700, 700))
    offers.put(Left(TP, ["w"]))
    decide(offers)
    assert position(offers) is None
    assert len(offers.core.state.windows.ended) == 701


def test_records_that_do_not_follow_are_not_decided(offers: Offers) -> None:
    offers.put(Joined(TP, {"w": 0}))
    offers.put(records(0, 0, 1))
    offers.put(records(5, 5))
    with pytest.raises(OffersSkipped, match="from 2 to 4"):
        decide(offers)


def test_a_gap_within_the_topic_is_none(offers: Offers) -> None:
    offers.put(Joined(TP, {"w": 0}))
    offers.put(records(0, 0, 7))
    offers.put(records(8, 9))
    decide(offers)
    assert position(offers) == 10


def test_records_that_are_worth_no_event_do_not_look_like_missing_ones(offers: Offers) -> None:
    """The position in the log stays behind what has been decided."""
    offers.put(Joined(TP, {"other": 0}))
    offers.put(records(0, 0, 1, at_least=500))
    offers.put(records(2, 2, 3, at_least=500))
    decide(offers)
    assert position(offers) == 0


def test_after_a_loss_records_go_on_at_the_new_place(offers: Offers) -> None:
    offers.put(Joined(TP, {"w": 0}))
    offers.put(Lost(TP, 50))
    offers.put(records(50, 50))
    decide(offers)
    assert position(offers) == 51


def test_there_is_room_until_so_many_records_wait(offers: Offers) -> None:
    offers.put(Joined(TP, {"w": 0}))
    assert offers.room(TP)
    offers.put(records(0, *range(FULL)))
    assert not offers.room(TP)
    assert offers.pending(TP)
    decide(offers)
    assert offers.room(TP)
    assert not offers.pending(TP)


def test_of_an_ownership_that_is_over_nothing_is_kept(offers: Offers) -> None:
    offers.close()
    offers.put(records(0, 0))
    assert offers.is_empty()


def test_a_record_at_which_the_engine_fails_is_named_and_refused_after_three_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = starts.decide_start

    def fails(draft: Any, builder: Any, given: Any, origin: Any, definition: Any) -> str:
        if origin.offset == 1:
            raise ZeroDivisionError("ours")
        return start(draft, builder, given, origin, definition)

    monkeypatch.setattr(intake, "decide_start", fails)
    restarts = Restarts()
    for _ in range(3):
        core = PartitionCore(0, 1)
        core.announced(1, 1_000)
        offers = Offers(core, lambda: None, restarts.strangers)
        offers.put(Joined(TP, {"w": 0}))
        offers.put(records(0, 0, 1, 2))
        with pytest.raises(intake.Undecidable) as found:
            decide(offers)
        restarts.failed_at(found.value.record, (0, 0, 0), str(found.value))
    core = PartitionCore(0, 1)
    core.announced(1, 1_000)
    offers = Offers(core, lambda: None, restarts.strangers)
    offers.put(Joined(TP, {"w": 0}))
    offers.put(records(0, 0, 1, 2))
    decide(offers)
    assert position(offers) == 3
    [letter] = core.state.outbox[DEAD_LETTER].values()
    assert "it failed 3 times" in DeadLetter.FromString(letter.data).reason
