"""A workflow that starts another one for each region, gathers the results, and takes them down with it."""

from __future__ import annotations

import time

from indegree import Retry, Workflow
from indegree.worker.context import Context

region = Workflow("region", params={"name": str, "shops": 3, "wait_s": 0.0})


@region.task
def sales(name: str, shops: int, wait_s: float, context: Context) -> list[int]:
    until = time.monotonic() + wait_s
    while time.monotonic() < until and not context.cancelled:
        time.sleep(0.02)
    return [len(name) * (shop + 1) for shop in range(shops)]


@region.task
def summed(name: str, sales: list[int]) -> dict[str, object]:
    """The one task that no other depends on: its output is the result of the run."""
    return {"region": name, "sales": sum(sales)}


world = Workflow("world", params={"names": ["north", "south", "east", "west"], "wait_s": 0.0})

world.subworkflow(
    "regions",
    region,
    foreach="params.names",
    concurrency=3,
    params={"name": "${{ item }}", "wait_s": "${{ params.wait_s }}"},
    retry=Retry(max_attempts=2, delay="100ms"),
)


@world.task
def best(regions: list[dict[str, object]]) -> str:
    return str(max(regions, key=lambda one: (one["sales"], one["region"]))["region"])
