"""Records of users' topics that start runs: Kafka triggers and run triggers.

Why: a start must come exactly once of each record, whatever is killed and taken over in the middle; and every record
must have an answer: it started runs, no trigger asked for it, or it was refused with a reason.

How: each partition k of a topic T belongs to the partition of the key (T, k), whose log holds the position in it
(`state.intakes`), so what a record starts and the position behind it stand in one frame. The id of a run is made of
topic, partition, offset and workflow: where a frame had to be closed in the middle of a record, the same record makes
the same ids again, which are repeats. A workflow takes part in an intake from an offset on (INTAKE_BEGAN), which is in
the log as well, so that a new version of it loses no record and repeats none. One record starts at most one run of a
workflow: by the first of its triggers that matches. A start then is judged like any other (starts.py).

Records that no trigger asked for are summed up: only the position behind the last of them is an event.

It must never pass over a record without moving the position behind it by an event, and never let a record stop the
intake: whatever it holds, it is refused with the reason, and goes to dead-letter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from indegree.engine.bounds import bounded_origin, text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.limits import Limits
from indegree.engine.records import Builder
from indegree.engine.scope import trigger_values
from indegree.engine.starts import decide_start, made_id
from indegree.engine.state import DEAD_LETTER, Intake, Run, State
from indegree.events import json_values
from indegree.events.definition import Definition, KafkaTrigger, ParameterError, RunTrigger
from indegree.events.expressions import EvaluationError, Expression, Scope, to_text, truthy
from indegree.v1.trigger_pb2 import Origin, Start
from indegree.v1.workflow_pb2 import DeadLetter

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event

_NEVER = 1 << 62
_ENDS = {"run": ("SUCCESS", "FAILED", "CANCELLED"), "task": ("SUCCESS", "FAILED", "CANCELLED", "SKIPPED")}
ENDED = "ended"
"""State of an INTAKE_BEGAN by which a workflow leaves an intake."""
LOST = "lost"
"""State of an INTAKE_DECIDED that goes on elsewhere, because Kafka has nothing at the position any more."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One record of a user's topic, as the shell has read it.

    data:    the value as JSON text; None: a tombstone, or nothing that a trigger could ask for
    error:   why there is no JSON of it: it is refused
    headers: names and text; traceparent, tracestate: of the record, or a root that was made for it
    """

    offset: int
    timestamp_ms: int
    data: bytes | None
    error: str = ""
    key: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A workflow's active version, and the places of its triggers that read this topic.

    `reads_trigger`: whether an expression of theirs reads `trigger`, which costs something to make.
    """

    definition: Definition
    places: tuple[int, ...]
    reads_trigger: bool = True

    @classmethod
    def of(cls, definition: Definition, places: Iterable[int]) -> Route:
        """With what the expressions read."""
        places = tuple(places)
        triggers: list[Any] = [definition.triggers[place] for place in places]
        read = [e for t in triggers for e in (t.filter, t.idempotency_key, *(t.params or {}).values()) if e is not None]
        return cls(definition, places, any("trigger" in expression.references.roots for expression in read))


class Undecidable(Exception):
    """A fault of the engine while this record was decided. The core is broken, and whoever has it may refuse the record
    the next time."""

    def __init__(self, topic: str, partition: int, offset: int, fault: Exception) -> None:
        super().__init__(f"{topic} partition {partition} offset {offset}: {type(fault).__name__}: {fault}")
        self.record = topic, partition, offset


class Refusal(Exception):
    """A record cannot start a run of a workflow; the message is the reason."""


# -- taking part -------------------------------------------------------------------------------------------------------


def begin(draft: Draft, topic: str, partition: int, begins: Mapping[str, int]) -> None:
    """These workflows take records from these offsets on. Without an intake yet, it begins at the lowest of them."""
    known = draft.state.intakes.get((topic, partition))
    for workflow, offset in sorted(begins.items(), key=lambda item: (item[1], item[0])):
        if known is None or workflow not in known.begins:
            draft.emit(Kind.INTAKE_BEGAN, None, topic=topic, target=partition, number=offset, workflow=workflow)


def end(draft: Draft, topic: str, partition: int, workflows: Iterable[str]) -> None:
    """These workflows take no more of it. With the last one the intake ends, and its position is forgotten."""
    known = draft.state.intakes.get((topic, partition))
    for workflow in sorted(workflows):
        if known is not None and workflow in known.begins:
            draft.emit(
                Kind.INTAKE_BEGAN,
                None,
                topic=topic,
                target=partition,
                number=known.next,
                workflow=workflow,
                state=ENDED,
            )


