"""Skip and mark success: somebody ends a task by hand.

Why: a task waits for something that will never come, or its work was done by other means, and the run is to go on
without a new version or a new run.

How: `skip` ends an open task, or one instance of a mapped task, as SKIPPED (by_hand): its edges are not taken.
`mark_success` ends it as SUCCESS with an output that is judged like a worker's. Whoever works at it hears of that: its
worker is told to stop, its child is cancelled, its limits are given back. Of a mapped task as a whole the open
instances are skipped first, then the task ends. A task that has ended otherwise than SUCCESS may be marked as well:
then all that hangs below it begins again (reruns.py), also in a run that has ended.

It must never end a task that has ended, and never without the name of who did it and the reason given.
"""

from __future__ import annotations

from typing import Any

from indegree.engine import ended, outputs, reruns
from indegree.engine.answers import accept, refuse, run_here
from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.records import Builder
from indegree.engine.slots import NoSuchTask, slot_of
from indegree.engine.state import Run
from indegree.engine.states import SUCCESS, TASK_STATES, TERMINAL
from indegree.events import json_values
from indegree.events.definition import Definition
from indegree.v1.trigger_pb2 import Command, Origin
from indegree.v1.value_pb2 import Value

BY_HAND = "by_hand"
"""The reason of both; what the person said stands in the event's `data` and in the answer."""


def skip(draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None) -> Run | None:
    """Command `skip`."""
    asked = command.skip
    run = run_here(draft, command, asked.run_id)
    if run is None:
        return None
    try:
        slot = slot_of(run, asked.task_id)
    except NoSuchTask as error:
        refuse(draft, command, run.run_id, str(error))
        return None
    problem = _not_now(run, slot)
    if not problem and run.states[slot] >= TERMINAL:
        problem = f"task {run.id_of(slot)!r} is {TASK_STATES[run.states[slot]]} already; only an open task is skipped"
    if problem:
        refuse(draft, command, run.run_id, problem)
        return None
    _end(draft, builder, command, run, slot, Kind.TASK_SKIPPED, asked.reason, {})
    accept(draft, command, run.run_id, f"task {run.id_of(slot)!r} is SKIPPED{_because(asked.reason)}")
    return run


def mark_success(
    draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None
) -> Run | None:
    """Command `mark_success`."""
    asked = command.mark_success
    run = reruns.run_of(draft, builder, command, asked.run_id)
    if run is None:
        return None
    try:
        slot = slot_of(run, asked.task_id)
    except NoSuchTask as error:
        refuse(draft, command, asked.run_id, str(error))
        return None
    problem = _not_now(run, slot) or _not_an_output(draft, asked.output)
    if not problem and run.states[slot] == SUCCESS:
        problem = f"task {run.id_of(slot)!r} is SUCCESS already"
    again: dict[int, set[int] | None] = {}
    if not problem and run.states[slot] >= TERMINAL:
        again = reruns.selected(run, [slot])
        problem = reruns.of_hooks(run, again) or reruns.too_many(run, again)
    if problem:
        refuse(draft, command, asked.run_id, problem)
        return None
    value = {} if asked.output in (b"", b"null") else {"value": Value(json=asked.output)}
    name = run.id_of(slot)
    below = ""
    if again:
        run = reruns.alive(draft, run, command, asked.reason)
        count = reruns.begin_again(draft, builder, run, again, command, asked.reason)
        below = f"; {count - 1} tasks below it begin again" if count > 1 else ""
    _end(draft, builder, command, run, slot, Kind.TASK_SUCCEEDED, asked.reason, value)
    accept(draft, command, asked.run_id, f"task {name!r} is SUCCESS{_because(asked.reason)}{below}")
    return run


def _not_now(run: Run, slot: int) -> str:
    """Why nothing of this run, or not this task, is ended by hand now; "" where it may be."""
    if run.left and run.ending:
        return "the run is ending already"
    if run.waiting:
        return "the run has not begun; cancel it, or wait until its time and its turn have come"
    if run.plan.main <= slot < run.plan.n and not (run.counts(slot) and run.left):
        return f"{run.id_of(slot)!r} is a hook, and hooks begin when all tasks of their run have ended"
    return ""


def _not_an_output(draft: Draft, output: bytes) -> str:
    """Why these bytes cannot be a task's output; "" where they can."""
    limits = draft.limits
    if len(output) > limits.value_bytes:
        return limits.too_large(len(output)).replace("result", "output", 1)
    return text(outputs.problem(output, limits.json_depth).replace("the result", "the output", 1))


def _end(
    draft: Draft,
    builder: Builder,
    command: Command,
    run: Run,
    slot: int,
    kind: int,
    why: str,
    fields: dict[str, Any],
) -> None:
    """Ends an open task or instance; of a mapped task its open instances first."""
    if run.maps is not None and (found := run.maps.get(slot)) is not None:
        builder.values.lists.pop((run.run_id, slot), None)
        for instance in range(found.first, found.first + found.total):
            if run.states[instance] < TERMINAL:
                if draft.full():
                    draft.seal()
                _emit(draft, command, run, instance, Kind.TASK_SKIPPED, why, {})
    _emit(draft, command, run, slot, kind, why, fields)


def _emit(draft: Draft, command: Command, run: Run, slot: int, kind: int, why: str, fields: dict[str, Any]) -> None:
    ended.stop(draft, run, slot, "cancelled")
    attempt = run.attempts.get(slot)
    wait = run.waits.get(slot) if run.waits is not None else None
    of = attempt.number if attempt is not None else wait.attempt if wait is not None else 0
    if why:
        fields = {**fields, "data": json_values.dumps({"reason": text(why)[: draft.limits.reason_chars]})}
    draft.emit(
        kind,
        run.run_id,
        task=slot,
        attempt=of,
        generation=run.generation(slot),
        reason=BY_HAND,
        actor=command.actor,
        finished_ms=draft.state.time_ms,
        **fields,
    )


def _because(why: str) -> str:
    return f": {why}" if why else ""


COMMANDS = {"skip": skip, "mark_success": mark_success}
