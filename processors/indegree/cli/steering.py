"""Commands that steer what was started: pause, resume, rerun, signal, skip, mark.

Why: what a person does when something goes wrong, or when a run waits for them.

How: each sends one command and waits for the engine's answer, which says what was done, or why not (exit code 2). A run
is named as everywhere, also by the beginning of its id.

It must never say that something was done before an engine has said so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click

from indegree.events import json_values
from indegree.events.definition_params import Parameter
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_run import AsyncRun

from .exits import BY_STATE, Exit
from .prefixes import check_beginning, whole_run_id
from .runs import goes_on
from .session import IndegreeCommand, Session, session

_reason = click.option("--reason", default="", help="Kept with it, beside who asked.")


def _switch_options(command: Any) -> Any:
    for option in reversed(
        [
            click.argument("run_id", required=False, default="", metavar="[RUN]"),
            click.option("--workflow", default="", metavar="NAME", help="All runs of it, also those to come."),
            click.option("--queue", default="", metavar="NAME", help="All that this queue would give to workers."),
            _reason,
        ]
    ):
        command = option(command)
    return command


@click.command(cls=IndegreeCommand)
@_switch_options
def pause(run_id: str, workflow: str, queue: str, reason: str) -> int:
    """Pause a run, a workflow or a queue: what runs goes on, nothing more begins.

    \b
      indegree pause 20261125T1015 --reason "wrong bucket"
      indegree pause --workflow orders
      indegree pause --queue heavy
    """
    return _switch("pause", run_id, workflow, queue, reason)


@click.command(cls=IndegreeCommand)
@_switch_options
def resume(run_id: str, workflow: str, queue: str, reason: str) -> int:
    """End the pause of a run, a workflow or a queue."""
    return _switch("resume", run_id, workflow, queue, reason)


def _switch(word: str, run_id: str, workflow: str, queue: str, reason: str) -> int:
    now = session()
    named = [text for text in (run_id, workflow, queue) if text]
    if len(named) != 1:
        given = "none is given" if not named else f"{len(named)} are given: {', '.join(named)}"
        raise click.UsageError(f"name a run, or --workflow, or --queue: {given}")
    if run_id:
        check_beginning(run_id)
        if word == "pause":
            return now.run(_of_run(now, run_id, lambda run: run.pause(reason)))
        return now.run(_of_run(now, run_id, lambda run: run.resume(reason)))

    async def ask(client: AsyncClient) -> str:
        asked = client.pause if word == "pause" else client.resume
        return await asked(workflow=workflow, queue=queue, reason=reason)

    return now.run(_say(now, ask, {"workflow": workflow} if workflow else {"queue": queue}))


async def _say(now: Session, ask: Callable[[AsyncClient], Awaitable[str]], about: dict[str, Any]) -> int:
    async with now.client() as client:
        done = await ask(client)
        if now.out.json_lines:
            now.out.value({**about, "done": done})
        else:
            now.out.line(done)
    return Exit.SUCCESS


async def _of_run(
    now: Session,
    run_id: str,
    ask: Callable[[AsyncRun], Awaitable[str]],
    *,
    follow: bool = False,
    wait: bool = False,
    timeout: float | None = None,
) -> int:
    """Asks for something about one run, and prints what was done; then, if wanted, waits for the run's end."""
    from .watching import watch

    async with now.client() as client:
        run_id = now.run_id = await whole_run_id(now.settings, run_id)
        run = await client.run(run_id)
        position = run.position
        done = await ask(run)
        if not now.out.json_lines:
            now.out.line(f"{run_id}  {done}")
        if follow:
            definition = client.catalog.definition(run.version)
            return await watch(client, run, now.out, definition=definition, position=position, timeout=timeout)
        if wait:
            await run.wait(timeout)
            if not now.out.json_lines:
                now.out.line(f"{run_id} {run.state}")
        if now.out.json_lines:
            now.out.value({"run_id": run_id, "done": done, **({"state": run.state} if wait else {})})
        return BY_STATE[run.state] if wait else Exit.SUCCESS