def lost(draft: Draft, topic: str, partition: int, offset: int) -> None:
    """Kafka has no record at the position any more, and the intake goes on at `offset` (triggers.on_lost)."""
    known = draft.state.intakes.get((topic, partition))
    if known is not None:
        reason = f"Kafka has nothing at offset {known.next}, where the intake stood; it goes on at {offset}"
        draft.emit(Kind.INTAKE_DECIDED, None, topic=topic, target=partition, number=offset, reason=reason, state=LOST)


# -- records -----------------------------------------------------------------------------------------------------------


def decide(
    draft: Draft,
    builder: Builder,
    topic: str,
    partition: int,
    records: Sequence[Taken],
    routes: Sequence[Route],
    at_least: int = 1,
) -> int:
    """Decides records, in order of offset, up to a step's share or the frame's bound. Returns how many: give it the
    others with the next call, after a cut. Records below the position count as decided.

    `at_least`: so many records that start nothing are worth an event; fewer are left for the next call (of a topic
    that the cluster writes itself an event for each of its records would never end).
    """
    intake = draft.state.intakes.get((topic, partition))
    if intake is None:
        return len(records)
    end = draft.count + draft.limits.step_tasks
    behind, taken = intake.next, 0  # the offset behind what has been looked at
    for record in records:
        if record.offset >= intake.next:
            if draft.count >= end or draft.full():
                break
            if record.data is not None or record.error:
                try:
                    _one(draft, builder, topic, partition, intake, record, routes)
                except Exception as fault:
                    raise Undecidable(topic, partition, record.offset, fault) from fault
            behind = max(behind, record.offset + 1)
        taken += 1
    if behind - intake.next >= at_least:
        draft.emit(Kind.INTAKE_DECIDED, None, topic=topic, target=partition, number=behind)
    return taken


def _one(
    draft: Draft,
    builder: Builder,
    topic: str,
    partition: int,
    intake: Intake,
    record: Taken,
    routes: Sequence[Route],
) -> None:
    """Starts what this record starts, refuses what it cannot, and moves the position if it did either."""
    asked = [route for route in routes if intake.begins.get(route.definition.id, _NEVER) <= record.offset]
    if not asked:
        return
    total, reasons = 0, list[str]()
    origin: Origin | None = None
    for route, outcome in _outcomes(draft.limits, topic, partition, record, asked):
        if origin is None:
            origin = origin_of(topic, partition, record)
        if draft.full():
            draft.seal()  # what stands in it is repeated by the same ids, should the log end here
        if isinstance(outcome, Start):
            refused = decide_start(draft, builder, outcome, origin, route.definition)
            if refused:
                reasons.append(f"workflow {route.definition.id!r}: {refused}")
            else:
                total += 1
        else:
            reasons.append(outcome)
            _refuse(draft, route.definition, origin, outcome)
    if total or reasons:
        reason = text("; ".join(dict.fromkeys(reasons)))[: draft.limits.reason_chars]
        if reasons:
            letter = DeadLetter(
                topic=topic,
                partition=partition,
                offset=record.offset,
                reason=reason,
                time_ms=draft.state.time_ms,
                foreign=True,
            )
            draft.send(DEAD_LETTER, "dead-letter", letter.SerializeToString())
        draft.emit(
            Kind.INTAKE_DECIDED,
            None,
            topic=topic,
            target=partition,
            number=record.offset + 1,
            total=total,
            reason=reason,
        )


def _refuse(draft: Draft, definition: Definition, origin: Origin, reason: str) -> None:
    bare = Origin(topic=origin.topic, partition=origin.partition, offset=origin.offset, kind=origin.kind)
    bare.timestamp_ms, bare.traceparent = origin.timestamp_ms, origin.traceparent
    bare = bounded_origin(bare, draft.limits)
    draft.emit(
        Kind.RUN_REFUSED,
        made_id(draft, Start(workflow=definition.id), bare),
        workflow=definition.id,
        version=definition.hash,
        reason=text(reason)[: draft.limits.reason_chars],
        origin=bare,
    )


def origin_of(topic: str, partition: int, record: Taken) -> Origin:
    """What a run that this record starts keeps of it."""
    return Origin(
        topic=topic,
        partition=partition,
        offset=record.offset,
        timestamp_ms=max(0, record.timestamp_ms),
        traceparent=record.traceparent,
        tracestate=record.tracestate,
        key=record.key,
        kind="kafka",
        value=record.data or b"",
        headers=record.headers,
    )


# -- what a record means for each workflow -----------------------------------------------------------------------------


def _outcomes(
    limits: Limits, topic: str, partition: int, record: Taken, routes: Sequence[Route]
) -> Iterator[tuple[Route, Start | str]]:
    """A start, or the reason of a refusal, for each workflow that asked for this record."""
    try:
        scope = scope_of_record(limits, record)
        if any(route.reads_trigger for route in routes):
            scope.trigger = trigger_values(origin_of(topic, partition, record))
    except Refusal as refusal:
        for route in routes:
            yield route, str(refusal)
        return
    for route in routes:
        try:
            start = _start(limits, route, scope)
        except (Refusal, EvaluationError, ParameterError, json_values.JsonValueError) as error:
            yield route, f"workflow {route.definition.id!r}: {error}"
        else:
            if start is not None:
                yield route, start


