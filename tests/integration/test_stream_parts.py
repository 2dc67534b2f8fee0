"""Parts of the engine's shell that need no Kafka: the clock, restarts, the table of workers, tickets, dispatch."""

from __future__ import annotations

import math
from typing import Any

import pytest

from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.clock import OwnerClock
from indegree.stream.dispatch import Dispatcher
from indegree.stream.outbound import Ticket
from indegree.stream.restarts import Restarts
from indegree.stream.workers import Workers
from indegree.v1.task_pb2 import Task, Worker


class Now:
    """A clock that tests move by hand; seconds."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


# -- the owner's clock


def test_the_owners_time_goes_on_from_the_brokers_timestamp() -> None:
    now = Now()
    clock = OwnerClock(now)
    clock.acknowledged(5_000)
    now.at += 1.5
    assert clock.now_ms() == 6_500
    assert clock.seconds_until(7_000) == pytest.approx(0.5)


def test_a_broker_whose_clock_is_set_back_neither_stops_time_nor_turns_it_back() -> None:
    now = Now()
    clock = OwnerClock(now)
    clock.acknowledged(10_000)
    now.at += 1
    clock.acknowledged(1_000)
    assert clock.now_ms() == 11_000
    now.at += 1
    assert clock.now_ms() == 12_000


def test_time_begins_no_earlier_than_the_log_ends() -> None:
    clock = OwnerClock(Now())
    clock.not_before(9_000)
    clock.acknowledged(3_000)
    assert clock.now_ms() == 9_000


# -- restarts


def test_restarts_back_off_from_a_tenth_of_a_second_to_thirty() -> None:
    restarts, delays = Restarts(), []
    for _ in range(12):
        delays.append(restarts.delay_s())
        restarts.failed(1.0)
    assert delays[:4] == [0.0, 0.1, 0.2, 0.4]
    assert max(delays) == delays[-1] == 30.0


def test_an_input_that_fails_three_times_is_the_culprit_until_it_is_in_the_log() -> None:
    restarts = Restarts()
    for _ in range(2):
        restarts.failed_at((0, 7), (5, 0, 0), "boom")
    assert not restarts.culprits
    restarts.failed_at((0, 7), (6, 0, 0), "boom")
    assert "boom" in restarts.culprits[0, 7]
    restarts.passed((7, 0, 0))
    assert restarts.culprits
    restarts.passed((8, 0, 0))
    assert not restarts.culprits


def test_failures_without_a_suspect_lead_to_one_input_at_a_time_and_the_next_suspect_is_the_culprit() -> None:
    restarts = Restarts()
    for _ in range(3):
        restarts.failed_at(None, (5, 0, 0), "boom")
    assert restarts.careful
    restarts.failed_at((0, 6), (6, 0, 0), "boom")
    assert (0, 6) in restarts.culprits
    assert not restarts.careful


def test_failures_that_no_input_explains_are_hopeless() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.failed_at(None, (5, 0, 0), "boom")
        assert not restarts.hopeless
    restarts.failed_at(None, (5, 0, 0), "boom")
    assert "boom" in restarts.hopeless
    assert not restarts.culprits


def test_failures_at_different_places_blame_nobody() -> None:
    restarts = Restarts()
    for offset in range(10):
        restarts.failed_at((0, offset), (offset, 0, 0), "boom")
    assert not restarts.culprits


def test_three_failed_recoveries_in_a_row_mean_quarantine() -> None:
    restarts = Restarts()
    assert [restarts.failed_in_recovery() for _ in range(3)] == [False, False, True]
    restarts.recovered()
    assert not restarts.failed_in_recovery()


# -- the table of workers


class Table:
    """A table with recorded calls."""

    def __init__(self) -> None:
        self.now, self.changes, self.lost = Now(), 0, list[str]()
        self.workers = Workers(Settings(), changed=self._changed, lost=self.lost.append, monotonic=self.now)

    def _changed(self) -> None:
        self.changes += 1

    def hear(self, instance: str = "w", *, live: bool = True, **fields: Any) -> None:
        fields = {"slots": 4, "queues": [Worker.Queue(name="default", partition=3)], **fields}
        worker = Worker(instance=instance, **fields)
        self.workers.heard(instance.encode(), worker.SerializeToString(), live=live)


def allowance(table: Table) -> int:
    known = table.workers.get("w")
    assert known is not None
    return known.allowance


@pytest.mark.parametrize(
    ("slots", "senders", "share"), [(4, 0, 4), (4, 1, 4), (4, 2, 4), (4, 4, 2), (1, 8, 1), (16, 3, 10)]
)
def test_an_engine_may_send_its_share_of_twice_the_slots(slots: int, senders: int, share: int) -> None:
    table = Table()
    table.hear(slots=slots, senders=senders)
    assert allowance(table) == share


@pytest.mark.parametrize("fields", [{"draining": True}, {"slots": 2, "abandoned": 2}, {"slots": 0}])
def test_a_worker_that_drains_or_has_no_free_slot_is_sent_nothing(fields: dict[str, Any]) -> None:
    table = Table()
    table.hear(**fields)
    assert allowance(table) == 0


def test_a_worker_from_before_our_start_is_sent_nothing_until_it_is_heard_again() -> None:
    table = Table()
    table.hear(live=False)
    assert allowance(table) == 0
    table.hear()
    assert allowance(table) == 4
    assert table.changes == 2


def test_a_silent_worker_is_overdue_after_the_timeout_and_then_lost() -> None:
    table = Table()
    table.hear()
    table.now.at += 9.9
    assert table.workers.overdue() == []
    table.now.at += 0.2
    assert table.workers.overdue() == ["w"]
    table.workers.expire()
    assert table.lost == ["w"]
    assert list(table.workers.serving("default")) == []


def test_a_tombstone_is_a_farewell() -> None:
    table = Table()
    table.hear()
    table.workers.heard(b"w", None, live=True)
    assert table.lost == ["w"]


def test_bytes_that_are_no_announcement_are_left_out() -> None:
    table = Table()
    table.workers.heard(b"w", b"\xff\xff", live=True)
    assert table.workers.all() == []


def test_a_queue_whose_name_no_topic_can_have_is_left_out() -> None:
    table = Table()
    table.hear(queues=[Worker.Queue(name="../../etc", partition=0)])
    assert list(table.workers.serving("../../etc")) == []


# -- tickets


async def test_a_ticket_is_idle_when_all_is_acknowledged_and_tells_of_the_first_failure_only() -> None:
    failures: list[BaseException] = []
    ticket = Ticket(failures.append)
    ticket.add(3)
    ticket.done(1)
    ticket.fail(ValueError("first"), 1)
    ticket.fail(ValueError("second"), 1)
    await ticket.idle()
    assert [str(error) for error in failures] == ["first"]


# -- dispatch


class Core:
    """Just enough of a core: a list of (priority, run id), best first."""

    def __init__(self, *waiting: tuple[int, str]) -> None:
        self.waiting = sorted((-priority, run) for priority, run in waiting)
        self.given: dict[str, int] = {}

    def queues(self) -> tuple[str, ...]:
        return ("default",) if self.waiting else ()

    def ready(self, queue: str) -> int:
        return len(self.waiting)

    def holders(self) -> list[str]:
        return list(self.given)

    def held(self, worker: str) -> int:
        return self.given.get(worker, 0)

    def best(self, queue: str) -> tuple[int, int, int] | None:
        return (self.waiting[0][0], 0, 0) if self.waiting else None

    def refusers(self, queue: str) -> frozenset[str]:
        return frozenset()

    def recall(self, may_run: Any) -> bool:
        return False

    def take(self, queue: str, worker: str) -> Task | None:
        if not self.waiting:
            return None
        self.given[worker] = self.given.get(worker, 0) + 1
        return Task(run_id=self.waiting.pop(0)[1], worker=worker)


class Member:
    serving = True

    def __init__(self, core: Core) -> None:
        self.core: Any = core
        self.ticket = Ticket(self.failed)
        self.count = 0

    def sent(self, count: int, decided: bool) -> None:
        self.count += count
        assert not decided

    def failed(self, error: BaseException) -> None:
        raise error


class Out:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.tasks: list[tuple[int, Task]] = []

    def knows(self, topic: str, partition: int) -> bool:
        return True

    def put(self, topic: str, partition: int, records: Any, ticket: Ticket) -> None:
        self.tasks += [(partition, Task.FromString(value)) for _, value, _ in records]


def dispatcher(table: Table, out: Any, *members: Member) -> Dispatcher:
    made = Dispatcher("engine", Topics("t"), table.workers, out, None)
    for member in members:
        made.join(member)
    return made


def test_the_best_attempts_of_all_partitions_go_first_within_the_workers_share() -> None:
    table, out = Table(), Out()
    table.hear(slots=2)
    low, high = Member(Core((0, "low-1"), (0, "low-2"))), Member(Core((9, "high"), (1, "middle")))
    dispatcher(table, out, low, high).run()
    assert {task.run_id for _, task in out.tasks} == {"high", "middle"}
    assert (low.count, high.count) == (0, 2)
    assert {(partition, task.worker, task.owner) for partition, task in out.tasks} == {(3, "w", "engine")}


def test_work_is_spread_over_the_workers_with_most_room() -> None:
    table, out = Table(), Out()
    for instance in ("w1", "w2"):
        table.hear(instance, slots=4)
    dispatcher(table, out, Member(Core(*((0, f"r{i}") for i in range(6))))).run()
    shares = [sum(task.worker == instance for _, task in out.tasks) for instance in ("w1", "w2")]
    assert shares == [3, 3]
    assert math.prod(shares) == 9


def test_what_has_been_sent_counts_against_the_share_whichever_partition_sent_it() -> None:
    table, out = Table(), Out()
    table.hear(slots=2)
    one, two = Member(Core((0, "a"), (0, "b"))), Member(Core())
    made = dispatcher(table, out, one, two)
    made.run()
    two.core.waiting = [(0, "c")]
    made.run()
    assert [task.run_id for _, task in out.tasks] == ["a", "b"]
