"""Following a run until it ends, on the screen or as lines: what `trigger --follow`, `follow` and `run` share.

Why: one way to show a run, one exit code for how it ends.

How: events come from `AsyncRun.follow`; on a terminal they feed a `RunView`, elsewhere each is printed as a line (or as
JSON). While nothing comes, the owner is looked up now and then, so that a failover is seen.

It must never change the run: Ctrl-C stops looking, the run goes on, and we say so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from indegree.events import run_ids
from indegree.events.definition import Definition
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_events import RunEvent, StoredValue
from indegree.sdk.client_run import AsyncRun

from .coordination import owner_of, try_membership
from .exits import BY_STATE, Exit
from .live import RunView, plain_line
from .output import Output, short, span

_OWNER_EVERY_S = 1.0
_WARN_AFTER_S = 5.0


def event_json(event: RunEvent) -> dict[str, Any]:
    """The event as the JSON form of the progress topic has it; absent fields are left out."""
    out: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "run_id": event.run_id,
        "workflow": event.workflow,
        "version": event.version,
        "task_id": event.task_id,
        "attempt": event.attempt,
        "state": event.state,
        "reason": event.reason,
        "position": event.position,
        "time": event.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "worker": event.worker,
        "started_ms": event.started_ms,
        "finished_ms": event.finished_ms,
        "due_ms": event.due_ms,
        "actor": event.actor,
        "label": event.label,
        "epoch": event.epoch,
    }
    out = {name: value for name, value in out.items() if value not in ("", 0)}
    if event.output is not None:
        out["output"] = plain(event.output)
    if event.error is not None:
        out["error"] = {"type": event.error.type, "message": event.error.message}
    return out


def plain(value: Any) -> Any:
    """An output as JSON shows it."""
    if isinstance(value, StoredValue):
        return {"$reference": {"partition": value.partition, "offset": value.offset, "size": value.size}}
    return value


async def watch(
    client: AsyncClient,
    run: AsyncRun,
    out: Output,
    *,
    definition: Definition | None = None,
    position: int = 0,
    timeout: float | None = None,
    hints: Callable[[RunView], None] | None = None,
) -> Exit:
    """Shows the run until it ends; gives the exit code of its end. Raises Refused, TimeoutError, ProgressGap."""
    graph = definition.graph if definition is not None else None
    view = RunView(run.run_id, graph, console=out.console, title=run.workflow)
    async with asyncio.timeout(timeout):
        if out.live and position == 0:
            with view:
                aside = asyncio.create_task(_look_up_owner(client, run, view, hints))
                try:
                    async for event in run.follow():
                        view.apply(event)
                finally:
                    aside.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await aside
        else:
            async for event in run.follow(position):
                if position == 0:
                    view.apply(event)
                if out.json_lines:
                    out.value(event_json(event))
                else:
                    out.line(plain_line(event))
    if not out.json_lines:
        closing(out, run, view)
    return BY_STATE.get(run.state, Exit.SUCCESS)


async def _look_up_owner(
    client: AsyncClient, run: AsyncRun, view: RunView, hints: Callable[[RunView], None] | None
) -> None:
    while True:
        if run.run_id:
            partition = run_ids.partition_of_run(run.run_id)
            owner = owner_of(await try_membership(client.settings), partition)
            if owner and owner != view.owner:
                if view.owner:
                    view.note(f"owner of partition {partition}: {view.owner} -> {owner}")
                view.owner = owner
        if hints is not None:
            hints(view)
        await asyncio.sleep(_OWNER_EVERY_S)


def closing(out: Output, run: AsyncRun, view: RunView) -> None:
    """The last lines: how it ended, what failed and why, what came out."""
    state = view.state
    failed = [task for task in run.tasks.values() if task.state == "FAILED"]
    for task in failed[:5]:
        out.line(f"{task.id} failed after {task.attempts} attempt(s): {task.error or task.reason}", "red")
        if task.error is not None and task.error.traceback:
            out.line("  " + task.error.traceback.rstrip().replace("\n", "\n  "), "dim")
    if len(failed) > 5:
        out.line(f"... and {len(failed) - 5} more failed tasks", "red")
    results = [task for task in run.tasks.values() if task.state == "SUCCESS" and task.output is not None]
    for task in results[-3:] if len(results) > 6 else results:
        out.line(f"{task.id} -> {short(plain(task.output), 120)}", "dim")
    took = f" in {span(state.finished_ms - state.started_ms)}" if state.finished_ms else ""
    reason = f": {run.reason}" if run.reason else ""
    style = {"SUCCESS": "bold green", "FAILED": "bold red"}.get(run.state, "bold")
    out.line(f"{run.workflow} {run.run_id} {run.state}{took}{reason}", style)
