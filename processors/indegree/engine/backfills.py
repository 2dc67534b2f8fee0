"""Backfills: the runs of a cron trigger for times that have passed, a few at a time.

Why: a workflow that is new, or was broken for a week, is run for the times in between, without flooding the workers and
without a second run of a time that has one.

How: a backfill lives on the partition of the workflow's name, like the schedules, and goes through the times of its
range in order. Each step deals with one time: there is a run of it already ("known"), or it is started; at most
`concurrency` of its runs are under way. A started run has the backfill as its parent, so that its end is heard of,
from another partition by a message. A timer that is due at once stands for "there may be more to do", so the work is
bounded per frame, goes on where the log ends, and rests while the workflow is paused.

It keeps the version that was active when it began. Times that are still to come are left to the schedule.

It must never start a time twice: `next_ms` only rises, and a time's run id is made as the schedule makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from indegree.engine import schedules
from indegree.engine.answers import accept, refuse
from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.messages import forward
from indegree.engine.plan import Plan
from indegree.engine.records import Builder
from indegree.engine.starts import record, unknown
from indegree.engine.state import Run
from indegree.engine.switches import is_workflow_paused
from indegree.engine.timetable import Backfilling, Schedule
from indegree.events.codec import rfc3339
from indegree.events.run_ids import InvalidId, is_id, partition_of_key, time_of_run
from indegree.v1.trigger_pb2 import Backfill, ChildEnded, Command, Origin, Parent, PartitionMessage

if TYPE_CHECKING:
    from indegree.events.definition import Definition

MOST_TIMES: Final = 100_000
"""Of one backfill: as many as a mapped task may have instances."""
MOST_AT_A_TIME: Final = 10_000
"""Runs of one backfill: their times stand in one event of a snapshot."""
MOST_OF_A_WORKFLOW: Final = 20
"""Backfills of one workflow under way."""


def decide_backfill(
    draft: Draft, builder: Builder, command: Command, _origin: Origin, _definition: Definition | None
) -> Run | None:
    """Begins a backfill, or ends those of a workflow."""
    asked = command.backfill
    if not is_id(asked.workflow):
        refuse(draft, command, "", f"{asked.workflow!r:.120} is no name of a workflow")
        return None
    home = partition_of_key("workflow", asked.workflow, "", draft.partitions)
    if home != draft.number:
        forward(draft, home, PartitionMessage(command=command))
        return None
    if asked.cancel:
        _cancel(draft, command, asked.workflow)
        return None
    found = _found(draft, asked)
    if isinstance(found, str):
        refuse(draft, command, "", found)
        return None
    plan, place, total = found
    record(draft, plan)
    number = draft.state.backfill_number + 1
    draft.emit(
        Kind.BACKFILL_CHANGED,
        None,
        number=number,
        workflow=plan.workflow,
        version=plan.version,
        part=place,
        started_ms=asked.start_ms,
        finished_ms=_end_of(draft, asked),
        total=asked.concurrency or 1,
        actor=command.actor,
        request_id=command.request_id,
        state="begun",
    )
    at_a_time = f"{asked.concurrency or 1} at a time"
    accept(draft, command, "", f"backfill {number} goes through {total} times, {at_a_time}", workflow=plan.workflow)
    return None


def _found(draft: Draft, asked: Backfill) -> tuple[Plan, int, int] | str:
    """The version, the trigger's place and the number of times; or why it is refused."""
    state, workflow = draft.state, asked.workflow
    if workflow not in state.windows.active:
        return unknown(workflow, "", "")
    own: dict[int, Schedule] = {
        place: found for (of, place), found in sorted(state.schedules.items()) if of == workflow
    }
    if not own:
        return f"the active version of workflow {workflow!r} has no cron trigger: without a schedule there are no times"
    chosen = own.get(asked.trigger) or (next(iter(own.values())) if not asked.trigger else None)
    if chosen is None:
        places = ", ".join(map(str, own))
        return f"trigger {asked.trigger} of workflow {workflow!r} is no cron trigger; those are: {places}"
    if asked.concurrency > MOST_AT_A_TIME:
        return f"{asked.concurrency} runs at a time; the limit is {MOST_AT_A_TIME}"
    if sum(1 for found in state.backfills.values() if found.plan.workflow == workflow) >= MOST_OF_A_WORKFLOW:
        return f"{MOST_OF_A_WORKFLOW} backfills of workflow {workflow!r} are under way: wait for them, or cancel them"
    if asked.start_ms < 0 or asked.end_ms <= asked.start_ms:
        return f"the range [{asked.start_ms}, {asked.end_ms}) is empty: its end lies behind its start, which counts"
    if asked.start_ms > state.time_ms:
        return "the range lies in the future: those times are the schedule's; a backfill is for times that have passed"
    total = sum(1 for _ in islice(chosen.times.between(asked.start_ms, _end_of(draft, asked)), MOST_TIMES + 1))
    if total > MOST_TIMES:
        return f"the range has more than {MOST_TIMES} times of {chosen.trigger.schedule!r}: cut it into shorter ones"
    if not total:
        start, end = rfc3339(asked.start_ms), rfc3339(_end_of(draft, asked))
        return f"{chosen.trigger.schedule!r} names no time from {start} to {end} that has passed"
    return chosen.plan, chosen.place, total


