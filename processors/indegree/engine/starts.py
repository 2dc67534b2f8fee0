"""Starts: a trigger becomes a run, a repeat, a refusal, or goes on to the partition where it belongs.

Why: the same key twice is one run, however often a client sends it; and every start has an answer that a client finds
by its request id.

How: the order of questions matters. First, where does it belong? An idempotency key belongs to the partition of the
key, a client-made run id to the partition that it names, all else stays where it landed; what belongs elsewhere goes
there through the outbox, with its origin, from which its run id is made, so a redelivery makes the same id. Then, is
it known? A repeat is answered with the first run, whatever became of the workflow since. Only then is it judged on
its merits.

It must never start a run of a version whose definition is not on this log: `record` writes it first.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from indegree.engine import children, decide, gates
from indegree.engine.bounds import bounded_origin, text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.messages import forward
from indegree.engine.plan import Plan, plan_of
from indegree.engine.records import Builder
from indegree.events import json_values
from indegree.events.definition import Definition, ParameterError
from indegree.events.expressions import EvaluationError
from indegree.events.run_ids import (
    InvalidId,
    is_id,
    make_run_id,
    moved_id,
    partition_of_key,
    partition_of_run,
    record_digits,
    schedule_digits,
    time_of_run,
)
from indegree.v1.trigger_pb2 import ForwardedStart, Origin, PartitionMessage, Start
from indegree.v1.value_pb2 import Value


class Refused(Exception):
    """A start is refused; the message is the reason that its sender gets."""


def decide_start(
    draft: Draft,
    builder: Builder,
    start: Start,
    origin: Origin,
    definition: Definition | None,
    placed: bool = False,
) -> str:
    """Decides one start. `definition`: what the catalog has for its version, label or active version. `placed`: it has
    been accepted elsewhere, and lives here because its concurrency key does.

    Returns why it was refused here; empty where it was not (it may be refused where it was sent on to).
    """
    run_id = start.run_id
    origin = bounded_origin(origin, draft.limits)
    try:
        _check_lengths(draft, start)
        home = draft.number if placed else _home(draft, start)
        if home != draft.number:
            _forward(draft, home, start, origin)
            return ""
        if not run_id:
            run_id = made_id(draft, start, origin)
        given = _given(draft, start)
        digest = _digest(start, given) if start.idempotency_key or start.run_id else b""
        if _is_repeat(draft, start, run_id, digest, origin):
            if start.parent.backfill:
                children.refused(draft, start.parent, run_id, "there is a run of that time")
            return ""
        plan, params = _judge(draft, start, definition, given)
        gate = _gate(draft, plan, params, origin)
        if gate and not placed and (home := gates.home_of(draft, plan.workflow, gate)) != draft.number:
            _pass_on(draft, start, origin, plan, run_id, home, digest)
            return ""
        begins = _begins(draft, plan, gate, start, run_id)
    except Refused as refusal:
        if not run_id or len(run_id) > draft.limits.name_chars:
            run_id = made_id(draft, start, origin)
        _refuse(draft, start, run_id, origin, str(refusal))
        if placed and start.idempotency_key:
            gates.not_placed(draft, start.workflow, start.idempotency_key, run_id)
        return str(refusal)
    record(draft, plan)
    draft.emit(
        Kind.RUN_STARTED,
        run_id,
        workflow=plan.workflow,
        version=plan.version,
        value=Value(json=params),
        origin=origin,
        traceparent=origin.traceparent,
        tracestate=origin.tracestate,
        actor=start.actor,
        request_id=start.request_id,
        idempotency_key=start.idempotency_key,
        digest=digest,
        **_parent_of(start),
        **begins,
    )
    if placed and start.HasField("parent"):
        children.moved(draft, start.parent, run_id)
    decide.advance(draft, builder, draft.state.runs[run_id])
    return ""


def _gate(draft: Draft, plan: Plan, params: bytes, origin: Origin) -> str:
    """The queue of the start's key, "" where its workflow has none. Raises Refused."""
    if plan.definition.concurrency is None:
        return ""
    try:
        return gates.key_of(draft, plan, params, origin)
    except (EvaluationError, json_values.JsonValueError) as error:
        raise Refused(f"the concurrency key has no value: {error}") from None


def _begins(draft: Draft, plan: Plan, gate: str, start: Start, run_id: str) -> dict[str, Any]:
    """When the run begins, as RUN_STARTED says it. Raises Refused."""
    if not gate and not start.not_before_ms:
        return {}
    if start.not_before_ms > draft.state.time_ms + gates.LATEST_MS:
        days = gates.LATEST_MS // 86_400_000
        raise Refused(f"not_before lies more than {days} days ahead: start it later, or use a schedule")
    try:
        return gates.how_it_begins(draft, plan, gate, start.not_before_ms, run_id)
    except gates.Taken as taken:
        raise Refused(str(taken)) from None


