"""Events as lines: a rejection that repeats is told once, then counted; everything else is told each time."""

from __future__ import annotations

from indegree.cli.telling import Teller, told
from tests.client.test_run_state import event


def test_a_repeated_rejection_is_told_once_and_counted_at_ten_and_at_its_end() -> None:
    teller = Teller()
    lines: list[str] = []
    for position in range(3, 28):
        lines += teller.lines(event(position, "task.queued", "QUEUED", "a", attempt=1, error="no module"))
    assert sum("no module" in line for line in lines) == 1
    assert sum("rejected 10 times so far" in line for line in lines) == 1
    lines = list(teller.lines(event(28, "task.running", "RUNNING", "a", attempt=1)))
    assert "rejected 24 more time(s)" in lines[0]
    assert "RUNNING" in lines[1]


def test_another_reason_or_another_task_is_told_too() -> None:
    events = [
        event(3, "task.queued", "QUEUED", "a", attempt=1, error="no module x"),
        event(4, "task.queued", "QUEUED", "b", attempt=1, error="no module x"),
        event(5, "task.queued", "QUEUED", "a", attempt=1, error="no module y"),
    ]
    assert len(list(told(events))) == 3


def test_what_is_no_rejection_is_told_every_time() -> None:
    events = [event(3 + number, "task.queued", "QUEUED", "a", attempt=1) for number in range(4)]
    assert len(list(told(events))) == 4


def test_a_run_that_ends_tells_what_was_counted() -> None:
    teller = Teller()
    for position in (3, 4, 5):
        list(teller.lines(event(position, "task.queued", "QUEUED", "a", attempt=1, error="no module")))
    lines = list(teller.lines(event(6, "run.cancelled", "CANCELLED")))
    assert "a was rejected 2 more time(s)" in lines[0]
    assert "CANCELLED" in lines[1]
