"""Snapshots: writing again what is live, so that a recovery need not begin at the start of the log.

Why: a log grows for ever, and a takeover must not. Once everything that is live stands behind a certain frame, recovery
may begin at that frame.

How: a snapshot is events between events. It begins with a mark at the head of a frame, which is where recovery may
begin; from there on versions count as not recorded, so each one that is needed is recorded again. Then come the runs
that were live at the mark, a few in each frame while work goes on: a run as it is at that moment, with its version
before it. Runs that started behind the mark are whole by themselves; those that end meanwhile need none. Then the
windows, in slices, and last a mark that all is there. Only when that frame is acknowledged may the shell let
`recover_from` point to the first.

No event is larger than 256 KiB, or one value. What a run is made of must be read as of one moment, so where that is
more it is cut into pieces that follow each other, through several frames if need be, with nothing in between; outputs
may follow later. A slice of anything else is taken when it is written. It only adds what is not known, since whatever
changed behind the mark is told by an event; so it may be read in any order with those.

A recovery from there meets events of runs that it does not know yet and passes over them (apply.py); when the run's
snapshot comes, the run is known as of that moment (restore.py). Where the state is known already (the writer itself,
a replay from further back) a snapshot changes nothing: the property test compares both ways.

It must never change what is decided: not a count, an order, or a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from indegree.engine import timetable
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.plan import Plan
from indegree.engine.starts import record
from indegree.engine.state import Ref, Run, State
from indegree.v1.event_pb2 import RunSnapshot, WindowSnapshot
from indegree.v1.trigger_pb2 import Origin
from indegree.v1.value_pb2 import Value

SLICE = 2_000
"""Entries of a window in one event, at most: about 200 KB."""
PART_BYTES = 256 * 1024
"""Of one event, as far as one value (an output, a message) does not reach over it."""
_ENTRY_BYTES = 128
"""Of an entry of a slice, at most, beside what users chose."""


LIMIT: list[Callable[[Any], WindowSnapshot.Limit]] = []
"""How a limit is written (features.py: tickets.written)."""


@dataclass(slots=True)
class Cursor:
    """How far a snapshot has been written. Volatile: a takeover begins a new snapshot.

    limits: names of what is left of the limits
    seq: of the frame that recovery may begin at, in this epoch; the last seq in force before it is one less
    runs, outputs, plans, slices: what is left of the things that are written one after the other; `plans`: the versions
        of schedules and backfills
    done: all of it is written; last: seq of the frame that ends it, which may be the open one
    """

    seq: int
    runs: Iterator[str]
    slices: Iterator[tuple[str, WindowSnapshot]] | None = None
    outputs: deque[RunSnapshot] = field(default_factory=deque)
    plans: deque[Plan] | None = None
    last: int = 0
    limits: deque[str] | None = None
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
            part = cursor.outputs.popleft()
            if (live := draft.state.runs.get(part.run_id)) is not None:
                _emit(draft, "run", _still(live, part))
            continue
        if cursor.slices is None:
            run = next((r for i in cursor.runs if (r := draft.state.runs.get(i)) is not None), None)
            if run is not None:
                record(draft, run.plan)
                base, *outputs = parts_of(run)
                cursor.outputs.extend(outputs)
                _emit_whole(draft, base)
                continue
            if cursor.plans is None:
                cursor.plans = deque(timetable.plans(draft.state))
            if cursor.plans:
                record(draft, cursor.plans.popleft())
                continue
            if cursor.limits is None:
                cursor.limits = deque(draft.state.limits)
            if cursor.limits:
                limit = draft.state.limits.get(cursor.limits.popleft())
                if limit is not None:
                    _emit_whole(draft, LIMIT[0](limit), "limit", "limit_piece")
                continue
            cursor.slices = _slices(draft.state)
        what, data = next(cursor.slices)
        _emit(draft, what, data)
        if what == "end":
            cursor.done, cursor.last = True, draft.state.seq + 1


def _emit(draft: Draft, what: str, data: RunSnapshot | WindowSnapshot) -> None:
    draft.note(Kind.SNAPSHOT, state=what, data=data.SerializeToString(deterministic=True))


def _emit_whole(
    draft: Draft, base: RunSnapshot | WindowSnapshot.Limit, whole: str = "run", piece: str = "piece"
) -> None:
    """One event, or pieces of one that follow each other."""
    for fields in _whole(base, whole, piece):
        if draft.full():
            draft.seal()
        draft.note(Kind.SNAPSHOT, **fields)


def _whole(
    base: RunSnapshot | WindowSnapshot.Limit, whole: str = "run", piece_word: str = "piece"
) -> Iterator[dict[str, Any]]:
    """The fields of that event, or of those."""
    data = base.SerializeToString(deterministic=True)
    if len(data) <= PART_BYTES:
        yield {"state": whole, "data": data}
        return
    parts = -(-len(data) // PART_BYTES)
    for part in range(parts):
        piece = data[part * PART_BYTES : (part + 1) * PART_BYTES]
        yield {"state": piece_word, "part": part, "parts": parts, "data": piece}


def reopen(draft: Draft, run: Run) -> None:
    """Makes a run live that had ended, by a snapshot of it, whose version is recorded. It does not queue up for its key
    again, and nobody waits for its end any more. Where it takes several frames it is live with the last one only, in
    which the caller's events follow: should the log end before that, nothing has happened."""
    base, *outputs = parts_of(run)
    base.gate, base.turn = "", 0
    base.ClearField("parent")
    for part in outputs:
        base.MergeFrom(part)
    for fields in _whole(base):
        if draft.full():
            draft.seal()
        draft.emit(Kind.SNAPSHOT, None, **fields)


