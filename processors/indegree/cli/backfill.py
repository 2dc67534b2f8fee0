"""`indegree backfill`: the runs of a cron trigger for times that have passed.

Why: a workflow is new, or was broken for a week, and the times in between are to be run.

How: the command goes to the partition of the workflow's name, whose owner goes through the times. `--wait` looks at
that partition's event log, where each step of the backfill stands, and at the ends of its runs on the progress topic:
their ids are made from the workflow, the trigger and the time.

It must never start a run by itself: which time has a run already is for the engine to say.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import click

from indegree.events import run_ids
from indegree.events.frames import Verdict
from indegree.events.moments import moment_ms
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_commands import backfill_of
from indegree.v1.event_pb2 import Event

from .eventlog import read_log
from .exits import Exit
from .output import short
from .session import IndegreeCommand, Session, session
from .times import to_datetime

_POLL_S = 0.5
_SLACK_MS = 60_000  # clocks differ


@click.command(cls=IndegreeCommand)
@click.argument("name")
@click.option("--start", metavar="TIME", help="The first time, such as 2026-11-01T00:00:00+01:00.")
@click.option("--end", metavar="TIME", help="The end of the range; it is left out itself.")
@click.option("--concurrency", type=int, default=1, show_default=True, metavar="N", help="So many runs at a time.")
@click.option("--trigger", type=int, default=0, metavar="N", help="Which of the workflow's triggers, from 0.")
@click.option("--cancel", is_flag=True, help="End the backfills of this workflow instead: nothing more is started.")
@click.option("--wait", "-w", is_flag=True, help="Wait until all its runs have ended; exit 1 if one of them failed.")
@click.option("--timeout", type=float, metavar="SECONDS", help="With --wait: exit 5 after this.")
def backfill(
    name: str,
    start: str | None,
    end: str | None,
    concurrency: int,
    trigger: int,
    cancel: bool,
    wait: bool,
    timeout: float | None,
) -> int:
    """Run a workflow for the times of its cron trigger in a range, where they have no run yet.

    \b
      indegree backfill nightly --start 2026-11-01T00:00Z --end 2026-11-08T00:00Z --concurrency 2 --wait
      indegree backfill nightly --cancel
    """
    now = session()
    if cancel:
        if start or end or wait:
            raise click.UsageError("--cancel ends the backfills of the workflow: it takes no range and does not wait")
        return now.run(_cancel(now, name))
    if not start or not end:
        raise click.UsageError("a backfill needs --start and --end, such as --start 2026-11-01T00:00:00+01:00")
    begin_ms, end_ms = moment_ms(start), moment_ms(end)
    backfill_of(name, to_datetime(begin_ms), to_datetime(end_ms), concurrency, trigger)  # says at once what is wrong
    return now.run(_backfill(now, name, (begin_ms, end_ms), concurrency, trigger, wait=wait, timeout=timeout))


async def _cancel(now: Session, name: str) -> int:
    async with now.client() as client:
        done = await client.cancel_backfills(name)
        _say(now, name, done)
    return Exit.SUCCESS


def _say(now: Session, name: str, done: str, **more: Any) -> None:
    if now.out.json_lines:
        now.out.value({"workflow": name, "done": done, **more})
    else:
        now.out.line(done)


async def _backfill(
    now: Session,
    name: str,
    between_ms: tuple[int, int],
    concurrency: int,
    trigger: int,
    *,
    wait: bool,
    timeout: float | None,
) -> int:
    async with now.client() as client:
        ends = _Ends(client, name)
        looking = asyncio.ensure_future(ends.look()) if wait else None
        try:
            if wait:
                await asyncio.sleep(0)  # the feed watches before the first run can begin
            begun_ms = int(time.time() * 1000)
            first, last = map(to_datetime, between_ms)
            done = await client.backfill(name, first, last, concurrency, trigger=trigger)
            number = re.match(r"backfill (\d+) ", done)
            if not wait or number is None:
                _say(now, name, done)
                return Exit.SUCCESS
            if not now.out.json_lines:
                now.out.line(done)
            try:
                async with asyncio.timeout(timeout):
                    steps = await _until_ended(now, client, name, int(number[1]), begun_ms)
                    bad = await ends.of(steps)
            except TimeoutError:
                raise TimeoutError(
                    f"{done.split(' goes ')[0]} has not ended within {timeout or 0:g} s and goes on: "
                    f"`indegree runs --workflow {name}`, or `indegree backfill {name} --cancel`"
                ) from None
            summary = {"started": len(steps.started), "known": steps.known, "refused": len(steps.refused)}
            if now.out.json_lines:
                now.out.value({"workflow": name, "done": done, **summary, "state": steps.state, "failed": sorted(bad)})
            else:
                words = f"{steps.state}: {len(steps.started)} runs were started, {steps.known} times had one"
                now.out.line(words + (f", {len(steps.refused)} were refused" if steps.refused else ""))
                for reason in list(dict.fromkeys(steps.refused.values()))[:5]:
                    now.out.line(f"refused: {short(reason, 160)}", "red")
                for run_id in sorted(bad)[:20]:
                    now.out.line(f"{run_id} {bad[run_id]}", "red")
            if steps.state == "cancelled":
                return Exit.CANCELLED
            return Exit.RUN_FAILED if bad or steps.refused else Exit.SUCCESS
        finally:
            if looking is not None:
                looking.cancel()


class _Steps:
    """What the event log says of one backfill. Times in milliseconds since the epoch."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.place = 0  # of its trigger
        self.started: dict[int, None] = {}
        self.refused: dict[int, str] = {}
        self.known = 0
        self.state = ""  # ended or cancelled, once it is

    def take(self, event: Event) -> None:
        if event.kind == Event.BACKFILL_CHANGED and event.number == self.number:
            if event.state == "begun":
                self.place = event.part
            else:
                self.state = event.state
        elif event.kind == Event.BACKFILL_STEP and event.number == self.number:
            if event.state == "started":
                self.started[event.due_ms] = None
            elif event.state == "known":
                self.known += 1
            elif event.reason:
                self.refused[event.due_ms] = event.reason
                self.started.pop(event.due_ms, None)