@click.command(cls=IndegreeCommand)
@click.argument("run_id", metavar="RUN")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--failed", is_flag=True, help="All that failed, were cancelled, or were skipped because of that.")
@_reason
@click.option("--follow", "-f", is_flag=True, help="Watch it until it ends.")
@click.option("--wait", "-w", is_flag=True, help="Wait quietly until it ends.")
@click.option("--timeout", type=float, metavar="SECONDS", help="With --follow or --wait: exit 5 after this.")
def rerun(
    run_id: str, tasks: tuple[str, ...], failed: bool, reason: str, follow: bool, wait: bool, timeout: float | None
) -> int:
    """Run tasks of a run again, with all that depend on them; what else had succeeded stays as it is.

    \b
      indegree rerun 20261125T1015 --failed --follow
      indegree rerun 20261125T1015 load 'check[3]'
    """
    now = session()
    check_beginning(run_id)
    if failed == bool(tasks):
        raise click.UsageError("name the tasks, or give --failed" + (", not both" if failed else ""))
    with goes_on(now):
        ask: Callable[[AsyncRun], Awaitable[str]] = lambda run: run.rerun(list(tasks) or None, reason)  # noqa: E731
        return now.run(_of_run(now, run_id, ask, follow=follow, wait=wait, timeout=timeout))


@click.command(cls=IndegreeCommand)
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@click.option("-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A field of the payload; repeat it.")
@click.option("--json-payload", "text", metavar="JSON", help="The whole payload, any JSON value.")
def signal(run_id: str, name: str, pairs: tuple[str, ...], text: str | None) -> int:
    """Deliver a signal to the tasks of a run that wait for it, now or later.

    \b
      indegree signal 20261125T1015 approve -p approved=true -p amount=12.5
      indegree signal 20261125T1015 go --json-payload '[1, 2]'
    """
    now = session()
    check_beginning(run_id)
    if pairs and text is not None:
        raise click.UsageError("give the payload as -p NAME=VALUE or as --json-payload, not both")
    payload = fields_of(pairs) if text is None else json_of("--json-payload", text)
    return now.run(_of_run(now, run_id, lambda run: run.signal(name, payload)))


@click.command(cls=IndegreeCommand)
@click.argument("run_id", metavar="RUN")
@click.argument("task", metavar="TASK")
@_reason
def skip(run_id: str, task: str, reason: str) -> int:
    """End an open task as SKIPPED: what depends on it sees an edge that is not taken."""
    now = session()
    check_beginning(run_id)
    return now.run(_of_run(now, run_id, lambda run: run.skip(task, reason)))


@click.command(cls=IndegreeCommand)
@click.argument("run_id", metavar="RUN")
@click.argument("task", metavar="TASK")
@click.option("--output", "text", metavar="JSON", help="What the task gives to those that depend on it; else null.")
@_reason
def mark(run_id: str, task: str, text: str | None, reason: str) -> int:
    """Mark an open or failed task as SUCCESS, as if it had run: somebody has done its work by hand."""
    now = session()
    check_beginning(run_id)
    output = None if text is None else json_of("--output", text)
    return now.run(_of_run(now, run_id, lambda run: run.mark_success(task, output, reason)))


def fields_of(pairs: tuple[str, ...]) -> dict[str, Any] | None:
    """An object of `-p NAME=VALUE`: each value is JSON where it is JSON, else text. None without any."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p {pair!r} is not NAME=VALUE, such as -p approved=true")
        found[name] = Parameter(name).from_text(text)
    return found or None


def json_of(option: str, text: str) -> Any:
    """The value of an option that is JSON. Raises click.UsageError."""
    try:
        return json_values.loads(text)
    except ValueError as problem:
        raise click.UsageError(
            f"{option} {text[:80]!r} is not JSON: {problem}; text is written as '\"text\"'"
        ) from None
