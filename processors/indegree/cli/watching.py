"""Following a run until it ends, on the screen or as lines: what `trigger --follow`, `follow` and `run` share.

Why: one way to show a run, one exit code for how it ends.

How: events come from `AsyncRun.follow`; on a terminal they feed a `RunView`, elsewhere each is printed as a line (or as
JSON). Beside it a `Lookout` says why nothing comes, and that the owner has changed. At the end, what failed is told
with the last lines that it printed, which stand in the event log.

It must never change the run: Ctrl-C stops looking, the run goes on, and we say so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from indegree.events.definition import Definition
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_events import RunEvent, TaskView
from indegree.sdk.client_run import AsyncRun

from .exits import BY_STATE, Exit
from .last_lines import last_lines
from .live import RunView
from .lookout import Lookout
from .output import Output, span
from .stored import brief, plain
from .telling import Teller

MOST_FAILED = 5  # failed tasks that are told one by one


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
        "waits_for": event.waits_for,
        "instances": event.instances,
        "generation": event.generation,
    }
    out = {name: value for name, value in out.items() if value not in ("", 0)}
    if event.output is not None:
        out["output"] = plain(event.output)
    if event.error is not None:
        out["error"] = {"type": event.error.type, "message": event.error.message}
    return out


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
    drawn = out.live and position == 0
    if not drawn:
        view.remarks = out.note
    lookout = Lookout(client.settings, view, definition, None if drawn else out.note)
    teller = Teller()
    try:
        async with asyncio.timeout(timeout):
            with view if drawn else contextlib.nullcontext():
                aside = asyncio.create_task(lookout.go_on(lambda: run.run_id, hints))
                try:
                    async for event in run.follow(position):
                        if position == 0:
                            view.apply(event)
                        if out.json_lines:
                            out.value(event_json(event))
                        elif not drawn:
                            for line in teller.lines(event):
                                out.line(line)
                    view.status = ""
                finally:
                    aside.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await aside
    except TimeoutError:
        raise TimeoutError(
            f"run {run.run_id or 'without an id yet'} has not ended within {timeout or 0:.3g} s; it is {run.state} and "
            f"goes on: `indegree follow {run.run_id}`"
        ) from None
    if not out.json_lines:
        closing(out, run, view, await last_lines(client.settings, run.run_id, definition, _failed(run.tasks), run.ends))
    return BY_STATE.get(run.state, Exit.SUCCESS)


def _failed(tasks: Mapping[str, TaskView]) -> list[str]:
    return [task.id for task in tasks.values() if task.state == "FAILED"][:MOST_FAILED]


def tell_failed(out: Output, task: TaskView, printed: str) -> None:
    """Why one task failed: its error, the last lines that it printed, and where it was raised."""
    out.line(f"{task.id} failed after {task.attempts} attempt(s): {task.error or task.reason}", "red")
    for line in printed.splitlines():
        out.line(f"  | {line}")
    if task.error is not None and task.error.traceback:
        out.line("  " + task.error.traceback.rstrip().replace("\n", "\n  "), "dim")


def closing(out: Output, run: AsyncRun, view: RunView, printed: Mapping[str, str]) -> None:
    """The last lines: how it ended, what failed and why, what came out. `printed`: last lines of failed tasks."""
    state = view.state
    failed = [task for task in run.tasks.values() if task.state == "FAILED"]
    for task in failed[:MOST_FAILED]:
        tell_failed(out, task, printed.get(task.id, ""))
    if len(failed) > MOST_FAILED:
        out.line(f"... and {len(failed) - MOST_FAILED} more failed tasks", "red")
    results = [task for task in run.tasks.values() if task.state == "SUCCESS" and task.output is not None]
    for task in results[-3:] if len(results) > 6 else results:
        out.line(f"{task.id} -> {brief(task.output, 120)}", "dim")
    took = f" in {span(state.finished_ms - state.started_ms)}" if state.finished_ms else ""
    reason = f": {run.reason}" if run.reason else ""
    style = {"SUCCESS": "bold green", "FAILED": "bold red"}.get(run.state, "bold")
    out.line(f"{run.workflow} {run.run_id} {run.state}{took}{reason}", style)