def scope_of_record(limits: Limits, record: Taken) -> Scope:
    """What an expression about a record can read, but for `trigger`. Raises Refusal where the record has no value."""
    data = record.data
    if record.error or data is None:
        raise Refusal(record.error or "the record has no value")
    size = len(data) + len(record.key) + sum(len(name) + len(value) for name, value in record.headers.items())
    if size > limits.value_bytes:
        raise Refusal(
            f"the record is {size} bytes as JSON with its key and headers, the limit is {limits.value_bytes} "
            "(limits.value_bytes); let it name a path or a URL instead"
        )
    try:
        value = json_values.loads(data, max_depth=limits.json_depth)
    except json_values.JsonValueError as error:
        raise Refusal(
            f"the value is not JSON: {error} (a topic in another format needs a decoder: triggers.decoders)"
        ) from None
    key = record.key.decode("utf-8", "replace") if record.key else None
    return Scope(value=value, key=key, headers=dict(record.headers))


def _start(limits: Limits, route: Route, scope: Scope) -> Start | None:
    """The start by the first trigger that matches; None: none does. Raises what is wrong with the record."""
    definition = route.definition
    for place in route.places:
        trigger: Any = definition.triggers[place]
        if not isinstance(trigger, KafkaTrigger) and not is_of_run(trigger, scope.value):
            continue
        if trigger.filter is not None and not truthy(trigger.filter.evaluate(scope)):
            continue
        given = _params(definition, trigger.params, scope)
        definition.bind_params(given)
        params = json_values.dumps(given) if given else b""
        if len(params) > limits.value_bytes:
            raise Refusal(
                f"the parameters are {len(params)} bytes, the limit is {limits.value_bytes} (limits.value_bytes)"
            )
        key = "" if trigger.idempotency_key is None else _key(limits, trigger.idempotency_key, scope)
        return Start(workflow=definition.id, params=params, idempotency_key=key)
    return None


def is_of_run(trigger: Any, value: Any) -> bool:
    """Whether a progress record is the end of a run, or of a task, that a run trigger asks for."""
    if not isinstance(value, dict) or value.get("workflow") != trigger.workflow:
        return False
    if trigger.task and value.get("task_id") != trigger.task:
        return False
    return value.get("type") in ends_of(trigger)


def ends_of(trigger: RunTrigger) -> Collection[str]:
    """The types of progress records that a run trigger asks for."""
    kind = "task" if trigger.task else "run"
    states = _ENDS[kind] if trigger.state == "any" else (trigger.state,)
    return {f"{kind}.{state.lower()}" for state in states}


def _params(definition: Definition, wanted: Mapping[str, Expression] | None, scope: Scope) -> dict[str, Any]:
    if wanted is not None:
        return {name: expression.evaluate(scope) for name, expression in wanted.items()}
    value = scope.value
    return {name: value[name] for name in definition.params if name in value} if isinstance(value, dict) else {}


def _key(limits: Limits, expression: Expression, scope: Scope) -> str:
    """The idempotency key. Raises Refusal: an empty one would make all records one run."""
    found = expression.evaluate(scope)
    key = found if isinstance(found, str) else "" if found is None else to_text(found)
    if not key:
        raise Refusal(f"its idempotency key ({expression.source}) is {'null' if found is None else 'empty'}")
    if len(key.encode("utf-8", "surrogatepass")) > limits.key_bytes:
        raise Refusal(f"its idempotency key ({expression.source}) is longer than {limits.key_bytes} bytes")
    return text(key)


# -- applying ----------------------------------------------------------------------------------------------------------


def _apply_began(state: State, run: Run | None, event: Event) -> None:
    name = event.topic, event.target
    known = state.intakes.get(name)
    if event.state == ENDED:
        if known is not None:
            known.begins.pop(event.workflow, None)
            if not known.begins:
                del state.intakes[name]
        return
    if known is None:
        known = state.intakes[name] = Intake(event.number)
    known.begins[event.workflow] = event.number


def _apply_decided(state: State, run: Run | None, event: Event) -> None:
    known = state.intakes.get((event.topic, event.target))
    if known is None:  # its snapshot follows
        known = state.intakes[event.topic, event.target] = Intake(event.number)
    known.next = event.number


APPLIERS = {Kind.INTAKE_BEGAN: _apply_began, Kind.INTAKE_DECIDED: _apply_decided}


def positions(state: State) -> dict[tuple[str, int], tuple[int, Collection[str]]]:
    """(topic, partition) to next offset and the workflows that take part."""
    return {name: (known.next, set(known.begins)) for name, known in state.intakes.items()}
