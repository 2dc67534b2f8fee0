"""Snapshots: writing again what is live, so that a recovery need not begin at the start of the log.

Why: a log grows for ever, and a takeover must not. Once everything that is live stands behind a certain frame, recovery
may begin at that frame.

How: a snapshot is events between events. It begins with a mark at the head of a frame, which is where recovery may
begin; from there on versions count as not recorded, so each one that is needed is recorded again. Then come the runs
that were live at the mark, a few in each frame while work goes on: a run as it is at that moment, with its version
before it. Runs that started behind the mark are whole by themselves; those that end meanwhile need none. Then the
windows, in slices, and last a mark that all is there. Only when that frame is acknowledged may the shell let
`recover_from` point to the first.

A recovery from there meets events of runs that it does not know yet and passes over them (apply.py); when the run's
snapshot comes, the run is known as of that moment (restore.py). Where the state is known already (the writer itself,
a replay from further back) a snapshot changes nothing: the property test compares both ways.

It must never change what is decided: not a count, an order, or a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.starts import record
from indegree.engine.state import Run, State
from indegree.v1.event_pb2 import RunSnapshot, WindowSnapshot
from indegree.v1.trigger_pb2 import Origin
from indegree.v1.value_pb2 import Value

SLICE = 2_000
"""Entries of a window in one event: about 200 KB."""
_PART_BYTES = 256 * 1024
"""Outputs of a run in one event, as far as one output does not reach over it."""


@dataclass(slots=True)
class Cursor:
    """How far a snapshot has been written. Volatile: a takeover begins a new snapshot.

    seq: of the frame that recovery may begin at, in this epoch; the last seq in force before it is one less
    done: the last frame of it is written, or in the open frame
    """

    seq: int
    runs: Iterator[str]
    windows: list[WindowSnapshot] | None = None
    outputs: list[RunSnapshot] = field(default_factory=list)
    done: bool = False


def begin(draft: Draft) -> Cursor:
    """Writes the mark at the head of a frame of its own. An open frame with events is sealed before it."""
    if draft.count:
        draft.seal()
    seq = draft.state.seq + 1
    runs = list(draft.state.runs)
    draft.emit(Kind.SNAPSHOT, None, state="begin", total=len(runs))
    return Cursor(seq, iter(runs))


def write(draft: Draft, cursor: Cursor, budget: int) -> None:
    """Writes up to `budget` events of the snapshot, less where the frame is full. Sets `cursor.done` with the last."""
    while budget > 0 and not draft.full() and not cursor.done:
        budget -= 1
        if cursor.outputs:
            part = cursor.outputs.pop(0)
            if part.run_id in draft.state.runs:
                _emit(draft, "run", part)
            continue
        if cursor.windows is None:
            run = next((r for i in cursor.runs if (r := draft.state.runs.get(i)) is not None), None)
            if run is not None:
                record(draft, run.plan)
                base, *cursor.outputs = parts_of(run)
                _emit(draft, "run", base)
                continue
            cursor.windows = _slices(draft.state)
        if cursor.windows:
            _emit(draft, "windows", cursor.windows.pop(0))
        else:
            _emit(draft, "end", _rest(draft.state))
            cursor.done = True


def _emit(draft: Draft, what: str, data: RunSnapshot | WindowSnapshot) -> None:
    draft.emit(Kind.SNAPSHOT, None, state=what, data=data.SerializeToString(deterministic=True))


# -- runs --------------------------------------------------------------------------------------------------------------


def parts_of(run: Run) -> list[RunSnapshot]:
    """The run as it is now: the first part has all but further outputs, which are never changed once they are set."""
    base = RunSnapshot(
        run_id=run.run_id,
        workflow=run.plan.workflow,
        version=run.plan.version,
        params=Value(json=run.params),
        origin=Origin.FromString(run.origin),
        traceparent=run.traceparent,
        tracestate=run.tracestate,
        started_ms=run.started_ms,
        states=bytes(run.states),
        cancelling=bool(run.ending),
        ending=run.ending,
        reason=run.reason,
        actor_end=run.actor_end,
        position=run.position,
        reasons=run.reasons or {},
        last_attempts=run.last_attempts or {},
        actor=run.actor,
        request_id=run.request_id,
        idempotency_key=run.idempotency_key,
        digest=run.digest,
        first_failed=run.first_failed + 1,
        pending=(run.pending or [])[run.next_pending :],
    )
    for task, attempt in run.attempts.items():
        base.attempts.add(
            task=task,
            attempt=attempt.number,
            generation=attempt.generation,
            worker=attempt.worker,
            queued_ms=attempt.queued_ms,
            started_ms=attempt.started_ms,
            due_ms=attempt.due_ms,
            rejections=attempt.rejections,
        )
    parts = [base]
    size = 0
    for task, output in run.outputs.items():
        if size > _PART_BYTES:
            parts.append(RunSnapshot(run_id=run.run_id))
            size = 0
        parts[-1].output_tasks.append(task)
        parts[-1].outputs.add(json=output)
        size += len(output) + 8
    return parts


# -- windows -----------------------------------------------------------------------------------------------------------


def _slices(state: State) -> list[WindowSnapshot]:
    """Keys and ended runs as they are when all runs have been written. An entry is never changed, only evicted."""
    found: list[WindowSnapshot] = []
    keys = iter(state.windows.keys.items())
    while batch := list(islice(keys, SLICE)):
        part = WindowSnapshot()
        for (workflow, key), entry in batch:
            part.keys.add(workflow=workflow, key=key, run_id=entry.run_id, digest=entry.digest, time_ms=entry.time_ms)
        found.append(part)
    ended = iter(state.windows.ended.items())
    while ended_batch := list(islice(ended, SLICE)):
        part = WindowSnapshot()
        for run_id, end in ended_batch:
            part.finished.add(run_id=run_id, time_ms=end.time_ms, digest=end.digest)
        found.append(part)
    return found


def _rest(state: State) -> WindowSnapshot:
    """What is small and as of now: active versions, labels, the outbox and its numbers."""
    windows = state.windows
    rest = WindowSnapshot(outbox_numbers=state.outbox_numbers, received=state.received)
    for workflow, version in windows.active.items():
        rest.active.add(workflow=workflow, version=version)
    for (workflow, label), version in windows.labels.items():
        rest.labels.add(workflow=workflow, label=label, version=version)
    for entries in state.outbox.values():
        for entry in entries.values():
            rest.outbox.add(target=entry.target, number=entry.number, topic=entry.topic, data=entry.data)
    return rest
