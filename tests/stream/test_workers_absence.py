"""No worker is lost because Kafka was away: nobody could be heard then."""

from __future__ import annotations

from indegree.events.settings import LOCAL, Settings
from indegree.stream.workers import Workers
from indegree.v1.task_pb2 import Worker

SETTINGS = Settings.load({**LOCAL, "engine.worker_timeout_s": 8}, environ={})


class Table:
    def __init__(self) -> None:
        self.at, self.stamp = 0.0, 0
        self.workers = Workers(SETTINGS, changed=lambda: None, lost=lambda _: None, monotonic=lambda: self.at)
        self.hear()

    def hear(self) -> None:
        worker = Worker(instance="w", slots=1, interval_ms=1000)
        self.workers.heard(b"w", worker.SerializeToString(), live=True)

    def later(self, seconds: float, *, away: bool = False) -> None:
        """Time passes; Kafka answers all the time, or not at all."""
        until = self.at + seconds
        while self.at < until:
            self.at += 0.2
            self.stamp += not away
            self.workers.notice(self.stamp)


def test_silence_while_kafka_answers_is_a_loss() -> None:
    table = Table()
    table.later(8.5)
    assert table.workers.overdue() == ["w"]


def test_an_absence_that_ends_just_before_the_timeout_begins_it_anew() -> None:
    table = Table()
    table.later(7.8, away=True)
    assert table.workers.overdue() == []
    table.later(7)
    assert table.workers.overdue() == []
    table.later(2)
    assert table.workers.overdue() == ["w"]


def test_a_short_gap_lengthens_nothing() -> None:
    table = Table()
    table.later(1.5, away=True)
    table.later(7)
    assert table.workers.overdue() == ["w"]


def test_a_worker_answers_while_its_announcements_come() -> None:
    table = Table()
    table.later(2.5)
    assert table.workers.answers("w")
    table.later(1)
    assert not table.workers.answers("w")
    table.hear()
    assert table.workers.answers("w")
