"""The one mutator: what an event does to the state of a partition.

Why: live decisions and replay must lead to the same state. So both call `apply`, and nothing else writes to State.

How: one `match` on the event's kind. A transition looks up its next state in the table of states.py; a terminal one
settles the edges to its children, each once, and puts a child whose rule is decided by that on the run's `pending`
queue. What is decidable is therefore itself state: after a takeover in the middle of a wide fan-out the core goes on
where the log ends. An event that takes a task out of `pending` removes it there.

It must never refuse an event, and never read a clock or a limit. An event that does not fit raises: the log is corrupt.
An event of a run that is not known changes nothing: the run ended (a late result), or recovery began after its start.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from indegree.engine import join, mapping, queues
from indegree.engine.kinds import Kind
from indegree.engine.plan import keep, known_plan, read_plan
from indegree.engine.restore import apply_snapshot
from indegree.engine.state import OBSERVED, Attempt, OutboxEntry, Ref, Run, State, Wait
from indegree.engine.states import (
    CANCELLED,
    FAILED,
    ILLEGAL,
    ON_CANCELLED,
    ON_FAILED,
    ON_QUEUED,
    ON_REJECTED,
    ON_RETRYING,
    ON_SKIPPED,
    ON_STARTED,
    ON_SUCCEEDED,
    ON_WAITING,
    PENDING,
    QUEUED,
    RETRYING,
    SKIPPED,
    SUCCESS,
    TERMINAL,
    WAITING,
    IllegalTransition,
)
from indegree.engine.switches import of_workflow
from indegree.events import json_values
from indegree.events.definition import DefinitionError

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event
    from indegree.v1.value_pb2 import Value

EXTRA: dict[int, Callable[[State, Run | None, Event], None]] = {}
"""Appliers of the features' own kinds (features.py). `run` is None where the event has none, or it is not known."""


def apply(state: State, event: Event, run_id: str) -> Run | None:
    """Changes `state` by one event and returns its run (also one that it ends), or None.

    `run_id`: the event's, where empty that of the event before it in the frame.
    """
    kind = event.kind
    run = state.runs.get(run_id)
    if kind == Kind.TASK_SUCCEEDED:  # this and the next are nine of ten events
        if run is not None:
            task = event.task
            if ON_SUCCEEDED[run.states[task]] == ILLEGAL:
                raise IllegalTransition(run_id, run.id_of(task), run.states[task], kind)
            if event.HasField("value"):
                output = run.outputs[task] = event.value.json or output_of(run, event.value)
                if type(output) is bytes:
                    run.inline_bytes += len(output)
                    state.inline_bytes += len(output)
            _end(state, run, task, SUCCESS, join.TAKEN)
            run.position += 1
    elif kind == Kind.TASK_QUEUED:
        if run is not None:
            _queue(state, run, event.task, event)
            run.position += 1
    elif kind == Kind.RUN_STARTED:
        return _start(state, event, run_id)
    elif kind >= Kind.DEFINITION_RECORDED or kind in _NO_RUN:
        _apply_elsewhere(state, event, kind, run_id)
    elif run is not None:
        _apply_to_run(state, run, event, kind)
    return run


