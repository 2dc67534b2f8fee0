"""What an engine does with a log that is not what it must be: quarantine with the reason, and it lives on."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from indegree.events.frames import Verdict
from indegree.events.settings import Settings
from indegree.ownership.membership import Membership
from indegree.stream.preflight import connect_etcd
from indegree.v1.event_pb2 import Event, Frame
from tests.integration.stream_road import DIAMOND, EngineProcess, HandWorker, Road, check_log, make_settings, wait_until

pytestmark = pytest.mark.integration

BAD, GOOD = 0, 1
"""Partitions."""


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    """Two partitions with finished runs, and no engine any more."""
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, 2), tmp_path)
    first = road.engine("first")
    first.wait_ready()
    with HandWorker(road.settings):
        road.deploy(DIAMOND)
        runs = road.trigger("diamond", 2, partition=BAD) + road.trigger("diamond", 2, partition=GOOD)
        road.wait_finished(runs)
        first.kill()
        yield road
    road.close()


def quarantined(settings: Settings) -> dict[int, str]:
    """Partition to reason, as etcd has it."""

    async def read() -> dict[int, str]:
        etcd = connect_etcd(settings)
        try:
            seen = await Membership.read(etcd, settings.cluster)
            return {number: why.reason for number, why in seen.quarantined.items()}
        finally:
            await etcd.close()

    with asyncio.Runner() as runner:
        return runner.run(read())


def shorten(road: Road, topic: str, offset: int = -1) -> None:
    """Deletes the records of the bad partition below an offset (-1: all), as only its owner may."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=road.settings.kafka.bootstrap_servers)
        await admin.start()
        try:
            tp = TopicPartition(f"{road.settings.cluster}.{topic}", BAD)
            await admin.delete_records({tp: RecordsToDelete(offset)})
        finally:
            await admin.close()

    with asyncio.Runner() as runner:
        runner.run(delete())


def last_in_force(road: Road) -> Frame:
    return [frame for _, frame, verdict in road.frames()[BAD] if verdict is not Verdict.VOID][-1]


def wait_quarantine(road: Road, engine: EngineProcess, reason: str) -> None:
    """The bad partition is in quarantine for that reason; the engine lives, and works on the good one."""
    assert reason in wait_until(lambda: quarantined(road.settings).get(BAD), "quarantine", 15), engine.words()
    assert "goes into quarantine" in engine.words()
    wait_until(lambda: list(engine.owned()) == [GOOD], "only the good one is owned", 20)
    assert set(road.wait_finished(road.trigger("diamond", 2, partition=GOOD)).values()) == {"SUCCESS"}
    wait_until(lambda: "indegree_partitions_quarantined 1.0" in str(engine.get("/metrics")[1]), "the metric", 10)
    assert engine.get("/healthz")[0] == 200


def test_a_record_that_is_no_frame_on_the_event_log_leads_to_quarantine(road: Road) -> None:
    road.produce("events", [(BAD, None, b"\xff\xff\xffno frame")])
    wait_quarantine(road, road.engine("second"), "is no frame")


def test_a_record_that_is_no_frame_written_under_a_living_owner_leads_to_quarantine(road: Road) -> None:
    engine = road.engine("second")
    engine.wait_ready()
    road.produce("events", [(BAD, None, b"\xff\xff\xffno frame")])
    road.trigger("diamond", partition=BAD)  # its append does not land where it was expected
    wait_quarantine(road, engine, "is no frame")


def test_three_recoveries_that_fail_lead_to_quarantine(road: Road) -> None:
    last = last_in_force(road)
    strange = Frame(format=1, epoch=last.epoch, seq=last.seq + 1, time_ms=last.time_ms, next=last.next)
    strange.events.add(kind=Event.SNAPSHOT, state="of another kind")
    road.produce("events", [(BAD, None, strange.SerializeToString())])
    engine = road.engine("second")
    wait_quarantine(road, engine, "three recoveries failed, the last by ValueError")
    assert engine.words().count("partition 0 stops: ValueError") == 3


def test_an_emptied_event_log_leads_to_quarantine(road: Road) -> None:
    shorten(road, "events")
    wait_quarantine(road, road.engine("second"), "is empty but begins at")


def test_an_event_log_that_begins_above_where_a_recovery_must_begin_leads_to_quarantine(road: Road) -> None:
    shorten(road, "events", 2)
    wait_quarantine(road, road.engine("second"), "begins at 2, but a recovery has to begin at 0")


def test_inputs_that_were_deleted_before_they_were_read_lead_to_quarantine(road: Road) -> None:
    road.trigger("diamond", 5, partition=BAD)
    shorten(road, "triggers")
    wait_quarantine(road, road.engine("second"), "PositionLost")


BROKEN = """
import logging, sys
from indegree.engine.core import PartitionCore
from indegree.events.settings import Settings
from indegree.stream.app import run_engine

proceed = PartitionCore.proceed

def broken(core):
    if any(run.plan.workflow == "breaks" for run in core.state.runs.values()):
        raise ZeroDivisionError("a fault of the engine")
    return proceed(core)

PartitionCore.proceed = broken
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
sys.exit(run_engine(Settings.load()))
"""


def test_an_input_whose_consequences_break_the_engine_is_found_and_refused_and_the_others_go_on(road: Road) -> None:
    road.engine("sound").wait_ready()
    road.deploy({"id": "breaks", "tasks": [{"id": "a", "python": "m:a"}]})
    road.engines[-1].kill()
    before = road.trigger("diamond", 3, partition=BAD)
    road.trigger("breaks", partition=BAD)
    after = road.trigger("diamond", 3, partition=BAD)
    script = road.folder / "broken.py"
    script.write_text(textwrap.dedent(BROKEN))
    engine = road.engine("broken", script)
    assert set(road.wait_finished(before + after).values()) == {"SUCCESS"}
    (letter,) = wait_until(lambda: list(road.read_all("dead-letter")), "the dead letter")
    assert b"a fault of the engine" in dict(letter.headers())["indegree.reason"]
    assert b'"breaks"' in letter.value()
    refused = [e for _, frame, _ in road.frames()[BAD] for e in frame.events if e.kind == Event.INPUT_REFUSED]
    assert len(refused) == 1
    assert not quarantined(road.settings)
    assert engine.process.poll() is None
    check_log(road)


def test_a_state_that_always_fails_blames_no_input_and_leads_to_quarantine(road: Road) -> None:
    road.engine("sound").wait_ready()
    road.deploy({"id": "breaks", "tasks": [{"id": "a", "python": "m:a", "queue": "nobody"}]})
    road.trigger("breaks", partition=BAD)
    wait_until(lambda: any(r["type"] == "task.queued" and r["task_id"] == "a" for r in road.progress()), "it waits")
    road.engines[-1].kill()
    road.trigger("diamond", 3, partition=BAD)
    script = road.folder / "broken.py"
    script.write_text(textwrap.dedent(BROKEN))
    wait_quarantine(road, road.engine("broken", script), "no input is to blame")
    assert not list(road.read_all("dead-letter"))
