"""The checker reads a real Kafka as its pure proof wants it, and its command tells good from bad by the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.checker import check
from tests.checker.logs import RUN, Cluster, diamond
from tests.checker.reading import Partitions

pytestmark = pytest.mark.integration


@pytest.fixture
def produced(stack: Any, cluster_name: str) -> tuple[str, str]:
    """The hand-made diamond on Kafka: (address, cluster name)."""
    cluster = diamond()
    topics = topics_of(cluster)
    admin = AdminClient({"bootstrap.servers": stack.kafka})  # kept: its futures end with it
    made = admin.create_topics([NewTopic(f"{cluster_name}.{name}", 1, 1) for name in topics])
    for future in made.values():
        future.result(30)
    producer = Producer({"bootstrap.servers": stack.kafka, "linger.ms": 0})
    for name, partitions in topics.items():
        for record in partitions[0]:
            producer.produce(f"{cluster_name}.{name}", record.value, record.key, 0, timestamp=record.time_ms)
    assert producer.flush(30) == 0
    return stack.kafka, cluster_name


def topics_of(cluster: Cluster) -> dict[str, Partitions]:
    records = cluster.records
    return {
        "triggers": records.triggers,
        "commands": records.commands,
        "results": records.results,
        "events": records.events,
        "progress": records.progress,
        "dead-letter": records.dead_letters,
        "tasks.default": records.tasks["default"],
    }


def command(kafka: str, cluster: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.checker", "--kafka", kafka, "--cluster", cluster, *more],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
    )


def test_what_lies_on_kafka_is_proven(produced: tuple[str, str]) -> None:
    verdict = check(*produced, expect_runs=[RUN])
    assert verdict.ok, verdict.report()
    assert verdict.runs == {RUN: "SUCCESS"}


def test_the_command_ends_with_0_for_a_good_log_and_1_for_a_bad_one(produced: tuple[str, str], tmp_path: Any) -> None:
    kafka, name = produced
    good = command(kafka, name)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "ALL GOOD" in good.stdout
    (tmp_path / "runs").write_text("20261125T101530.123Z-FFFFFFFFFFFF-0000\n")
    bad = command(kafka, name, "--running-ok", "--expect-runs", str(tmp_path / "runs"))
    assert bad.returncode == 1
    assert "expected run that has not ended" in bad.stdout


def test_a_cluster_that_is_not_there_is_named(stack: Any) -> None:
    with pytest.raises(KafkaException, match=r"nowhere\.events"):
        check(stack.kafka, "nowhere")
