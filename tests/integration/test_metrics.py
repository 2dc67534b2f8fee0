"""Metrics and readiness of real processes, and the page about them."""

from __future__ import annotations

import ast
import asyncio
import re
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from indegree.events import admin
from indegree.events.run_ids import is_run_id
from indegree.events.settings import LOCAL, Settings
from indegree.ownership.etcd import Etcd
from indegree.ownership.membership import Membership
from indegree.stream.gauges import Gauges
from indegree.stream.metrics import Metrics
from tests.conftest import SharedStack
from tests.integration import stream_road
from tests.integration.cli_road import FLOWS, Road
from tests.integration.stream_road import wait_until

ROOT = Path(__file__).parents[2]
PARTITIONS = 4

served = pytest.mark.integration


def get(address: str, path: str) -> tuple[int, str]:
    """(status, text); (0, "") where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def families(address: str) -> dict[str, Metric]:
    """The page, as Prometheus reads it."""
    status, text = get(address, "/metrics")
    assert status == 200
    return {family.name: family for family in text_string_to_metric_families(text)}


def total(page: dict[str, Metric], name: str, **labels: str) -> float:
    family = page[re.sub(r"_(total|count)$", "", name)]
    return sum(s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items())


class Place(Road):
    """Engines and a worker with pages on free ports."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder)
        self.kafka = stream_road.Road(settings, folder)

    def engine(self, name: str) -> Any:
        return self.serve("engine", "--id", name, "--ttl", "2")

    def address_of(self, name: str) -> str:
        """As etcd tells it to everybody."""

        async def read() -> str:
            async with Etcd(self.settings.etcd.endpoints) as etcd:
                members = (await Membership.read(etcd, self.settings.cluster)).members
                return members[name].card.address if name in members else ""

        return str(wait_until(lambda: asyncio.run(read()), f"{name} is a member", 40))

    def worker_address(self) -> str:
        from indegree.v1.task_pb2 import Worker

        def announced() -> str:
            said = [Worker.FromString(m.value()) for m in self.kafka.read_all("workers") if m.value() is not None]
            return said[-1].address if said else ""

        return str(wait_until(announced, "the worker announces its page", 40))


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "client_flows.py").write_text(FLOWS)
    flags = {**LOCAL, "cluster": f"m{uuid.uuid4().hex[:10]}", "kafka.bootstrap_servers": stack.kafka}
    flags |= {"etcd.endpoints": [stack.etcd], "topics.partitions": PARTITIONS, "topics.task_partitions": 2}
    settings = Settings.load({**flags, "engine.lease_ttl_s": 2.0, "worker.port": 0}, environ={}, folder=folder)
    asyncio.run(admin.ensure_topics(settings))
    found = Place(settings, folder)
    try:
        yield found
    finally:
        for child in reversed(found.children):
            child.stop(timeout_s=10)
        asyncio.run(admin.delete_cluster(settings))


@pytest.fixture(scope="module")
def one(place: Place) -> str:
    """The address of an engine that serves all partitions, and a worker beside it."""
    place.engine("one")
    place.serve("worker", "client_flows", "--commands", "--slots", "8", "--deploy")
    address = place.address_of("one")
    wait_until(lambda: get(address, "/readyz")[0] == 200, "the engine is ready", 40)
    wait_until(lambda: sum(r["type"] == "workflow.activated" for r in place.kafka.progress()) >= 5, "deployed", 40)
    return address


@served
def test_every_page_parses_and_names_follow_the_conventions(place: Place, one: str) -> None:
    assert f"serves http://{one}" in place.children[0].log.read_text()
    for address in (one, place.worker_address()):
        assert get(address, "/healthz") == (200, "ok\n")
        assert get(address, "/readyz") == (200, "ready\n")
        ours = {name: family for name, family in families(address).items() if name.startswith("indegree_")}
        assert len(ours) > 10
        for name, family in ours.items():
            assert re.fullmatch(r"[a-z_]+[a-z]", name), name
            assert family.documentation, name
            assert not re.search(r"_(ms|milliseconds|minutes|total|count|sum|bucket)$", name), name
            if family.type == "counter":
                assert {s.name for s in family.samples} <= {f"{name}_total", f"{name}_created"}
            elif family.type == "histogram":
                assert name.endswith("_seconds"), name
            else:
                assert family.type == "gauge", (name, family.type)


