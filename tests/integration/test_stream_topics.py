"""Topics that change under a running engine: it stops its intake, says why, and nothing is reset silently."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from indegree.events.admin import TopicFault, accept_topics, ensure_topics
from indegree.v1.event_pb2 import Event
from tests.integration.stream_road import DIAMOND, EngineProcess, HandWorker, Road, make_settings, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, 2), tmp_path)
    yield road
    road.close()


def kafka(road: Road) -> AdminClient:
    return AdminClient({"bootstrap.servers": road.settings.kafka.bootstrap_servers})


def wait_stopped(engine: EngineProcess, reason: str) -> None:
    """Its intake has stopped for that reason: metric, log, page; and it owns nothing."""
    wait_until(lambda: "indegree_intake_stopped 1.0" in str(engine.get("/metrics")[1]), "intake stops", 20)
    wait_until(lambda: not engine.get("/state")[1]["partitions"], "all partitions are given back", 20)
    assert reason in engine.get("/state")[1]["fault"]
    assert f"intake stops: topic {engine.settings.cluster}." in engine.words()
    status, words = engine.get("/readyz")
    assert (status, reason in words) == (503, True)


def doctor(road: Road) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INDEGREE_")} | road.settings.environment()
    command = [sys.executable, "-m", "indegree.cli", "doctor"]
    done = subprocess.run(command, cwd=road.folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    return " ".join((done.stdout + done.stderr).split())


def started(road: Road) -> int:
    return sum(
        event.kind == Event.RUN_STARTED for frames in road.frames().values() for _, f, _ in frames for event in f.events
    )


def test_a_topic_that_was_deleted_and_made_anew_stops_intake_here_and_at_every_later_start(road: Road) -> None:
    engine = road.engine()
    engine.wait_ready()
    with HandWorker(road.settings):
        road.deploy(DIAMOND)
        road.wait_finished(road.trigger("diamond", 10))
        before = started(road)
        name = f"{road.settings.cluster}.triggers"
        admin = kafka(road)
        admin.delete_topics([name])[name].result(20)
        wait_until(lambda: name not in admin.list_topics(timeout=10).topics, "it is gone")
        with asyncio.Runner() as runner:
            with pytest.raises(TopicFault, match="made anew since the cluster was set up"):
                runner.run(ensure_topics(road.settings))
            wait_stopped(engine, "made anew")
            assert "made anew" in doctor(road)
            assert "quarantine" not in engine.words()
            road.trigger("diamond", 3)  # into a topic whose offsets mean something else
            late = road.engine("late")
            assert late.process.wait(30) != 0
            assert "made anew" in late.words()
            assert started(road) == before
            # the way out, for a topic that was restored with all its offsets
            runner.run(accept_topics(road.settings))
            runner.run(ensure_topics(road.settings))


def test_a_topic_that_is_given_more_partitions_stops_intake(road: Road) -> None:
    engine = road.engine()
    engine.wait_ready()
    name = f"{road.settings.cluster}.results"
    admin = kafka(road)  # it has to outlive what it was asked for
    admin.create_partitions([NewPartitions(name, 3)])[name].result(20)
    wait_stopped(engine, "has 3 partitions, but the cluster has 2")
    assert "has 3 partitions, but the cluster has 2" in doctor(road)
