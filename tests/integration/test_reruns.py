"""Reruns of runs that have ended, on real processes: the run is read back from the log, also by the next engine."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from indegree.events.frames import Verdict
from indegree.v1.task_pb2 import Result, Task
from tests.checker import check
from tests.integration.stream_road import DIAMOND, HandWorker, Road, chain, check_log, make_settings, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Failing:
    """Answers of a worker: the task `c` fails while `down`."""

    def __init__(self) -> None:
        self.down = True

    def __call__(self, task: Task) -> Result:
        if self.down and task.task_id == "c":
            failed = Result(kind=Result.FAILED, reason="error")
            failed.error.type = "builtins.OSError"
            return failed
        done = Result(kind=Result.SUCCEEDED)
        done.output.json = json.dumps(f"{task.task_id}{task.generation}").encode()
        return done


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    settings = make_settings(stack.kafka, stack.etcd, cluster_name, 1, **{"engine.snapshot_records": 200})
    road = Road(settings, tmp_path)
    yield road
    road.close()


def ask(road: Road, **command: Any) -> dict[str, Any]:
    """Sends a command and gives its answer."""
    request = uuid.uuid4().hex
    road.produce("commands", [(0, None, json.dumps({"request_id": request, "actor": "ann", **command}).encode())])
    return wait_until(  # type: ignore[no-any-return]
        lambda: next((record for record in road.progress() if record.get("request_id") == request), None),
        f"{command} is answered",
    )


def of_run(road: Road, run_id: str) -> list[dict[str, Any]]:
    """Its transitions."""
    return [record for record in road.progress() if record.get("run_id") == run_id and record.get("position")]


def test_a_run_that_has_ended_is_rerun_from_failed_by_the_next_engine_and_repeats_nothing(road: Road) -> None:
    first = road.engine("first")
    first.wait_ready()
    answer = Failing()
    with HandWorker(road.settings, slots=8, answer=answer) as worker:
        road.deploy({**DIAMOND, "hooks": {"on_failure": [{"id": "undo", "python": "m:undo"}]}})
        road.deploy(chain(10))
        [request] = road.trigger("diamond")
        assert road.wait_finished([request]) == {request: "FAILED"}
        run_id = next(run for run, asked in road._runs.items() if asked == request)
        road.wait_finished(road.trigger("chain10", 30))  # so many events that a snapshot is written meanwhile
        first.stop()
        road.engine("second").wait_ready()
        answer.down = False
        said = ask(road, rerun={"run_id": run_id, "reason": "the disk was full"})
        assert (said["type"], said["reason"]) == ("command.accepted", "begin again: c, d (the disk was full)")
        wait_until(lambda: of_run(road, run_id)[-1]["type"] == "run.success", "it succeeds")
        assert sorted(task for run, task, _ in worker.ran if run == run_id) == ["a", "b", "c", "c", "d", "undo"]
        again = ask(road, rerun={"run_id": run_id, "task_ids": ["d"]})
        assert again["type"] == "command.accepted"
        wait_until(lambda: of_run(road, run_id)[-1]["type"] == "run.success", "it succeeds again")
        marked = ask(road, mark_success={"run_id": run_id, "task_id": "d"})
        assert marked["reason"] == "task 'd' is SUCCESS already"
    positions = [record["position"] for record in of_run(road, run_id)]
    assert positions == list(range(1, len(positions) + 1))
    outputs = {r["task_id"]: r["output"] for r in of_run(road, run_id) if r["type"] == "task.success"}
    assert outputs == {"a": "a0", "b": "b0", "c": "c1", "d": "d2", "undo": "undo0"}
    check_log(road)
    verdict = check(road.settings.kafka.bootstrap_servers, road.settings.cluster, expect_runs=[run_id])
    assert verdict.ok, verdict.report()


def test_a_rerun_of_a_run_whose_events_were_deleted_is_refused_with_the_reason(road: Road) -> None:
    road.engine().wait_ready()
    with HandWorker(road.settings, slots=8, answer=Failing()):
        road.deploy(DIAMOND)
        road.deploy(chain(10))
        [request] = road.trigger("diamond")
        road.wait_finished([request])
        run_id = next(run for run, asked in road._runs.items() if asked == request)

        def cut_at() -> int:
            road.wait_finished(road.trigger("chain10", 20))
            frames = [frame for _, frame, verdict in road.frames()[0] if verdict is Verdict.IN_FORCE]
            return frames[-1].recover_from.offset

        offset = wait_until(cut_at, "a snapshot is whole", within_s=60)
        asyncio.run(delete_below(road, offset))
        said = ask(road, rerun={"run_id": run_id})
    assert said["type"] == "command.refused"
    assert "not on the log any more: the history is kept for 30 days (engine.history_days)" in said["reason"]


async def delete_below(road: Road, offset: int) -> None:
    """As retention does it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=road.settings.kafka.bootstrap_servers)
    await admin.start()
    try:
        tp = TopicPartition(f"{road.settings.cluster}.events", 0)
        await admin.delete_records({tp: RecordsToDelete(offset)})
    finally:
        await admin.close()
