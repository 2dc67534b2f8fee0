"""Everything that is derived, computed again from the states of tasks, and compared. For tests, after every step.

Why: counts that are kept up to date by small steps go wrong by small steps, and a wrong count fires a task early or
never. This is the slow and simple way to the same numbers.

How: `check` recomputes the counts of each run from its parents' states, what is decidable, what has attempts and
timers, and raises on the first difference. `image` is the whole state as plain data, so that two states can be
compared; what is volatile (dispatch.py) or only numbering (timers) is left out.

It must never change the state.
"""

from __future__ import annotations

from typing import Any

from indegree.engine import join, queues, tickets, timetable
from indegree.engine.apply import may_follow
from indegree.engine.mapping import MapState
from indegree.engine.state import Attempt, Run, State
from indegree.engine.states import (
    FAILED,
    PENDING,
    QUEUED,
    RETRYING,
    RUNNING,
    SKIPPED,
    SUCCESS,
    TASK_STATES,
    TERMINAL,
    WAITING,
)
from indegree.engine.switches import BY_WORKFLOW, of_workflow


class BrokenInvariant(AssertionError):
    """A derived value differs from what the states of the tasks say."""


def check(state: State) -> None:
    """Raises BrokenInvariant on the first value that is not as it should be."""
    for run_id, run in state.runs.items():
        _same("run_id", run_id, run.run_id, run_id)
        check_run(state, run)
    _same("inline_bytes", "the partition", state.inline_bytes, sum(run.inline_bytes for run in state.runs.values()))
    for run_id, run in state.decidable.items():
        _same("decidable is live", run_id, state.runs.get(run_id) is run, True)
    for target, entries in state.outbox.items():
        _same("outbox has no empty target", target, bool(entries), True)
        _same("outbox numbers ascend", target, list(entries), sorted(entries))
        _same("outbox numbers", target, max(entries) <= state.outbox_numbers[target], True)
    timetable.check(state)
    _same("queues of keys", "the partition", queues.problem(state), "")
    _same("limits", "the partition", tickets.problem(state), "")


def check_run(state: State, run: Run) -> None:
    """The invariants of one run."""
    plan, states = run.plan, run.states
    inline = sum(len(o) for o in run.outputs.values() if isinstance(o, bytes))
    inline += sum(len(items) for found in (run.maps or {}).values() for items in found.slices)
    _same("inline_bytes", run.run_id, run.inline_bytes, inline)
    _same("length of states", run.run_id, len(states), plan.n + len(run.nodes or ()))
    _same("left", run.run_id, run.left, sum(1 for i, s in enumerate(states) if s < TERMINAL and run.counts(i)))
    failed = [i for i in range(plan.n) if states[i] == FAILED and not plan.allow[i]]
    _same("failures", run.run_id, run.failures, len(failed))
    _same("first_failed", run.run_id, run.first_failed in failed if failed else run.first_failed, bool(failed) or -1)
    decided: set[int] = set()
    for task in range(plan.n):
        where = f"{run.run_id} task {plan.ids[task]}"
        edges = counts(run, task)
        _same("edges", where, run.edges(task), edges)
        is_open = states[task] == PENDING and run.counts(task) and may_follow(run, task)
        if is_open and join.decide(plan.rules[task], *edges):
            decided.add(task)
        is_map = run.maps is not None and task in run.maps
        has_attempt = states[task] in (QUEUED, RUNNING, RETRYING) and not is_map
        _same("waits", where, run.waits is not None and task in run.waits, states[task] == WAITING)
        attempt = run.attempts.get(task)
        _same("attempt", where, attempt is not None, has_attempt)
        if attempt is not None:
            _check_attempt(state, run, task, attempt, where)
        _same("reason", where, bool(run.reasons and task in run.reasons), states[task] == SKIPPED)
        if task in run.outputs:
            _same("output", where, states[task], SUCCESS)
    for found in (run.maps or {}).values():
        _check_map(state, run, found)
    pending = (run.pending or [])[run.next_pending :]
    _same("pending has no repeats", run.run_id, len(set(pending)), len(pending))
    if run.ending:
        open_ = {i for i in range(len(states)) if states[i] < TERMINAL and run.counts(i)}
        _same("pending (ending)", run.run_id, open_ - set(pending), set())
    elif run.waiting:
        _same("pending of a run that has not begun", run.run_id, pending, [])
    else:
        # What waits for a value stays on the queue while those behind it are decided.
        _same("pending", run.run_id, {task for task in pending if states[task] == PENDING}, decided)
    _same("no empty pending", run.run_id, run.pending is None or len(run.pending) > 0, True)
    busy = {task for task, found in (run.maps or {}).items() if found.has_work(run)}
    _same("busy", run.run_id, set(run.busy or ()), busy)
    _same("paused by its workflow", run.run_id, run.paused & BY_WORKFLOW, of_workflow(state, run))
    if run.ending or run.closing:
        _same("paused while it ends", run.run_id, run.paused, 0)
    has_work = (bool(pending) or bool(busy) or run.left == 0) and not run.waiting and not run.paused
    _same("decidable", run.run_id, run.run_id in state.decidable, has_work)
    if plan.run_timeout_ms and not run.ending and not run.closing and not run.waiting:
        due = state.timers.alive().get(id(run))
        _same("run timer", run.run_id, due, run.started_ms + plan.run_timeout_ms)


