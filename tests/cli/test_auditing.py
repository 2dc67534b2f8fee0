"""The audit's own proof: a good ledger passes, and each way of doctoring it is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from indegree.cli.auditing import Ledger, Verdict
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import Origin

T = "orders"


def began(offset: int = 0, partition: int = 0) -> Event:
    return Event(kind=Event.INTAKE_BEGAN, topic=T, target=partition, number=offset, workflow="w")


def decided(number: int, total: int = 0, reason: str = "", **fields: Any) -> Event:
    return Event(kind=Event.INTAKE_DECIDED, topic=T, number=number, total=total, reason=reason, **fields)


def answer(kind: Any, offset: int, workflow: str = "w", reason: str = "") -> Event:
    origin = Origin(topic=T, partition=0, offset=offset, kind="kafka")
    return Event(kind=kind, workflow=workflow, origin=origin, reason=reason)


def good() -> list[Event]:
    """0 and 1 pass nobody's filter, 2 starts two runs, 3 is refused, 4 is a repeat of a key, 5 is refused elsewhere."""
    return [
        began(),
        answer(Event.RUN_STARTED, 2),
        answer(Event.RUN_STARTED, 2, "v"),
        decided(3, 2),
        answer(Event.RUN_REFUSED, 3, reason="no"),
        decided(4, 0, "no"),
        answer(Event.RUN_REPEATED, 4),
        decided(5, 1),
        answer(Event.RUN_REFUSED, 5, reason="other content"),
        decided(6, 1),
    ]


def judged(events: list[Event], offsets: list[int] | None = None) -> Verdict:
    ledger = Ledger(T)
    for event in events:
        ledger.event(event)
    return ledger.judge(0, offsets if offsets is not None else list(range(6)), 0, 6)


def test_a_good_ledger_passes() -> None:
    verdict = judged(good())
    assert verdict.good, verdict.problems
    assert (verdict.records, verdict.started, verdict.passed_over, verdict.refused, verdict.runs) == (6, 2, 2, 2, 2)


def test_a_compacted_topic_may_lack_offsets() -> None:
    assert judged(good(), [0, 2, 3, 4, 5]).good


def doctored(change: Callable[[list[Event]], object]) -> Callable[[], list[Event]]:
    def make() -> list[Event]:
        events = good()
        change(events)
        return events

    return make


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (doctored(lambda e: e.append(answer(Event.RUN_STARTED, 2))), "more than once"),
        (doctored(lambda e: e.pop(2)), "2 starts, and the logs have 1"),
        (doctored(lambda e: e.append(answer(Event.RUN_STARTED, 0))), "0 starts, and the logs have 1"),
        (doctored(lambda e: e.pop()), "offset 5 is not decided"),
        (doctored(lambda e: e.append(decided(3))), "back to 3"),
        (doctored(lambda e: e.append(decided(9, state="lost"))), ""),
        (doctored(lambda e: e.append(answer(Event.RUN_STARTED, 2, "x"))), "the logs have 3"),
        (doctored(lambda e: e.clear()), "no event log has an intake"),
        (doctored(lambda e: e.__setitem__(0, began(3))), "back to 3"),
    ],
)
def test_what_is_wrong_is_found(events: Callable[[], list[Event]], words: str) -> None:
    verdict = judged(events())
    if words:
        assert any(words in problem for problem in verdict.problems), verdict.problems
    else:
        assert verdict.good


def test_a_run_of_a_record_that_the_topic_does_not_have_is_found() -> None:
    assert any("no such record" in p for p in judged(good(), [0, 1, 3, 4, 5]).problems)
