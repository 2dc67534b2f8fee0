"""Large definitions are read in a thread, before the core needs them; the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import zlib
from types import SimpleNamespace

import pytest

from indegree.engine import apply, plan
from indegree.engine.core import PartitionCore
from indegree.engine.invariants import image
from indegree.engine.limits import Limits
from indegree.events.definition import Definition
from indegree.events.frames import InForce
from indegree.events.settings import Settings
from indegree.stream import plans
from indegree.stream.catalog import Catalog
from indegree.stream.takeover import Recovery
from indegree.v1.event_pb2 import RecoverFrom
from indegree.v1.trigger_pb2 import Start
from indegree.v1.workflow_pb2 import DefinitionPart
from tests.engine.road import Road, workflow


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_KEPT", type(plan._KEPT)())
    monkeypatch.setattr(plan, "_PLANS", type(plan._PLANS)())
    monkeypatch.setattr(plans, "LARGE", 1_000)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which a definition was read."""
    found: list[str] = []

    def read(version: str, packed: bytes, most: int = 10**9) -> plan.Plan:
        found.append(threading.current_thread().name)
        return plan.read_plan(version, packed, most)

    monkeypatch.setattr(plans, "read_plan", read)
    monkeypatch.setattr(apply, "read_plan", read)
    return found


def large(n: int = 2_000, name: str = "task") -> Definition:
    tasks = [{"id": f"{name}-{i}", "args": {"x": "${{ params.a }}", "y": i * 7919 % 1009}} for i in range(n)]
    return workflow(*tasks, params={"a": {}})


async def recover(log: list[bytes]) -> tuple[PartitionCore, int]:
    """The state after the log, and how often the recovery had something to wait for."""
    recovery = Recovery(PartitionCore(0, 1), InForce(), RecoverFrom())
    waits = 0
    for offset, data in enumerate(log):
        rest = recovery.use(SimpleNamespace(value=data, offset=offset))
        if rest is not None:
            waits += 1
            await rest
    return recovery.core, waits


@pytest.mark.parametrize("part_bytes", [262_144, 2_000])
async def test_a_takeover_reads_a_large_definition_in_a_thread_and_a_small_one_on_the_way(
    part_bytes: int, readers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its parts stand in one frame or in several."""
    road = Road(limits=Limits(definition_part_bytes=part_bytes, frame_bytes=4_000))
    road.start(workflow({"id": "a"}))
    road.start(large())
    state = image(road.shadow.state)
    log = road.log
    del road
    plan._KEPT.clear()
    plan._PLANS.clear()
    readers.clear()
    core, waits = await recover(log)
    assert image(core.state) == state
    assert waits == 1
    assert [name.startswith("plans") for name in readers] == [False, True]


async def test_partitions_that_need_the_same_definition_wait_for_one_reading(readers: list[str]) -> None:
    definition = large()
    packed = zlib.compress(definition.canonical())
    found = await asyncio.gather(*[plans.prepare(definition.hash, packed) for _ in range(8)])
    assert len(readers) == 1
    assert found[0] is not None
    assert all(one is found[0] for one in found)


async def test_the_loop_goes_on_while_a_definition_is_read() -> None:
    definition = large(10_000)
    packed = zlib.compress(definition.canonical())
    reading = asyncio.ensure_future(plans.prepare(definition.hash, packed))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns >= 10


async def test_what_cannot_be_read_is_left_to_the_replay_which_says_that_the_log_is_corrupt() -> None:
    assert await plans.prepare("0" * 64, b"not zlib") is None
    assert await plans.prepare("0" * 64, zlib.compress(large().canonical())) is None
    event = SimpleNamespace(version="0" * 64, part=0, parts=1, data=zlib.compress(b"{}"))
    with pytest.raises(ValueError, match="the log is corrupt"):
        apply._record(PartitionCore(0, 1).state, event)  # type: ignore[arg-type]


def published(catalog: Catalog, definition: Definition) -> None:
    data = zlib.compress(definition.canonical())
    for part, at in enumerate(range(0, len(data), 1_000)):
        record = DefinitionPart(
            workflow="w", version=definition.hash, part=part, parts=-(-len(data) // 1_000), data=data[at : at + 1_000]
        )
        catalog.heard(f"{definition.hash}/{part}".encode(), record.SerializeToString())


async def test_the_first_start_of_a_large_definition_finds_its_plan_made(
    readers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(Settings())
    definition = large()
    published(catalog, definition)
    found = await catalog.resolve(Start(workflow="w", version=definition.hash))
    assert found == definition
    assert [name.startswith("plans") for name in readers] == [True]
    monkeypatch.setattr(plan, "Plan", None)  # nobody makes another one
    assert plan.plan_of(found).n == 2_000
    assert plan.plan_of(found).packed is not None


async def test_a_definition_over_the_limit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(Settings().with_values(limits__definition_bytes=50_000))
    definition = large()
    published(catalog, definition)
    assert await catalog._find(Start(workflow="w", version=definition.hash)) is None


def test_plans_are_kept_up_to_a_number_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "KEPT_TASKS", 5_000)
    definitions = [large(2_000, name) for name in ("one", "two", "three")]
    for definition in definitions:
        plan.plan_of(definition)
    assert [plan.known_plan(definition.hash) is not None for definition in definitions] == [False, True, True]


def test_a_version_is_its_text_also_where_it_is_not_the_normal_form_of_today() -> None:
    text = b'{"tasks": [{"python": "m:f", "id": "a"}], "id": "w"}'
    version = hashlib.sha256(text).hexdigest()
    found = plan.read_plan(version, zlib.compress(text))
    assert found.version == version
    assert zlib.decompress(plan.Plan(found.definition).pack()) == text