def _apply_to_run(state: State, run: Run, event: Event, kind: int) -> None:
    run_id = run.run_id
    task = event.task
    match kind:
        case Kind.TASK_STARTED:
            attempt = _move(run, task, ON_STARTED, kind)
            attempt.worker = event.worker
            attempt.started_ms = state.time_ms
            attempt.due_ms = 0
            timeout = run.plan.timeout_ms[attempt.node]
            if timeout:
                state.timers.arm(attempt, state.time_ms + timeout)
            else:
                attempt.timer = 0
            run.position += 1
        case Kind.ATTEMPT_FAILED | Kind.RESULT_STALE | Kind.TASK_RETURNED:
            pass  # facts for the history; TASK_RETRYING or TASK_FAILED follows the first
        case Kind.TASK_RETRYING:
            attempt = (
                _retried(state, run, task, event)
                if run.states[task] == WAITING
                else _move(run, task, ON_RETRYING, kind)
            )
            if run.held is not None:
                leave_limits(run, task)
            attempt.number = event.attempt
            attempt.due_ms = event.due_ms
            attempt.worker = ""
            attempt.started_ms = 0
            attempt.rejections = 0
            state.timers.arm(attempt, event.due_ms)
            run.position += 1
        case Kind.TASK_WAITING:
            _wait(state, run, task, event)
            run.position += 1
        case Kind.TASK_EXPANDED:
            mapping.expanded(state, run, event)
            _leave_pending(state, run)
            for follower in run.plan.followers.get(task, ()):
                if run.states[follower] == PENDING and join.decide(run.plan.rules[follower], *run.edges(follower)):
                    _decidable(state, run, follower)
            run.position += 1
        case Kind.TASK_ITEMS:
            mapping.items_came(state, run, event)
        case Kind.TASK_FAILED:
            if ON_FAILED[run.states[task]] == ILLEGAL:
                raise IllegalTransition(run_id, run.id_of(task), run.states[task], kind)
            if task >= run.plan.n:
                _note_error(run, task, event)
                _end(state, run, task, FAILED, join.TAKEN)
            elif run.plan.allow[task]:
                _end(state, run, task, FAILED, join.TAKEN)
            else:
                run.failures += 1
                if run.first_failed < 0:
                    run.first_failed = task
                _end(state, run, task, FAILED, join.EDGE_FAILED)
            run.position += 1
        case Kind.TASK_SKIPPED:
            if ON_SKIPPED[run.states[task]] == ILLEGAL:
                raise IllegalTransition(run_id, run.id_of(task), run.states[task], kind)
            if run.reasons is None:
                run.reasons = {}
            reason = run.reasons[task] = event.reason
            _end(state, run, task, SKIPPED, join.EDGE_FAILED if reason == "upstream_failed" else join.NOT_TAKEN)
            run.position += 1
        case Kind.TASK_CANCELLED:
            if ON_CANCELLED[run.states[task]] == ILLEGAL:
                raise IllegalTransition(run_id, run.id_of(task), run.states[task], kind)
            _end(state, run, task, CANCELLED, join.EDGE_FAILED)
            run.position += 1
        case Kind.TASK_REJECTED:
            attempt = _move(run, task, ON_REJECTED, kind)
            attempt.rejections += 1
            attempt.due_ms = event.due_ms
            run.position += 1
        case Kind.RUN_FINISHED:
            if run.left:
                raise RuntimeError(f"run {run_id} is finished while {run.left} tasks are open: the log is corrupt")
            del state.runs[run_id]
            state.inline_bytes -= run.inline_bytes
            state.decidable.pop(run_id, None)
            run.timer = 0
            if run.turn:
                queues.leave(state, run)
            run.position += 1
            state.windows.add_ended(run_id, run.digest, state.time_ms)
        case Kind.RUN_CANCEL_REQUESTED:
            run.ending = event.state or "CANCELLED"
            if not run.closing:  # else only its hooks are cancelled
                run.reason = event.reason
                run.actor_end = event.actor
            run.timer = 0
            run.busy = None
            run.paused = 0
            if run.waiting and run.turn:
                queues.leave(state, run)
            run.waiting = False
            open_tasks = [i for i, task_state in enumerate(run.states) if task_state < TERMINAL and run.counts(i)]
            run.pending = open_tasks or None
            run.next_pending = 0
            state.decidable[run_id] = run
        case Kind.RUN_CLOSING:
            close(state, run, event.state, event.reason, event.actor)
        case Kind.RUN_RELEASED:
            release(state, run, event.number)
            run.position += 1
        case Kind.RUN_GATED:
            run.not_before_ms = 0
            run.timer = 0
            queues.enter(state, run, event.number)
        case _ if kind in EXTRA:
            EXTRA[kind](state, run, event)
        case _:
            raise ValueError(f"event kind {kind} is not known to this release: upgrade before reading this log")


_NO_RUN = frozenset({Kind.RUN_REFUSED, Kind.RUN_REPEATED, Kind.START_PASSED_ON})
"""Facts about a start that made no run."""


def _start(state: State, event: Event, run_id: str) -> Run:
    plan = state.versions[event.version]
    run = Run(run_id, plan, state.time_ms)
    run.params = event.value.json or b"{}"
    run.origin = event.origin.SerializeToString()
    run.traceparent = event.traceparent
    run.tracestate = event.tracestate
    run.actor = event.actor
    run.request_id = event.request_id
    run.digest = event.digest
    key = run.idempotency_key = event.idempotency_key
    if key:
        state.windows.add_key(plan.workflow, key, run_id, run.digest, state.time_ms)
    run.gate = event.label
    run.triggered = bool(event.origin.kind)
    if event.data:
        run.parent = event.data
    state.runs[run_id] = run
    run.paused = of_workflow(state, run)
    if event.state == "PENDING":
        run.waiting = True
        run.not_before_ms = event.due_ms
        if run.gate and not event.due_ms:
            queues.enter(state, run, event.number)
        run.position = 1  # accepted
        if event.due_ms:
            state.timers.arm(run, event.due_ms)
        return run
    run.position = 2  # accepted, running
    if run.gate:
        queues.begin(state, run, event.number)
    _begin(state, run)
    return run


