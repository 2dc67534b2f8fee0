"""Retention on real logs, with a history of two seconds: they get shorter, and nothing that is needed goes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from confluent_kafka import Consumer as StockConsumer
from confluent_kafka import TopicPartition as StockPartition

from indegree.engine.core import PartitionCore
from indegree.events.admin import ensure_topics
from indegree.events.frames import InForce, Verdict
from indegree.stream.log import LogReader
from indegree.stream.takeover import LogShortened, Recovery
from indegree.stream.takeover import _read as read
from indegree.v1.event_pb2 import Event, Frame, RecoverFrom
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.value_pb2 import Reference
from tests.integration.stream_road import DIAMOND, HandWorker, Road, check_progress, make_settings, wait_until

pytestmark = pytest.mark.integration

HISTORY_DAYS = 2 / 86_400
RETRIED: dict[str, Any] = {
    "id": "retried",
    "tasks": [
        {"id": "first", "python": "m:first"},
        {
            "id": "waits",
            "python": "m:waits",
            "depends_on": ["first"],
            "retry": {"max_attempts": 2, "delay": "12s", "jitter": 0},
        },
    ],
}
UNSERVED: dict[str, Any] = {"id": "unserved", "tasks": [{"id": "a", "python": "m:a", "queue": "nobody"}]}


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    more = {"engine.history_days": HISTORY_DAYS, "engine.inputs_days": HISTORY_DAYS}
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, 1, **more), tmp_path)
    yield road
    road.close()


ONE: dict[str, Any] = {"id": "one", "tasks": [{"id": "only", "python": "m:only"}]}
HANDS_ON: dict[str, Any] = {
    "id": "hands-on",
    "tasks": [
        {"id": "first", "python": "m:first"},
        {"id": "waits", "python": "m:waits", "args": {"first": "${{ first }}"}, "queue": "nobody"},
    ],
}


def watermarks(road: Road, topic: str) -> tuple[int, int]:
    """First offset and end of partition 0."""
    client = StockConsumer({"bootstrap.servers": road.settings.kafka.bootstrap_servers, "group.id": "watermarks"})
    try:
        low, high = client.get_watermark_offsets(StockPartition(f"{road.settings.cluster}.{topic}", 0), timeout=10)
        return low, high
    finally:
        client.close()


def first(road: Road, topic: str) -> int:
    return watermarks(road, topic)[0]


def fails_once(task: Task) -> Result:
    if task.task_id == "waits" and task.attempt == 1:
        result = Result(kind=Result.FAILED)
        result.error.type, result.error.message = "ValueError", "the first time"
        return result
    result = Result(kind=Result.SUCCEEDED)
    result.output.json = b"1"
    return result


def replay_what_is_left(road: Road) -> PartitionCore:
    """The log from its first record on, by the rule for readers, through the engine's own core."""
    core, rule = PartitionCore(0, 1), InForce()
    for place, message in enumerate(road.read_all("events")):
        frame = Frame.FromString(message.value())
        if not place:
            assert frame.events[0].kind == Event.SNAPSHOT, "it begins where a recovery may begin"
            assert frame.events[0].state == "begin"
            rule = InForce(epoch=frame.epoch, seq=frame.seq - 1)
        assert rule.judge(frame) is not Verdict.VOID
        core.replay(frame)
    return core


def check_progress_from_where_it_begins(road: Road) -> None:
    """No gap in what is left of any run."""
    last: dict[str, int] = {}
    for record in road.progress():
        run, position = record.get("run_id"), record.get("position", 0)
        if run and position > last.get(run, 0):
            assert last.setdefault(run, position - 1) == position - 1, f"run {run}: {position} follows {last[run]}"
            last[run] = position