async def _until_ended(now: Session, client: AsyncClient, name: str, number: int, begun_ms: int) -> _Steps:
    partition = run_ids.partition_of_key("workflow", name, "", client.partitions)
    while True:
        steps = _Steps(number)
        async for read in read_log(now.settings, partition, time_ms=max(0, begun_ms - _SLACK_MS)):
            if read.verdict is Verdict.IN_FORCE:
                for event in read.frame.events:
                    steps.take(event)
        if steps.state:
            return steps
        await asyncio.sleep(_POLL_S)


class _Ends:
    """The ends of the runs of one workflow, as the progress topic tells them from now on."""

    def __init__(self, client: AsyncClient, workflow: str) -> None:
        self._client, self._workflow = client, workflow
        self._ends: dict[str, str] = {}
        self._news = asyncio.Event()

    async def look(self) -> None:
        async for event in self._client.follow_all():
            if event.workflow == self._workflow and event.ends_run and event.run_id:
                self._ends[event.run_id] = event.state or "REFUSED"
                self._news.set()

    async def of(self, steps: _Steps) -> dict[str, str]:
        """The runs of these steps that did not succeed, once all have ended; of a cancelled backfill those so far."""
        wanted = {(at, run_ids.schedule_digits(self._workflow, steps.place, at)): at for at in steps.started}
        while True:
            self._news.clear()
            found = {
                run_id: state
                for run_id, state in self._ends.items()
                if (run_ids.time_of_run(run_id), run_id.split("-")[1]) in wanted
            }
            if len(found) >= len(wanted) or steps.state == "cancelled":
                return {run_id: state for run_id, state in found.items() if state != "SUCCESS"}
            await self._news.wait()