@served
def test_runs_are_counted_and_no_label_has_a_value_that_users_make_up(place: Place, one: str) -> None:
    worker = place.worker_address()
    before = families(one)
    # given 50 runs of three workflows while the pages are scraped again and again
    seen: set[tuple[str, str]] = set()
    ended = threading.Event()

    def scrape() -> None:
        while not ended.is_set():
            for address in (one, worker):
                seen.update(
                    (label, value)
                    for name, family in families(address).items()
                    if name.startswith("indegree_")
                    for sample in family.samples
                    for label, value in sample.labels.items()
                )
            time.sleep(0.02)

    scraping = threading.Thread(target=scrape)
    scraping.start()
    try:
        requests = place.kafka.trigger("diamond", 40) + place.kafka.trigger("flaky", 5)
        requests += place.kafka.trigger("failing", 4)
        place.kafka.trigger("elsewhere", 1)
        place.kafka.wait_finished(requests)
    finally:
        ended.set()
        scraping.join()
    # then the counts are right
    page = wait_until(lambda: p if total(p := families(one), "indegree_runs") == 1 else None, "one run is left")
    grown = {
        name: total(page, name) - total(before, name)
        for name in ("indegree_tasks_sent_total", "indegree_results_total", "indegree_dead_letters_total")
    }
    attempts = 40 * 4 + 5 + 1 + 4  # the worker remembers that it has failed once: one retry in all
    assert grown == {
        "indegree_tasks_sent_total": attempts,
        "indegree_results_total": attempts,
        "indegree_dead_letters_total": 0,
    }
    assert total(page, "indegree_inputs_total", topic="triggers") == 50
    assert total(page, "indegree_tasks_ready", queue="other") == 1, "a queue that nobody serves has no name here"
    assert total(page, "indegree_input_lag") == 0
    assert total(page, "indegree_partitions_owned") == PARTITIONS
    assert total(page, "indegree_takeovers_total") == PARTITIONS
    assert page["indegree_append_seconds"].samples
    mine = families(worker)
    assert total(mine, "indegree_worker_attempts_total", outcome="succeeded") == 165
    assert total(mine, "indegree_worker_attempts_total", outcome="error") == 5
    assert total(mine, "indegree_worker_attempt_seconds_count") == attempts
    # and no label tells of a run, a task, a workflow or a worker
    records = place.kafka.progress()
    made_up = {
        r[key] for r in records for key in ("run_id", "task_id", "workflow", "worker", "request_id") if r.get(key)
    }
    values = {value for _, value in seen}
    assert not values & made_up
    assert not [value for value in values if is_run_id(value)]
    assert {label for label, _ in seen} == {"partition", "topic", "kind", "queue", "outcome", "le"}
    assert {value for label, value in seen if label == "queue"} == {"default", "other"}
    assert {value for label, value in seen if label == "partition"} == {str(n) for n in range(PARTITIONS)}


@served
def test_a_refused_input_and_a_stale_result_are_counted(place: Place, one: str) -> None:
    from indegree.v1.task_pb2 import Result

    run_id = next(r["run_id"] for r in place.kafka.progress() if r["type"] == "run.success")
    late = Result(kind=Result.SUCCEEDED, run_id=run_id, attempt=1, worker="nobody").SerializeToString()
    place.kafka.produce("triggers", [(1, None, b"{ nonsense")])
    place.kafka.produce("results", [(int(run_id[-4:]), None, late)])
    page = wait_until(
        lambda: (
            p
            if total(p := families(one), "indegree_dead_letters_total", partition="1") == 1
            and total(p, "indegree_results_stale_total")
            else None
        ),
        "both are counted",
    )
    assert total(page, "indegree_inputs_refused_total") == 1
    assert total(page, "indegree_results_stale_total") == 1


