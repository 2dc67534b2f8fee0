"""etcd or Kafka goes away under load, on a stack of this module: time is lost, and nothing else."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indegree.events.frames import Verdict
from indegree.stack import Stack
from indegree.stack.process import Identity
from tests.integration.stream_road import HandWorker, Road, chain, check_log, make_settings, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TTL_S = 2.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), ephemeral=True) as stack:
        yield stack


@pytest.fixture
def road(alone: Stack, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Road]:
    name = f"o{abs(hash(request.node.name)) % 10_000}"
    addresses = alone.addresses
    road = Road(make_settings(addresses.kafka, addresses.etcd, name, 2), tmp_path)
    yield road
    road.close()


def test_an_engine_cut_off_from_etcd_stops_within_its_lease_and_goes_on_when_etcd_is_back(
    road: Road, alone: Stack
) -> None:
    engine = road.engine()
    engine.wait_ready()
    pid = alone.status().etcd_pid
    etcd = Identity.of(pid) if pid is not None else None
    assert etcd is not None
    with HandWorker(road.settings, delay_s=0.02) as worker:
        road.deploy(chain(20))
        requests = road.trigger("chain20", 60)
        wait_until(lambda: len(worker.ran) >= 40, "some tasks ran")
        frozen = time.time()
        etcd.send(signal.SIGSTOP)
        try:
            wait_until(lambda: not engine.owned(), "it stops acting", TTL_S + 1)
            assert engine.get("/healthz")[0] == 200
            wait_until(lambda: time.time() > frozen + TTL_S + 1, "the lease is over", TTL_S + 2)
            requests += road.trigger("chain20", 5)
        finally:
            back = time.time()
            etcd.send(signal.SIGCONT)
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    written = [m.timestamp()[1] / 1000 for m in road.read_all("events")]  # by the broker's clock, on this machine
    assert any(frozen < at < frozen + TTL_S for at in written), "it acted while the lease was proven"
    late = [at - frozen for at in written if frozen + TTL_S + 0.1 < at < back]
    assert not late, f"it wrote {late} s after etcd had gone"
    check_log(road)


def test_a_broker_that_restarts_under_load_costs_time_only(road: Road, alone: Stack) -> None:
    road.engine().wait_ready()
    with HandWorker(road.settings, delay_s=0.02) as worker:
        road.deploy(chain(20))
        requests = road.trigger("chain20", 60)
        wait_until(lambda: len(worker.ran) >= 40, "some tasks ran")
        alone.restart_kafka()
        assert set(road.wait_finished(requests, 90).values()) == {"SUCCESS"}
        requests = road.trigger("chain20", 5)
        assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
    assert not [
        f for frames in road.frames().values() for _, f, verdict in frames if verdict is Verdict.VOID and f.events
    ]
    check_log(road)
