"""The worker on a real Kafka: addressed records, results, announcements, stops, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from indegree.v1.task_pb2 import Result
from indegree.worker import Worker
from tests.conftest import SharedStack
from tests.integration.worker_road import Owner, owner, settings_for

pytestmark = pytest.mark.integration


def add(a: int, b: int) -> int:
    return a + b


async def wait_for_ever() -> None:
    await asyncio.sleep(3600)


def noop() -> None:
    return None


FUNCTIONS = {"m:add": add, "m:wait": wait_for_ever, "m:noop": noop}


@pytest.fixture
async def engine(stack: SharedStack, cluster_name: str) -> AsyncIterator[Owner]:
    """A stand-in for the engine, in a cluster of this test alone."""
    async with owner(settings_for(stack.kafka, cluster_name)) as made:
        yield made


async def test_a_worker_announces_itself_runs_what_is_addressed_to_it_and_leaves(engine: Owner) -> None:
    # given two workers that may read the same partition
    async with (
        Worker(engine.settings, functions=FUNCTIONS, slots=4) as one,
        Worker(engine.settings, functions=FUNCTIONS, slots=4) as two,
    ):
        said = await engine.worker(one.instance)
        assert (said.slots, said.queues[0].name, said.modules[0], said.commands) == (4, "default", "m", False)
        # when records for both lie on the partition of one
        mine, other = engine.task(one.instance, "m:add", {"a": 1, "b": 2}), engine.task("nobody", "m:noop")
        await engine.send(mine, other)
        # then only the one that is addressed runs it, and answers at the partition that the record names
        result = await engine.final(mine)
        assert (result.kind, result.output.json, result.worker) == (Result.SUCCEEDED, b"3", one.instance)
        assert engine.of(other) == []
        assert two.runner.tally.taken == 0
    # and both say that they have left
    await engine.until(lambda: engine.workers[one.instance] is None and engine.workers[two.instance] is None)


async def test_unreadable_records_and_tombstones_are_left_out(engine: Owner) -> None:
    async with Worker(engine.settings, functions=FUNCTIONS) as worker:
        tasks = [engine.task(worker.instance, "m:noop") for _ in range(10)]
        await engine.send(*tasks, raw=b"\x00\xff{")
        for task in tasks:
            assert (await engine.final(task)).kind == Result.SUCCEEDED
        assert worker.runner.tally.unreadable == 1


async def test_a_repeated_record_is_not_run_twice_and_is_answered_again(engine: Owner) -> None:
    calls: list[int] = []

    def count() -> int:
        calls.append(1)
        return len(calls)

    async with Worker(engine.settings, functions={**FUNCTIONS, "m:count": count}) as worker:
        task = engine.task(worker.instance, "m:count")
        await engine.send(task, task)
        await engine.until(lambda: [r.kind for r in engine.of(task)].count(Result.SUCCEEDED) >= 1)
        await engine.send(task)
        await engine.until(lambda: [r.kind for r in engine.of(task)].count(Result.SUCCEEDED) >= 2)
        assert calls == [1]
        # a long one: its start is told again
        slow = engine.task(worker.instance, "m:wait")
        await engine.send(slow)
        await engine.heard(slow, Result.STARTED)
        await engine.send(slow)
        await engine.until(lambda: [r.kind for r in engine.of(slow)].count(Result.STARTED) == 2)
        await worker.stop(0)


async def test_a_stop_on_control_ends_the_attempt(engine: Owner) -> None:
    async with Worker(engine.settings, functions=FUNCTIONS) as worker:
        task = engine.task(worker.instance, "m:wait")
        await engine.send(task)
        await engine.heard(task, Result.STARTED)
        await engine.stop(task, "cancelled")
        result = await engine.final(task)
        assert (result.kind, result.reason) == (Result.STOPPED, "cancelled")


async def test_a_task_without_a_slot_in_time_goes_back(engine: Owner) -> None:
    async with Worker(engine.settings, functions=FUNCTIONS, slots=1) as worker:
        slow, late = engine.task(worker.instance, "m:wait"), engine.task(worker.instance, "m:noop")
        await engine.send(slow, late)
        result = await engine.final(late)
        assert (result.kind, result.started_ms) == (Result.RETURNED, 0)
        # and may come again
        await engine.stop(slow, "cancelled")
        await engine.final(slow)
        await engine.send(late)
        await engine.heard(late, Result.SUCCEEDED)


async def test_high_priority_starts_first(engine: Owner) -> None:
    order: list[int] = []
    gate = threading.Event()

    def note(number: int) -> None:
        gate.wait(10)
        order.append(number)

    settings = engine.settings.with_values(worker__hand_back_s=60.0)
    async with Worker(settings, functions={"m:note": note}, slots=1) as worker:
        tasks = [engine.task(worker.instance, "m:note", {"number": n}, priority=n // 5) for n in range(10)]
        await engine.send(tasks[0])
        await engine.heard(tasks[0], Result.STARTED)
        await engine.send(*tasks[1:])
        async with asyncio.timeout(20):
            while worker.runner.waiting < 9:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        gate.set()
        for task in tasks:
            await engine.final(task)
    assert order == [0, 5, 6, 7, 8, 9, 1, 2, 3, 4]


async def test_a_stopping_worker_hands_back_finishes_and_ends_the_rest(engine: Owner) -> None:
    go = threading.Event()

    def finish() -> str:
        go.wait(10)
        return "done"

    worker = Worker(engine.settings, functions={**FUNCTIONS, "m:finish": finish}, slots=2)
    await worker.start()
    running, endless = engine.task(worker.instance, "m:finish"), engine.task(worker.instance, "m:wait")
    waiting = engine.task(worker.instance, "m:noop")
    await engine.send(running, endless, waiting)
    await engine.heard(running, Result.STARTED)
    await engine.heard(endless, Result.STARTED)
    # when it is told to stop
    stopping = asyncio.create_task(worker.stop(1.0))
    await engine.worker(worker.instance, lambda said: said.draining)
    go.set()
    # then what had not begun goes back, what can end ends, and the rest is ended when the grace time is over
    assert (await engine.final(waiting)).kind == Result.RETURNED
    assert (await engine.final(running)).output.json == b'"done"'
    result = await engine.final(endless)
    assert (result.kind, result.reason) == (Result.FAILED, "worker_lost")
    await stopping
    await engine.until(lambda: engine.workers[worker.instance] is None)


async def test_a_worker_counts_the_engines_that_share_it(engine: Owner) -> None:
    async with Worker(engine.settings, functions=FUNCTIONS) as worker:
        await engine.send(*[engine.task(worker.instance, "m:noop", owner=name) for name in ("e1", "e2", "e1")])
        await engine.worker(worker.instance, lambda said: said.senders == 2)
        await engine.worker(worker.instance, lambda said: said.senders == 0)


async def test_two_clusters_do_not_notice_each_other(engine: Owner, stack: SharedStack) -> None:
    from tests.conftest import _delete_topics

    other = f"{engine.settings.cluster}-b"
    try:
        async with (
            owner(settings_for(stack.kafka, other)) as stranger,
            Worker(engine.settings, functions=FUNCTIONS) as worker,
            Worker(stranger.settings, functions=FUNCTIONS) as elsewhere,
        ):
            task = engine.task(worker.instance, "m:noop")
            await engine.send(task)
            await engine.final(task)
            assert list(engine.workers) == [worker.instance]
            await stranger.worker(elsewhere.instance)
            assert list(stranger.workers) == [elsewhere.instance]
            assert stranger.results == []
    finally:
        _delete_topics(stack.kafka, f"{other}.")


# As a process -----------------------------------------------------------------------------------------------------

SERVE = """
import sys
from indegree.events.settings import Settings, LOCAL
from indegree.worker import run_worker
bootstrap, cluster, reload = sys.argv[1:]
flags = {**LOCAL, "cluster": cluster, "kafka.bootstrap_servers": bootstrap, "topics.partitions": 2,
         "topics.task_partitions": 3, "worker.port": 0, "worker.kill_after_s": 0.5}