def _pass_on(draft: Draft, start: Start, origin: Origin, plan: Plan, run_id: str, home: int, digest: bytes) -> None:
    """An accepted start goes on to the partition of its concurrency key, under the same id but for its last part,
    whoever made that; the answer says so. Its idempotency key stays here."""
    kept = Start()
    kept.CopyFrom(start)
    kept.version = plan.version
    kept.run_id = moved_id(run_id, home)
    if start.idempotency_key:
        draft.emit(
            Kind.START_PASSED_ON,
            kept.run_id,
            workflow=plan.workflow,
            version=plan.version,
            idempotency_key=start.idempotency_key,
            digest=digest,
            actor=start.actor,
            origin=origin,
        )
    forward(draft, home, PartitionMessage(start=ForwardedStart(start=kept, origin=origin, placed=True)))


def _parent_of(start: Start) -> dict[str, Any]:
    """Who waits for the end of the run, as RUN_STARTED has it."""
    return {"data": start.parent.SerializeToString(deterministic=True)} if start.HasField("parent") else {}


def made_id(draft: Draft, start: Start, origin: Origin) -> str:
    """The run id of a start that has none: of where its record lies, or of which time of a schedule it is."""
    if origin.scheduled_ms:
        digits = schedule_digits(start.workflow, origin.offset, origin.scheduled_ms)
    elif origin.kind == "kafka":  # one record may start many workflows
        digits = record_digits(f"{origin.topic}\0{start.workflow}", origin.partition, origin.offset)
    else:
        digits = record_digits(origin.topic, origin.partition, origin.offset)
    return make_run_id(origin.timestamp_ms, digits, draft.number)


def _check_lengths(draft: Draft, start: Start) -> None:
    """Nothing that is too large goes into an event or to another partition. Raises Refused."""
    limits = draft.limits
    if start.ByteSize() <= min(limits.name_chars, limits.key_bytes, limits.value_bytes):
        return  # most starts: as a whole no larger than the smallest bound
    for name in ("actor", "request_id", "version", "label", "run_id"):
        length = len(getattr(start, name))
        if length > limits.name_chars:
            raise Refused(f"{name} is {length} characters long, the limit is {limits.name_chars}: shorten it")
    size = len(start.idempotency_key.encode())
    if size > limits.key_bytes:
        raise Refused(f"the idempotency key is {size} bytes long, the limit is {limits.key_bytes}: send a digest of it")
    if len(start.params) > limits.value_bytes:
        raise Refused(
            f"the parameters are {len(start.params)} bytes, the limit is {limits.value_bytes} "
            "(limits.value_bytes); hand over a path or a URL instead"
        )


def _home(draft: Draft, start: Start) -> int:
    """The partition where this start is judged. Raises Refused."""
    if not is_id(start.workflow):
        raise Refused(
            f"workflow {start.workflow!r:.120} is no name of a workflow: letters, digits, _, - and ., at most 100, "
            "beginning with a letter or digit"
        )
    of_run = -1
    if start.run_id:
        try:
            of_run = partition_of_run(start.run_id)
            time_of_run(start.run_id)
        except InvalidId as error:
            raise Refused(str(error)) from None
        if of_run >= draft.partitions:
            raise Refused(
                f"run id {start.run_id!r} names partition {of_run}, and this cluster has {draft.partitions}: "
                "leave the id out, or make it with a partition that exists"
            )
    if not start.idempotency_key:
        return of_run if of_run >= 0 else draft.number
    of_key = partition_of_key("idempotency", start.workflow, start.idempotency_key, draft.partitions)
    if of_run not in (-1, of_key):
        raise Refused(
            f"run id {start.run_id!r} names partition {of_run}, but its idempotency key is judged on partition "
            f"{of_key}: leave the run id out"
        )
    return of_key


def _forward(draft: Draft, home: int, start: Start, origin: Origin) -> None:
    message = PartitionMessage(source=draft.number, start=ForwardedStart(start=start, origin=origin))
    forward(draft, home, message)


