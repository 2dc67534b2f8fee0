"""Why a run that one looks at does not move: no owner, no worker, no etcd.

Why: a dead engine and a slow task look alike from the progress topic, which is silent in both cases.

How: beside the reader, once every two seconds: one bounded reading of etcd, and, only while tasks are queued, none runs
and nothing was heard for a while, the worker announcements. What it finds becomes the view's status and, where there is
no picture, a remark that is repeated every ten seconds while it holds.

It must never be in the way of the events, and never raise: what cannot be asked is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable

from indegree.events import run_ids
from indegree.events.definition import Definition
from indegree.events.settings import Settings

from .coordination import owner_of, try_membership
from .instances import queue_of
from .live import RunView
from .unserved import served_queues

EVERY_S = 2.0
_AGAIN_S = 10.0  # a remark that still holds is repeated after this
_ASK_S = 3.0  # for the announcements of workers
_STARTING_S = 10.0  # before the first record, nothing is missed
_QUIET_S = 3.0  # without a record, before workers are asked for


class Lookout:
    """One for each run that is watched. `say`: where remarks go when there is no picture; None where there is one."""

    def __init__(
        self,
        settings: Settings,
        view: RunView,
        definition: Definition | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._settings, self._view, self._definition, self._say = settings, view, definition, say
        self._since: dict[str, float] = {}  # what is wrong -> since when (monotonic seconds)
        self._said: tuple[str, float] = ("", float("-inf"))

    async def go_on(self, run_id: Callable[[], str], hints: Callable[[RunView], None] | None = None) -> None:
        """Looks until it is cancelled. `run_id` gives an empty text while it is not known."""
        while True:
            if hints is not None:
                hints(self._view)
            if there := run_id():
                with contextlib.suppress(Exception):
                    await self.look(there)
            await asyncio.sleep(EVERY_S)

    async def look(self, run_id: str) -> None:
        """One look; afterwards the view's status says what holds the run up, or nothing."""
        if self._view.state.ended:
            self._view.status = ""
            return
        partition = run_ids.partition_of_run(run_id)
        kind, words = await self._membership(partition)
        if not kind:
            kind, words = await self._workers()
        for other in [name for name in self._since if name != kind]:
            del self._since[other]
        now = time.monotonic()
        if not self._view.state.position and now - self._since.setdefault(kind or "start", now) < _STARTING_S:
            return  # its engine may be starting
        if not kind:
            self._view.status = ""
            self._said = ("", float("-inf"))
            return
        since_s = now - self._since.setdefault(kind, now)
        text = words.format(since=f"since {since_s:.0f} s" if since_s >= 1 else "now")
        self._view.status = text
        if self._say is not None and (self._said[0] != kind or now - self._said[1] >= _AGAIN_S):
            self._said = (kind, now)
            self._say(text)

    async def _membership(self, partition: int) -> tuple[str, str]:
        """What is wrong with the partition's owner: a key, and words with a place for the time."""
        seen = await try_membership(self._settings)
        view = self._view
        if seen is None:
            where = ", ".join(self._settings.etcd.endpoints)
            return "etcd", f"etcd at {where} does not answer {{since}}: who owns partition {partition} is not known"
        if (held := seen.quarantined.get(partition)) is not None:
            return (
                "quarantine",
                f"partition {partition} is in quarantine ({_plain(held.reason)}): see `indegree doctor`",
            )
        owner = owner_of(seen, partition)
        if not owner:
            view.owner = ""
            out = "another takes over in a moment" if seen.members else "start one: `indegree engine`"
            return "owner", f"no engine owns partition {partition} {{since}}; {out}"
        if view.known_owner and view.known_owner != owner:
            view.moved("owner", f"partition {partition}, {view.known_owner} -> {owner}")
        view.owner = view.known_owner = owner
        return "", ""

    async def _workers(self) -> tuple[str, str]:
        view = self._view
        queued = [task.id for task in view.state.tasks.values() if task.state == "QUEUED" and task.error is None]
        running = any(task.state == "RUNNING" for task in view.state.tasks.values())
        if self._definition is None or not queued or running or view.quiet_s < _QUIET_S:
            return "", ""
        async with asyncio.timeout(_ASK_S):
            served = await served_queues(self._settings)
        waiting = Counter(queue_of(self._definition, task_id) for task_id in queued)
        missing = [queue for queue in sorted(waiting) if queue not in served]
        if not missing:
            return "", ""
        count = sum(waiting[queue] for queue in missing)
        queues = f"queue {missing[0]}" if len(missing) == 1 else f"queues {', '.join(missing)}"
        flag = "" if missing == ["default"] else f" --queue {missing[0]}"
        return "worker", f"no worker serves {queues} {{since}}: {count} task(s) wait; `indegree worker MODULE{flag}`"


def _plain(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")
