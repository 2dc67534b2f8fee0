"""Cron triggers: the times of a workflow's schedules become runs, each time exactly one.

Why: a nightly run must happen once, whoever owns the partition that night, and what was missed while no engine was
there is made up for, or left out, as its workflow says.

How: the schedules of a workflow live on the partition of its name, where its versions are activated. Activation sets
each cron trigger's next time (SCHEDULE_SET), and so does each time that has been dealt with; a timer waits for it. A
time's run id is made of the workflow, the trigger's place and the time, so the same time is the same run, whether the
schedule or a backfill starts it, and however often the log ends in between. One time in each step: what is left stays
due. The next time is written behind the start, so a log that ends between the two begins with the same time again.

A time that comes more than `LATE_MS` late was missed: `catch_up` says whether it, the newest one alone, or all of them
are run. While a workflow is paused its schedules rest, and what falls into the pause was missed as well.

It must never be asked by a replay: what happened stands in the events (timetable.py).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.plan import Plan
from indegree.engine.records import Builder
from indegree.engine.starts import decide_start, record
from indegree.engine.state import Run
from indegree.engine.switches import is_workflow_paused
from indegree.engine.timetable import Schedule
from indegree.events import cron
from indegree.events.definition_model import CronTrigger
from indegree.events.run_ids import make_run_id, schedule_digits
from indegree.events.trace import root_of
from indegree.v1.trigger_pb2 import Origin, Parent, Start

LATE_MS: Final = 60_000
"""A time that is dealt with later than this was missed: more than a takeover takes, no more than the shortest schedule
has between two times."""
MOST_COUNTED: Final = 10_000
"""How many missed times are counted for SCHEDULE_SKIPPED; a schedule of each minute that rested for years has more."""


def record_cron(draft: Draft, plan: Plan) -> None:
    """Before the first event of whatever makes this version active: one with cron triggers goes to the log, which may
    take several frames."""
    if any(isinstance(trigger, CronTrigger) for trigger in plan.definition.triggers):
        record(draft, plan)


def activated(draft: Draft, plan: Plan) -> None:
    """A version was made the active one: sets its schedules.

    One that the version before had keeps its time; those that are gone end.
    """
    schedules = draft.state.schedules
    before: dict[int, Schedule] = {place: found for (of, place), found in schedules.items() if of == plan.workflow}
    kept = {(found.trigger.schedule, found.trigger.timezone): found for found in before.values()}
    for place, trigger in enumerate(plan.definition.triggers):
        if not isinstance(trigger, CronTrigger):
            continue
        was = before.pop(place, None)
        like = (trigger.schedule, trigger.timezone)
        if was is not None and was.plan is plan:
            continue
        if was is None or (was.trigger.schedule, was.trigger.timezone) != like:
            was = kept.get(like)
        if was is not None:
            due_ms = was.due_ms
        else:
            due_ms = cron.schedule_of(*like).after(draft.state.time_ms) or 0
        _set(draft, plan, place, due_ms, was.previous_ms if was is not None else 0)
    for place in before:
        _set(draft, plan, place, 0, 0)


def due(draft: Draft, builder: Builder, owner: Schedule) -> Run | None:
    """The time of a schedule has come, or passed: one time is dealt with, and the next one set."""
    plan, now, at = owner.plan, draft.state.time_ms, owner.due_ms
    if is_workflow_paused(draft.state, plan.workflow):
        return None
    record(draft, plan)
    times, catch_up = owner.times, owner.trigger.catch_up
    if now - at > LATE_MS and catch_up != "all":
        newest = max(at, times.before(now - LATE_MS) or at)
        left_out = newest if catch_up == "none" else times.before(newest) or 0
        if left_out >= at:
            total = sum(1 for _ in islice(times.between(at, left_out + 1), MOST_COUNTED))
            draft.emit(
                Kind.SCHEDULE_SKIPPED, None, workflow=plan.workflow, part=owner.place, due_ms=left_out, total=total
            )
        at = newest
        if catch_up == "none":
            _set(draft, plan, owner.place, times.after(at) or 0, at)
            return None
    if not is_known(draft, plan.workflow, owner.place, at):
        start(draft, builder, plan, owner.place, at, kind="cron")
    _set(draft, plan, owner.place, times.after(at) or 0, at)
    return None


def start(
    draft: Draft,
    builder: Builder,
    plan: Plan,
    place: int,
    at_ms: int,
    *,
    kind: str,
    actor: str = "",
    parent: Parent | None = None,
) -> str:
    """Starts the run of one time of a cron trigger, or hands it on to where it lives. `kind`: cron or backfill.

    Returns why it was refused here; empty where it was not.
    """
    trigger = plan.definition.triggers[place]
    assert isinstance(trigger, CronTrigger), "a schedule is set for a cron trigger"
    origin = Origin(
        kind=kind,
        partition=draft.number,
        offset=place,
        timestamp_ms=at_ms,
        scheduled_ms=at_ms,
        previous_scheduled_ms=cron.schedule_of(trigger.schedule, trigger.timezone).before(at_ms) or 0,
        timezone=trigger.timezone,
        traceparent=root_of(f"{kind}\0{plan.workflow}\0{place}", draft.number, at_ms),
    )
    asked = Start(workflow=plan.workflow, version=plan.version, actor=actor, parent=parent)
    return decide_start(draft, builder, asked, origin, plan.definition)


def is_known(draft: Draft, workflow: str, place: int, at_ms: int) -> bool:
    """Whether a run of this time is live here, or ended within the history. One that lives elsewhere is not known."""
    state = draft.state
    run_id = make_run_id(at_ms, schedule_digits(workflow, place, at_ms), draft.number)
    return run_id in state.runs or state.windows.ended_run(run_id, state.time_ms) is not None


def _set(draft: Draft, plan: Plan, place: int, due_ms: int, previous_ms: int) -> None:
    draft.emit(
        Kind.SCHEDULE_SET,
        None,
        workflow=plan.workflow,
        version=plan.version,
        part=place,
        due_ms=due_ms,
        started_ms=previous_ms,
    )


DUE: Final[dict[type, Callable[[Draft, Builder, Any], Run | None]]] = {Schedule: due}
