"""Concurrency keys and delayed starts: when does an accepted run begin?

Why: the orders of one customer are worked off in their order, one at a time, whatever partitions they came from; and a
run for tomorrow is accepted today.

How: a run whose workflow has a `concurrency` lives on the partition of its key, where it is active, queued, or refused
(starts.py sends it there; queues.py keeps the order). A queued run is PENDING: accepted, known, and without a decision
until RUN_RELEASED. Whenever a run of the key ends, `left` lets the next ones begin. With `not_before_ms` a run is
PENDING until then, and only then takes its place in the queue.

on_conflict says what happens when the key is taken: queue; skip (the start is refused, with the run that holds it);
cancel_running (the oldest active run is cancelled, all that wait are cancelled, and the newest waits for the place).

The limit that counts is that of the version of the run that asks. A run that was reopened by hand does not queue again.

It must never let a run begin before one of the same key that came before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.messages import forward
from indegree.engine.plan import Plan
from indegree.engine.queues import PREFIX, Gate, gate_of, next_turn
from indegree.engine.records import Builder
from indegree.engine.scope import trigger_values
from indegree.engine.state import Run, State
from indegree.events import json_values
from indegree.events.expressions import EvaluationError, Scope
from indegree.events.run_ids import partition_of_key
from indegree.v1.trigger_pb2 import Origin, PartitionMessage, Unplaced

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event

LATEST_MS = 366 * 86_400_000
"""How far ahead a start may be delayed."""


class Taken(Exception):
    """The key is taken, and the workflow says `skip`; the message says by whom."""


def key_of(draft: Draft, plan: Plan, params: bytes, origin: Origin) -> str:
    """The gate of a start: its key as JSON text behind a prefix; "" where the workflow has no concurrency.

    Raises EvaluationError and json_values.JsonValueError where the key has no value.
    """
    concurrency = plan.definition.concurrency
    if concurrency is None:
        return ""
    if concurrency.key is None:
        return PREFIX
    scope = Scope(params=json_values.loads(params), trigger=trigger_values(origin))
    found = json_values.dumps(concurrency.key.evaluate(scope))
    if len(found) > draft.limits.key_bytes:
        raise EvaluationError(f"it is {len(found)} bytes long, the limit is {draft.limits.key_bytes}")
    return PREFIX + found.decode()


def home_of(draft: Draft, workflow: str, gate: str) -> int:
    """The partition where all runs of this key live."""
    return partition_of_key("concurrency", workflow, gate[len(PREFIX) :], draft.partitions)


def how_it_begins(draft: Draft, plan: Plan, gate: str, not_before_ms: int, run_id: str) -> dict[str, Any]:
    """The fields of RUN_STARTED that say when the run begins. Cancels what has to make place for it. Raises Taken."""
    fields: dict[str, Any] = {"label": gate} if gate else {}
    if not_before_ms > draft.state.time_ms:
        return {**fields, "state": "PENDING", "due_ms": not_before_ms}
    if not gate:
        return fields
    if not _has_room(draft, plan, gate):
        _make_room(draft, plan, gate, run_id)
        fields["state"] = "PENDING"
    fields["number"] = next_turn(draft.state, plan.workflow, gate)
    return fields


def _has_room(draft: Draft, plan: Plan, name: str) -> bool:
    gate: Gate | None = draft.state.gates.get((plan.workflow, name))
    concurrency = plan.definition.concurrency
    return gate is None or concurrency is None or (len(gate.active) < concurrency.limit and not gate.queued)


def _make_room(draft: Draft, plan: Plan, name: str, run_id: str) -> None:
    """The key is taken. Raises Taken where the workflow says `skip`."""
    gate: Gate = draft.state.gates[plan.workflow, name]
    concurrency = plan.definition.concurrency
    assert concurrency is not None
    key = name[len(PREFIX) :] or "the workflow"
    if concurrency.on_conflict == "skip":
        holder = next(iter(gate.active), "") or next(iter(gate.queued))
        raise Taken(f"{key} is taken by run {holder} (concurrency: on_conflict is skip)")
    if concurrency.on_conflict == "cancel_running":
        spare = len(gate.active) - concurrency.limit + 1
        for place, victim in enumerate([*gate.active, *gate.queued]):
            run = draft.state.runs[victim]
            is_open = not run.ending and not run.closing and (run.left or run.paused)
            if (place < spare or victim in gate.queued) and is_open:
                if draft.full():  # should the log end here, the start is decided again and cancels the others
                    draft.seal()
                reason = text(f"run {run_id} of the same key takes its place (concurrency: cancel_running)")
                draft.emit(
                    Kind.RUN_CANCEL_REQUESTED, victim, state="CANCELLED", reason=reason, actor="concurrency"
                )  # what is left of it is for `proceed`


def left(draft: Draft, builder: Builder, run: Run) -> None:
    """A run of a key has ended: those that have the next turns begin (`proceed` goes on with them)."""
    gate = gate_of(draft.state, run)
    if gate is None:
        return
    while gate.queued:
        waiting = draft.state.runs[next(iter(gate.queued))]
        concurrency = waiting.plan.definition.concurrency
        if concurrency is not None and len(gate.active) >= concurrency.limit:
            return
        if draft.full():  # should the log end here, the end of one that has begun goes on
            draft.seal()
        _release(draft, waiting)


def _release(draft: Draft, run: Run, turn: int = 0) -> None:
    fields: dict[str, Any] = {"state": "PAUSED"} if run.paused else {}
    if turn:
        fields["number"] = turn
    draft.emit(Kind.RUN_RELEASED, run.run_id, **fields)


def time_has_come(draft: Draft, run: Run) -> Run | None:
    """A run that was accepted for later has its time: it begins, or queues up."""
    if not run.gate or _has_room(draft, run.plan, run.gate):
        _release(draft, run, next_turn(draft.state, run.plan.workflow, run.gate) if run.gate else 0)
        return run
    try:
        _make_room(draft, run.plan, run.gate, run.run_id)
    except Taken as taken:
        draft.emit(
            Kind.RUN_CANCEL_REQUESTED, run.run_id, state="CANCELLED", reason=text(str(taken)), actor="concurrency"
        )
        return run
    draft.emit(Kind.RUN_GATED, run.run_id, number=next_turn(draft.state, run.plan.workflow, run.gate))
    return None


# -- starts that came from the partition of their idempotency key ------------------------------------------------------


def not_placed(draft: Draft, workflow: str, key: str, run_id: str) -> None:
    """A start that was passed on is refused here: where its idempotency key is kept it stands for nothing any more, so
    that the same start, sent again, is judged anew as any refused start is."""
    home = partition_of_key("idempotency", workflow, key, draft.partitions)
    forward(draft, home, PartitionMessage(unplaced=Unplaced(workflow=workflow, idempotency_key=key, run_id=run_id)))


def unplaced(draft: Draft, builder: Builder, message: PartitionMessage) -> Run | None:
    """Message `unplaced`."""
    told = message.unplaced
    known = draft.state.windows.keys.get((told.workflow, told.idempotency_key))
    if known is not None and known.run_id == told.run_id:
        draft.emit(
            Kind.START_UNPLACED,
            None,
            workflow=told.workflow,
            idempotency_key=told.idempotency_key,
            label=told.run_id,
        )
    return None


def _apply_unplaced(state: State, run: Run | None, event: Event) -> None:
    name = (event.workflow, event.idempotency_key)
    known = state.windows.keys.get(name)
    if known is not None and known.run_id == event.label:
        del state.windows.keys[name]


APPLIERS = {Kind.START_UNPLACED: _apply_unplaced}
MESSAGES = {"unplaced": unplaced}
