"""The two tests that decide how tasks are dispatched (ARCHITECTURE, "Dispatch"), on real processes.

The low-priority tasks come from every partition, since each partition has a heap of its own and the worker has one slot
for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.conftest import SharedStack
from tests.integration.stream_road import wait_until
from tests.integration.whole_road import Whole, whole

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 4
LOW = 1_000  # tasks, a quarter on each partition
LONG_S = 4.0

FLOW = f"""
import asyncio
from indegree import Workflow

async def brief() -> None:
    await asyncio.sleep(0.03)

low = Workflow("low")
for number in range({LOW // PARTITIONS}):
    low.add(brief, id=f"t{{number}}")

high = Workflow("high")
high.add(brief, id="urgent", priority=10)

uneven = Workflow("uneven")

@uneven.task
async def long() -> None:
    await asyncio.sleep({LONG_S})

for number in range(100):
    uneven.add(brief, id=f"s{{number}}")
"""


@pytest.fixture
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("dispatch")
    with whole(stack, folder, modules={"flow": FLOW}, worker=["flow", "--slots", "1"], partitions=PARTITIONS) as found:
        yield found


def begins(place: Whole, run: str) -> list[tuple[int, str]]:
    """(when it began, worker) of each task of a run that has succeeded; the worker's clock, milliseconds."""
    return [(record["started_ms"], record["worker"]) for record in place.progress(run, "task.success")]


@pytest.mark.parametrize("engines", [1, 2])
def test_a_high_priority_starts_within_three_tasks_of_a_thousand(place: Whole, engines: int) -> None:
    for number in range(1, engines):
        place.engine(f"e{number + 1}")
    low = [place.start("low", partition=number) for number in range(PARTITIONS)]

    def ready() -> bool:
        return all(len(place.progress(run, "task.queued")) == LOW // PARTITIONS for run in low)

    wait_until(ready, "all are ready")
    place.wait_for(low[0], "task.success")  # they go by age: that of the others has not begun
    high = place.start("high", partition=0)
    assert place.ended(high) == "SUCCESS"
    queued = datetime.fromisoformat(place.wait_for(high, "task.queued")["time"])
    ready_ms = round(queued.timestamp() * 1000)
    (began_ms, _), *_ = begins(place, high)
    between = [at for run in low for at, _ in begins(place, run) if ready_ms < at < began_ms]
    assert len(between) <= 3, f"{len(between)} low ones began in the {began_ms - ready_ms} ms before it"
    for partition, run in enumerate(low):
        place.kafka.produce("commands", [(partition, None, json.dumps({"cancel": {"run_id": run}}).encode())])
    assert "SUCCESS" not in {place.ended(run) for run in low[1:]}


def test_a_hundred_short_tasks_do_not_wait_behind_a_long_one(place: Whole) -> None:
    for _ in range(3):
        place.worker("flow", "--slots", "1")
    run = place.start("uneven", partition=1)
    assert place.ended(run) == "SUCCESS"
    done = {record["task_id"]: record for record in place.progress(run, "task.success")}
    assert len(done) == 101
    long = done.pop("long")
    late = [task for task, record in done.items() if record["finished_ms"] > long["finished_ms"] - 500]
    assert late == [], "all short ones were done while the long one ran"
    assert len({record["worker"] for record in done.values() if record["worker"] != long["worker"]}) == 3