def _begin(state: State, run: Run) -> None:
    run.pending = list(run.plan.first)
    if not run.paused:
        state.decidable[run.run_id] = run
    if run.plan.run_timeout_ms:
        state.timers.arm(run, state.time_ms + run.plan.run_timeout_ms)


def release(state: State, run: Run, turn: int) -> None:
    """A run that was PENDING begins; its timeout counts from here. `turn`: of a delayed one that need not queue up."""
    run.waiting = False
    run.not_before_ms = 0
    run.timer = 0
    run.started_ms = state.time_ms
    if run.gate:
        queues.begin(state, run, turn)
    _begin(state, run)


def close(state: State, run: Run, end: str, reason: str, actor: str) -> None:
    """All tasks have ended; the hooks of that end are to be decided."""
    run.closing = end
    run.ending = ""
    run.reason = reason
    run.actor_end = actor
    run.timer = 0
    hooks = run.plan.hooks[end]
    run.left += len(hooks)
    run.pending = [i for i in hooks if _is_decided(run, i) and may_follow(run, i)] or None
    run.next_pending = 0
    state.decidable[run.run_id] = run


def output_of(run: Run, value: Value) -> bytes | Ref:
    """What the state keeps of an output that has no text in the event."""
    if not value.HasField("reference"):
        return value.json
    run.references = True
    return Ref.of(value.reference)


def _note_error(run: Run, slot: int, event: Event) -> None:
    """Why an instance failed, for `tasks.X.errors`."""
    errors = mapping.map_of(run, slot).errors
    if len(errors) < mapping.ERRORS_KEPT:
        place = run.place(slot)
        error = {"index": place, "reason": event.reason, "type": event.error.type, "message": event.error.message}
        errors[place] = json_values.dumps(error)


def _wait(state: State, run: Run, task: int, event: Event) -> None:
    old = run.states[task]
    if ON_WAITING[old] == ILLEGAL:
        raise IllegalTransition(run.run_id, run.id_of(task), old, Kind.TASK_WAITING)
    if old == WAITING:
        leave_wait(state, run, task)
        if event.reason == "workflow" and run.held is not None:
            _use_token(run, task)
    run.states[task] = WAITING
    wait = Wait(
        run, task, event.reason, state.time_ms, event.due_ms, event.label, event.attempt, event.generation, event.topic
    )
    if run.waits is None:
        run.waits = {}
    run.waits[task] = wait
    if wait.kind in OBSERVED:
        state.awaited.setdefault((wait.kind, wait.label), {})[wait] = None
    if event.due_ms:
        state.timers.arm(wait, event.due_ms)
    if event.reason in ("pool", "rate"):
        if run.held is None:
            run.held = {}
        run.held[task] = (*run.held.get(task, ()), (event.label, event.attempt))
    if old == PENDING:
        if task >= run.plan.n:
            mapping.begun(state, run, task)
        _leave_pending(state, run)
    elif old == RETRYING:
        attempt = run.attempts.pop(task)
        attempt.timer = 0
        if attempt.number != 1:
            _ended_with(run, task, attempt.number)


def _retried(state: State, run: Run, task: int, event: Event) -> Attempt:
    """A child failed and another is to be started: from WAITING to RETRYING."""
    leave_wait(state, run, task)
    run.states[task] = RETRYING
    attempt = run.attempts[task] = Attempt(run, task, event.attempt, event.generation, state.time_ms)
    return attempt


def _move(run: Run, task: int, row: bytes, kind: int) -> Attempt:
    """Takes a task with an attempt to the state that `row` gives."""
    states = run.states
    new = row[states[task]]
    if new == ILLEGAL:
        raise IllegalTransition(run.run_id, run.id_of(task), states[task], kind)
    states[task] = new
    return run.attempts[task]


def _queue(state: State, run: Run, task: int, event: Event) -> None:
    states = run.states
    old = states[task]
    if ON_QUEUED[old] == ILLEGAL:
        raise IllegalTransition(run.run_id, run.id_of(task), old, Kind.TASK_QUEUED)
    states[task] = QUEUED
    if old == PENDING:
        attempt = run.attempts[task] = Attempt(run, task, event.attempt, event.generation, state.time_ms)
        if task >= run.plan.n:
            mapping.begun(state, run, task)
        _leave_pending(state, run)
    elif old == WAITING:
        attempt = run.attempts[task] = Attempt(run, task, event.attempt, event.generation, state.time_ms)
        leave_wait(state, run, task)
        if run.held is not None:
            _use_token(run, task)
    else:
        attempt = run.attempts[task]
        attempt.place = 0
        attempt.number = event.attempt
        attempt.queued_ms = state.time_ms
        attempt.due_ms = 0
        attempt.timer = 0
    timeout = run.plan.queue_timeout_ms[attempt.node]
    if timeout:
        state.timers.arm(attempt, state.time_ms + timeout)


