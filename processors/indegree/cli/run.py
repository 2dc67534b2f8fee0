"""`indegree run`: a workflow, all in one, on this machine.

Why: the shortest way from a file to a run that one can watch.

How: the definition is checked and the parameters are bound before anything is started. Then stack, engine and worker
(alone.py), one start through the ordinary client, the live view, and the exit code of the run.

It must never use a cluster that it did not make: see alone.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import click

from indegree.events import admin, telemetry
from indegree.events.definition import TaskKind
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_run import AsyncRun
from indegree.stack import NotReady

from .alone import Alone, alone, tidy
from .exits import Exit
from .live import RunView
from .params import read_params
from .problems import BadTarget
from .session import IndegreeCommand, Session, session
from .targets import Target, one_target
from .watching import watch

_CANCEL_S = 10.0
_LAST_WORDS_S = 3.0


@click.command(cls=IndegreeCommand)
@click.argument("target", metavar="FILE|MODULE[:OBJECT]")
@click.option("-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; repeat it.")
@click.option("--params", "source", metavar="FILE", help="All parameters as JSON; - is stdin.")
@click.option("--slots", type=int, default=16, show_default=True, help="Tasks at the same time.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Cancel it and exit 5 after this.")
@click.option("--keep", is_flag=True, help="Keep its topics and logs; else the next `run` deletes them.")
def run(target: str, pairs: tuple[str, ...], source: str | None, slots: int, timeout: float | None, keep: bool) -> int:
    """Run a workflow, all in one: brings up what is missing, runs it, shows it, takes it down again.

    \b
      indegree run examples/hello/hello.yaml -p name=Ada
      indegree run examples/hello/hello.py

    It runs the functions and the shell commands of that workflow. Its cluster is its own.
    """
    now = session()
    found = one_target(target)
    params = read_params(pairs, source, found.definition)
    found.definition.bind_params(params)
    if not found.module:
        _import_functions(found, target)
    for note in found.notes:
        now.out.note(f"{target}: {note}")
    settings = now.settings
    now.say_where()
    with alone(settings, now.out) as place:
        try:
            return _ended(now, place, now.run(_run(now, place, found, params, slots, timeout, keep)))
        except KeyboardInterrupt:
            return Exit.CANCELLED
        except (NotReady, TimeoutError):
            now.out.note(f"logs of its engine and its worker: {place.logs}")
            raise


def _ended(now: Session, place: Alone, code: int) -> int:
    if code == Exit.RUN_FAILED:
        now.out.note(f"logs of its engine and its worker: {place.logs}")
    return code


def _import_functions(target: Target, name: str) -> None:
    """Imports what a file names. Our worker is the only one: what it cannot import would be waited for without end.

    Raises BadTarget with every function that cannot be had.
    """
    from indegree.worker.functions import Functions, Refused

    wanted = {task.id: task.python for task in target.definition.tasks if task.python is not None}
    if not wanted:
        return
    for folder in (str(Path.cwd()), str(target.folder)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    functions = Functions(allow=[python.partition(":")[0] for python in wanted.values()])
    problems = []
    for task_id, python in wanted.items():
        try:
            functions.find(python)
        except Refused as problem:
            problems.append(f"\n  task {task_id!r}: {problem}")
    if problems:
        raise BadTarget(f"{name}: not all functions can be imported:{''.join(problems[:20])}")


async def _run(
    now: Session,
    place: Alone,
    target: Target,
    params: dict[str, object],
    slots: int,
    timeout: float | None,
    keep: bool,
) -> int:
    definition = target.definition
    queues = sorted({task.queue for task in definition.tasks if task.kind in (TaskKind.PYTHON, TaskKind.COMMAND)})
    queues = queues or ["default"]
    await admin.ensure_topics(place.settings, queues)
    flags = [text for queue in queues for text in ("--queue", queue)]
    place.start("engine", ["engine", "--id", f"{place.settings.cluster}-engine", *flags], [])
    place.start("worker", ["worker", *_may_run(target), "--slots", str(slots), *flags], [target.folder])
    await tidy(place, keep=keep)
    telemetry.configure("indegree-cli")
    async with AsyncClient(place.settings) as client:
        run = await client.start(target.workflow or definition, params)
        watching = asyncio.create_task(
            watch(client, run, now.out, definition=definition, hints=lambda view: _hints(place, view))
        )
        guard = asyncio.create_task(_guard(place))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait({watching, guard}, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done():
                await guard  # it has ended, so it raises
            code = await watching
        except TimeoutError:
            await _cancel(client, run, f"timed out after {timeout:g} s")
            await asyncio.wait({watching}, timeout=_LAST_WORDS_S)
            raise TimeoutError(f"the run was cancelled: it had not ended within {timeout:g} s") from None
        except asyncio.CancelledError:  # Ctrl-C
            await _cancel(client, run, "interrupted")
            await asyncio.wait({watching}, timeout=_LAST_WORDS_S)  # it shows how the run ended
            raise
        finally:
            for task in (watching, guard):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
    if place.stays and not now.out.json_lines:
        until = "" if keep else ", until the next `indegree run` (--keep keeps it)"
        now.out.note(
            f"its event log stays{until}: indegree show {run.run_id} --history --cluster {place.settings.cluster}"
        )
    return code


def _may_run(target: Target) -> list[str]:
    """What the worker of this run is given: the workflow's own code, and commands."""
    functions = {task.python.partition(":")[0] for task in target.definition.tasks if task.python is not None}
    allowed = [text for module in sorted(functions) for text in ("--allow-import", module)]
    return [*([target.module] if target.module else []), *allowed, "--commands"]


async def _guard(place: Alone) -> None:
    """Raises when the engine or the worker ends."""
    while True:
        place.check()
        await asyncio.sleep(0.3)


async def _cancel(client: AsyncClient, run: AsyncRun, reason: str) -> None:
    with contextlib.suppress(Exception):  # the children end anyway; this is for the run's log
        async with asyncio.timeout(_CANCEL_S):
            await client.cancel_run(run.run_id, reason)
            await run.wait()


def _hints(place: Alone, view: RunView) -> None:
    if not view.state.position:
        view.status = "starting engine and worker"
