"""Commands as a program gives them: what is refused before it is sent, where they go, and what the answer means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from indegree.events import run_ids
from indegree.events.settings import Settings
from indegree.sdk import client_commands as commands
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_errors import InvalidStart, Refused
from indegree.sdk.client_events import RunEvent
from indegree.sdk.client_run import AsyncRun
from indegree.v1.trigger_pb2 import Command
from tests.client.test_run_handle import STORY, Topic, started
from tests.client.test_run_state import RUN, event

NAIVE, AWARE = datetime(2026, 11, 25), datetime(2026, 11, 25, tzinfo=UTC)


class Asked(Topic):
    """A topic whose run is asked for something: keeps the commands, answers each with what `answer` gives."""

    def __init__(self, answer: Callable[[Command], RunEvent], *records: RunEvent) -> None:
        super().__init__(*records)
        self.answer = answer
        self.commands: list[tuple[Command, str]] = []

    async def command(self, command: Command, what: str) -> RunEvent:
        self.commands.append((command, what))
        return self.answer(command)


def accepted(words: str) -> Callable[[Command], RunEvent]:
    return lambda _: event(0, "command.accepted", reason=words)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (commands.pause_of, "this one names none"),
        (lambda: commands.pause_of(workflow="a", queue="b"), "this one names 2: 'a', 'b'"),
        (lambda: commands.resume_of(queue="Heavy Queue"), "a name has a-z, 0-9"),
        (lambda: commands.signal_of(RUN, ""), "a signal needs the name"),
        (lambda: commands.signal_of(RUN, "go", {1, 2}), "the payload of 'go'"),
        (lambda: commands.signal_of(RUN, "go", float("nan")), "the payload of 'go'"),
        (lambda: commands.rerun_of(RUN, "load"), r"write \['load'\]"),
        (lambda: commands.rerun_of(RUN, ["load", ""]), "'' is no task id"),
        (lambda: commands.skip_of(RUN, ""), "'' is no task id"),
        (lambda: commands.mark_success_of(RUN, "a", object()), "the output of 'a'"),
        (lambda: commands.backfill_of("n", NAIVE, AWARE), "start 2026-11-25T00:00:00 has no time zone"),
        (lambda: commands.backfill_of("n", AWARE, NAIVE), "end 2026-11-25T00:00:00 has no time zone"),
        (lambda: commands.backfill_of("n", AWARE, AWARE), "is empty: its end must lie behind its start"),
        (lambda: commands.backfill_of("n", AWARE, AWARE + timedelta(1), 0), "concurrency .* from 1 on, not 0"),
        (lambda: commands.backfill_of("n", AWARE, AWARE + timedelta(1), True), "concurrency .* not True"),
        (lambda: commands.set_pool_of("gpu", -1), "the limit of pool 'gpu' must be a whole number from 0 on"),
        (lambda: commands.set_pool_of("", 1), "a pool needs a name"),
        (lambda: commands.epoch_ms("tomorrow", "not_before"), "not_before must be a datetime .* not str"),
    ],
)
def test_what_breaks_a_rule_is_refused_before_it_is_sent(made: Callable[[], Command], words: str) -> None:
    with pytest.raises(InvalidStart, match=words):
        made()


def test_a_moment_is_the_same_in_every_zone() -> None:
    berlin = datetime(2026, 11, 25, 11, 15, 30, 123_999, tzinfo=timezone(timedelta(hours=1)))
    assert commands.epoch_ms(berlin, "start") == 1795601730123


def test_a_command_goes_to_where_it_is_judged() -> None:
    partition = lambda command: run_ids.partition_of_command(command, 8)  # noqa: E731
    name = lambda kind, text: run_ids.partition_of_key(kind, text, "", 8)  # noqa: E731
    run = run_ids.make_run_id(1, "ABCDEF012345", 5)
    for made in (commands.pause_of(run_id=run), commands.signal_of(run, "go"), commands.rerun_of(run)):
        assert partition(made) == 5
    assert partition(commands.pause_of(workflow="orders")) == name("workflow", "orders")
    assert partition(commands.resume_of(queue="heavy")) == name("queue", "heavy")
    assert partition(commands.set_pool_of("gpu", 1)) == name("limit", "pool/gpu")
    assert partition(commands.backfill_of("n", AWARE, AWARE + timedelta(1))) == name("workflow", "n")
    with pytest.raises(run_ids.InvalidId, match="names partition 5; the cluster has 4"):
        run_ids.partition_of_command(commands.pause_of(run_id=run), 4)
    with pytest.raises(run_ids.InvalidId, match="is not of the form"):
        partition(commands.pause_of(run_id="orders"))


async def test_the_commands_of_a_run_carry_its_id_and_give_what_was_done() -> None:
    topic = Asked(accepted("task 'a' is skipped"))
    run = started(topic)
    topic.put(*STORY[:2])
    assert await run.skip("a", "by the book") == "task 'a' is skipped"
    await run.signal("approve", {"ok": True}, actor="ada")
    await run.mark_success("a", [1], "seen")
    await run.rerun(["a"], "again")
    skip, signal, mark, rerun = [command for command, _ in topic.commands]
    assert (skip.skip.run_id, skip.skip.task_id, skip.skip.reason) == (RUN, "a", "by the book")
    assert (signal.actor, mark.actor) == ("ada", "")
    assert (signal.signal.name, signal.signal.payload) == ("approve", b'{"ok":true}')
    assert (mark.mark_success.output, mark.mark_success.reason) == (b"[1]", "seen")
    assert (list(rerun.rerun.task_ids), rerun.rerun.reason) == (["a"], "again")
    assert topic.commands[0][1] == f"the skip of 'a' in run {RUN}"


async def test_the_answer_to_a_pause_is_the_run_s_own_record() -> None:
    topic = Asked(lambda _: event(3, "run.paused", "PAUSED", reason="wait"))
    run = started(topic)
    topic.put(*STORY[:2])
    assert await run.pause("wait") == "the run is PAUSED"
    topic.put(event(3, "run.paused", "PAUSED", reason="wait"))
    assert (run.state, run.reason) == ("PAUSED", "wait")


async def test_a_refused_command_raises_with_the_engine_s_reason() -> None:
    def refuse(_: Command) -> RunEvent:
        raise Refused("the pause", "the run has ended")

    topic = Asked(refuse)
    run = started(topic)
    topic.put(*STORY)
    with pytest.raises(Refused, match="the run has ended"):
        await run.pause()


async def test_a_run_that_is_rerun_after_its_end_is_waited_for_again() -> None:
    failed = [*STORY[:3], event(4, "task.failed", "FAILED", "load", attempt=1), event(5, "run.failed", "FAILED")]
    topic = Asked(accepted("1 task begins again"), *failed)
    run = AsyncRun(topic, RUN)
    await run.catch_up(must_exist=True)
    assert await run.wait(1) == "FAILED"

    def again(_: Command) -> RunEvent:
        topic.put(event(6, "run.running", "RUNNING", request_id="q"))
        return event(6, "run.running", "RUNNING", request_id="q")

    topic.answer = again
    assert await run.rerun() == "the run is RUNNING"
    assert run.state == "RUNNING"
    topic.put(event(7, "task.queued", "QUEUED", "load", attempt=1, generation=1))
    assert (run["load"].attempts, run["load"].error) == (1, None)
    topic.put(event(8, "task.success", "SUCCESS", "load", attempt=1, output="7", generation=1))
    topic.put(event(9, "run.success", "SUCCESS"))
    assert (await run.wait(1), run["load"].output) == ("SUCCESS", 7)
    assert [found.position async for found in run.follow()] == list(range(1, 10))


async def test_a_payload_over_the_limit_names_the_setting_and_is_not_sent() -> None:
    client = AsyncClient(Settings().with_values(limits__value_bytes=1_024))
    large: Any = "x" * 2_000
    with pytest.raises(InvalidStart, match=r"more than limits\.value_bytes = 1024"):
        await client.command(commands.signal_of(RUN, "go", large), "the signal")


async def test_a_naive_start_time_is_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidStart, match=r"not_before .* has no time zone.*tzinfo=ZoneInfo"):
        await AsyncClient(Settings()).start("orders", not_before=NAIVE)
