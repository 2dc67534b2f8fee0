"""Commands about runs: trigger, follow, show, runs, cancel.

Why: what a person does all day.

How: each opens a client, does one thing, and ends with the exit code that INTERFACES section 6 gives it. Past runs are
read from the progress topic by seeking; nothing scans a whole topic.

It must never print anything but results on stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from indegree.sdk.client_errors import InvalidStart
from indegree.sdk.client_run import AsyncRun

from .exits import BY_STATE, Exit
from .prefixes import check_beginning, whole_run_id
from .session import IndegreeCommand, Session, session

_ACCEPTED_S = 30.0
_TELL_AFTER_S = 2.0  # without an answer, before it is said; then after twice as long each time
_TELL_EVERY_S = 15.0


def _start_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; repeat it."),
            click.option("--params", "source", metavar="FILE", help="All parameters as JSON; - is stdin."),
            click.option("--idempotency-key", "key", metavar="KEY", help="The same key again is the same run."),
            click.option("--version", "version", default="", metavar="HASH", help="Run this version."),
            click.option("--label", default="", help="Run the version with this label."),
            click.option("--at", metavar="TIME", help="Begin then, not now: 2026-11-25T06:30:00+01:00."),
            click.option("--delay", metavar="DURATION", help="Begin after 90s, 10m, 2h."),
        ]
    ):
        command = option(command)
    return command


@click.command(cls=IndegreeCommand)
@click.argument("workflow")
@_start_options
@click.option("--follow", "-f", is_flag=True, help="Watch it until it ends.")
@click.option("--wait", "-w", is_flag=True, help="Wait quietly until it ends.")
@click.option("--timeout", type=float, metavar="SECONDS", help="With --follow or --wait: exit 5 after this.")
def trigger(
    workflow: str,
    pairs: tuple[str, ...],
    source: str | None,
    key: str | None,
    version: str,
    label: str,
    at: str | None,
    delay: str | None,
    follow: bool,
    wait: bool,
    timeout: float | None,
) -> int:
    """Start a run of a deployed workflow, and print its id.

    \b
      indegree trigger orders -p region=eu --follow
      indegree trigger orders --params batch.json --idempotency-key batch-7
      indegree trigger nightly --at 2026-11-26T02:00:00+01:00
    """
    from .times import later

    now = session()
    begins = later(at, delay, int(time.time() * 1000))
    with goes_on(now):
        return now.run(_trigger(now, workflow, pairs, source, key, version, label, begins, follow, wait, timeout))


async def _trigger(
    now: Session,
    workflow: str,
    pairs: tuple[str, ...],
    source: str | None,
    key: str | None,
    version: str,
    label: str,
    begins: datetime | None,
    follow: bool,
    wait: bool,
    timeout: float | None,
) -> int:
    from .params import read_params
    from .watching import watch

    async with now.client() as client:
        wanted = client.catalog.resolve(workflow, version, label)
        definition = client.catalog.definition(wanted) if wanted else None
        params = read_params(pairs, source, definition)
        run = await client.start(workflow, params, idempotency_key=key, version=version, label=label, not_before=begins)
        now.run_id = run.run_id  # ours at once; with an idempotency key the engine says which run it is
        people = not now.out.json_lines
        if people and run.run_id:
            now.out.line(run.run_id)
        begun = time.monotonic()
        await _accepted(now, run, workflow, timeout if timeout is not None else _ACCEPTED_S)
        if people and not now.run_id:
            now.out.line(run.run_id)
        now.run_id = run.run_id
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - begun))
        if follow:
            return await watch(client, run, now.out, definition=client.catalog.definition(run.version), timeout=left)
        if wait:
            await run.wait(left)
        if not people:
            now.out.value({"run_id": run.run_id, "workflow": run.workflow, "version": run.version, "state": run.state})
        return BY_STATE[run.state] if wait else Exit.SUCCESS


async def _accepted(now: Session, run: AsyncRun, workflow: str, within_s: float) -> None:
    """Waits until an engine has taken the start, and says on stderr that it waits. Raises Refused, TimeoutError."""
    begun = time.monotonic()
    telling = asyncio.create_task(_tell_waiting(now, begun))
    try:
        await run.accepted(within_s)
    except TimeoutError:
        raise TimeoutError(
            f"the start of {workflow!r}{' as ' + run.run_id if run.run_id else ''} lies on Kafka, but no engine has "
            f"taken it within {within_s:g} s; it runs as soon as one is there (`indegree engine`, `indegree doctor`)"
        ) from None
    finally:
        telling.cancel()


async def _tell_waiting(now: Session, begun: float) -> None:
    pause_s = _TELL_AFTER_S
    while True:
        await asyncio.sleep(pause_s)
        now.out.note(f"no engine has taken it yet ({time.monotonic() - begun:.0f} s)")
        pause_s = min(2 * pause_s, _TELL_EVERY_S)


@contextlib.contextmanager
def goes_on(now: Session) -> Iterator[None]:
    """Ctrl-C while somebody looks on: says that only the looking has ended, and how to look again."""
    try:
        yield
    except KeyboardInterrupt:
        if now.run_id:
            now.out.note(f"stopped looking; run {now.run_id} goes on: `indegree follow {now.run_id}` looks again")
        else:
            now.out.note("stopped looking; what was started goes on: `indegree runs` lists it")
        raise


@click.command(cls=IndegreeCommand)
@click.argument("run_id", required=False, metavar="[RUN]")
@click.option("--all", "everything", is_flag=True, help="All runs of the cluster, from now on.")
@click.option(
    "--from", "position", type=int, default=0, metavar="POSITION", help="Only what comes after this position."
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Exit 5 after this.")
def follow(run_id: str | None, everything: bool, position: int, timeout: float | None) -> int:
    """Watch a run until it ends, from its beginning; or all runs.

    On a terminal it is a live picture, elsewhere a line an event. Ctrl-C stops looking, not the run.
    """
    now = session()
    if everything == (run_id is not None):
        raise click.UsageError("name a run, or give --all")
    if run_id is None:
        return now.run(_follow_all(now, timeout))
    check_beginning(run_id)
    with goes_on(now):
        return now.run(_follow(now, run_id, position, timeout))


async def _follow(now: Session, run_id: str, position: int, timeout: float | None) -> int:
    from .watching import watch

    async with now.client() as client:
        run_id = now.run_id = await whole_run_id(now.settings, run_id)
        run = await client.run(run_id)
        definition = client.catalog.definition(run.version)
        return await watch(client, run, now.out, definition=definition, position=position, timeout=timeout)


async def _follow_all(now: Session, timeout: float | None) -> int:
    from .telling import Teller
    from .watching import event_json

    teller = Teller()

    async with now.client() as client:
        try:
            async with asyncio.timeout(timeout):
                async for event in client.follow_all():
                    if now.out.json_lines:
                        now.out.value(event_json(event))
                        continue
                    for line in teller.lines(event):
                        now.out.line(f"{event.run_id or '-':<38}  {line}")
        except TimeoutError:
            raise TimeoutError(f"stopped following after {timeout or 0:g} s; the runs go on") from None
    return Exit.SUCCESS


@click.command(cls=IndegreeCommand)
@click.argument("run_id", metavar="RUN")
@click.option("--reason", default="", help="Kept with the run.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it has ended.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS", help="Exit 5 after this.")
def cancel(run_id: str, reason: str, no_wait: bool, timeout: float) -> int:
    """End a run: nothing more is started, what runs is stopped. Waits until it has ended."""
    now = session()
    check_beginning(run_id)
    return now.run(_cancel(now, run_id, reason, wait=not no_wait, timeout=timeout))


async def _cancel(now: Session, run_id: str, reason: str, *, wait: bool, timeout: float) -> int:
    async with now.client() as client:
        run_id = await whole_run_id(now.settings, run_id)
        run = await client.run(run_id)
        if run.state in BY_STATE:
            raise InvalidStart(f"run {run_id} has already ended: {run.state}")
        await client.cancel_run(run_id, reason)
        if wait:
            await run.wait(timeout)
        if now.out.json_lines:
            now.out.value({"run_id": run_id, "state": run.state})
        else:
            now.out.line(f"{run_id} {run.state if wait else 'is asked to end'}")
        if wait and run.state != "CANCELLED":
            now.out.note(f"it ended as {run.state} before the request reached it")
        return Exit.SUCCESS


@click.command(cls=IndegreeCommand)
@click.argument("run_id", metavar="RUN")
@click.option("--history", is_flag=True, help="Every transition, with its time.")
def show(run_id: str, history: bool) -> int:
    """One run: its state, its tasks with outputs and errors, and how it came to be so."""
    from .showing import show_run

    now = session()
    return now.run(show_run(now, run_id, history=history))


@click.command(cls=IndegreeCommand)
@click.option("--workflow", default="", help="Only of this workflow.")
@click.option(
    "--state",
    default="",
    help="Only in this state.",
    type=click.Choice(["", *BY_STATE, "PENDING", "RUNNING", "PAUSED", "REFUSED"]),
    metavar="STATE",
)
@click.option("--limit", type=int, default=20, show_default=True, help="At most so many.")
@click.option("--since", default="", metavar="DURATION", help="Only those with news in the last 10m, 2h, 1d.")
def runs(workflow: str, state: str, limit: int, since: str) -> int:
    """The latest runs, newest first."""
    from .showing import list_runs

    now = session()
    return now.run(list_runs(now, workflow=workflow, state=state, limit=limit, since=since))
