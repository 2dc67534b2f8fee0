"""Kafka stands still for longer than workers may be silent: nothing that they run is taken for lost."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import aiokafka
import pytest

from indegree.stack import Stack
from indegree.stack.process import Identity
from indegree.v1.task_pb2 import Result, Task
from tests.integration.stream_road import HandWorker, Road, make_settings, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HEARTBEAT_TIMEOUT_S, WORKER_TIMEOUT_S, STANDS_S = 4, 3, 5.5


class Beating(HandWorker):
    """Says every half second that it lives, as long as a task runs."""

    async def _run(self, task: Task, producer: aiokafka.AIOKafkaProducer, gate: asyncio.Semaphore) -> None:
        started = int(time.time() * 1000)
        await self._send(producer, task, Result(kind=Result.STARTED, started_ms=started))
        self.ran.append((task.run_id, task.task_id, task.attempt))
        until = time.monotonic() + self.delay_s
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            await self._send(producer, task, Result(kind=Result.HEARTBEAT))
        result = self._answer(task)
        result.started_ms, result.finished_ms = started, int(time.time() * 1000)
        await self._send(producer, task, result)


def test_no_running_attempt_is_lost_while_kafka_stands_still(own_stack: Stack, tmp_path: Path) -> None:
    timeouts = {
        "engine.heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S,
        "engine.worker_timeout_s": WORKER_TIMEOUT_S,
        "engine.progress_format": "json",
    }
    addresses = own_stack.addresses
    road = Road(make_settings(addresses.kafka, addresses.etcd, "standstill", 2, **timeouts), tmp_path)
    pid = own_stack.status().kafka_pid
    kafka = Identity.of(pid) if pid is not None else None
    assert kafka is not None
    try:
        road.engine().wait_ready()
        with Beating(road.settings, delay_s=STANDS_S + 4) as worker:
            road.deploy({"id": "one", "tasks": [{"id": "a", "python": "m:a"}]})
            requests = road.trigger("one", 8)
            wait_until(lambda: len(worker.ran) == 8, "all run")
            frozen = time.monotonic()
            kafka.send(signal.SIGSTOP)
            try:
                wait_until(lambda: time.monotonic() > frozen + STANDS_S, "it has stood long enough", STANDS_S + 1)
            finally:
                kafka.send(signal.SIGCONT)
            assert set(road.wait_finished(requests, 60).values()) == {"SUCCESS"}
        failures = [(record["task_id"], record["reason"]) for record in road.progress() if "fail" in record["type"]]
        assert not failures
        assert len(worker.ran) == 8, "and nothing is run twice"
    finally:
        road.close()
