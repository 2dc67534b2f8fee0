"""Who else writes to a log, what a broker or a worker does when it goes away, and an input that breaks the engine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indegree.events.frames import Verdict
from indegree.stack import Stack
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.trigger_pb2 import Cancel, Command
from tests.integration.stream_road import DIAMOND, HandWorker, Road, chain, check_log, make_settings, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, 1), tmp_path)
    yield road
    road.close()


def epoch(road: Road) -> int:
    return int(wait_until(lambda: road.engines[0].owned().get(0), "partition 0 serves")["epoch"])


def test_a_late_frame_of_an_older_epoch_is_void_and_stops_nothing(road: Road) -> None:
    road.engine().wait_ready()
    with HandWorker(road.settings) as worker:
        road.deploy(DIAMOND)
        road.wait_finished(road.trigger("diamond"))
        before = epoch(road)
        late = Frame(format=1, epoch=before - 1, seq=1, time_ms=1, next=[9, 9, 9])
        late.events.add(kind=Event.RUN_FINISHED, run_id="nobody's", state="FAILED")
        road.produce("events", [(0, None, late.SerializeToString())])
        assert set(road.wait_finished(road.trigger("diamond", 3)).values()) == {"SUCCESS"}
        assert epoch(road) == before, "the ownership goes on"
    assert len(worker.ran) == 16
    assert [verdict for _, _, verdict in road.frames()[0]].count(Verdict.VOID) == 1
    status, page = road.engines[0].get("/metrics")
    assert status == 200
    assert 'indegree_offset_gaps_total{partition="0"} 1.0' in page
    check_log(road)


def test_a_higher_announcement_fences_the_owner_which_comes_back_with_a_higher_one(road: Road) -> None:
    road.engine().wait_ready()
    with HandWorker(road.settings, delay_s=0.02):
        road.deploy(chain(20))
        requests = road.trigger("chain20", 5)
        before = epoch(road)
        somebody = Frame(format=1, epoch=before + 5, owner="somebody", takeover_id=b"x" * 16, time_ms=1, next=[0, 0, 0])
        road.produce("events", [(0, None, somebody.SerializeToString())])
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
        assert epoch(road) > before + 5
    assert "Fenced" in road.engines[0].words()


def test_when_a_worker_dies_its_started_tasks_are_tried_again_and_those_not_begun_use_no_attempt(road: Road) -> None:
    road.engine().wait_ready()
    retried = {"id": "retried", "tasks": [{"id": "a", "python": "m:a", "retry": {"max_attempts": 2, "delay": "10ms"}}]}
    dead = HandWorker(road.settings, slots=2, delay_s=60)
    dead.__enter__()
    road.deploy(retried)
    requests = road.trigger("retried", 2)
    started = wait_until(
        lambda: [r for r in road.progress() if r["type"] == "task.running"][1:], "both have been started"
    )
    assert started
    dead.die()
    with HandWorker(road.settings, slots=2) as worker:
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    assert sorted(attempt for _, _, attempt in worker.ran) == [2, 2]
    reasons = {r.get("reason") for r in road.progress() if r["type"] == "task.retrying"}
    assert reasons == {"worker_lost"}
    check_log(road)


def test_a_cancelled_run_starts_nothing_more_and_its_worker_is_told_to_stop(road: Road) -> None:  # CASES 34
    road.engine().wait_ready()
    with HandWorker(road.settings, delay_s=1.0) as worker:
        road.deploy(chain(5))
        (request,) = road.trigger("chain5")
        record = wait_until(
            lambda: next((r for r in road.progress() if r["type"] == "task.running"), None), "the first task runs"
        )
        command = Command(request_id="c", cancel=Cancel(run_id=record["run_id"], reason="enough"))
        road.produce("commands", [(0, None, command.SerializeToString())])
        assert road.wait_finished([request]) == {request: "CANCELLED"}
        wait_until(lambda: worker.stops, "the worker is told")
    assert worker.stops[0].stop.reason == "cancelled"
    assert {r["task_id"] for r in road.progress() if r["type"] == "task.cancelled"} == {f"t{i}" for i in range(5)}
    check_log(road)


def test_an_input_that_breaks_the_engine_three_times_is_refused_and_the_others_go_on(road: Road) -> None:
    script = road.folder / "broken.py"
    script.write_text(
        textwrap.dedent(
            """
            import logging, sys
            from indegree.engine import core
            from indegree.events.settings import Settings
            from indegree.stream.app import run_engine

            decide = core.decide_start

            def broken(draft, builder, start, origin, definition):
                if start.workflow == "breaks":
                    raise ZeroDivisionError("a fault of the engine")
                return decide(draft, builder, start, origin, definition)

            core.decide_start = broken
            logging.basicConfig(level=logging.INFO)
            sys.exit(run_engine(Settings.load()))
            """
        )
    )
    road.engine("broken", script).wait_ready()
    with HandWorker(road.settings):
        road.deploy(DIAMOND)
        before = road.trigger("diamond", 3)
        road.trigger("breaks")
        after = road.trigger("diamond", 3)
        assert set(road.wait_finished(before + after).values()) == {"SUCCESS"}
    (letter,) = list(road.read_all("dead-letter"))
    assert b"a fault of the engine" in dict(letter.headers())["indegree.reason"]
    assert b'"breaks"' in letter.value()
    check_log(road)


@pytest.mark.slow
def test_a_broker_that_is_killed_and_comes_back_costs_time_only(own_stack: Stack, tmp_path: Path) -> None:
    addresses = own_stack.addresses
    road = Road(make_settings(addresses.kafka, addresses.etcd, "alone", 2), tmp_path)
    try:
        road.engine().wait_ready()
        with HandWorker(road.settings, delay_s=0.05) as worker:
            road.deploy(chain(20))
            requests = road.trigger("chain20", 20)
            wait_until(lambda: len(worker.ran) >= 40, "some tasks ran")
            own_stack.restart_kafka(kill=True)
            assert set(road.wait_finished(requests, 90).values()) == {"SUCCESS"}
        check_log(road)
    finally:
        road.close()
