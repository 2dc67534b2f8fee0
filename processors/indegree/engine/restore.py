"""Snapshots read back: what a SNAPSHOT event does to the state.

Why and how: see snapshot.py, which writes them. Everything that can be derived (counts, timers) is not in a snapshot
and is computed here from the states of the tasks.

It must change nothing in a state that has it all already: the writer's own, or a replay from further back.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from indegree.engine import join
from indegree.engine.state import Attempt, OutboxEntry, Run, State
from indegree.engine.states import FAILED, QUEUED, RETRYING, RUNNING, SKIPPED, SUCCESS, TERMINAL
from indegree.engine.windows import Ended, Keyed
from indegree.v1.event_pb2 import RunSnapshot, WindowSnapshot

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event


def apply_snapshot(state: State, event: Event) -> None:
    """Puts in what is not known. "begin" forgets which versions are recorded: they are recorded again behind it."""
    match event.state:
        case "begin":
            state.versions.clear()
            state.parts.clear()
        case "run":
            _restore(state, RunSnapshot.FromString(event.data))
        case "piece":
            _piece(state, event)
        case "windows" | "rest":
            _merge(state, WindowSnapshot.FromString(event.data))
        case "end":
            data = WindowSnapshot.FromString(event.data)
            _merge(state, data)
            _finish(state, data)
        case _:
            raise ValueError(
                f"a snapshot of {event.state!r} is not known to this release: upgrade before reading this log"
            )


_PIECES = ""
"""Where `state.parts` holds the pieces of a run. They follow each other, so there is one such run at a time."""


def _piece(state: State, event: Event) -> None:
    pieces = state.parts.setdefault(_PIECES, [])
    if event.part == 0:
        pieces.clear()
    pieces.append(event.data)
    if len(pieces) == event.parts:
        del state.parts[_PIECES]
        _restore(state, RunSnapshot.FromString(b"".join(pieces)))


def _restore(state: State, data: RunSnapshot) -> None:
    run = state.runs.get(data.run_id)
    if run is None:
        if not data.version:
            return  # outputs of a run that ended meanwhile
        run = state.runs[data.run_id] = _restored(state, data)
        if run.pending is not None or not run.left:
            state.decidable[run.run_id] = run
    for task, output in zip(data.output_tasks, data.outputs, strict=True):
        run.outputs.setdefault(task, output.json)


def _restored(state: State, data: RunSnapshot) -> Run:
    plan = state.versions[data.version]
    run = Run(data.run_id, plan, data.started_ms)
    run.params = data.params.json
    run.origin = data.origin.SerializeToString()
    run.traceparent = data.traceparent
    run.tracestate = data.tracestate
    run.states = bytearray(data.states)
    run.ending = data.ending
    run.reason = data.reason
    run.actor_end = data.actor_end
    run.position = data.position
    run.reasons = dict(data.reasons) or None
    run.last_attempts = dict(data.last_attempts) or None
    run.actor = data.actor
    run.request_id = data.request_id
    run.idempotency_key = data.idempotency_key
    run.digest = data.digest
    run.first_failed = data.first_failed - 1
    run.pending = list(data.pending) or None
    _count(run)
    for found in data.attempts:
        attempt = Attempt(run, found.task, found.attempt, found.generation, found.queued_ms)
        attempt.worker = found.worker
        attempt.started_ms = found.started_ms
        attempt.due_ms = found.due_ms
        attempt.rejections = found.rejections
        run.attempts[found.task] = attempt
        _arm(state, run, attempt)
    if plan.run_timeout_ms and not run.ending:
        state.timers.arm(run, run.started_ms + plan.run_timeout_ms)
    return run


def _arm(state: State, run: Run, attempt: Attempt) -> None:
    """The timer that its state asks for, as apply would have armed it."""
    task_state = run.states[attempt.task]
    timeout, queue_timeout = run.plan.timeout_ms[attempt.task], run.plan.queue_timeout_ms[attempt.task]
    if task_state == RETRYING:
        state.timers.arm(attempt, attempt.due_ms)
    elif task_state == RUNNING and timeout:
        state.timers.arm(attempt, attempt.started_ms + timeout)
    elif task_state == QUEUED and queue_timeout:
        state.timers.arm(attempt, attempt.queued_ms + queue_timeout)


def _count(run: Run) -> None:
    """All counts, from the states of the tasks."""
    plan, states = run.plan, run.states
    run.left = sum(1 for state in states if state < TERMINAL)
    for task, state in enumerate(states):
        if state < TERMINAL:
            continue
        edge = join.TAKEN
        if state == SKIPPED:
            reason = run.reasons[task] if run.reasons else ""
            edge = join.EDGE_FAILED if reason == "upstream_failed" else join.NOT_TAKEN
        elif state == FAILED and plan.allow[task]:
            edge = join.TAKEN
        elif state != SUCCESS:
            edge = join.EDGE_FAILED
            run.failures += state == FAILED
        for child in plan.children[task]:
            run.open[child] -= 1
            if edge == join.NOT_TAKEN:
                if run.not_taken is None:
                    run.not_taken = array("I", bytes(4 * plan.n))
                run.not_taken[child] += 1
            elif edge == join.EDGE_FAILED:
                if run.failed is None:
                    run.failed = array("I", bytes(4 * plan.n))
                run.failed[child] += 1


def _merge(state: State, data: WindowSnapshot) -> None:
    """Adds what is not known. What came by events behind the mark is as new, or newer, and stays."""
    windows = state.windows
    for key in data.keys:
        name = (key.workflow, key.key)
        known = windows.keys.get(name)
        if known is None or known.time_ms < key.time_ms:
            windows.keys[name] = Keyed(key.run_id, key.digest, key.time_ms)
            windows.disordered = True
    for run in data.finished:
        if run.run_id not in windows.ended:
            windows.ended[run.run_id] = Ended(run.time_ms, run.digest)
            windows.disordered = True
    for active in data.active:
        windows.active.setdefault(active.workflow, active.version)
    for label in data.labels:
        windows.labels.setdefault((label.workflow, label.label), label.version)
    for entry in data.outbox:
        entries = state.outbox.setdefault(entry.target, {})
        if entry.number not in entries:
            entries[entry.number] = OutboxEntry(entry.target, entry.number, entry.topic, entry.data)


def _finish(state: State, data: WindowSnapshot) -> None:
    """All is there: the numbers, as of now; and what came behind newer entries is put in its place."""
    windows = state.windows
    if windows.disordered:
        windows.keys = dict(sorted(windows.keys.items(), key=lambda item: item[1].time_ms))
        windows.ended = dict(sorted(windows.ended.items(), key=lambda item: item[1].time_ms))
        windows.disordered = False
    state.outbox_numbers = dict(data.outbox_numbers)
    state.received = dict(data.received)
    for target, entries in state.outbox.items():
        state.outbox[target] = dict(sorted(entries.items()))