@served
@pytest.mark.slow
def test_an_engine_is_not_ready_while_it_recovers_what_it_takes_over(place: Place, one: str) -> None:
    # given two engines that share the partitions
    said: list[int] = []
    place.engine("two")
    two = place.address_of("two")
    wait_until(lambda: total(families(two), "indegree_partitions_owned") == PARTITIONS // 2, "each has half", 40)
    wait_until(lambda: get(two, "/readyz")[0] == 200, "the second is ready")
    # when the first is killed
    place.children[0].stop(kill=True)

    # then the other says that it is not ready, until it serves them all: some 50 ms
    over = threading.Event()

    def ask() -> None:
        while not over.is_set() and len(said) < 100_000:
            said.append(get(two, "/readyz")[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_until(
            lambda: total(families(two), "indegree_partitions_owned") == PARTITIONS and get(two, "/readyz")[0] == 200,
            "it has taken all over",
            40,
        )
    finally:
        over.set()
        asking.join()
    assert 503 in said
    assert get(two, "/healthz")[0] == 200
    page = families(two)
    assert total(page, "indegree_takeovers_total") == PARTITIONS
    assert total(page, "indegree_recovery_seconds_count") == PARTITIONS
    assert all(s.value >= 1 for s in page["indegree_partition_epoch"].samples)


# -- the page about it


def listed() -> dict[str, tuple[str, str, str]]:
    """Metric to (kind, labels, what) as docs/observability.md has it."""
    rows = re.findall(r"^\| `(indegree_\w+)` \| (\w+) \|([^|]*)\|([^|]*)\|$", page_text(), re.MULTILINE)
    return {name: (kind, labels.strip(), what.strip()) for name, kind, labels, what in rows}


def page_text() -> str:
    return (ROOT / "docs" / "observability.md").read_text()


def test_the_list_of_engine_metrics_is_the_codes() -> None:
    from prometheus_client.metrics import MetricWrapperBase

    made: dict[str, tuple[str, str, str]] = {}
    for value in vars(Metrics()).values():
        if isinstance(value, MetricWrapperBase):
            name = value._name + ("_total" if value._type == "counter" else "")
            made[name] = (str(value._type), ", ".join(value._labelnames), value._documentation)
    for gauge in Gauges._families().values():
        made[gauge.name] = ("gauge", ", ".join(gauge._labelnames), gauge.documentation)
    found = {name: row for name, row in listed().items() if not name.startswith("indegree_worker_")}
    assert found == made


@served
def test_the_list_of_worker_metrics_is_the_codes(place: Place, one: str) -> None:
    made = {}
    for name, family in families(place.worker_address()).items():
        if name.startswith("indegree_"):
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            full = name + ("_total" if family.type == "counter" else "")
            made[full] = (family.type, ", ".join(labels), family.documentation)
    assert {name: row for name, row in listed().items() if name.startswith("indegree_worker_")} == made


def test_the_list_of_span_attributes_is_the_codes() -> None:
    used: set[str] = set()
    for path in (
        "processors/indegree/stream/spans.py",
        "processors/indegree/worker/spans.py",
        "events/indegree/sdk/client_spans.py",
    ):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                used |= set(re.findall(r"^(?:messaging|indegree|error)\.[a-z_.]+$", node.value))
    used -= {"indegree.started"}
    traces = page_text().partition("## Traces")[2]
    table = traces.partition("| attribute | on |")[2]
    assert set(re.findall(r"`((?:messaging|indegree|error)\.[a-z_.]+)`", table)) - {"indegree.started"} == used
