"""Recorded workflows as workflows of ours: the same tasks and edges, each task sleeping as long as it once ran.

`examples/data` holds the recordings. The run times are divided by a number, so that a demo does not take an hour.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from indegree import Workflow

DATA = Path(__file__).parents[1] / "data"
MONTAGE = "montage-chameleon-2mass-01d-001"
GENOME = "1000genome-chameleon-10ch-100k-001"


async def step(seconds: float) -> float:
    """Stands for a task that ran `seconds` seconds."""
    await asyncio.sleep(seconds)
    return seconds


def recording(name: str) -> list[dict[str, Any]]:
    """The tasks of a recording: id, parents, runtime_s."""
    tasks: list[dict[str, Any]] = json.loads((DATA / f"{name}.json").read_text("utf-8"))["tasks"]
    return tasks


def workflow(recorded: str, name: str, divisor: float) -> Workflow:
    """The recording as a workflow, its run times divided by `divisor`."""
    out = Workflow(name)
    for task in recording(recorded):
        out.add(
            step,
            id=task["id"],
            args={"seconds": round(task["runtime_s"] / divisor, 4)},
            depends_on=task["parents"],
        )
    return out


def critical_path_s(recorded: str, divisor: float) -> float:
    """The longest chain of run times in seconds: no schedule can be faster, on however many workers."""
    tasks = {task["id"]: task for task in recording(recorded)}
    end: dict[str, float] = {}

    def finish(task_id: str) -> float:
        if task_id not in end:
            task = tasks[task_id]
            end[task_id] = task["runtime_s"] / divisor + max(map(finish, task["parents"]), default=0.0)
        return end[task_id]

    return max(map(finish, tasks))


montage = workflow(MONTAGE, "montage", 2)
genome = workflow(GENOME, "genome", 100)