def _leave_pending(state: State, run: Run) -> None:
    """Drops from the front of the run's queue what has been decided, or settled by a result meanwhile."""
    pending = run.pending
    if pending is None:
        return
    states = run.states
    settled = TERMINAL if run.ending else PENDING + 1  # states from here on have nothing to be decided
    at, end = run.next_pending, len(pending)
    while at < end and states[pending[at]] >= settled:
        at += 1
    if at < end:
        run.next_pending = at
        return
    run.pending = None
    run.next_pending = 0
    if run.left and not run.busy:
        state.decidable.pop(run.run_id, None)


def leave_wait(state: State, run: Run, task: int) -> None:
    """The task is no longer WAITING."""
    if run.waits is not None and (wait := run.waits.pop(task, None)) is not None:
        wait.timer = 0
        name = (wait.kind, wait.label)
        if (waits := state.awaited.get(name)) is not None:
            waits.pop(wait, None)
            if not waits:
                del state.awaited[name]
        if not run.waits:
            run.waits = None


def _end(state: State, run: Run, task: int, new: int, edge: int) -> None:
    """A terminal state: the attempt is over, and each edge to a child ends."""
    plan = run.plan
    old = run.states[task]
    run.states[task] = new
    attempt = run.attempts.pop(task, None)
    if attempt is not None:
        attempt.timer = 0
        if attempt.number != 1:
            _ended_with(run, task, attempt.number)
    elif new == FAILED and old == PENDING:
        _ended_with(run, task, 0)
    if old == WAITING:
        if run.signals is not None and new == SUCCESS:
            _use_signal(run, task)
        leave_wait(state, run, task)
    if run.held is not None:
        leave_limits(run, task)
    run.left -= 1
    if not run.left and not run.paused:
        state.decidable[run.run_id] = run
    if task >= plan.n:
        mapping.ended(state, run, task, old)
    elif children := plan.children[task]:
        if edge == join.TAKEN and run.not_taken is None and run.failed is None:
            # The way of most edges: taken, in a run where every edge so far was taken.
            open_ = run.open
            eager = plan.eager
            for child in children:
                still_open = open_[child] - 1
                open_[child] = still_open
                if eager[child]:
                    if _is_decided_by_taken(run, child, still_open):
                        _decidable(state, run, child)
                elif not still_open:
                    _decidable(state, run, child)
        else:
            _settle(state, run, children, edge)
    if plan.followers and task in plan.followers:
        mapping.task_ended(state, run, task)
        for follower in plan.followers[task]:
            is_known = run.maps is not None and follower in run.maps
            if run.states[follower] == PENDING and not is_known and _is_decided(run, follower):
                _decidable_once(state, run, follower)
    elif run.busy is not None and task < plan.n:
        mapping.task_ended(state, run, task)
    if run.pending is not None:
        _leave_pending(state, run)


def _use_signal(run: Run, task: int) -> None:
    """A task that waited for a signal has it: the oldest of that name and payload is used up."""
    wait = run.waits.get(task) if run.waits is not None else None
    if wait is not None and wait.kind == "signal" and run.signals is not None:
        taken = (wait.label, run.outputs.get(task, b"null"))
        place = next((at for at, kept in enumerate(run.signals) if kept[:2] == taken), -1)
        if place >= 0:
            del run.signals[place]
            run.signals = run.signals or None


def leave_limits(run: Run, task: int) -> None:
    """It no longer holds or asks for any limit (draft.py tells those whose they are)."""
    if run.held is not None and run.held.pop(task, None) is not None and not run.held:
        run.held = None


def _use_token(run: Run, task: int) -> None:
    """Its work begins: a place in a pool is held, and a token of a rate is used up, so that nobody gives it back."""
    if run.held is not None and task in run.held:
        places = tuple(limit for limit in run.held[task] if limit[0].startswith("pool/"))
        if places:
            run.held[task] = places
        else:
            leave_limits(run, task)


def _is_decided(run: Run, task: int) -> bool:
    return bool(join.decide(run.plan.rules[task], *run.edges(task)))


def _decidable_once(state: State, run: Run, task: int) -> None:
    if run.pending is None or task not in run.pending[run.next_pending :]:
        _decidable(state, run, task)


