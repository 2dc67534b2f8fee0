"""The real road with one engine: a JSON trigger of a stock client leads to progress records; kill -9 and go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stream_road import DIAMOND, HandWorker, Road, check_log, make_settings, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, 1), tmp_path)
    yield road
    road.close()


def test_a_json_trigger_of_a_stock_client_leads_to_progress_records(road: Road) -> None:
    engine = road.engine()
    engine.wait_ready()
    with HandWorker(road.settings) as worker:
        version = road.deploy(DIAMOND)
        (request,) = road.trigger("diamond")
        assert road.wait_finished([request]) == {request: "SUCCESS"}
    assert sorted(task for _, task, _ in worker.ran) == ["a", "b", "c", "d"]
    mine = [record for record in road.progress() if record.get("run_id")]
    assert [record["type"] for record in mine][:2] == ["run.accepted", "run.running"]
    assert [record["position"] for record in mine] == list(range(1, len(mine) + 1))
    assert {record["version"] for record in mine if record["type"] == "run.accepted"} == {version}
    check_log(road)
    assert engine.stop() == 0


def test_an_engine_killed_in_the_middle_goes_on_from_its_log(road: Road) -> None:
    engine = road.engine()
    engine.wait_ready()
    with HandWorker(road.settings, delay_s=0.2) as worker:
        road.deploy(DIAMOND)
        requests = road.trigger("diamond", 20)
        wait_until(lambda: len(worker.ran) >= 20, "a quarter of the tasks ran")
        engine.kill()
        again = road.engine("again")
        again.wait_ready()
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    assert len({(run, task) for run, task, _ in worker.ran}) == 80
    check_log(road)
    assert again.stop() == 0


def test_a_recovery_begins_at_the_newest_snapshot_and_knows_what_is_live(
    stack: Any, cluster_name: str, tmp_path: Path
) -> None:
    settings = make_settings(stack.kafka, stack.etcd, cluster_name, 1, **{"engine.snapshot_records": 200})
    road = Road(settings, tmp_path)
    try:
        engine = road.engine()
        engine.wait_ready()
        with HandWorker(settings, slots=8, delay_s=0.1) as worker:
            road.deploy(DIAMOND)
            slow = road.trigger("diamond", 60)
            wait_until(lambda: len(worker.ran) >= 150, "more than half of the tasks ran")
            moved = wait_until(
                lambda: [f.recover_from for _, f, _ in road.frames()[0] if f.recover_from.offset], "it has moved"
            )
            engine.kill()
            again = road.engine("again")
            again.wait_ready()
            assert set(road.wait_finished(slow + road.trigger("diamond", 3)).values()) == {"SUCCESS"}
        assert len({(run, task) for run, task, _ in worker.ran}) == 63 * 4
        frames = road.frames()[0]
        announced = [frame for _, frame, _ in frames if frame.owner][-1]
        assert announced.recover_from.offset >= moved[0].offset > 0
        begin = {offset: frame for offset, frame, _ in frames}[announced.recover_from.offset]
        assert (begin.epoch, begin.seq) == (announced.recover_from.epoch, announced.recover_from.seq + 1)
        check_log(road)
    finally:
        road.close()
