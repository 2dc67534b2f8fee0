"""What cannot be read or is refused, on a partition where healthy runs are under way: they end, and nothing stops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.stream_road import DIAMOND, HandWorker, Road, check_log, make_settings, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def road(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """One partition, one engine, one worker, for all tests of this module; each adds its own records."""
    import uuid

    name = f"t{uuid.uuid4().hex[:10]}"
    road = Road(make_settings(stack.kafka, stack.etcd, name, 1), tmp_path_factory.mktemp("road"))
    engine = road.engine()
    engine.wait_ready()
    with HandWorker(road.settings, delay_s=0.01):
        road.deploy(DIAMOND)
        yield road
    road.close()


@pytest.fixture
def healthy(road: Road) -> Iterator[None]:
    """Ten runs that are under way before, and end after."""
    requests = road.trigger("diamond", 10)
    yield
    more = road.trigger("diamond", 1)
    assert set(road.wait_finished(requests + more).values()) == {"SUCCESS"}
    check_log(road)


def letters(road: Road) -> list[Any]:
    return list(road.read_all("dead-letter"))


def refusal(road: Road, request: str) -> str:
    def find() -> str | None:
        for record in road.progress():
            if record.get("request_id") == request and record["type"] in ("run.refused", "command.refused"):
                return str(record["reason"])
        return None

    return str(wait_until(find, f"request {request} is refused"))


@pytest.mark.usefixtures("healthy")
def test_undecodable_bytes_go_to_dead_letter_and_the_next_trigger_starts_a_run(road: Road) -> None:  # CASES 47
    before = len(letters(road))
    (offset,) = road.produce("triggers", [(0, b"key", bytes.fromhex("00ff7b"))])
    letter = wait_until(lambda: letters(road)[before:], "a dead letter")[0]
    headers = dict(letter.headers())
    assert (letter.key(), letter.value()) == (b"key", bytes.fromhex("00ff7b"))
    assert headers["indegree.topic"].decode() == f"{road.settings.cluster}.triggers"
    assert (headers["indegree.partition"], headers["indegree.offset"]) == (b"0", str(offset).encode())
    assert "neither protobuf nor JSON" in headers["indegree.reason"].decode()


@pytest.mark.usefixtures("healthy")
def test_a_tombstone_is_skipped_and_counted(road: Road) -> None:  # CASES 48
    before = len(letters(road))
    road.produce("triggers", [(0, b"key", None)])
    road.wait_finished(road.trigger("diamond", 1))
    assert len(letters(road)) == before
    status, page = road.engines[0].get("/metrics")
    assert status == 200
    assert 'indegree_tombstones_total{partition="0"} 1.0' in page


@pytest.mark.usefixtures("healthy")
def test_an_unknown_workflow_is_refused_with_its_name(road: Road) -> None:
    (request,) = road.trigger("no-such-workflow")
    assert "no-such-workflow" in refusal(road, request)


@pytest.mark.usefixtures("healthy")
def test_an_unknown_field_of_a_json_trigger_is_refused_with_a_proposal(road: Road) -> None:
    before = len(letters(road))
    road.produce("triggers", [(0, None, json.dumps({"start": {"workflo": "diamond"}}).encode())])
    letter = wait_until(lambda: letters(road)[before:], "a dead letter")[0]
    assert "did you mean 'workflow'" in dict(letter.headers())["indegree.reason"].decode()


@pytest.mark.usefixtures("healthy")
def test_many_bad_records_are_buried_in_order(road: Road) -> None:
    before = len(letters(road))
    offsets = road.produce("triggers", [(0, None, b"\xff%d" % i) for i in range(200)])
    wait_until(lambda: len(letters(road)) >= before + 200, "200 dead letters")
    found = [int(dict(letter.headers())["indegree.offset"]) for letter in letters(road)[before:]]
    assert found == offsets


@pytest.mark.usefixtures("healthy")
def test_a_record_that_fills_the_limit_is_buried_with_a_cut(road: Road) -> None:
    before = len(letters(road))
    producer = road.producer
    big = b"\xff" * 900_000
    producer.produce(f"{road.settings.cluster}.triggers", big, partition=0)
    assert producer.flush(20) == 0
    letter = wait_until(lambda: letters(road)[before:], "a dead letter")[0]
    assert letter.value() == big


@pytest.mark.usefixtures("healthy")
def test_a_result_nobody_asked_for_changes_nothing(road: Road) -> None:
    result = {"kind": "SUCCEEDED", "run_id": "20261125T101530.123Z-0123456789AB-0000", "task": 0, "attempt": 1}
    road.produce("results", [(0, None, json.dumps(result).encode())])
