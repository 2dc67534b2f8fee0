"""Two clusters on one Kafka and one etcd do not notice each other, though one name begins with the other's.

Same workflow, same idempotency key, same label, other code: each run is worked out by its own engine and worker, and
nothing of one stands in the topics or under the etcd prefix of the other. Then one of them is stopped.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator

import pytest

from indegree.ownership.etcd import Etcd
from tests.conftest import SharedStack
from tests.integration.whole_road import Whole, whole

pytestmark = pytest.mark.integration

FLOW = """
import os
from indegree import Workflow

greet = Workflow("greet", params={"n": 1})

@greet.task
def who(n: int) -> str:
    return os.environ["INDEGREE_CLUSTER"]

@greet.task
def end(who: str) -> str:
    return "WORD " + who
"""

TOPICS = ("triggers", "commands", "results", "events", "progress", "workflows", "workers", "tasks.default")


@pytest.fixture(scope="module")
def clusters(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Whole, Whole]]:
    name = f"w{uuid.uuid4().hex[:8]}"
    first, second = (tmp_path_factory.mktemp(part) for part in ("first", "second"))
    modules = [{"flow": FLOW.replace("WORD", word)} for word in ("first", "second")]
    with (
        whole(stack, first, modules=modules[0], worker=["flow"], cluster=name) as one,
        whole(stack, second, modules=modules[1], worker=["flow"], cluster=f"{name}-b") as two,
    ):
        yield one, two


def start(place: Whole, key: str) -> str:
    """A start with the same idempotency key in each cluster; the run id."""
    done = place.commands.command("trigger", "greet", "-p", "n=7", "--idempotency-key", key, "--wait", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return str(found["run_id"])


def keys(place: Whole) -> dict[str, str]:
    """What stands in etcd under /indegree/ of all clusters that begin with this name."""

    async def read() -> dict[str, str]:
        etcd = Etcd(place.settings.etcd.endpoints)
        try:
            snapshot = await etcd.get_prefix(f"/indegree/{place.settings.cluster}")
            return {item.key: item.value.decode() for item in snapshot.items}
        finally:
            await etcd.close()

    return asyncio.run(read())


def test_each_runs_its_own_code_under_the_same_names_and_keys(clusters: tuple[Whole, Whole]) -> None:
    one, two = clusters
    runs = {place.settings.cluster: start(place, "batch-7") for place in clusters}
    assert len(set(runs.values())) == 2, "the key of one cluster is not a repeat in the other"
    for place, word in ((one, "first"), (two, "second")):
        cluster = place.settings.cluster
        found = place.wait_for(runs[cluster], "task.success", "end")
        assert found["output"] == f"{word} {cluster}"
        assert {record["run_id"] for record in place.tail.look() if record.get("run_id")} == {runs[cluster]}
        assert [line["run_id"] for line in place.lines("runs")] == [runs[cluster]]
        assert start(place, "batch-7") == runs[cluster], "and it is one in its own"


def test_nothing_of_one_stands_in_the_other_s_topics_or_prefix(clusters: tuple[Whole, Whole]) -> None:
    one, two = clusters
    for place, other in ((one, two), (two, one)):
        strange = [record["run_id"].encode() for record in other.tail.look() if record.get("run_id")]
        strange += [instance.encode() for instance in other.workers()]
        held = [
            (topic, name)
            for topic in TOPICS
            for record in place.kafka.read_all(topic)
            for name in strange
            if name in (record.value() or b"") + (record.key() or b"")
        ]
        assert held == []
    found = keys(one)  # the name of one is the beginning of the other's: both are here
    for place, other in ((one, two), (two, one)):
        mine = {key: value for key, value in found.items() if key.startswith(f"/indegree/{place.settings.cluster}/")}
        assert any(key.endswith(f"members/{place.settings.cluster}-e1") for key in mine)
        assert not [key for key, value in mine.items() if f"{other.settings.cluster}-e1" in key + value]
    workers = {cluster: place.lines("doctor", code=0) for cluster, place in (("one", one), ("two", two))}
    for lines in workers.values():
        assert len([line for line in lines if line["check"] == "workers"]) == 1


def test_the_end_of_one_is_not_noticed_by_the_other(clusters: tuple[Whole, Whole]) -> None:
    one, two = clusters

    def epochs() -> set[int]:
        return {frame.epoch for frames in two.kafka.frames().values() for _, frame, _ in frames}

    before = epochs()
    for child in reversed(one.commands.children):
        child.stop()
    run = two.start("greet", {"n": 1}, partition=1)
    assert two.ended(run) == "SUCCESS"
    assert epochs() == before, "no partition of it has changed hands"
