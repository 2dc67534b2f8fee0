"""`indegree pools`: how many tasks may hold a pool at a time.

Why: a pool is shared between workflows, so its size belongs to none of their files.

How: one command to the partition of the pool's name, whose owner keeps it.

It must never take away from who holds a place: a smaller pool lets fewer in from now on.
"""

from __future__ import annotations

import click

from .exits import Exit
from .session import IndegreeGroup, Session, session


@click.group(cls=IndegreeGroup)
def pools() -> None:
    """Pools: a limit on tasks that workflows share (`pool: NAME` in a workflow file)."""


@pools.command("set")
@click.argument("name")
@click.argument("limit", type=click.IntRange(min=0), metavar="N")
def set_(name: str, limit: int) -> int:
    """Let at most N tasks hold the pool at a time. 0 lets nobody in; those inside stay."""
    now = session()
    return now.run(_set(now, name, limit))


async def _set(now: Session, name: str, limit: int) -> int:
    async with now.client() as client:
        done = await client.set_pool(name, limit)
        if now.out.json_lines:
            now.out.value({"pool": name, "limit": limit, "done": done})
        else:
            now.out.line(done)
    return Exit.SUCCESS