def ready(worker):
    print(worker.instance, worker.address, flush=True)
sys.exit(run_worker(Settings.load(flags, environ={}), modules=["served_flow"], slots=2, commands=True,
                    reload=reload == "yes", ready=ready))
"""


class Process:
    """A worker process with a module of its own in `folder`."""

    def __init__(self, folder: Path, bootstrap: str, cluster: str, reload: bool = False) -> None:
        (folder / "serve.py").write_text(SERVE)
        self._process = subprocess.Popen(
            [sys.executable, "serve.py", bootstrap, cluster, "yes" if reload else "no"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )

    async def ready(self) -> tuple[str, str]:
        """Instance and address, once it may be sent tasks."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), 30)
        assert line, "the worker ended before it was ready"
        instance, address = line.split()
        return instance, address

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self._process.wait), 30)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def get(address: str, path: str) -> tuple[int, str]:
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_worker_process_serves_its_page_and_ends_in_order(
    engine: Owner, stack: SharedStack, tmp_path: Path
) -> None:
    (tmp_path / "served_flow.py").write_text("import time\ndef nap(s):\n    time.sleep(s)\n    return s\n")
    process = await asyncio.to_thread(Process, tmp_path, stack.kafka, engine.settings.cluster)
    try:
        instance, address = await process.ready()
        task = engine.task(instance, "served_flow:nap", {"s": 0.5})
        command = engine.task(instance, "", command=["sleep", "600"])
        await engine.send(task, command)
        await engine.heard(task, Result.STARTED)
        await engine.heard(command, Result.STARTED)
        status, text = await asyncio.to_thread(get, address, "/metrics")
        assert status == 200
        assert "indegree_worker_slots_used 2.0" in text
        assert await asyncio.to_thread(get, address, "/healthz") == (200, "ok\n")
        assert (await asyncio.to_thread(get, address, "/readyz"))[0] == 200
        # when it is told to stop
        process.send(signal.SIGTERM)
        await engine.worker(instance, lambda said: said.draining)
        assert (await asyncio.to_thread(get, address, "/readyz"))[0] == 503
        assert (await engine.final(task)).output.json == b"0.5"
        # and told again
        process.send(signal.SIGTERM)
        assert (await engine.final(command)).reason == "worker_lost"
        assert await process.ended() == 0
        await engine.until(lambda: engine.workers[instance] is None)
    finally:
        process.kill()


async def test_reload_starts_the_process_anew_when_a_file_changes(
    engine: Owner, stack: SharedStack, tmp_path: Path
) -> None:
    source = tmp_path / "served_flow.py"
    source.write_text("def version():\n    return 1\n")
    process = await asyncio.to_thread(Process, tmp_path, stack.kafka, engine.settings.cluster, True)

    async def version() -> Any:
        instance, _ = await process.ready()
        task = engine.task(instance, "served_flow:version")
        await engine.send(task)
        return instance, (await engine.final(task)).output.json

    try:
        first, answer = await version()
        assert answer == b"1"
        source.write_text("def version():\n    return 'second'\n")
        second, answer = await version()
        assert answer == b'"second"'
        assert second != first
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    finally:
        process.kill()
