"""`show` and `runs`: what the progress topic says about runs, as tables.

Why: finding one run among 100,000 must not mean reading 100,000 runs.

How: `show` seeks to the time in the run id, on the partition in the run id; where the progress topic has nothing (any
more), it replays the event log. `runs` reads backwards from the end of each
partition in growing stretches until it has seen enough runs; what has no news in that stretch is not listed.

It must never say more than its source: the source is named under each answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from indegree.events import kafka, run_ids
from indegree.events.durations import parse_duration
from indegree.events.topics import Topics
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_errors import RunNotFound
from indegree.sdk.client_events import ENDED, RunEvent, RunState, TaskView
from indegree.sdk.client_progress import decode, read_run, type_of
from indegree.sdk.client_reading import open_reader, stretches

from .coordination import ask_owner, owner_of, page_of, try_membership
from .exits import Exit
from .instances import count_all, shown
from .last_lines import last_lines
from .output import clock, moment, short, span
from .prefixes import check_beginning, whole_run_id
from .session import Session
from .stored import beginnings, brief, plain, read_all
from .telling import by_hand, told, waiting
from .unserved import unserved
from .watching import MOST_FAILED, event_json, tell_failed

_FIRST_STRETCH = 2_000  # records a partition; grows fourfold
_MOST_TASKS = 200  # rows of `show` for people; --json has all


async def show_run(now: Session, run_id: str, *, history: bool) -> int:
    """Prints one run. Raises RunNotFound, InvalidId, Unreachable."""
    check_beginning(run_id)
    events: list[RunEvent] = []
    async with now.client() as client:
        run_id = await whole_run_id(now.settings, run_id)
        if run_ids.partition_of_run(run_id) >= client.partitions:
            raise RunNotFound(f"run {run_id!r} names a partition that the cluster does not have ({client.partitions})")
        begun = time.monotonic()
        async for event in read_run(now.settings, client.topics.progress, run_id):
            events.append(event)
        took_ms = (time.monotonic() - begun) * 1000
        # never there, or deleted by retention in whole or in part: the event log has the last word
        if not events or events[0].position > 1:
            from .replay import replay_run

            return await replay_run(now, run_id, history=history)
        state = RunState(run_id)
        for event in events:
            state.apply(event)
        partition = run_ids.partition_of_run(run_id)
        membership = await try_membership(now.settings)
        owner = owner_of(membership, partition)
        _complete(client, state)
        source = f"{client.topics.progress}, partition {partition}, read in {took_ms:.0f} ms"
        waits = await _waits(now, client, state)
        page = "" if state.ended else page_of(membership, partition)
        if (live := await ask_owner(page, run_id)) is not None:
            _as_the_owner_says(state, live)
            source = f"the owner's page http://{page}/runs/{run_id}; outputs and errors: {source}"
        if now.out.json_lines:
            for problem in await read_all(client, state.tasks.values()):
                now.out.note(f"the output of {problem}")
            _show_json(now, state, events if history else [], owner, source, waits)
        else:
            failed = [task.id for task in state.tasks.values() if task.state == "FAILED"][:MOST_FAILED]
            definition = client.catalog.definition(state.version) if state.version else None
            printed = await last_lines(now.settings, run_id, definition, failed, state.ends + (not state.ended))
            stored = await beginnings(client, list(state.tasks.values())[:_MOST_TASKS], 50)
            _show_text(now, state, events if history else [], owner, source, waits, printed, stored)
    return Exit.SUCCESS


def _complete(client: AsyncClient, state: RunState) -> None:
    """Adds the tasks of which nothing was heard yet, in the order of the definition."""
    definition = client.catalog.definition(state.version) if state.version else None
    if definition is None:
        return
    graph = definition.graph
    ordered = {graph.ids[place]: TaskView(graph.ids[place]) for place in graph.order}
    ordered.update({name: state.tasks[name] for name in ordered if name in state.tasks})
    state.tasks = {**ordered, **state.tasks}


def _as_the_owner_says(state: RunState, live: dict[str, Any]) -> None:
    """The owner knows of now what the topic will say in a moment."""
    state.state = str(live.get("state", state.state))
    for name, said in live["tasks"].items():
        task = state.tasks.setdefault(name, TaskView(name))
        task.state = str(said.get("state", task.state))
        task.attempts = max(task.attempts, int(said.get("attempt", 0)))
        task.worker = str(said.get("worker", task.worker))


async def _waits(now: Session, client: AsyncClient, state: RunState) -> list[str]:
    """Why tasks that are ready do not run, as far as it can be known."""
    definition = client.catalog.definition(state.version) if state.version and not state.finished_ms else None
    if definition is None:
        return []
    ready = [task.id for task in state.tasks.values() if task.state == "QUEUED"]
    return await unserved(now.settings, definition, ready)


def _show_json(
    now: Session, state: RunState, events: list[RunEvent], owner: str, source: str, waits: list[str]
) -> None:
    out: dict[str, Any] = {
        "run_id": state.run_id,
        "workflow": state.workflow,
        "version": state.version,
        "state": "REFUSED" if state.refused is not None else state.state,
        "reason": state.reason,
        "actor": state.actor,
        "position": state.position,
        "started_ms": state.started_ms,
        "finished_ms": state.finished_ms,
        "owner": owner,
        "epoch": state.epoch,
        "source": source,
        "tasks": [_task_json(task) for task in state.tasks.values()],
    }
    if waits:
        out["waits"] = waits
    if events:
        out["history"] = [event_json(event) for event in events]
    now.out.value(out)


def _task_json(task: TaskView) -> dict[str, Any]:
    out: dict[str, Any] = {"id": task.id, "state": task.state, "attempts": task.attempts}
    for name in (
        "reason",
        "worker",
        "queued_ms",
        "started_ms",
        "finished_ms",
        "due_ms",
        "waits_for",
        "instances",
        "actor",
    ):
        if value := getattr(task, name):
            out[name] = value
    if task.output is not None:
        out["output"] = plain(task.output)
    if task.error is not None:
        out["error"] = {"type": task.error.type, "message": task.error.message, "traceback": task.error.traceback}
    return out


def _show_text(
    now: Session,
    state: RunState,
    events: list[RunEvent],
    owner: str,
    source: str,
    waits: list[str],
    printed: Mapping[str, str],
    stored: Mapping[str, str],
) -> None:
    out = now.out
    refused = state.refused is not None
    out.line(f"{state.workflow}  {state.run_id}  {'REFUSED' if refused else state.state}", "bold")
    if why := ", ".join(filter(None, (state.reason, by_hand(state)))):
        out.line(f"reason    {why}")
    if state.version:
        out.line(f"version   {state.version[:12]}")
    if state.started_ms:
        end_ms = state.finished_ms or int(time.time() * 1000)
        word = "took" if state.finished_ms else "runs for"
        out.line(f"started   {moment(state.started_ms)}, {word} {span(end_ms - state.started_ms)}")
    partition = run_ids.partition_of_run(state.run_id)
    out.line(f"partition {partition}" + (f", owned by {owner}" if owner else "") + f", epoch {state.epoch}")
    if state.tasks:
        out.line()
        maps = count_all(state.tasks)
        tasks = [state.tasks[name] for name in shown(state.tasks, maps)]
        out.table(
            ["task", "state", "took", "attempts", "output or reason", "started", "worker"],
            [
                [
                    task.id,
                    task.state,
                    span(task.finished_ms - task.started_ms) if task.started_ms and task.finished_ms else "",
                    task.attempts or "",
                    maps[task.id].words()
                    if task.id in maps and maps[task.id].folded
                    else stored.get(task.id) or _outcome(task),
                    clock(task.started_ms),
                    task.worker,
                ]
                for task in tasks[:_MOST_TASKS]
            ],
            whole=("task", "state"),
            text=("output or reason",),
        )
        if len(tasks) > _MOST_TASKS:
            out.line(f"... and {len(tasks) - _MOST_TASKS} more tasks (`--json` has all)", "dim")
    for task in [task for task in state.tasks.values() if task.state == "FAILED"][:MOST_FAILED]:
        out.line()
        tell_failed(out, task, printed.get(task.id, ""))
    for text in waits:
        out.line()
        out.line(text, "yellow")
    if events:
        out.line()
        for line in told(events):
            out.line(line)
    out.note(f"source: {source}")


def _outcome(task: TaskView) -> str:
    if task.error is not None and task.state in ("FAILED", "RETRYING", "QUEUED"):
        return short(str(task.error), 70)
    if task.state == "WAITING":
        return waiting(task)
    said = brief(task.output, 70) if task.output is not None else task.reason
    return ", ".join(filter(None, (said, by_hand(task))))


@dataclass(slots=True)
class _Found:
    """A run as the newest of its records shows it. `value` is decoded only for what is listed or asked about."""

    run_id: str
    kind: str  # type of the newest run.* record, empty where only task records were met
    value: bytes
    at_ms: int
    _event: RunEvent | None = None

    @property
    def state(self) -> str:
        state = self.kind.removeprefix("run.").upper()
        return {"ACCEPTED": "PENDING", "": "RUNNING"}.get(state, state)

    @property
    def event(self) -> RunEvent:
        if self._event is None:
            self._event = decode(self.value)
        return self._event

    @property
    def started_ms(self) -> int:
        """The time in its id; of a refused start with a bad id, when it was refused."""
        return run_ids.time_of_run(self.run_id) if run_ids.is_run_id(self.run_id) else self.at_ms

    @property
    def finished_ms(self) -> int:
        return self.event.time_ms if self.state in ENDED else 0


async def list_runs(now: Session, *, workflow: str, state: str, limit: int, since: str) -> int:
    """Prints the runs with the newest records."""
    since_ms = int(time.time() * 1000) - parse_duration(since) if since else None
    found = await _recent(now, workflow, state, limit, since_ms)
    rows = sorted(found, key=lambda run: (run.started_ms, run.run_id), reverse=True)[:limit]
    if now.out.json_lines:
        for run in rows:
            now.out.value(
                {
                    "run_id": run.run_id,
                    "workflow": run.event.workflow,
                    "state": run.state,
                    "reason": run.event.reason if run.kind else "",
                    "actor": run.event.actor,
                    "started_ms": run.started_ms,
                    "finished_ms": run.finished_ms,
                }
            )
    elif not rows:
        now.out.note("no runs found" + (f" with news in the last {since}" if since else ""))
    else:
        now.out.table(
            ["run", "state", "workflow", "took", "reason", "started"],
            [
                [
                    short(run.run_id, 100) or "(no id)",
                    run.state,
                    run.event.workflow,
                    span(run.finished_ms - run.started_ms) if run.finished_ms else "",
                    _why(run),
                    moment(run.started_ms),
                ]
                for run in rows
            ],
            whole=("run", "state", "workflow"),
            text=("reason",),
        )
    return Exit.SUCCESS


def _why(run: _Found) -> str:
    who = f"by {run.event.actor}" if run.event.actor and run.state in ("PAUSED", "CANCELLED") else ""
    return ", ".join(filter(None, (short(run.event.reason, 60), who))) if run.kind else ""


async def _recent(now: Session, workflow: str, state: str, limit: int, since_ms: int | None) -> list[_Found]:
    topic = Topics(now.settings.cluster).progress
    reader, count = await open_reader(now.settings, topic, max_poll_records=10_000)
    try:
        parts = await stretches(reader, topic, range(count), time_ms=since_ms)
        upper = {part.partition: part.end for part in parts}
        lower = {part.partition: part.begin if since_ms is not None else part.first for part in parts}
        found: dict[bytes, _Found] = {}
        size = _FIRST_STRETCH
        while any(upper[number] > lower[number] for number in upper):
            begin = {number: max(lower[number], upper[number] - size) for number in upper}
            await _read_back(reader, topic, begin, upper, found)
            upper, size = begin, size * 4
            if since_ms is None and sum(_fits(run, workflow, state) for run in found.values()) >= limit:
                break
        return [run for run in found.values() if _fits(run, workflow, state)]
    finally:
        await reader.stop()


async def _read_back(
    reader: Any, topic: str, begin: dict[int, int], end: dict[int, int], found: dict[bytes, _Found]
) -> None:
    """Adds what lies in one stretch; of a run that was met later in the topic, only what is missing."""
    earlier: dict[bytes, _Found] = {}
    tps = {TopicPartition(topic, number): offset for number, offset in begin.items() if offset < end[number]}
    await kafka.assign(reader, tps)
    async for _, records in kafka.read_range(reader, {tp: end[tp.partition] for tp in tps}):
        for record in records:
            if record.value is None or record.key is None:
                continue
            kind = type_of(record)
            whole = kind.startswith("run.")
            known = earlier.get(record.key)
            if known is None:
                run_id = record.key.decode("utf-8", "replace")
                listed = run_ids.is_run_id(run_id) or kind == "run.refused"
                if listed and (whole or kind.startswith("task.")):
                    earlier[record.key] = _Found(run_id, kind if whole else "", record.value, record.timestamp)
            elif whole and not (known.kind and kind in ("run.refused", "run.accepted")):
                known.kind, known.value, known.at_ms = kind, record.value, record.timestamp
    for key, run in earlier.items():
        later = found.setdefault(key, run)
        if not later.kind:  # only tasks were met later: the run was under way
            later.kind, later.value = (run.kind, run.value) if run.kind else ("", later.value)


def _fits(run: _Found, workflow: str, state: str) -> bool:
    return (not state or run.state == state) and (not workflow or run.event.workflow == workflow)
