"""The worker while Kafka is away: what runs goes on, and no result is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from indegree.stack import Stack
from indegree.v1.task_pb2 import Result
from indegree.worker import Worker
from tests.integration.worker_road import owner, settings_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def test_results_of_tasks_that_end_while_the_broker_is_away_arrive_when_it_is_back(own_stack: Stack) -> None:
    go = threading.Event()

    def finish(number: int) -> int:
        go.wait(60)
        return number

    async with (
        owner(settings_for(own_stack.kafka, "outage")) as engine,
        Worker(engine.settings, functions={"m:finish": finish}, slots=8) as worker,
    ):
        tasks = [engine.task(worker.instance, "m:finish", {"number": n}) for n in range(8)]
        await engine.send(*tasks)
        for task in tasks:
            await engine.heard(task, Result.STARTED)
        # when the broker is killed, and the tasks end
        await asyncio.to_thread(own_stack.halt, "kafka", kill=True)
        go.set()
        async with asyncio.timeout(20):
            while worker.runner.used:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        # and it comes back
        await asyncio.to_thread(own_stack.resume, "kafka")
        # then every result arrives
        for number, task in enumerate(tasks):
            assert (await engine.final(task, within_s=60)).output.json == str(number).encode()
        # and new tasks are run
        again = engine.task(worker.instance, "m:finish", {"number": 9})
        await engine.send(again)
        assert (await engine.final(again, within_s=60)).output.json == b"9"
