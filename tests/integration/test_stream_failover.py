"""Two engines on one cluster: they share partitions, take over, and a zombie writes nothing in force."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indegree.events.frames import Verdict
from tests.integration.stream_road import (
    DIAMOND,
    HandWorker,
    Road,
    chain,
    check_log,
    make_settings,
    wait_until,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 8


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, PARTITIONS), tmp_path)
    yield road
    road.close()


def share(road: Road) -> None:
    """Two engines, four partitions each."""
    one = road.engine("one")
    one.wait_ready()
    two = road.engine("two")
    wait_until(lambda: len(one.owned()) == len(two.owned()) == PARTITIONS // 2, "each has half")


def test_when_one_of_two_engines_is_killed_the_other_takes_its_partitions_and_every_run_ends(road: Road) -> None:
    share(road)
    one, two = road.engines
    with HandWorker(road.settings, slots=64, delay_s=0.1) as worker:
        road.deploy(DIAMOND)
        requests = road.trigger("diamond", 100)
        wait_until(lambda: len(worker.ran) >= 50, "some tasks ran")
        one.kill()
        requests += road.trigger("diamond", 50)
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
        assert len(two.owned()) == PARTITIONS
    assert len({(run, task) for run, task, _ in worker.ran}) == 600
    check_log(road)


def test_a_stopped_engine_hands_its_partitions_over_whole(road: Road) -> None:
    share(road)
    one, two = road.engines
    with HandWorker(road.settings, slots=64, delay_s=0.02) as worker:
        road.deploy(chain(20))
        requests = road.trigger("chain20", 40)
        wait_until(lambda: len(worker.ran) >= 200, "a quarter of the tasks ran")
        assert one.stop() == 0
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    assert len(worker.ran) == 800, "a planned move repeats nothing"
    assert len(two.owned()) == PARTITIONS
    assert "handed over whole" in two.words()
    check_log(road)


def test_an_engine_frozen_past_its_lease_writes_nothing_in_force_when_it_wakes(road: Road) -> None:
    share(road)
    one, two = road.engines
    with HandWorker(road.settings, slots=64, delay_s=0.05) as worker:
        road.deploy(chain(20))
        requests = road.trigger("chain20", 40)
        wait_until(lambda: len(worker.ran) >= 100, "some tasks ran")
        one.signal(signal.SIGSTOP)
        wait_until(lambda: len(two.owned()) == PARTITIONS, "the other has taken over")
        one.signal(signal.SIGCONT)
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
        # it comes back as a member, and takes its share again
        wait_until(lambda: len(one.owned()) == len(two.owned()) == PARTITIONS // 2, "both work again")
        assert set(road.wait_finished(road.trigger("chain20", 10)).values()) == {"SUCCESS"}
    for frames in road.frames().values():
        announced: dict[int, str] = {}
        for _, frame, verdict in frames:
            if verdict is Verdict.ANNOUNCEMENT:
                assert not announced or frame.epoch > max(announced)
                announced[frame.epoch] = frame.owner
            elif verdict is Verdict.IN_FORCE:
                assert frame.epoch == max(announced), "a frame of an older epoch counts"
    check_log(road)