def _check_map(state: State, run: Run, found: MapState) -> None:
    where = f"{run.run_id} map {run.plan.ids[found.task]}"
    states = run.states[found.first : found.first + found.total]
    _same("instances", where, len(states), found.total)
    _same("left of a map", where, found.left, sum(1 for s in states if s < TERMINAL))
    _same("failed of a map", where, found.failed, states.count(FAILED))
    _same("active of a map", where, found.active, sum(1 for s in states if PENDING < s < TERMINAL))
    for place, task_state in enumerate(states):
        slot = found.first + place
        attempt = run.attempts.get(slot)
        _same(
            "attempt of an instance",
            f"{where}[{place}]",
            attempt is not None,
            task_state in (QUEUED, RUNNING, RETRYING),
        )
        if attempt is not None:
            _check_attempt(state, run, slot, attempt, f"{where}[{place}]")
    if found.follows >= 0 and not run.ending:
        ready = {i for i in found.ready if states[i] == PENDING}
        parent = run.maps[found.follows] if run.maps is not None else None
        assert parent is not None
        _same(
            "ready",
            where,
            ready,
            {i for i, s in enumerate(states) if s == PENDING and run.states[parent.first + i] >= TERMINAL},
        )


def counts(run: Run, task: int) -> tuple[int, int, int, int]:
    """(open, taken, not taken, failed), from the states of the task's parents."""
    follows = run.plan.follows.get(task, -1)
    ends = [edge_of(run, parent) for parent in run.plan.graph.parents[task] if parent != follows]
    return ends.count(-1), ends.count(join.TAKEN), ends.count(join.NOT_TAKEN), ends.count(join.EDGE_FAILED)


def edge_of(run: Run, parent: int) -> int:
    """What the edges from this task became, or -1 while they are open."""
    state = run.states[parent]
    if state < TERMINAL:
        return -1
    if state == SUCCESS:
        return join.TAKEN
    if state == SKIPPED:
        reason = run.reasons[parent] if run.reasons else ""
        return join.EDGE_FAILED if reason == "upstream_failed" else join.NOT_TAKEN
    return join.TAKEN if state == FAILED and run.plan.allow[parent] else join.EDGE_FAILED


