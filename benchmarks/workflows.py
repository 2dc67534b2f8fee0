"""What the benchmarks run: workflows of any size, and functions that do nothing."""

from __future__ import annotations

import asyncio
import time

from indegree.events.definition import Definition

_DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


async def nothing() -> None:
    """Runs on the worker's loop: what a task costs without any work of its own."""


async def clock() -> int:
    """When it ran, in nanoseconds since the epoch."""
    return time.time_ns()


async def pause() -> None:
    """A task that takes 20 ms, so that a kill finds some of them running."""
    await asyncio.sleep(0.02)


def diamond(function: str = "nothing", name: str = "bench-diamond", attempts: int = 1) -> Definition:
    """a, then b and c, then d."""
    return _definition(name, function, _DIAMOND, attempts)


def chain(length: int, function: str = "nothing") -> Definition:
    """`length` tasks, one after the other."""
    return _definition(f"bench-chain-{length}", function, {f"t{i}": [f"t{i - 1}"] if i else [] for i in range(length)})


def wide(tasks: int) -> Definition:
    """One root, tasks - 2 in the middle, one join that waits for all of them."""
    middle = [f"m{i}" for i in range(tasks - 2)]
    return _definition(f"bench-wide-{tasks}", "nothing", {"root": [], **{m: ["root"] for m in middle}, "join": middle})


def _definition(name: str, function: str, tasks: dict[str, list[str]], attempts: int = 1) -> Definition:
    return Definition.from_normal(
        {
            "id": name,
            "tasks": [
                {
                    "id": task,
                    "python": f"{__name__}:{function}",
                    **({"depends_on": parents} if parents else {}),
                    **({"retry": {"max_attempts": attempts}} if attempts > 1 else {}),
                }
                for task, parents in tasks.items()
            ],
        }
    )