def _still(run: Run, part: RunSnapshot) -> RunSnapshot:
    """Of outputs and items that were put off, those that no rerun has dropped meanwhile."""
    if run.generations is None:
        return part
    kept = RunSnapshot(run_id=run.run_id)
    for task, value in zip(part.output_tasks, part.outputs, strict=True):
        output = run.outputs.get(task)
        known = Ref.of(value.reference) if value.HasField("reference") else value.json
        if output is not None and output == known:
            kept.output_tasks.append(task)
            kept.outputs.append(value)
    for items in part.maps:
        found = run.maps.get(items.task) if run.maps is not None else None
        at = found.starts.index(items.begin) if found is not None and items.begin in found.starts else -1
        if found is not None and at >= 0 and found.slices[at] == items.items[0]:
            kept.maps.append(items)
    return kept


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
        paused=bool(run.paused & 1),
        generations=run.generations or {},
        closing=run.closing,
        waiting=run.waiting,
        not_before_ms=run.not_before_ms,
        gate=run.gate,
        turn=run.turn,
    )
    if run.parent:
        base.parent.MergeFromString(run.parent)
    for name, payload, actor, time_ms in run.signals or ():
        base.signals.add(name=name, payload=Value(json=payload), actor=actor, time_ms=time_ms)
    for slot, held in (run.held or {}).items():
        for limit, attempt_number in held:
            base.limits.add(task=slot, limit=limit, attempt=attempt_number)
    for wait in (run.waits or {}).values():
        base.waits.add(
            task=wait.task,
            kind=wait.kind,
            since_ms=wait.since_ms,
            due_ms=wait.due_ms,
            label=wait.label,
            attempt=wait.attempt,
            generation=wait.generation,
            after=wait.after,
        )
    for found in (run.maps or {}).values():
        base.maps.add(task=found.task, first=found.first, total=found.total, errors=found.errors)
    if run.nodes is not None:
        base.nodes.extend(run.nodes)
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
    size = base.ByteSize()
    for task, output in run.outputs.items():
        size += (len(output.data) if isinstance(output, Ref) else len(output)) + 16
        if size > PART_BYTES:
            parts.append(RunSnapshot(run_id=run.run_id))
            size = (len(output.data) if isinstance(output, Ref) else len(output)) + 16
        parts[-1].output_tasks.append(task)
        if isinstance(output, Ref):
            parts[-1].outputs.add(reference=output.reference)
        else:
            parts[-1].outputs.add(json=output)
    for found in (run.maps or {}).values():
        for begin, items in zip(found.starts, found.slices, strict=True):
            if found.known < found.total:  # the next slice follows what is known: as of this moment, like the rest
                base.maps.add(task=found.task, begin=begin, items=[items])
                continue
            if size + len(items) > PART_BYTES:
                parts.append(RunSnapshot(run_id=run.run_id))
                size = 0
            size += len(items) + 16
            parts[-1].maps.add(task=found.task, begin=begin, items=[items])
    return parts