def indegree(road: Road, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `indegree ARGUMENTS` to its end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INDEGREE_")} | road.settings.environment()
    command = [sys.executable, "-m", "indegree.cli", *arguments]
    return subprocess.run(command, cwd=road.folder, env=environment, capture_output=True, text=True, timeout=60)


def test_old_logs_get_shorter_and_runs_that_wait_survive_a_crash(road: Road) -> None:
    engine = road.engine("first")
    engine.wait_ready()
    with HandWorker(road.settings, answer=fails_once):
        for workflow in (DIAMOND, RETRIED, UNSERVED):
            road.deploy(workflow)
        (old,) = road.trigger("diamond")
        road.wait_finished([old])
        old_run = next(r["run_id"] for r in road.progress() if r.get("request_id") == old)
        waiting = road.trigger("retried")
        unserved = road.trigger("unserved")
        road.wait_finished(road.trigger("diamond", 20))
        wait_until(lambda: any(r["type"] == "task.retrying" for r in road.progress()), "a run waits for its retry")
        check_progress(road)
        unserved_run = next(r["run_id"] for r in road.progress() if r.get("request_id") == unserved[0])
        started = watermarks(road, "events")[1]
        # when: nothing comes any more, and the history passes by
        for topic in ("events", "triggers", "results", "progress"):
            wait_until(lambda topic=topic: first(road, topic) > 0, f"{topic} is shortened")
        wait_until(lambda: first(road, "events") >= started, "the starts of the runs that wait are deleted")
        engine_pages = engine.get("/metrics")[1]
        # then: a new owner recovers from what is left
        engine.kill()
        core = replay_what_is_left(road)
        late = Frame(format=1, epoch=1, seq=10_000, time_ms=1, next=[0, 0, 0])  # of an owner that was frozen for long
        late.recover_from.offset = 0
        road.produce("events", [(0, None, late.SerializeToString())])
        assert {run.plan.workflow for run in core.state.runs.values()} == {"retried", "unserved"}
        for command in ("show", "replay"):
            done = indegree(road, command, unserved_run)
            assert done.returncode == 0, done
            assert "QUEUED" in done.stdout, (command, done)
            assert "by a snapshot" in done.stderr + done.stdout, (command, done)
        road.engine("second").wait_ready()
        with asyncio.Runner() as runner:
            runner.run(ensure_topics(road.settings, ["nobody"]))
        with HandWorker(road.settings, queue="nobody"):
            assert set(road.wait_finished(waiting + unserved).values()) == {"SUCCESS"}
        assert set(road.wait_finished(road.trigger("diamond", 5)).values()) == {"SUCCESS"}
    check_progress_from_where_it_begins(road)
    assert 'indegree_records_deleted_total{topic="events"}' in engine_pages
    road.engines[1].kill()  # else it goes on while the commands read
    for command in ("show", "replay", "logs"):
        done = indegree(road, command, old_run)
        assert done.returncode != 0
        assert "was deleted" in done.stderr, (command, done)
        assert "engine.history_days" in done.stderr, (command, done)


def test_values_that_no_live_run_refers_to_are_deleted_and_that_of_a_run_that_waits_is_kept(road: Road) -> None:
    given: list[Task] = []

    def by_reference(task: Task) -> Result:
        given.append(task)
        data = b'"' + os.urandom(3_000).hex().encode() + b'"'
        digest = hashlib.sha256(data).digest()
        result = Result(kind=Result.SUCCEEDED)
        lies = Reference(parts=1, size=len(data), sha256=digest)
        lies.offset = road.produce("payloads", [(0, digest, data)])[0]
        result.output.reference.CopyFrom(lies)
        return result

    road.engine("first").wait_ready()
    with HandWorker(road.settings, answer=by_reference):
        for workflow in (ONE, HANDS_ON):
            road.deploy(workflow)
        road.wait_finished(road.trigger("one"))
        (waiting,) = road.trigger("hands-on")
        wait_until(lambda: [r for r in road.progress() if r.get("task_id") == "waits"], "its second task is ready")
        road.wait_finished(road.trigger("one", 3))
        assert watermarks(road, "payloads") == (0, 5)
        # when: the history passes by, for all of them
        wait_until(lambda: first(road, "payloads") > 0, "payloads is shortened")
        before = watermarks(road, "events")[1]
        road.wait_finished(road.trigger("one"))
        wait_until(lambda: first(road, "events") >= before, "all that was then has gone from the event log")
        # then: the value of the run that waits is there, and nothing before it
        assert first(road, "payloads") == 1
        with asyncio.Runner() as runner:
            runner.run(ensure_topics(road.settings, ["nobody"]))
        with HandWorker(road.settings, queue="nobody", answer=by_reference):
            assert road.wait_finished([waiting])[waiting] == "SUCCESS"
        assert [task.references["first"].offset for task in given if task.task_id == "waits"] == [1]
        wait_until(lambda: first(road, "payloads") == watermarks(road, "payloads")[1], "the last value is deleted too")
    check_progress_from_where_it_begins(road)


async def test_a_log_that_is_shortened_while_an_heir_reads_it_is_not_taken_for_damaged(road: Road) -> None:
    topic = f"{road.settings.cluster}.events"
    owners = [Frame(format=1, epoch=n, owner="e", takeover_id=b"x", time_ms=1, next=[0, 0, 0]) for n in range(1, 11)]
    road.produce("events", [(0, None, frame.SerializeToString()) for frame in owners])
    async with LogReader(road.settings, topic, 0) as reader:
        begin, end = await reader.bounds()
        assert (begin, end) == (0, 10)
        admin = AIOKafkaAdminClient(bootstrap_servers=road.settings.kafka.bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(8)})
        finally:
            await admin.close()
        recovery = Recovery(PartitionCore(0, 1), InForce(), RecoverFrom())
        with pytest.raises(LogShortened, match="shortened to 8 while it was read at 0"):
            await read(reader, recovery, end)
