"""What the feature loads run: one small workflow for each feature, and functions that tell when they ran.

The functions know nothing of the engine, so what they say (when they ran, what they were given) is evidence of its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from indegree import Workflow
from indegree.events.definition import Definition

_WIDTH = 98  # with its quotes an element of the map is 100 bytes of JSON


def element(number: int) -> str:
    """Element `number` of the map: 100 bytes of JSON, and no two alike."""
    return f"{number:08d}".ljust(_WIDTH, ".")


def answer(text: str) -> str:
    """What an instance makes of its element: as long, and another."""
    return text[:8] + "+" * (_WIDTH - 8)


mapped = Workflow("bench-map", params={"n": int})


@mapped.task
def items(n: int) -> list[str]:
    return [element(number) for number in range(n)]


@mapped.task(foreach="items")
async def each(item: str) -> str:
    return answer(item)


@mapped.task
def whole(each: list[str], n: int) -> int:
    """Fails unless the gathered list has every answer once, in the order of the elements."""
    wrong = [place for place, text in enumerate(each) if text != answer(element(place))]
    if len(each) != n or wrong:
        raise AssertionError(f"{len(each)} of {n} outputs; wrong or misplaced: {wrong[:10]}")
    return len(each)


async def nothing() -> None:
    """What a run or a task costs without any work of its own."""


async def brief() -> None:
    """Long enough for another run of the same key to get in between, if it could."""
    await asyncio.sleep(0.002)


def served(topic: str, keyed: bool = True, function: str = "brief") -> Definition:
    """A run for each record of a topic; with `keyed`, one at a time of each customer. Without `function`, no task."""
    work = {"python": f"{__name__}:{function}"} if function else {}
    form: dict[str, Any] = {
        "id": f"bench-served-{'keyed' if keyed else 'free'}",
        "params": {"customer": {"type": "string", "required": True}},
        "triggers": [{"kafka": {"topic": topic, "begin": "earliest", "params": {"customer": "value.customer"}}}],
        "tasks": [{"id": "serve", **work}],
    }
    if keyed:
        form["concurrency"] = {"key": "params.customer", "limit": 1, "on_conflict": "queue"}
    return Definition.from_normal(form)


async def span(seconds: float) -> list[int]:
    """When it began and ended, by this machine's clock, in nanoseconds."""
    begun = time.time_ns()
    await asyncio.sleep(seconds)
    return [begun, time.time_ns()]


def pooled(name: str, pool: str) -> Definition:
    """Instances that hold a place of a pool for as long as `seconds` says."""
    return Definition.from_normal(
        {
            "id": name,
            "params": {"many": {"type": "array", "required": True}, "seconds": {"type": "number", "required": True}},
            "tasks": [
                {
                    "id": "hold",
                    "foreach": "params.many",
                    "pool": pool,
                    "python": f"{__name__}:span",
                    "args": {"seconds": "${{ params.seconds }}"},
                }
            ],
        }
    )


rated = Workflow("bench-rated", params={"customer": str, "many": list[int]})
rated.add(
    span,
    id="call",
    foreach="params.many",
    rate_limit={"key": "params.customer", "limit": 10, "per": "1s"},
    args={"seconds": 0.0},
)

child = Workflow("bench-child", params={"number": int})


@child.task
async def square(number: int) -> int:
    await asyncio.sleep(0.005)
    return number * number


parent = Workflow("bench-parent", params={"numbers": list[int]})
parent.subworkflow("child", child, foreach="params.numbers", params={"number": "${{ item }}"})


@parent.task
def sums(child: list[int], numbers: list[int]) -> int:
    """Fails unless each child's output stands at the place of its number."""
    if child != [number * number for number in numbers]:
        raise AssertionError(f"gathered {child[:10]}... of {len(child)} for {len(numbers)} numbers")
    return len(child)


waits = Workflow("bench-waits", params={"at": str})
waits.wait_for("pause", delay="3s")
waits.wait_for("moment", until="params.at")
waits.wait_for("go", signal="go", form={"number": int})


@waits.task(depends_on=["pause", "moment"])
def heard(go: dict[str, int]) -> int:
    return go["number"]


signalled = Workflow("bench-signalled")
signalled.wait_for("go", signal="go")
later = Workflow("bench-later")
later.add(nothing, id="work")