# -- windows -----------------------------------------------------------------------------------------------------------


class _Slice:
    """What is being gathered for one event."""

    __slots__ = ("count", "data", "size")

    def __init__(self) -> None:
        self.data, self.count, self.size = WindowSnapshot(), 0, 0

    def grew(self, size: int) -> bool:
        """An entry of about `size` bytes was added. True: it is large enough."""
        self.count += 1
        self.size += size
        return self.count >= SLICE or self.size >= PART_BYTES


def _slices(state: State) -> Iterator[tuple[str, WindowSnapshot]]:
    """All but the runs: what an event says and its data, as it is when it is asked for. The last one is the "end"."""
    windows = state.windows
    part = _Slice()
    for workflow, key in list(windows.keys):
        keyed = windows.keys.get((workflow, key))
        if keyed is None:
            continue  # evicted meanwhile
        part.data.keys.add(workflow=workflow, key=key, run_id=keyed.run_id, digest=keyed.digest, time_ms=keyed.time_ms)
        if part.grew((len(key) if key.isascii() else 4 * len(key)) + _ENTRY_BYTES):
            yield "windows", part.data
            part = _Slice()
    for run_id in list(windows.ended):
        ended = windows.ended.get(run_id)
        if ended is None:
            continue
        part.data.finished.add(run_id=run_id, time_ms=ended.time_ms, digest=ended.digest)
        if part.grew(_ENTRY_BYTES):
            yield "windows", part.data
            part = _Slice()
    if part.count:
        yield "windows", part.data
    yield from _rest(state)


def _rest(state: State) -> Iterator[tuple[str, WindowSnapshot]]:
    """Active versions, labels, and the outbox with its numbers: all in the "end" where it fits."""
    windows = state.windows
    part = _Slice()
    for workflow in list(windows.active):
        part.data.active.add(workflow=workflow, version=windows.active[workflow])
        if part.grew(_ENTRY_BYTES):
            yield "rest", part.data
            part = _Slice()
    for workflow in list(windows.previous):
        part.data.previous.add(workflow=workflow, version=windows.previous[workflow])
        if part.grew(_ENTRY_BYTES):
            yield "rest", part.data
            part = _Slice()
    for workflow, label in list(windows.labels):
        part.data.labels.add(workflow=workflow, label=label, version=windows.labels[workflow, label])
        if part.grew(4 * len(label) + _ENTRY_BYTES):
            yield "rest", part.data
            part = _Slice()
    for what, name in list(state.switches):
        by = state.switches.get((what, name))
        if by is None:
            continue  # goes on meanwhile
        switch = part.data.switches.add(paused=True, actor=by[0], reason=by[1])
        setattr(switch, what, name)
        if part.grew(4 * (len(by[0]) + len(by[1])) + _ENTRY_BYTES):
            yield "rest", part.data
            part = _Slice()
    for schedule in timetable.schedules_now(state):
        part.data.schedules.append(schedule)
        if part.grew(_ENTRY_BYTES):
            yield "rest", part.data
            part = _Slice()
    for backfill in timetable.backfills_now(state):
        part.data.backfills.append(backfill)
        if part.grew(backfill.ByteSize()):
            yield "rest", part.data
            part = _Slice()
    for topic, partition in list(state.intakes):
        intake = state.intakes.get((topic, partition))
        if intake is None:
            continue  # ended meanwhile
        part.data.intakes.add(topic=topic, partition=partition, next=intake.next, begins=intake.begins)
        if part.grew((len(intake.begins) + 4) * _ENTRY_BYTES):
            yield "rest", part.data
            part = _Slice()
    for target, number in [(target, number) for target, entries in state.outbox.items() for number in entries]:
        entry = state.outbox.get(target, {}).get(number)
        if entry is None:
            continue  # sent meanwhile
        if part.count and part.size + len(entry.data) > PART_BYTES:
            yield "rest", part.data
            part = _Slice()
            entry = state.outbox.get(target, {}).get(number)
            if entry is None:
                continue
        part.data.outbox.add(target=target, number=number, topic=entry.topic, data=entry.data)
        part.grew(len(entry.data) + _ENTRY_BYTES)
    end = part.data
    end.outbox_numbers.update(state.outbox_numbers)
    end.received.update(state.received)
    end.backfill_number = state.backfill_number
    yield "end", end
