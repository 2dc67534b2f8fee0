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
from typing import TYPE_CHECKING

from indegree.engine import join
from indegree.engine.kinds import Kind
from indegree.engine.plan import keep, known_plan, read_plan
from indegree.engine.restore import apply_snapshot
from indegree.engine.state import Attempt, OutboxEntry, Run, State
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
    PENDING,
    QUEUED,
    SKIPPED,
    SUCCESS,
    TERMINAL,
    IllegalTransition,
)
from indegree.events.definition import DefinitionError

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event


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
                raise IllegalTransition(run_id, run.plan.ids[task], run.states[task], kind)
            if event.HasField("value"):
                run.outputs[task] = event.value.json
            _end(state, run, task, SUCCESS, join.TAKEN)
            run.position += 1
    elif kind == Kind.TASK_QUEUED:
        if run is not None:
            _queue(state, run, event.task, event)
            run.position += 1
    elif kind == Kind.RUN_STARTED:
        return _start(state, event, run_id)
    elif kind >= Kind.DEFINITION_RECORDED or kind in _NO_RUN:
        _apply_elsewhere(state, event, kind)
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
            timeout = run.plan.timeout_ms[task]
            if timeout:
                state.timers.arm(attempt, state.time_ms + timeout)
            else:
                attempt.timer = 0
            run.position += 1
        case Kind.ATTEMPT_FAILED | Kind.RESULT_STALE | Kind.TASK_RETURNED:
            pass  # facts for the history; TASK_RETRYING or TASK_FAILED follows the first
        case Kind.TASK_RETRYING:
            attempt = _move(run, task, ON_RETRYING, kind)
            attempt.number = event.attempt
            attempt.due_ms = event.due_ms
            attempt.worker = ""
            attempt.started_ms = 0
            attempt.rejections = 0
            state.timers.arm(attempt, event.due_ms)
            run.position += 1
        case Kind.TASK_FAILED:
            if ON_FAILED[run.states[task]] == ILLEGAL:
                raise IllegalTransition(run_id, run.plan.ids[task], run.states[task], kind)
            if run.plan.allow[task]:
                _end(state, run, task, FAILED, join.TAKEN)
            else:
                run.failures += 1
                if run.first_failed < 0:
                    run.first_failed = task
                _end(state, run, task, FAILED, join.EDGE_FAILED)
            run.position += 1
        case Kind.TASK_SKIPPED:
            if ON_SKIPPED[run.states[task]] == ILLEGAL:
                raise IllegalTransition(run_id, run.plan.ids[task], run.states[task], kind)
            if run.reasons is None:
                run.reasons = {}
            reason = run.reasons[task] = event.reason
            _end(state, run, task, SKIPPED, join.EDGE_FAILED if reason == "upstream_failed" else join.NOT_TAKEN)
            run.position += 1
        case Kind.TASK_CANCELLED:
            if ON_CANCELLED[run.states[task]] == ILLEGAL:
                raise IllegalTransition(run_id, run.plan.ids[task], run.states[task], kind)
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
            state.decidable.pop(run_id, None)
            run.timer = 0
            run.position += 1
            state.windows.add_ended(run_id, run.digest, state.time_ms)
        case Kind.RUN_CANCEL_REQUESTED:
            run.ending = event.state or "CANCELLED"
            run.reason = event.reason
            run.actor_end = event.actor
            run.timer = 0
            open_tasks = [i for i, task_state in enumerate(run.states) if task_state < TERMINAL]
            run.pending = open_tasks or None
            run.next_pending = 0
            state.decidable[run_id] = run
        case _:
            raise ValueError(f"event kind {kind} is not known to this release: upgrade before reading this log")


_NO_RUN = frozenset({Kind.RUN_REFUSED, Kind.RUN_REPEATED})
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
    run.pending = list(plan.first)
    run.position = 2  # accepted, running
    state.runs[run_id] = run
    state.decidable[run_id] = run
    if plan.run_timeout_ms:
        state.timers.arm(run, state.time_ms + plan.run_timeout_ms)
    return run


def _move(run: Run, task: int, row: bytes, kind: int) -> Attempt:
    """Takes a task with an attempt to the state that `row` gives."""
    states = run.states
    new = row[states[task]]
    if new == ILLEGAL:
        raise IllegalTransition(run.run_id, run.plan.ids[task], states[task], kind)
    states[task] = new
    return run.attempts[task]


def _queue(state: State, run: Run, task: int, event: Event) -> None:
    states = run.states
    old = states[task]
    if ON_QUEUED[old] == ILLEGAL:
        raise IllegalTransition(run.run_id, run.plan.ids[task], old, Kind.TASK_QUEUED)
    states[task] = QUEUED
    if old == PENDING:
        attempt = run.attempts[task] = Attempt(run, task, event.attempt, event.generation, state.time_ms)
        _leave_pending(state, run)
    else:
        attempt = run.attempts[task]
        attempt.place = 0
        attempt.number = event.attempt
        attempt.queued_ms = state.time_ms
        attempt.due_ms = 0
        attempt.timer = 0
    timeout = run.plan.queue_timeout_ms[task]
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
    if run.left:
        state.decidable.pop(run.run_id, None)


def _end(state: State, run: Run, task: int, new: int, edge: int) -> None:
    """A terminal state: the attempt is over, and each edge to a child ends."""
    run.states[task] = new
    attempt = run.attempts.pop(task, None)
    if attempt is not None:
        attempt.timer = 0
        if attempt.number != 1:
            _ended_with(run, task, attempt.number)
    elif new == FAILED:
        _ended_with(run, task, 0)
    run.left -= 1
    if not run.left:
        state.decidable[run.run_id] = run
    elif children := run.plan.children[task]:
        if edge == join.TAKEN and run.not_taken is None and run.failed is None:
            # The way of most edges: taken, in a run where every edge so far was taken.
            open_ = run.open
            eager = run.plan.eager
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
    if run.pending is not None:
        _leave_pending(state, run)


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
    if run.ending:
        return  # all that is open is on the queue already
    pending = run.pending
    if pending is None:
        run.pending = [task]
        state.decidable[run.run_id] = run
    else:
        pending.append(task)


def _apply_elsewhere(state: State, event: Event, kind: int) -> None:
    """Events that belong to no live run."""
    match kind:
        case Kind.RUN_REFUSED | Kind.RUN_REPEATED | Kind.COMMAND_REFUSED | Kind.DEPLOY_REFUSED | Kind.INPUT_REFUSED:
            pass  # facts for the history and for whoever asked
        case Kind.DEFINITION_RECORDED:
            _record(state, event)
        case Kind.VERSION_DEPLOYED:
            if event.label:
                state.windows.labels[event.workflow, event.label] = event.version
        case Kind.VERSION_ACTIVATED:
            state.windows.active[event.workflow] = event.version
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
