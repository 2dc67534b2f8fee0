"""The last lines that failed tasks printed, for whoever tells that they failed.

Why: "exit code 7" says that a command failed, and its last words say why.

How: captured output travels with an attempt's result into the event log, and only there. So it is read only when
something has failed, from the time in the run id to the run's end, within a few seconds.

It must never be in the way: where the log cannot be read in time, there are no lines.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from indegree.events.definition import Definition
from indegree.events.settings import Settings

LINES = 5
_WITHIN_S = 5.0


async def last_lines(
    settings: Settings, run_id: str, definition: Definition | None, tasks: Collection[str], ends: int = 1
) -> dict[str, str]:
    """Task id to the last lines of its last failed attempt, of those in `tasks` that printed anything. `ends`: how
    often the run has ended."""
    from indegree.engine.plan import plan_of

    from .logs import name_of, outcomes

    found: dict[str, str] = {}
    if not tasks or definition is None:
        return found
    ids = plan_of(definition).ids
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_WITHIN_S):
            async for outcome in outcomes(settings, run_id, max(1, ends)):
                if isinstance(outcome, str) or outcome.state != "FAILED":
                    continue
                name = name_of(ids, outcome)
                if name in tasks:
                    found[name] = "\n".join(outcome.log.rstrip().splitlines()[-LINES:])
    return {task_id: text for task_id, text in found.items() if text}
