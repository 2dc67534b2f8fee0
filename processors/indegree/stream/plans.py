"""Plans of large definitions, made in a thread before the core asks for them.

Why: to read a definition of 100,000 tasks takes seconds. On the loop nothing else would happen meanwhile: the lease
would not be renewed, and every partition of this engine would be given up.

How: one thread, so that several partitions that need plans at once do not crowd out the loop; and one reading for all
that want the same version. What comes out is kept by the core's plan.py, where the core finds it.

It must never decide whether a definition is good: what cannot be read here is left to whoever asks next.
"""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor

from indegree.engine.plan import Plan, keep, known_plan, read_plan
from indegree.events.definition import MAX_DEFINITION_BYTES, DefinitionError

LARGE = 64 * 1024
"""Compressed bytes from which a definition is not read on the loop: some 0.2 s."""

_thread = ThreadPoolExecutor(1, "plans")
_reading: dict[str, asyncio.Task[Plan | None]] = {}


async def prepare(version: str, packed: bytes, most: int = MAX_DEFINITION_BYTES) -> Plan | None:
    """The plan of a definition, from now on known; None: it cannot be read. `most`: bytes of its canonical form."""
    plan = known_plan(version)
    if plan is not None:
        return plan
    task = _reading.get(version)
    if task is None or task.get_loop() is not asyncio.get_running_loop():
        task = _reading[version] = asyncio.ensure_future(_read(version, packed, most))
        task.add_done_callback(lambda _: _reading.pop(version, None))
    return await asyncio.shield(task)


async def _read(version: str, packed: bytes, most: int) -> Plan | None:
    try:
        return keep(await asyncio.get_running_loop().run_in_executor(_thread, read_plan, version, packed, most))
    except (DefinitionError, ValueError, zlib.error):
        return None
