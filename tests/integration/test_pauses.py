"""Pauses on real processes: under load, on all partitions, and after an engine was killed.

That nothing begins is shown by what goes on meanwhile: another workflow's runs go from their start to their end.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from indegree.events.admin import ensure_topics
from tests.integration.stream_road import HandWorker, Road, chain, check_log, make_settings, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 4
MOMENT_MS = 1_000
"""What was sent before the pause may begin until then."""


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, PARTITIONS), tmp_path)
    with asyncio.Runner() as runner:
        runner.run(ensure_topics(road.settings, ("default", "heavy")))
    yield road
    road.close()


def ask(road: Road, partition: int = 0, **command: dict[str, str]) -> tuple[dict[str, Any], int]:
    """Sends a command and gives its answer, and when that was, in milliseconds."""
    request = uuid.uuid4().hex
    body = {"request_id": request, "actor": "ann", **command}
    road.produce("commands", [(partition, None, json.dumps(body).encode())])

    def answer() -> dict[str, Any] | None:
        return next((record for record in road.progress() if record.get("request_id") == request), None)

    found = wait_until(answer, f"{command} is answered")
    return found, round(datetime.fromisoformat(found["time"]).timestamp() * 1000)


def begun(road: Road, workflow: str, after_ms: int, before_ms: int) -> list[str]:
    """Tasks of a workflow that a worker began between these times."""
    return [
        f"{record['run_id']} {record['task_id']} after {record['started_ms'] - after_ms} ms"
        for record in road.progress()
        if record["type"] == "task.success"
        and record["workflow"] == workflow
        and after_ms < record["started_ms"] < before_ms
    ]


def begun_on(road: Road, workflow: str) -> set[int]:
    return {r["partition"] for r in road.progress() if r.get("workflow") == workflow and r["type"] == "task.success"}


def test_a_paused_workflow_begins_nothing_on_any_partition_until_it_goes_on(road: Road) -> None:
    road.engine("one").wait_ready()
    road.engine("two").wait_ready()
    with HandWorker(road.settings, slots=8, delay_s=0.03):
        road.deploy(chain(20))
        road.deploy(chain(25))
        requests = [id for p in range(PARTITIONS) for id in road.trigger("chain20", 10, partition=p)]
        wait_until(lambda: len(begun_on(road, "chain20")) == PARTITIONS, "it runs on all partitions")
        answer, paused_ms = ask(road, pause={"workflow": "chain20", "reason": "wrong"})
        assert (answer["type"], answer["workflow"], answer["actor"]) == ("command.accepted", "chain20", "ann")
        requests += road.trigger("chain20", 5)
        for _ in range(2):
            others = road.trigger("chain25", 2)
            assert set(road.wait_finished(others).values()) >= {"SUCCESS"}
        assert not set(requests) <= road.finished().keys()
        page = road.engines[0].get("/state")[1]
        assert page["paused"]["workflow"] == {"chain20": {"actor": "ann", "reason": "wrong"}}
        _, resumed_ms = ask(road, resume={"workflow": "chain20"}, partition=1)
        assert resumed_ms > paused_ms + MOMENT_MS + 500, "the others took a while"
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    assert begun(road, "chain20", paused_ms + MOMENT_MS, resumed_ms) == []
    check_log(road)


def test_a_paused_queue_begins_nothing_while_another_goes_on(road: Road) -> None:
    road.engine("one").wait_ready()
    heavy = chain(20) | {"id": "heavy20"}
    for task in heavy["tasks"]:
        task["queue"] = "heavy"
    light = HandWorker(road.settings, slots=8, delay_s=0.03)
    with light, HandWorker(road.settings, slots=8, delay_s=0.03, queue="heavy"):
        road.deploy(heavy)
        road.deploy(chain(25))
        requests = [id for p in range(PARTITIONS) for id in road.trigger("heavy20", 10, partition=p)]
        wait_until(lambda: len(begun_on(road, "heavy20")) == PARTITIONS, "it runs on all partitions")
        _, paused_ms = ask(road, pause={"queue": "heavy", "reason": "full"})
        for _ in range(2):
            assert set(road.wait_finished(road.trigger("chain25", 2)).values()) >= {"SUCCESS"}
        _, resumed_ms = ask(road, resume={"queue": "heavy"}, partition=2)
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    assert begun(road, "heavy20", paused_ms + MOMENT_MS, resumed_ms) == []
    check_log(road)


def test_a_pause_outlives_an_engine_that_is_killed(road: Road) -> None:
    one = road.engine("one")
    one.wait_ready()
    with HandWorker(road.settings, slots=8, delay_s=0.03):
        road.deploy(chain(20))
        road.deploy(chain(25))
        requests = [id for p in range(PARTITIONS) for id in road.trigger("chain20", 10, partition=p)]
        wait_until(lambda: len(begun_on(road, "chain20")) == PARTITIONS, "it runs on all partitions")
        _, paused_ms = ask(road, pause={"workflow": "chain20"})
        run_id = next(
            r["run_id"]
            for r in road.progress()
            if r["type"] == "run.accepted" and r["workflow"] == "chain20" and r["request_id"] in requests[-10:]
        )
        answer, _ = ask(road, pause={"run_id": run_id, "reason": "mine"})
        assert (answer["type"], answer["run_id"], answer["reason"]) == ("run.paused", run_id, "mine")
        one.kill()
        two = road.engine("two")
        wait_until(lambda: len(two.owned()) == PARTITIONS, "the other has taken over", 60)
        assert set(road.wait_finished(road.trigger("chain25", 4)).values()) >= {"SUCCESS"}
        _, resumed_ms = ask(road, resume={"workflow": "chain20"})
        others = [r["request_id"] for r in road.progress()
                  if r["type"] == "run.accepted" and r["workflow"] == "chain20" and r["run_id"] != run_id]  # fmt: skip
        assert set(road.wait_finished(others).values()) == {"SUCCESS"}
        assert two.get(f"/runs/{run_id}")[1]["state"] == "PAUSED"
        ask(road, resume={"run_id": run_id})
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    assert begun(road, "chain20", paused_ms + MOMENT_MS, resumed_ms) == []
    check_log(road)
