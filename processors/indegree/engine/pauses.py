"""Pauses: of a run, of all runs of a workflow, of a queue.

Why: somebody sees that a service is down, or a version is wrong, and wants nothing more to begin until it is put right,
without losing what has been done.

How: while a run is paused nothing of it is decided, and none of its attempts is taken by a worker: those that are ready
are parked in dispatch.py until it goes on, which is volatile, since `run.paused` says it anew after a takeover. What a
worker was sent or runs goes on, and its outcome is recorded. Time goes on too: timeouts of attempts and of the run,
queue timeouts, retry delays and waits end when they would have; an attempt that this queues is parked. A run that is
paused keeps its places in pools and in the queue of its key. A run that is cancelled, or times out, is paused no more:
its end and its hooks are carried out, also while its workflow is paused.

A workflow is judged on the partition of its name, a queue on that of its own name: two people at once are judged in one
place. From there the switch goes to every partition by the outbox, in order, and each records it (SWITCHED) and keeps
it (`state.switches`). Runs that start later in a paused workflow are accepted and stay undecided. A paused queue gives
no attempt to anybody, whatever workflow it is of; its runs are not paused.

It must never stop a worker, and never forget who paused what and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from indegree.engine.answers import accept, bounded, refuse, run_here
from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.messages import forward
from indegree.engine.records import Builder
from indegree.engine.state import Run, State
from indegree.engine.switches import BY_ITSELF, BY_WORKFLOW, set_paused, set_switch
from indegree.events.definition import Definition
from indegree.events.run_ids import is_id, is_name, partition_of_key
from indegree.v1.trigger_pb2 import Command, Origin, PartitionMessage, Switch

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event


# -- commands ----------------------------------------------------------------------------------------------------------


def _pause(
    draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None
) -> Run | None:
    return _command(draft, command, paused=True)


def _resume(
    draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None
) -> Run | None:
    return _command(draft, command, paused=False)


def _command(draft: Draft, command: Command, *, paused: bool) -> Run | None:
    asked = command.pause if paused else command.resume
    named = [(what, name) for what in ("run_id", "workflow", "queue") if (name := getattr(asked, what))]
    word = "pause" if paused else "resume"
    if len(named) != 1:
        refuse(draft, command, asked.run_id, f"a {word} names one of run_id, workflow and queue, not {len(named)}")
        return None
    what, name = named[0]
    if what == "run_id":
        run = run_here(draft, command, name)
        return None if run is None else _run(draft, command, run, paused=paused)
    if not (is_id if what == "workflow" else is_name)(name):
        refuse(draft, command, "", f"{name!r:.120} is no name of a {what}")
        return None
    home = partition_of_key(what, name, "", draft.partitions)
    if home != draft.number:
        forward(draft, home, PartitionMessage(command=bounded(draft, command)))
    else:
        _switch(draft, command, what, name, paused=paused)
    return None


def _run(draft: Draft, command: Command, run: Run, *, paused: bool) -> Run | None:
    """Pauses or resumes a run. Returns it where it goes on."""
    problem = ""
    if run.ending or run.closing:
        problem = "the run is ending already"
    elif not run.left and not run.paused:
        problem = "the run has ended"
    elif paused and run.paused & BY_ITSELF:
        problem = "the run is paused already"
    elif not paused and not run.paused & BY_ITSELF:
        problem = "the run is not paused"
        if run.paused:
            problem += f" by itself: its workflow {run.plan.workflow!r} is; resume that"
    if problem:
        refuse(draft, command, run.run_id, problem)
        return None
    asked = command.pause if paused else command.resume
    if paused or run.paused & BY_WORKFLOW:
        state = "PAUSED"
    else:
        state = "PENDING" if run.waiting else "RUNNING"
    draft.emit(
        Kind.RUN_PAUSED if paused else Kind.RUN_RESUMED,
        run.run_id,
        state=state,
        reason=text(asked.reason)[: draft.limits.reason_chars],
        actor=command.actor,
        request_id=command.request_id,
    )
    if paused:
        draft.dispatch.park(run)
        return None
    if not run.paused:
        draft.dispatch.unpark(run)
    return run


def _switch(draft: Draft, command: Command, what: str, name: str, *, paused: bool) -> None:
    """Pauses or resumes a workflow or a queue, whose home is here, on every partition."""
    known = draft.state.switches.get((what, name))
    if paused and known is not None:
        who, why = known
        by = f" by {who}" if who else ""
        refuse(draft, command, "", f"{what} {name!r} is paused already{by}{f': {why}' if why else ''}")
        return
    if not paused and known is None:
        refuse(draft, command, "", f"{what} {name!r} is not paused")
        return
    reason = text((command.pause if paused else command.resume).reason)[: draft.limits.reason_chars]
    switch = Switch(paused=paused, actor=command.actor, reason=reason)
    setattr(switch, what, name)
    _turn(draft, switch)
    for target in range(draft.partitions):
        if target != draft.number:
            forward(draft, target, PartitionMessage(switch=switch))
    done = f"{what} {name!r} {'is paused' if paused else 'goes on'} on all {draft.partitions} partitions"
    accept(draft, command, "", done, workflow=switch.workflow)


def _turn(draft: Draft, switch: Switch) -> None:
    """Records a switch here, and parks what it concerns or lets it go."""
    draft.emit(
        Kind.SWITCHED,
        None,
        workflow=switch.workflow,
        topic=switch.queue,
        state="paused" if switch.paused else "resumed",
        actor=switch.actor,
        reason=switch.reason,
    )
    if not switch.workflow:
        return
    dispatch = draft.dispatch
    for run in draft.state.runs.values():
        if run.plan.workflow == switch.workflow:
            if run.paused:
                dispatch.park(run)
            else:
                dispatch.unpark(run)


def _switched(draft: Draft, builder: Builder, message: PartitionMessage) -> Run | None:
    """A switch of another partition."""
    switch = message.switch
    if (is_id(switch.workflow) and not switch.queue) or (is_name(switch.queue) and not switch.workflow):
        switch.actor = switch.actor[: draft.limits.name_chars]
        switch.reason = text(switch.reason)[: draft.limits.reason_chars]
        _turn(draft, switch)
    return None


# -- what the events do ------------------------------------------------------------------------------------------------


def _apply_paused(state: State, run: Run | None, event: Event) -> None:
    if run is not None:
        set_paused(state, run, run.paused | BY_ITSELF)
        run.position += 1


def _apply_resumed(state: State, run: Run | None, event: Event) -> None:
    if run is not None:
        set_paused(state, run, run.paused & ~BY_ITSELF)
        run.position += 1


def _apply_switched(state: State, run: Run | None, event: Event) -> None:
    what, name = ("workflow", event.workflow) if event.workflow else ("queue", event.topic)
    set_switch(state, what, name, (event.actor, event.reason) if event.state == "paused" else None)


APPLIERS: Final[dict[int, Callable[[State, Run | None, Event], None]]] = {
    Kind.RUN_PAUSED: _apply_paused,
    Kind.RUN_RESUMED: _apply_resumed,
    Kind.SWITCHED: _apply_switched,
}
COMMANDS: Final = {"pause": _pause, "resume": _resume}
MESSAGES: Final = {"switch": _switched}
