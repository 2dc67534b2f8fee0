"""Reruns: tasks of a run begin again, with all that hangs below them, in a run that goes on or has ended.

Why: most of a run that failed has succeeded, and that is not to be done twice; or a result was wrong, and all that came
of it is to be made anew.

How: `selected` says what begins again. Named tasks, or without names all that FAILED so that the run failed, was
CANCELLED, or was SKIPPED because of that; and what hangs below those. What has not begun stays. What is under way is
stopped and begun again. Of a mapped task that is chosen because it failed only the instances begin again that did not
succeed (and of one that follows it element by element those of the same places); one that is named, or hangs below
another, is expanded anew: its instances of before are over, and keep their numbers. RUN_RERUN tells it all in one
event; from there on the tasks have another generation, so whatever a worker still says of the former one is stale.

A run that has ended is read back from the log by the shell (past.py, core.needs_run) and comes with the command:
a snapshot of it and RUN_REOPENED make it live again. It does not queue up for the key that it had, and whoever waited
for its first end hears nothing more. Its timeout counts from the rerun on, and hooks run again at its next end.

It must never begin a task again that succeeded and hangs below none that does.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from indegree.engine import ended, join, mapping, starts
from indegree.engine import snapshot as snapshots
from indegree.engine.answers import accept, refuse, run_here
from indegree.engine.apply import may_follow
from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.records import Builder
from indegree.engine.restore import count
from indegree.engine.slots import NoSuchTask, slot_of
from indegree.engine.state import Run, State
from indegree.engine.states import CANCELLED, FAILED, PENDING, RUNNING, SKIPPED, TERMINAL
from indegree.engine.switches import BY_ITSELF, is_workflow_paused, of_workflow, set_paused
from indegree.events.definition import Definition
from indegree.events.spelling import listing
from indegree.v1.trigger_pb2 import Command, Origin

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event

SLOTS = 200_000
"""That begin again with one command, at most: 800 KB of an event."""

Again = dict[int, set[int] | None]
"""Task -> the instances of it that begin again (slots), or None: it begins again as a whole."""


def rerun(
    draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None
) -> Run | None:
    """Command `rerun`."""
    asked = command.rerun
    run = run_of(draft, builder, command, asked.run_id)
    if run is None:
        return None
    again: Again = {}
    try:
        again = selected(run, [slot_of(run, name) for name in asked.task_ids])
        problem = _not_now(run) or of_hooks(run, again) or too_many(run, again) or _nothing(run, again, asked.task_ids)
    except NoSuchTask as error:
        problem = str(error)
    if problem:
        refuse(draft, command, asked.run_id, problem)
        return None
    run = alive(draft, run, command, asked.reason)
    begin_again(draft, builder, run, again, command, asked.reason)
    names = listing(run.plan.ids[task] for task in sorted(again))
    accept(draft, command, run.run_id, f"begin again: {names}" + (f" ({asked.reason})" if asked.reason else ""))
    return run


def _not_now(run: Run) -> str:
    """Why nothing of the run can begin again now, or ""."""
    if run.left and run.ending:
        return "the run is ending; it can begin again when it has ended"
    return "the run has not begun" if run.waiting else ""


def _nothing(run: Run, again: Again, names: Collection[str]) -> str:
    """Why there is nothing to begin again, or ""."""
    if _slots(run, again):
        return ""
    if not names:
        return "no task of the run has failed, was cancelled, or was skipped because of that; name the tasks"
    return f"what hangs below {listing(names)} has not begun, and neither has that: it cannot begin again"


def of_hooks(run: Run, again: Collection[int]) -> str:
    """Why none of these may be a hook, or ""."""
    for task in again:
        if run.plan.main <= task:
            return f"{run.plan.ids[task]!r} is a hook; hooks run again by themselves when the run ends again"
    return ""


# -- which -------------------------------------------------------------------------------------------------------------


def selected(run: Run, named: Collection[int]) -> Again:
    """What begins again: the named slots, or without any what failed; and all that hangs below. Tasks that are PENDING
    are among these."""
    again = _named(run, named) if named else _failed(run)
    plan, graph = run.plan, run.plan.graph
    for task in graph.order:
        if task >= plan.main or (task in again and again[task] is None):
            continue
        follows = plan.follows.get(task, -1)
        if any(parent in again for parent in graph.parents[task] if parent != follows):
            again[task] = None
        elif follows in again:
            places = again[follows]
            found = run.maps.get(task) if run.maps is not None else None
            if places is None or found is None or run.maps is None:
                again[task] = None
                continue
            shift = found.first - run.maps[follows].first
            own = again.get(task) or set()
            again[task] = own | {slot + shift for slot in places} | _bad_instances(run, task)
    return again


def _named(run: Run, named: Collection[int]) -> Again:
    again: Again = {}
    for slot in named:
        if slot < run.plan.n:
            again[slot] = None
            continue
        places = again.setdefault(run.node(slot), set())
        if places is not None:
            places.add(slot)
    return again


def _failed(run: Run) -> Again:
    plan, again = run.plan, Again()
    for task in range(plan.main):
        state = run.states[task]
        reason = (run.reasons or {}).get(task)
        if (state == FAILED and not plan.allow[task]) or state == CANCELLED:
            again[task] = _bad_instances(run, task) or None
        elif state == SKIPPED and reason == "upstream_failed":
            again[task] = None
        elif state == RUNNING and not _tolerates(run, task) and (bad := _bad_instances(run, task)):
            again[task] = bad
    return again


def _bad_instances(run: Run, task: int) -> set[int]:
    """The instances of a mapped task that failed, were cancelled, or were skipped because of that."""
    found = run.maps.get(task) if run.maps is not None else None
    if found is None:
        return set()
    states, reasons = run.states, run.reasons or {}
    return {
        slot
        for slot in range(found.first, found.first + found.total)
        if states[slot] in (FAILED, CANCELLED) or (states[slot] == SKIPPED and reasons.get(slot) == "upstream_failed")
    }


def _tolerates(run: Run, task: int) -> bool:
    mapped = run.plan.mapped[task] if run.plan.mapped is not None else None
    if mapped is None or run.plan.allow[task]:
        return True
    return mapped.max_failures is not None or mapped.max_failed_share is not None


def _slots(run: Run, again: Again) -> list[int]:
    """What RUN_RERUN is to hold: of each task the instances that it keeps, then the task. What is PENDING stays."""
    slots: list[int] = []
    for task, places in again.items():
        slots.extend(sorted(slot for slot in places or () if run.states[slot] != PENDING))
        if run.states[task] != PENDING and (places is None or run.states[task] >= TERMINAL):
            slots.append(task)
    return slots


def too_many(run: Run, again: Again) -> str:
    """Why so much cannot begin again at once, or ""."""
    size = sum(len(places or ()) + 1 for places in again.values())
    return f"{size} tasks would begin again at once, the limit is {SLOTS}: name some of them" if size > SLOTS else ""


# -- beginning again ---------------------------------------------------------------------------------------------------


def begin_again(draft: Draft, builder: Builder, run: Run, again: Again, command: Command, why: str) -> int:
    """Stops what is under way of this, and emits RUN_RERUN. Returns how many tasks and instances begin again."""
    plan, maps = run.plan, run.maps or {}
    hooks = range(plan.main, plan.n) if run.closing else range(0)
    for task in (*again, *hooks):
        places = again.get(task)
        if places is not None:
            _stop(draft, run, (slot for slot in sorted(places) if run.states[slot] != PENDING))
        elif run.states[task] != PENDING:
            before: Iterable[int] = ()
            if task in maps:  # it is expanded anew: those of before are over, also what has not begun
                before = range(maps[task].first, maps[task].first + maps[task].total)
            _stop(draft, run, (*before, task))
    slots = _slots(run, again) + [hook for hook in hooks if run.states[hook] != PENDING]
    for task in {run.node(slot) for slot in slots}:
        builder.values.lists.pop((run.run_id, task), None)
    draft.emit(
        Kind.RUN_RERUN,
        run.run_id,
        state="PAUSED" if run.paused or is_workflow_paused(draft.state, plan.workflow) else "RUNNING",
        data=struct.pack(f"<{len(slots)}I", *slots),
        reason=text(why)[: draft.limits.reason_chars],
        actor=command.actor,
    )
    return len(slots)


def _stop(draft: Draft, run: Run, slots: Iterable[int]) -> None:
    """Ends what is open of these. The event lets go of workers, waits and limits as every cancel does."""
    for slot in slots:
        if run.states[slot] < TERMINAL:
            # Should the log end here, the command is decided again and finds the rest; a mapped task has an open
            # instance then, so it is not judged meanwhile.
            if draft.full() and (run.maps is None or slot not in run.maps):
                draft.seal()
            ended.stop(draft, run, slot, "stale")
            attempt = run.attempts.get(slot)
            number = attempt.number if attempt is not None else 0
            draft.emit(
                Kind.TASK_CANCELLED,
                run.run_id,
                task=slot,
                attempt=number,
                generation=run.generation(slot),
                reason="rerun",
            )


# -- runs that have ended ----------------------------------------------------------------------------------------------


def run_of(draft: Draft, builder: Builder, command: Command, run_id: str) -> Run | None:
    """The run that a command is for: live, or as it was when it ended (`alive` makes it live). None: the command is
    answered, or forwarded."""
    reopened = builder.reopened
    if run_id not in draft.state.runs and reopened is not None and reopened.run_id == run_id:
        if reopened.run is None:
            refuse(draft, command, run_id, reopened.problem)
        return reopened.run
    return run_here(draft, command, run_id)


def alive(draft: Draft, run: Run, command: Command, why: str) -> Run:
    """The run, which is live from now on."""
    state = draft.state
    if state.runs.get(run.run_id) is run:
        return run
    starts.record(draft, run.plan)
    snapshots.reopen(draft, run)
    reason = text(why)[: draft.limits.reason_chars]
    draft.emit(Kind.RUN_REOPENED, run.run_id, actor=command.actor, reason=reason)
    return state.runs[run.run_id]


# -- what the event does -----------------------------------------------------------------------------------------------


def _apply_rerun(state: State, run: Run | None, event: Event) -> None:
    if run is None:
        return
    plan, states = run.plan, run.states
    slots = struct.unpack(f"<{len(event.data) // 4}I", event.data)
    for slot in slots:
        if slot >= plan.n:
            mapping.map_of(run, slot).errors.pop(run.place(slot), None)
            states[slot] = PENDING
            _forget(run, slot)
    for slot in slots:
        if slot < plan.n:
            found = run.maps.get(slot) if run.maps is not None else None
            goes_on = found is not None and PENDING in states[found.first : found.first + found.total]
            if found is not None and run.maps is not None and not goes_on:
                for instance in range(found.first, found.first + found.total):
                    _forget(run, instance)
                    if run.generations is not None:
                        run.generations.pop(instance, None)
                del run.maps[slot]
            states[slot] = RUNNING if goes_on else PENDING
            _forget(run, slot)
    generations = run.generations if run.generations is not None else {}
    for slot in slots:
        generations[slot] = generations.get(slot, 0) + 1
    run.generations = generations or None
    run.closing = run.ending = run.reason = run.actor_end = ""
    if not run.turn:
        run.gate = ""  # it was cancelled before its turn, and does not queue up again
    count(run)
    _recount_failures(run)
    _recount_values(state, run)
    run.busy = None
    run.pending = [
        task
        for task in range(plan.main)
        if states[task] == PENDING and join.decide(plan.rules[task], *run.edges(task)) and may_follow(run, task)
    ] or None
    run.next_pending = 0
    for found in (run.maps or {}).values():
        mapping.recount(state, run, found)
    set_paused(state, run, (run.paused & BY_ITSELF) | of_workflow(state, run))
    run.started_ms = state.time_ms
    run.timer = 0
    if plan.run_timeout_ms:
        state.timers.arm(run, state.time_ms + plan.run_timeout_ms)
    run.position += 1


def _forget(run: Run, slot: int) -> None:
    """What its former generation came to."""
    run.outputs.pop(slot, None)
    if run.reasons is not None and run.reasons.pop(slot, None) is not None:
        run.reasons = run.reasons or None
    if run.last_attempts is not None and run.last_attempts.pop(slot, None) is not None:
        run.last_attempts = run.last_attempts or None


def _recount_failures(run: Run) -> None:
    """Which task failed the run first: still that one, or of those that are left the first by number."""
    failed = [t for t in range(run.plan.n) if run.states[t] == FAILED and not run.plan.allow[t]]
    if run.first_failed not in failed:
        run.first_failed = failed[0] if failed else -1


def _recount_values(state: State, run: Run) -> None:
    size = sum(len(output) for output in run.outputs.values() if isinstance(output, bytes))
    size += sum(len(items) for found in (run.maps or {}).values() for items in found.slices)
    state.inline_bytes += size - run.inline_bytes
    run.inline_bytes = size


def _apply_reopened(state: State, run: Run | None, event: Event) -> None:
    """A fact for the history: the snapshot before it has made the run live."""


APPLIERS = {Kind.RUN_RERUN: _apply_rerun, Kind.RUN_REOPENED: _apply_reopened}
COMMANDS = {"rerun": rerun}