def _check_attempt(state: State, run: Run, task: int, attempt: Attempt, where: str) -> None:
    task_state = run.states[task]
    _same("attempt's place", where, (attempt.run is run, attempt.task), (True, task))
    _same("number", where, 1 <= attempt.number <= max(1, run.plan.retry[attempt.node].max_attempts), True)
    _same("bound", where, bool(attempt.worker), task_state == RUNNING)
    due: int | None = None
    if task_state == RETRYING:
        due = attempt.due_ms
    elif task_state == RUNNING and run.plan.timeout_ms[attempt.node]:
        due = attempt.started_ms + run.plan.timeout_ms[attempt.node]
    elif task_state == QUEUED and run.plan.queue_timeout_ms[attempt.node]:
        due = attempt.queued_ms + run.plan.queue_timeout_ms[attempt.node]
    if due is not None or attempt.timer:
        alive = state.timers.alive().get(id(attempt))
        # A timer that has fired in a run that is ending stays off.
        if not (run.ending and alive is None):
            _same("timer", where, alive, due)


def _same(what: str, where: object, found: object, right: object) -> None:
    if found != right:
        raise BrokenInvariant(f"{what} of {where}: {found!r}, and it should be {right!r}")


def image(state: State) -> dict[str, Any]:
    """The state as plain data, equal for states that decide alike."""
    windows = state.windows
    return {
        "epoch": state.epoch,
        "seq": state.seq,
        "time_ms": state.time_ms,
        "next": list(state.next),
        "versions": sorted(state.versions),
        "parts": {version: list(parts) for version, parts in state.parts.items()},
        "received": dict(state.received),
        "outbox_numbers": dict(state.outbox_numbers),
        "outbox": {
            target: [(entry.number, entry.topic, entry.data) for entry in entries.values()]
            for target, entries in state.outbox.items()
        },
        "keys": sorted(windows.keys.items()),
        "ended": sorted(windows.ended.items()),
        "active": dict(windows.active),
        "previous": dict(windows.previous),
        "labels": dict(windows.labels),
        "decidable": sorted(state.decidable),
        "intakes": {name: (intake.next, dict(intake.begins)) for name, intake in state.intakes.items()},
        "switches": dict(state.switches),
        "gates": queues.image(state),
        "limits": tickets.image(state),
        **timetable.image(state),
        "runs": {run_id: image_of_run(run) for run_id, run in state.runs.items()},
    }


def _ready(run: Run, found: MapState) -> list[int]:
    """Without what stays there though it has been begun or ended."""
    return sorted({place for place in found.ready if run.states[found.first + place] == PENDING})


def image_of_run(run: Run) -> dict[str, Any]:
    """One run as plain data."""
    return {
        "version": run.plan.version,
        "states": [TASK_STATES[s] for s in run.states],
        "edges": [run.edges(task) for task in range(run.plan.n)],
        "left": run.left,
        "failures": (run.failures, run.first_failed),
        "pending": (run.pending or [])[run.next_pending :],
        "attempts": {
            task: (a.number, a.generation, a.worker, a.queued_ms, a.started_ms, a.due_ms, a.rejections)
            for task, a in run.attempts.items()
        },
        "last_attempts": dict(run.last_attempts or {}),
        "outputs": dict(run.outputs),
        "reasons": dict(run.reasons or {}),
        "maps": {
            task: (m.first, m.total, m.known, m.slices, m.left, m.failed, m.active, _ready(run, m), dict(m.errors))
            for task, m in (run.maps or {}).items()
        },
        "nodes": list(run.nodes or ()),
        "waits": {
            slot: (w.kind, w.since_ms, w.due_ms, w.label, w.attempt, w.generation, w.after)
            for slot, w in (run.waits or {}).items()
        },
        "signals": list(run.signals or ()),
        "generations": dict(run.generations or {}),
        "held": dict(run.held or {}),
        "begin": (run.paused, run.waiting, run.not_before_ms, run.gate, run.turn, run.parent, run.closing),
        "params": run.params,
        "origin": run.origin,
        "position": run.position,
        "ending": (run.ending, run.reason, run.actor_end),
        "asked": (run.actor, run.request_id, run.idempotency_key, run.digest, run.traceparent, run.tracestate),
        "started_ms": run.started_ms,
    }
