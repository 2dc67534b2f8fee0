"""The handle of a run, on a topic in memory: what it promises does not depend on when a record comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from indegree.sdk.client_errors import ClientError, Closed, ProgressGap, Refused, RunNotFound
from indegree.sdk.client_events import RunEvent, StoredValue
from indegree.sdk.client_progress import Sink
from indegree.sdk.client_run import AsyncRun
from tests.client.test_run_state import RUN, event

STORY = [
    event(1, "run.accepted", "PENDING"),
    event(2, "run.running", "RUNNING"),
    event(3, "task.queued", "QUEUED", "load", attempt=1),
    event(4, "task.success", "SUCCESS", "load", attempt=1, output="7"),
    event(5, "run.success", "SUCCESS"),
]


class Topic:
    """A progress topic in memory. `put` is a new record; what was put can be read again."""

    def __init__(self, *records: RunEvent) -> None:
        self.records = list(records)
        self.sinks: dict[str, Sink] = {}
        self.cancelled: list[tuple[str, str]] = []
        self.while_reading: list[RunEvent] = []
        self.fetched: list[StoredValue] = []

    def put(self, *records: RunEvent) -> None:
        for record in records:
            self.records.append(record)
            if sink := self.sinks.get(record.run_id):
                sink(record)

    def fail(self, problem: ClientError) -> None:
        for sink in list(self.sinks.values()):
            sink(problem)

    def watch(self, run_id: str, sink: Sink) -> None:
        self.sinks[run_id] = sink

    def forget(self, run_id: str) -> None:
        self.sinks.pop(run_id, None)

    async def past(self, run_id: str) -> AsyncIterator[RunEvent]:
        for record in list(self.records):
            await asyncio.sleep(0)
            news, self.while_reading = self.while_reading, []
            self.put(*news)
            if record.position or record.type == "run.refused":
                yield record

    async def cancel_run(self, run_id: str, reason: str) -> None:
        self.cancelled.append((run_id, reason))

    async def fetch(self, value: StoredValue) -> Any:
        self.fetched.append(value)
        return {"size": value.size}


def started(topic: Topic) -> AsyncRun:
    run = AsyncRun(topic, RUN, "orders", "request-1")
    run.begin()
    return run


async def test_wait_gives_the_state_and_tasks_give_their_outputs() -> None:
    topic = Topic()
    run = started(topic)
    assert run.state == "PENDING"
    waiting = asyncio.create_task(run.wait(5))
    await asyncio.sleep(0)
    topic.put(*STORY)
    assert await waiting == "SUCCESS"
    assert (run["load"].output, run["load"].state, run["load"].attempts) == (7, "SUCCESS", 1)
    assert not topic.sinks, "a run that has ended is not watched any more"


async def test_a_run_that_was_begun_again_is_watched_on_to_its_new_end() -> None:
    again = event(6, "run.running", "RUNNING")
    topic = Topic(*STORY, again)
    run = AsyncRun(topic, RUN)
    await run.catch_up(must_exist=True)
    assert run.state == "RUNNING"
    waiting = asyncio.create_task(run.wait(5))
    await asyncio.sleep(0)
    topic.put(event(7, "run.cancelled", "CANCELLED"))
    assert await waiting == "CANCELLED"
    assert not topic.sinks


async def test_follow_gives_each_transition_once_in_order_whenever_it_begins() -> None:
    for seen_before in range(len(STORY) + 1):
        topic = Topic()
        run = started(topic)
        topic.put(*STORY[:seen_before])
        following = asyncio.create_task(collect(run))
        await asyncio.sleep(0)
        topic.put(*STORY[seen_before:])
        assert [found.position for found in await following] == [1, 2, 3, 4, 5], f"{seen_before} records came before"


async def test_follow_resumes_behind_a_position() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(*STORY)
    assert [found.position for found in await collect(run, 3)] == [4, 5]
    assert await collect(run, 5) == []


async def test_follow_sees_what_arrives_while_the_past_is_read_exactly_once() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(*STORY[:2])
    topic.while_reading = STORY[2:]
    assert [found.position for found in await collect(run)] == [1, 2, 3, 4, 5]


async def test_a_repeat_of_a_record_is_not_given_twice() -> None:
    topic = Topic()
    run = started(topic)
    following = asyncio.create_task(collect(run))
    await asyncio.sleep(0)
    topic.put(STORY[0], STORY[0], STORY[1], STORY[0], *STORY[1:])
    assert [found.position for found in await following] == [1, 2, 3, 4, 5]


async def test_a_gap_raises_for_who_waits_and_who_follows() -> None:
    topic = Topic()
    run = started(topic)
    following = asyncio.create_task(collect(run))
    waiting = asyncio.create_task(run.wait(5))
    await asyncio.sleep(0)
    topic.put(STORY[0], STORY[1], STORY[4])
    for task in (following, waiting):
        with pytest.raises(ProgressGap):
            await task


async def test_a_refused_start_raises_with_its_reason_everywhere() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(event(0, "run.refused", reason="no active version", request_id="request-1"))
    for call in (run.accepted(1), run.wait(1), collect(run)):
        with pytest.raises(Refused, match="no active version") as caught:
            await call
        assert caught.value.reason == "no active version"


async def test_a_refusal_of_somebody_else_s_start_under_our_id_is_not_ours() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(*STORY[:2], event(0, "run.refused", reason="in use", request_id="request-2"), *STORY[2:])
    assert await run.wait(1) == "SUCCESS"


async def test_a_timeout_of_wait_says_where_the_run_is_and_leaves_it_alone() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(*STORY[:2])
    with pytest.raises(TimeoutError, match=r"waited 0.01 s for it to end; it is RUNNING \(position 2\) and goes on"):
        await run.wait(0.01)
    topic.put(*STORY[2:])
    assert await run.wait(1) == "SUCCESS"


async def test_a_start_by_key_takes_the_run_id_of_its_answer() -> None:
    topic = Topic()
    run = AsyncRun(topic, "", "orders", "request-1")
    assert run.run_id == ""
    run.answered(STORY[0])
    topic.put(*STORY)
    assert await run.accepted(1) == RUN
    assert await run.wait(1) == "SUCCESS"


async def test_a_repeated_key_gives_the_first_run_with_its_past() -> None:
    topic = Topic(*STORY[:4])
    run = AsyncRun(topic, "", "orders", "request-2")
    run.answered(event(0, "run.accepted", request_id="request-2"))
    assert await run.accepted(1) == RUN
    topic.put(STORY[4])
    assert await run.wait(1) == "SUCCESS"
    assert run["load"].output == 7


async def test_a_foreign_run_is_read_from_the_topic() -> None:
    run = AsyncRun(Topic(*STORY), RUN)
    await run.catch_up(must_exist=True)
    assert (run.state, run.workflow, run["load"].output) == ("SUCCESS", "orders", 7)


async def test_a_run_of_which_there_is_no_record_is_not_found() -> None:
    run = AsyncRun(Topic(), RUN)
    with pytest.raises(RunNotFound, match="indegree runs"):
        await run.catch_up(must_exist=True)


async def test_closing_the_client_ends_every_wait() -> None:
    topic = Topic()
    run = started(topic)
    waiting = asyncio.create_task(run.wait())
    following = asyncio.create_task(collect(run))
    await asyncio.sleep(0)
    topic.fail(Closed("the client was closed"))
    for task in (waiting, following):
        with pytest.raises(Closed):
            await task


async def test_a_task_of_which_nothing_was_heard_is_a_key_error_that_names_the_known() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(*STORY[:3])
    with pytest.raises(KeyError, match="known: load"):
        run["lode"]


async def collect(run: AsyncRun, position: int = 0) -> list[RunEvent]:
    async with asyncio.timeout(5):
        return [found async for found in run.follow(position)]


STORED = StoredValue(partition=3, offset=7, parts=2, size=600_000, sha256=b"s" * 32, whole=600_000)


async def test_an_output_by_reference_is_fetched_when_it_is_asked_for_and_once() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(*STORY[:3], replace(STORY[3], output=STORED), STORY[4])
    assert await run.wait() == "SUCCESS"
    assert (run["load"].output, topic.fetched) == (STORED, [])
    assert [await run.output("load") for _ in range(3)] == [{"size": 600_000}] * 3
    assert (run["load"].output, topic.fetched) == ({"size": 600_000}, [STORED])


async def test_a_view_that_may_block_fetches_by_itself() -> None:
    topic = Topic()
    run = started(topic)
    topic.put(*STORY[:3], replace(STORY[3], output=STORED), STORY[4])
    asked: list[StoredValue] = []

    def fetch(value: StoredValue) -> str:
        asked.append(value)
        return "whole"

    run["load"].fetch = fetch
    assert asked == []
    assert (run["load"].output, run["load"].output, asked) == ("whole", "whole", [STORED])
