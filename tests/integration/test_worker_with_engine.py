"""A real engine and real workers: retries, a lost process, and the two tests that decided how tasks are dispatched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from indegree.events.settings import LOCAL, Settings
from indegree.sdk import AsyncClient, Defaults, Retry, Workflow
from indegree.worker import Context, Worker
from tests.conftest import SharedStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

mixed = Workflow("mixed", params={"n": int}, defaults=Defaults(retry=Retry(max_attempts=3, delay="100ms", jitter=0.0)))


@mixed.task
def rows(n: int) -> list[int]:
    return list(range(n))


@mixed.task
async def total(rows: list[int]) -> int:
    return sum(rows)


@mixed.task
def flaky(total: int, context: Context) -> dict[str, int]:
    if context.attempt < 2:
        raise OSError("down")
    return {"total": total}


@mixed.task(isolate=True)
def dies(total: int, context: Context) -> int:
    if context.attempt < 2:
        os.kill(os.getpid(), 9)
    return context.attempt


mixed.command("say", "echo ${{ flaky.total }}; echo '{\"ok\": true}'", output="json", depends_on=["dies"])

order: list[str] = []
first = threading.Event()
gate = threading.Event()
LOW = 200

low = Workflow("low")
high = Workflow("high")


@high.task(priority=10)
def urgent() -> None:
    order.append("urgent")


def ordinary() -> None:
    order.append("ordinary")
    if len(order) == 1:
        first.set()
        gate.wait(30)


for number in range(LOW):
    low.add(ordinary, id=f"t{number}")

uneven = Workflow("uneven", params={"s": float})


@uneven.task
def long(s: float) -> None:
    time.sleep(s)


def short() -> float:
    return time.time()


for number in range(100):
    uneven.add(short, id=f"s{number}")

FUNCTIONS = {**mixed.functions, **low.functions, **high.functions, **uneven.functions}


@pytest.fixture
async def client(stack: SharedStack, cluster_name: str, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """A client of a cluster with one engine process."""
    flags = {**LOCAL, "cluster": cluster_name, "kafka.bootstrap_servers": stack.kafka, "etcd.endpoints": [stack.etcd]}
    settings = Settings.load({**flags, "topics.partitions": 2, "engine.lease_ttl_s": 2.0}, environ={})
    environment = {**os.environ, **settings.environment()}
    with (tmp_path / "engine.log").open("wb") as log:
        engine = await asyncio.to_thread(
            subprocess.Popen, [sys.executable, "-m", "indegree.stream"], env=environment, stdout=log, stderr=log
        )
    try:
        async with Worker(settings, slots=1):  # makes the topics, so that the client finds its cluster
            pass
        async with AsyncClient(settings) as made:
            yield made
    finally:
        engine.terminate()
        await asyncio.to_thread(engine.wait, 30)


async def test_a_run_with_retries_a_killed_process_and_a_command_succeeds(client: AsyncClient) -> None:
    async with Worker(client.settings, functions=FUNCTIONS, commands=True, slots=4):
        run = await client.start(mixed, {"n": 4})
        assert await run.wait(timeout=60) == "SUCCESS"
        assert run["say"].output == {"ok": True}
        assert (run["flaky"].attempts, run["flaky"].output) == (2, {"total": 6})
        assert (run["dies"].attempts, run["dies"].output) == (2, 2)


async def test_a_high_priority_starts_within_three_tasks(client: AsyncClient) -> None:
    order.clear()
    async with Worker(client.settings, functions=FUNCTIONS, slots=1):
        # given one slot, 200 tasks that are ready, and one of them running
        busy = await client.start(low)
        assert await asyncio.to_thread(first.wait, 30)
        # when an urgent one becomes ready, and has had time to reach the engine
        run = await client.start(high)
        await run.accepted(timeout=30)
        await asyncio.sleep(0.3)
        before = len(order)
        gate.set()
        assert await run.wait(timeout=60) == "SUCCESS"
        # then it is among the next three
        assert order.index("urgent") - before < 3
        assert await busy.wait(timeout=60) == "SUCCESS"


async def test_short_tasks_do_not_wait_behind_a_long_one(client: AsyncClient) -> None:
    workers = [Worker(client.settings, functions=FUNCTIONS, slots=1) for _ in range(4)]
    for worker in workers:
        await worker.start()
    try:
        begun = time.time()
        run = await client.start(uneven, {"s": 4.0})
        assert await run.wait(timeout=60) == "SUCCESS"
        took = time.time() - begun
        # the short ones were done on the other three while the long one ran
        ends = [run[f"s{number}"].output for number in range(100)]
        assert max(ends) - begun < 3.0, f"the run took {took:.1f} s"
    finally:
        for worker in workers:
            await worker.stop()
