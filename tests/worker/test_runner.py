"""The runner's promises: one final result a record, slots, repeated records, what is faster than it should be."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from indegree.v1.task_pb2 import Result, Task
from tests.worker.harness import FINAL, bench, call, key_of, output, shell


async def wait_for_ever() -> None:
    await asyncio.sleep(3600)


async def test_a_repeated_record_runs_once_and_is_answered_again() -> None:
    calls: list[int] = []

    async with bench({"count": lambda: calls.append(1)}) as b:
        task = call("count")
        await b.run(task)
        b.runner.submit([task])
        first, second = b.of(task)
        assert first == second
        assert calls == [1]


async def test_another_attempt_of_the_same_task_runs() -> None:
    async with bench({"who": lambda context: context.attempt}) as b:
        task = call("who")
        again = Task.FromString(task.SerializeToString())
        again.attempt = 2
        assert output(await b.run(task)) == 1
        assert output(await b.run(again)) == 2


async def test_a_repeated_record_of_an_abandoned_attempt_gets_its_outcome() -> None:
    go = threading.Event()
    calls: list[int] = []

    def stubborn() -> None:
        calls.append(1)
        go.wait(20)

    async with bench({"stubborn": stubborn}) as b:
        task = call("stubborn", timeout_ms=50)
        assert (await b.run(task)).reason == "timeout"
        b.runner.submit([task])
        assert [r.reason for r in b.of(task) if r.kind == Result.FAILED] == ["timeout", "timeout"]
        go.set()
        assert calls == [1]


async def test_started_comes_within_50_ms_and_not_for_short_tasks() -> None:
    async with bench({"quick": lambda: None, "wait": wait_for_ever}) as b:
        quick, slow = call("quick"), call("wait")
        b.runner.submit([quick, slow])
        begun = time.monotonic()
        await b.heard(slow, Result.STARTED)
        assert time.monotonic() - begun < 0.5  # 50 ms on a quiet machine
        assert [r.kind for r in b.of(quick)] == [Result.SUCCEEDED]


async def test_long_attempts_are_heard_of() -> None:
    async with bench({"wait": wait_for_ever}, heartbeat_s=0.05) as b:
        task = call("wait")
        b.runner.submit([task])
        await b.until(lambda: [r.kind for r in b.of(task)].count(Result.HEARTBEAT) >= 3)
        assert b.of(task)[0].kind == Result.STARTED


async def test_a_coroutine_that_is_stopped_before_its_first_step_gives_its_slot_back() -> None:
    async with bench({"wait": wait_for_ever}, slots=1) as b:
        for _ in range(20):
            task = call("wait")
            b.runner.submit([task])
            b.runner.stop(key_of(task), "cancelled")
            assert (await b.final(task, within_s=5)).kind == Result.STOPPED
            assert (b.runner.used, b.runner.abandoned) == (0, 0)


async def test_a_coroutine_that_refuses_to_end_is_abandoned() -> None:
    go = threading.Event()

    async def refuse() -> None:
        while not go.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                pass

    async with bench({"refuse": refuse}, kill_after_s=0.1) as b:
        result = await b.run(call("refuse", timeout_ms=50))
        assert result.reason == "timeout"
        assert b.runner.abandoned == 1
        go.set()
        await b.until(lambda: b.runner.used == 0)


async def test_no_more_than_slots_run_at_the_same_time() -> None:
    lock = threading.Lock()
    now = most = 0

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1

    async with bench({"work": work}, slots=3, hand_back_s=60.0) as b:
        tasks = [call("work") for _ in range(40)]
        b.runner.submit(tasks)
        for task in tasks:
            await b.final(task)
    assert most == 3


async def test_what_has_not_begun_goes_back_when_the_worker_stops() -> None:
    async with bench({"wait": wait_for_ever}, slots=1, hand_back_s=60.0) as b:
        running, waiting, late = call("wait"), call("wait"), call("wait")
        b.runner.submit([running, waiting])
        b.runner.hand_back()
        b.runner.submit([late])
        assert (await b.final(waiting)).kind == Result.RETURNED
        assert (await b.final(late)).kind == Result.RETURNED
        assert not await b.runner.all_ended(0.01)
        await b.runner.end_all()
        result = await b.final(running)
        assert (result.kind, result.reason) == (Result.FAILED, "worker_lost")


async def test_a_record_without_anything_to_run_and_one_with_a_reference_are_rejected() -> None:
    async with bench({"quick": lambda: None}) as b:
        nothing = call("quick")
        nothing.python = ""
        assert "neither a function" in (await b.run(nothing)).error.message
        held = call("quick")
        held.references["rows"].size = 5
        assert "held by reference" in (await b.run(held)).error.message


async def test_arguments_that_are_no_object_fail_for_good() -> None:
    async with bench({"quick": lambda: None}) as b:
        for args in (b"[1]", b'{"a":', b'"x"'):
            task = call("quick")
            task.args = args
            result = await b.run(task)
            assert (result.kind, result.error.permanent) == (Result.FAILED, True)


@pytest.mark.parametrize("seed", range(5))
async def test_every_record_gets_exactly_one_final_result_whatever_happens(seed: int) -> None:
    source = random.Random(seed)

    def maybe(ms: int) -> int:
        time.sleep(ms / 1000)
        if ms % 3 == 0:
            raise ValueError(ms)
        return ms

    async def later(ms: int) -> int:
        await asyncio.sleep(ms / 1000)
        return ms

    async with bench({"maybe": maybe, "later": later}, slots=4, kill_after_s=0.2, hand_back_s=0.05) as b:
        tasks = []
        for _ in range(60):
            args = {"ms": source.randrange(30)}
            limit = source.choice([0, 10, 1000])
            kind = source.randrange(10)
            if kind == 0:
                tasks.append(shell(f"sleep 0.0{source.randrange(1, 9)}", timeout_ms=limit))
            elif kind == 1:
                tasks.append(call("missing"))
            else:
                tasks.append(
                    call(source.choice(["maybe", "later"]), args, timeout_ms=limit, priority=source.randrange(3))
                )
        for task in tasks:
            b.runner.submit([task])
            if source.random() < 0.2:
                b.runner.stop(key_of(source.choice(tasks)), "cancelled")
            await asyncio.sleep(source.random() / 200)
        for task in tasks:
            await b.final(task)
        await b.until(lambda: b.runner.used == 0)
        for task in tasks:
            assert len([r for r in b.of(task) if r.kind in FINAL]) == 1, f"seed {seed}: {b.of(task)}"
        assert (b.runner.waiting, b.runner.abandoned) == (0, 0)
