"""Snapshots read back: what a SNAPSHOT event does to the state.

Why and how: see snapshot.py, which writes them. Everything that can be derived (counts, timers) is not in a snapshot
and is computed here from the states of the tasks.

It must change nothing in a state that has it all already: the writer's own, or a replay from further back.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from indegree.engine import join, mapping, queues, timetable
from indegree.engine.mapping import MapState
from indegree.engine.state import OBSERVED, Attempt, Intake, OutboxEntry, Ref, Run, State, Wait
from indegree.engine.states import FAILED, QUEUED, RETRYING, RUNNING, SKIPPED, SUCCESS, TERMINAL
from indegree.engine.switches import BY_ITSELF, of_workflow, set_switch
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
            if (whole := _joined(state, event, _RUN_PIECES)) is not None:
                _restore(state, RunSnapshot.FromString(whole))
        case "windows" | "rest":
            _merge(state, WindowSnapshot.FromString(event.data))
        case "limit":
            LIMITS[0](state, WindowSnapshot.Limit.FromString(event.data))
        case "limit_piece":
            if (whole := _joined(state, event, _LIMIT_PIECES)) is not None:
                LIMITS[0](state, WindowSnapshot.Limit.FromString(whole))
        case "end":
            data = WindowSnapshot.FromString(event.data)
            _merge(state, data)
            _finish(state, data)
        case _:
            raise ValueError(
                f"a snapshot of {event.state!r} is not known to this release: upgrade before reading this log"
            )


LIMITS: list[Callable[[State, WindowSnapshot.Limit], None]] = []
"""How a limit is read back (features.py: tickets.read)."""

_RUN_PIECES = ""
_LIMIT_PIECES = "limit"
"""Where `state.parts` holds the pieces of a run, and of a limit. They follow each other, so there is one at a time."""


def _joined(state: State, event: Event, name: str) -> bytes | None:
    """What the pieces under `name` give with this one; None while some are to come."""
    pieces = state.parts.setdefault(name, [])
    if event.part == 0:
        pieces.clear()
    pieces.append(event.data)
    if len(pieces) < event.parts:
        return None
    del state.parts[name]
    return b"".join(pieces)


def _restore(state: State, data: RunSnapshot) -> None:
    run = state.runs.get(data.run_id)
    if run is None:
        if not data.version:
            return  # outputs of a run that ended meanwhile
        run = state.runs[data.run_id] = _restored(state, data)
        if run.turn:
            queues.restored(state, run)
        state.windows.ended.pop(data.run_id, None)  # one that was reopened
        if run.is_decidable():
            state.decidable[run.run_id] = run
    for task, output in zip(data.output_tasks, data.outputs, strict=True):
        if output.HasField("reference"):
            run.references = True
            run.outputs.setdefault(task, Ref.of(output.reference))
        elif task not in run.outputs:
            run.outputs[task] = output.json
            run.inline_bytes += len(output.json)
            state.inline_bytes += len(output.json)
    for part in data.maps:
        found = run.maps.get(part.task) if run.maps is not None else None
        if part.items and found is not None and found.known == part.begin:
            for items in part.items:
                mapping.add_items(state, run, found, items)
            mapping.refresh(state, run, found)


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
    run.triggered = bool(data.origin.kind)
    run.generations = dict(data.generations) or None
    run.closing = data.closing
    run.paused = (BY_ITSELF if data.paused else 0) | of_workflow(state, run)
    run.waiting = data.waiting
    run.not_before_ms = data.not_before_ms
    run.gate = data.gate
    run.turn = data.turn
    if data.HasField("parent"):
        run.parent = data.parent.SerializeToString(deterministic=True)
    run.signals = [(s.name, s.payload.json, s.actor, s.time_ms) for s in data.signals] or None
    for limit in data.limits:
        run.held = run.held or {}
        run.held[limit.task] = (*run.held.get(limit.task, ()), (limit.limit, limit.attempt))
    if data.nodes:
        run.nodes = array("I", data.nodes)
        run.maps = {}  # also where those of before are over, and nothing is expanded again yet
    maps = [part for part in data.maps if part.total]
    for part in maps:
        mapped = plan.mapped[part.task] if plan.mapped is not None else None
        limit_of = mapped.concurrency or 0 if mapped is not None else 0
        found = MapState(part.task, part.first, part.total, plan.follows.get(part.task, -1), limit_of)
        found.errors = dict(part.errors)
        run.maps = run.maps or {}
        run.maps[part.task] = found
    count(run)
    for waiting in data.waits:
        wait = Wait(
            run,
            waiting.task,
            waiting.kind,
            waiting.since_ms,
            waiting.due_ms,
            waiting.label,
            waiting.attempt,
            waiting.generation,
            waiting.after,
        )
        run.waits = run.waits or {}
        run.waits[waiting.task] = wait
        if wait.kind in OBSERVED:
            state.awaited.setdefault((wait.kind, wait.label), {})[wait] = None
        if wait.due_ms:
            state.timers.arm(wait, wait.due_ms)
    for under_way in data.attempts:
        attempt = Attempt(run, under_way.task, under_way.attempt, under_way.generation, under_way.queued_ms)
        attempt.worker = under_way.worker
        attempt.started_ms = under_way.started_ms
        attempt.due_ms = under_way.due_ms
        attempt.rejections = under_way.rejections
        run.attempts[under_way.task] = attempt
        _arm(state, run, attempt)
    if run.waiting:
        if run.not_before_ms:
            state.timers.arm(run, run.not_before_ms)
    elif plan.run_timeout_ms and not run.ending and not run.closing:
        state.timers.arm(run, run.started_ms + plan.run_timeout_ms)
    for found in (run.maps or {}).values():
        mapping.recount(state, run, found)
    return run


def _arm(state: State, run: Run, attempt: Attempt) -> None:
    """The timer that its state asks for, as apply would have armed it."""
    task_state = run.states[attempt.task]
    timeout, queue_timeout = run.plan.timeout_ms[attempt.node], run.plan.queue_timeout_ms[attempt.node]
    if task_state == RETRYING:
        state.timers.arm(attempt, attempt.due_ms)
    elif task_state == RUNNING and timeout:
        state.timers.arm(attempt, attempt.started_ms + timeout)
    elif task_state == QUEUED and queue_timeout:
        state.timers.arm(attempt, attempt.queued_ms + queue_timeout)


def count(run: Run) -> None:
    """All counts, from the states of the tasks."""
    plan, states = run.plan, run.states
    run.open = plan.degree[:]
    run.not_taken = run.failed = None
    run.failures = 0
    run.left = sum(1 for slot, state in enumerate(states) if state < TERMINAL and run.counts(slot))
    for task, state in enumerate(states):
        if state < TERMINAL or task >= plan.n:
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
    for before in data.previous:
        windows.previous.setdefault(before.workflow, before.version)
    for label in data.labels:
        windows.labels.setdefault((label.workflow, label.label), label.version)
    for switch in data.switches:  # paused when that was written, whatever was known of it
        what = "workflow" if switch.workflow else "queue"
        set_switch(state, what, switch.workflow or switch.queue, (switch.actor, switch.reason))
    for schedule in data.schedules:
        timetable.restore_schedule(state, schedule)
    for backfill in data.backfills:
        timetable.restore_backfill(state, backfill)
    for intake in data.intakes:  # as of when that was written, which is behind all that is known of it
        restored = state.intakes[intake.topic, intake.partition] = Intake(intake.next)
        restored.begins.update(intake.begins)
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
    state.backfill_number = max(state.backfill_number, data.backfill_number)
    for target, entries in state.outbox.items():
        state.outbox[target] = dict(sorted(entries.items()))