def _end_of(draft: Draft, asked: Backfill) -> int:
    """The end of the range, or now: what is still to come is the schedule's."""
    return min(asked.end_ms, draft.state.time_ms + 1)


def _cancel(draft: Draft, command: Command, workflow: str) -> None:
    numbers = [number for number, found in draft.state.backfills.items() if found.plan.workflow == workflow]
    for number in numbers:
        _change(draft, number, "cancelled", command.actor, command.request_id)
    if numbers:
        which = ", ".join(map(str, numbers))
        accept(draft, command, "", f"backfill {which} ended; what it has started goes on", workflow=workflow)
    else:
        refuse(draft, command, "", f"no backfill of workflow {workflow!r} is under way")


def _change(draft: Draft, number: int, state: str, actor: str = "", request_id: str = "") -> None:
    workflow = draft.state.backfills[number].plan.workflow
    draft.emit(
        Kind.BACKFILL_CHANGED,
        None,
        number=number,
        workflow=workflow,
        state=state,
        actor=actor,
        request_id=request_id,
    )


def due(draft: Draft, builder: Builder, owner: Backfilling) -> Run | None:
    """There may be something to do: deals with one time, or ends the backfill."""
    number, plan = owner.number, owner.plan
    if len(owner.active) >= owner.concurrency or is_workflow_paused(draft.state, plan.workflow):
        return None
    at = next(owner.times.between(owner.next_ms, owner.end_ms), None)
    if at is None:
        if not owner.active:
            _change(draft, number, "ended")
        return None
    if schedules.is_known(draft, plan.workflow, owner.place, at):
        draft.emit(Kind.BACKFILL_STEP, None, number=number, due_ms=at, state="known")
        return None
    record(draft, plan)  # before the step: the frame may be sealed in between, and a step without its run would wait
    draft.emit(Kind.BACKFILL_STEP, None, number=number, due_ms=at, state="started")
    parent = Parent(partition=draft.number, backfill=number)
    refused = schedules.start(draft, builder, plan, owner.place, at, kind="backfill", actor=owner.actor, parent=parent)
    if refused:
        _over(draft, number, at, refused)
    return None


def run_ended(draft: Draft, _builder: Builder, run: Run) -> None:
    """A run of this partition has ended: the backfill that asked for it, if it lives here, hears of it."""
    if not run.parent or not draft.state.backfills:
        return
    parent = Parent.FromString(run.parent)
    if parent.backfill and parent.partition == draft.number:
        _over(draft, parent.backfill, time_of_run(run.run_id), "")


def told(draft: Draft, message: ChildEnded) -> None:
    """Another partition says that a run of a backfill has ended, or was never started."""
    try:
        at = time_of_run(message.run_id)
    except InvalidId:
        return  # no partition of ours writes such a message
    _over(draft, message.parent.backfill, at, "" if message.state != "REFUSED" else message.reason or "refused")


def _over(draft: Draft, number: int, at_ms: int, reason: str) -> None:
    found: Backfilling | None = draft.state.backfills.get(number)
    if found is not None and at_ms in found.active:  # else it was cancelled, or this was told before
        why = text(reason)[: draft.limits.reason_chars]
        draft.emit(Kind.BACKFILL_STEP, None, number=number, due_ms=at_ms, state="ended", reason=why)


COMMANDS: Final = {"backfill": decide_backfill}
DUE: Final[dict[type, Callable[[Draft, Builder, Any], Run | None]]] = {Backfilling: due}
AFTER_END: Final = (run_ended,)
OF_BACKFILL_ENDED: Final = (told,)