def _ended_with(run: Run, task: int, number: int) -> None:
    if run.last_attempts is None:
        run.last_attempts = {}
    run.last_attempts[task] = number


def _is_decided_by_taken(run: Run, child: int, still_open: int) -> bool:
    """True if the edge just taken decides an eager rule (or `always`, which was decided when the run started)."""
    rule = run.plan.rules[child]
    before = run.plan.degree[child] - still_open - 1
    return not join.decide(rule, still_open + 1, before, 0, 0) and bool(join.decide(rule, still_open, before + 1, 0, 0))


def _settle(state: State, run: Run, children: tuple[int, ...], edge: int) -> None:
    """Any edge. The rule is asked with the counts before and after: it is decided once, where that changes."""
    n = run.plan.n
    if edge == join.NOT_TAKEN and run.not_taken is None:
        run.not_taken = array("I", bytes(4 * n))
    elif edge == join.EDGE_FAILED and run.failed is None:
        run.failed = array("I", bytes(4 * n))
    rules = run.plan.rules
    for child in children:
        rule = rules[child]
        before = join.decide(rule, *run.edges(child))
        run.open[child] -= 1
        if edge == join.NOT_TAKEN and run.not_taken is not None:
            run.not_taken[child] += 1
        elif edge == join.EDGE_FAILED and run.failed is not None:
            run.failed[child] += 1
        if not before and join.decide(rule, *run.edges(child)):
            _decidable(state, run, child)


def _decidable(state: State, run: Run, task: int) -> None:
    if run.ending or run.states[task] != PENDING:
        return  # all that is open is on the queue already; or somebody ended the task by hand
    if run.plan.follows and not may_follow(run, task):
        return  # what it follows is neither expanded nor over: then it is looked at again
    pending = run.pending
    if pending is None:
        run.pending = [task]
        if not run.paused:
            state.decidable[run.run_id] = run
    else:
        pending.append(task)


def may_follow(run: Run, task: int) -> bool:
    """True where the task follows none element by element, or that one is expanded or has ended."""
    parent = run.plan.follows.get(task, -1)
    return parent < 0 or run.states[parent] >= TERMINAL or (run.maps is not None and parent in run.maps)


def _apply_elsewhere(state: State, event: Event, kind: int, run_id: str) -> None:
    """Events that belong to no live run."""
    match kind:
        case (
            Kind.RUN_REFUSED
            | Kind.RUN_REPEATED
            | Kind.COMMAND_REFUSED
            | Kind.COMMAND_ACCEPTED
            | Kind.DEPLOY_REFUSED
            | Kind.INPUT_REFUSED
        ):
            pass  # facts for the history and for whoever asked
        case Kind.START_PASSED_ON:
            state.windows.add_key(event.workflow, event.idempotency_key, run_id, event.digest, state.time_ms)
        case Kind.DEFINITION_RECORDED:
            _record(state, event)
        case Kind.VERSION_DEPLOYED:
            if event.label:
                state.windows.labels[event.workflow, event.label] = event.version
        case Kind.VERSION_ACTIVATED:
            state.windows.activate(event.workflow, event.version)
        case Kind.OUTBOX_ADDED:
            entry = OutboxEntry(event.target, event.number, event.topic, event.data)
            state.outbox.setdefault(event.target, {})[event.number] = entry
            state.outbox_numbers[event.target] = event.number
        case Kind.OUTBOX_SENT:
            waiting = state.outbox.get(event.target, {})
            for number in [n for n in waiting if n <= event.number]:
                del waiting[number]
            if not waiting:
                state.outbox.pop(event.target, None)
        case Kind.MESSAGE_RECEIVED:
            state.received[event.target] = event.number
        case Kind.SNAPSHOT:
            apply_snapshot(state, event)
        case _ if kind in EXTRA:
            EXTRA[kind](state, None, event)
        case _:
            raise ValueError(f"event kind {kind} is not known to this release: upgrade before reading this log")


def _record(state: State, event: Event) -> None:
    """A part of a definition. It counts when all parts stand there, in order; part 0 begins anew."""
    version, part = event.version, event.part
    parts = state.parts.setdefault(version, [])
    if part == 0:
        parts.clear()
    if part != len(parts):
        state.parts.pop(version)  # its first parts lie before recover_from: the whole comes again behind it
        return
    parts.append(event.data)
    if len(parts) == event.parts:
        del state.parts[version]
        plan = known_plan(version)
        if plan is None:
            try:
                plan = keep(read_plan(version, b"".join(parts)))
            except (DefinitionError, zlib.error) as error:
                raise ValueError(f"the definition recorded as {version}: {error}; the log is corrupt") from None
        state.versions[version] = plan