def _given(draft: Draft, start: Start) -> dict[str, Any]:
    """The parameters as given. Raises Refused."""
    if not start.params:
        return {}
    try:
        given = json_values.loads(start.params, max_depth=draft.limits.json_depth)
    except json_values.JsonValueError as error:
        raise Refused(f"the parameters are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise Refused("the parameters must be a JSON object of names and values")
    return given


def _digest(start: Start, given: dict[str, Any]) -> bytes:
    """What a key or a client-made id stands for: the content as it was sent, so that a later deploy changes nothing."""
    if not given:
        return _digest_without_params(start.workflow, start.version, start.label)
    return _digest_of(start.workflow, start.version, start.label, given)


def _digest_of(workflow: str, version: str, label: str, given: dict[str, Any]) -> bytes:
    return hashlib.sha256(json_values.canonical([workflow, version, label, given])).digest()


@lru_cache(maxsize=1_024)
def _digest_without_params(workflow: str, version: str, label: str) -> bytes:
    return _digest_of(workflow, version, label, {})


def _is_repeat(draft: Draft, start: Start, run_id: str, digest: bytes, origin: Origin) -> bool:
    """True if this start was seen before: then it has been answered. Raises Refused for other content."""
    state = draft.state
    first = ""
    known: bytes | None = None
    if start.idempotency_key:
        keyed = state.windows.keyed(start.workflow, start.idempotency_key, state.time_ms)
        if keyed is not None:
            first, known = keyed.run_id, keyed.digest
            if known != digest:
                raise Refused(
                    f"idempotency key {start.idempotency_key!r:.120} stands for run {first}, which was started with "
                    "other content (version or parameters); use another key, or the same content"
                )
    if known is None:
        live = state.runs.get(run_id)
        if live is not None:
            first, known = run_id, live.digest
        else:
            ended = state.windows.ended_run(run_id, state.time_ms)
            if ended is not None:
                first, known = run_id, ended.digest
        if known is not None and known != digest:
            raise Refused(
                f"run id {run_id} is used by a run that was started with other content; leave the id out, or make a "
                "new one"
            )
    if known is None:
        return False
    draft.emit(
        Kind.RUN_REPEATED,
        first,
        workflow=start.workflow,
        reason="repeated",
        request_id=start.request_id,
        idempotency_key=start.idempotency_key,
        actor=start.actor,
        origin=origin,
    )
    return True


def _judge(draft: Draft, start: Start, definition: Definition | None, given: dict[str, Any]) -> tuple[Plan, bytes]:
    """The plan and the bound parameters. Raises Refused."""
    if definition is None or definition.id != start.workflow:
        raise Refused(unknown(start.workflow, start.version, start.label))
    plan = plan_of(definition)
    params = None if given else plan.defaults
    if params is None:
        try:
            params = json_values.dumps(definition.bind_params(given))
        except ParameterError as error:
            raise Refused(str(error)) from None
        if not given:
            plan.defaults = params
    if len(params) > draft.limits.value_bytes:
        raise Refused(
            f"the parameters with their defaults are {len(params)} bytes, the limit is {draft.limits.value_bytes} "
            "(limits.value_bytes)"
        )
    return plan, params


def unknown(workflow: str, version: str, label: str) -> str:
    """Why a version cannot be found."""
    if version:
        return f"workflow {workflow!r} has no version {version!r:.100}: deploy it first (indegree workflow deploy FILE)"
    if label:
        return f"workflow {workflow!r} has no version with the label {label!r:.100}: deploy one with that label first"
    return (
        f"workflow {workflow!r} is not known, or has no active version: deploy it first (indegree workflow deploy FILE)"
    )


def _refuse(draft: Draft, start: Start, run_id: str, origin: Origin, reason: str) -> None:
    most = draft.limits.name_chars
    draft.emit(
        Kind.RUN_REFUSED,
        run_id,
        workflow=start.workflow[:most],
        version=start.version[:most],
        label=start.label[:most],
        reason=text(reason)[: draft.limits.reason_chars],
        request_id=start.request_id[:most],
        idempotency_key=start.idempotency_key[:most],
        actor=start.actor[:most],
        origin=origin,
    )
    if start.HasField("parent"):
        children.refused(draft, start.parent, start.run_id or run_id, reason)


def record(draft: Draft, plan: Plan) -> None:
    """Writes a version's definition to the log unless it stands there, in parts; large ones take several frames."""
    if plan.version in draft.state.versions:
        return
    data = plan.pack()
    size = draft.limits.definition_part_bytes
    parts = max(1, -(-len(data) // size))
    for part in range(parts):
        if part and draft.full():
            draft.seal()
        draft.emit(
            Kind.DEFINITION_RECORDED,
            None,
            workflow=plan.workflow,
            version=plan.version,
            part=part,
            parts=parts,
            data=data[part * size : (part + 1) * size],
        )
