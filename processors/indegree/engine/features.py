"""Which features the core has: each module's tables, put together.

Why: a feature (waiting, sub-workflows, limits, ...) is one module with its events, commands and timers; what is common
does not grow with each.

How: importing this module registers all of them. core.py does.

It must never hold logic.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from indegree.engine import apply, children, commands, decide, draft, ended, restore, snapshot, tickets

MODULES: Final = (
    "backfills",
    "byhand",
    "children",
    "gates",
    "intake",
    "pauses",
    "reruns",
    "schedules",
    "tickets",
    "timetable",
    "waiting",
)
"""Each may have APPLIERS, COMMANDS, MESSAGES, DUE, AFTER_END (see apply.EXTRA, commands.COMMANDS, commands.MESSAGES,
decide.DUE, ended.AFTER_END)."""


def _register() -> None:
    for name in MODULES:
        module = import_module(f"indegree.engine.{name}")
        apply.EXTRA.update(getattr(module, "APPLIERS", {}))
        commands.COMMANDS.update(getattr(module, "COMMANDS", {}))
        commands.MESSAGES.update(getattr(module, "MESSAGES", {}))
        decide.DUE.update(getattr(module, "DUE", {}))
        ended.AFTER_END.extend(getattr(module, "AFTER_END", ()))
        children.OF_BACKFILL.extend(getattr(module, "OF_BACKFILL_ENDED", ()))
    draft.RELEASE.append(tickets.release)
    restore.LIMITS.append(tickets.read)
    snapshot.LIMIT.append(tickets.written)


_register()
