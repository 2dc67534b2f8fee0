"""Waiting: tasks that wait for a signal, a record, a run or a time, and hold no slot meanwhile.

Why: an approval may take days, and a process that sits and waits would be a worker lost. Here a wait is a few bytes of
state and at most one timer.

How: `begin` makes the task WAITING (TASK_WAITING says what for and until when). Five things end it:
- a signal by name. SIGNAL_RECEIVED is the fact, with its payload, who and when; the oldest waiting task of that name
  takes it, and what nobody waits for yet is kept with the run, so that an early signal is not lost.
- a record of a topic, or the end of another run, which the shell observes (`observe`): the first one at or after the
  beginning of the wait that passes the filter.
- a time: `delay` and `until` succeed when it has come.
- the limit (`timeout`): the task succeeds with its `default`, and without one it fails with `timeout`.
- somebody, by hand (byhand.py), or a cancel.

It must never poll, and never end a wait by anything that is not on the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from indegree.engine import children, outputs
from indegree.engine.answers import accept, refuse, run_here
from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.failing import fail, failed
from indegree.engine.kinds import Kind
from indegree.engine.records import Builder
from indegree.engine.scope import scope_of
from indegree.engine.state import Run, State, Wait
from indegree.engine.values import Missing
from indegree.events import json_values
from indegree.events.definition import Definition
from indegree.events.definition_model import WaitFor
from indegree.events.durations import format_duration
from indegree.events.expressions import EvaluationError, truthy
from indegree.events.moments import MomentError, moment_ms
from indegree.events.spelling import did_you_mean, listing
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import Command, Origin
from indegree.v1.value_pb2 import Error, Value

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}


def wait_for(run: Run, slot: int) -> WaitFor:
    """What the definition says of a task that waits."""
    found: WaitFor | None = run.plan.tasks[run.node(slot)].wait_for
    assert found is not None, "only a task with wait_for waits here"
    return found


# -- beginning and end -------------------------------------------------------------------------------------------------


def begin(draft: Draft, builder: Builder, run: Run, slot: int) -> None:
    """The rule and the condition of a task that waits are met. Raises Needs before anything is emitted."""
    waits = wait_for(run, slot)
    now = draft.state.time_ms
    limit = run.plan.timeout_ms[run.node(slot)]
    due, label = now + limit if limit else 0, ""
    if waits.kind == "signal":
        label = str(waits.details["signal"])
    elif waits.kind == "kafka":
        label = str(waits.details["kafka"]["topic"])
    elif waits.kind == "run":
        label = str(waits.details["run"]["workflow"])
    else:
        try:
            at = now + (waits.delay_ms or 0) if waits.kind == "delay" else _until(builder, run, slot, waits)
        except (EvaluationError, json_values.JsonValueError, Missing, MomentError) as error:
            fail(draft, run, slot, f"its wait_for.until has no value: {error}")
            return
        due = min(due, at) if due else at
        label = str(at)
    generation = run.generation(slot)
    draft.emit(
        Kind.TASK_WAITING, run.run_id, task=slot, generation=generation, reason=waits.kind, due_ms=due, label=label
    )
    if waits.kind == "signal" and run.signals is not None:
        for name, payload, actor, _ in run.signals:
            if name == label and _fits(run, slot, payload):
                _take(draft, run, slot, payload, actor)
                return


def _until(builder: Builder, run: Run, slot: int, waits: WaitFor) -> int:
    assert waits.until is not None
    return moment_ms(waits.until.evaluate(scope_of(run, builder.values, slot)))


def _take(draft: Draft, run: Run, slot: int, payload: bytes, actor: str) -> None:
    """A waiting task takes the oldest signal of its name (apply removes that from those of the run)."""
    value = {"value": Value(json=payload)} if payload not in (b"", b"null") else {}
    draft.emit(
        Kind.TASK_SUCCEEDED,
        run.run_id,
        task=slot,
        actor=actor,
        reason="signal",
        generation=run.generation(slot),
        finished_ms=draft.state.time_ms,
        **value,
    )


def due(draft: Draft, builder: Builder, wait: Wait) -> Run | None:
    """The time of a wait has come, or its limit is over."""
    run, slot = wait.run, wait.task
    if run.ending:
        return run
    if wait.kind == "workflow":
        return _child_late(draft, wait)
    waits = wait_for(run, slot)
    if wait.kind in ("delay", "until") and wait.due_ms >= int(wait.label):
        draft.emit(
            Kind.TASK_SUCCEEDED, run.run_id, task=slot, generation=wait.generation, finished_ms=draft.state.time_ms
        )
    elif waits.has_default:
        value = {"value": Value(json=json_values.dumps(waits.default))} if waits.default is not None else {}
        draft.emit(
            Kind.TASK_SUCCEEDED,
            run.run_id,
            task=slot,
            generation=wait.generation,
            reason="default",
            finished_ms=draft.state.time_ms,
            **value,
        )
    else:
        return over(draft, wait)
    return run


def _child_late(draft: Draft, wait: Wait) -> Run:
    """A sub-workflow took longer than the task's timeout: it is cancelled, and the attempt has failed."""
    children.cancel(draft, wait)
    limit = format_duration(wait.due_ms - wait.since_ms)
    message = f"run {wait.label} took longer than the timeout of {limit}"
    failed(
        draft,
        wait.run,
        wait.task,
        wait.attempt,
        wait.generation,
        "timeout",
        Error(type="timeout", message=message),
        worker=wait.label,
        started_ms=wait.since_ms,
        finished_ms=draft.state.time_ms,
    )
    return wait.run


def over(draft: Draft, wait: Wait) -> Run:
    """The limit of a wait is over, and there is no default."""
    run, slot = wait.run, wait.task
    limit = format_duration(wait.due_ms - wait.since_ms)
    message = f"waited for {wait.kind} {wait.label!r} longer than the timeout of {limit}, and there is no default"
    draft.emit(
        Kind.TASK_FAILED,
        run.run_id,
        task=slot,
        attempt=wait.attempt,
        generation=wait.generation,
        reason="timeout",
        error=Error(type="timeout", message=message),
    )
    return run


# -- signals -----------------------------------------------------------------------------------------------------------


def signal(
    draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None
) -> Run | None:
    """Command `signal`: who waits for it goes on; what nobody waits for yet is kept."""
    name, payload, run_id = command.signal.name, command.signal.payload or b"null", command.signal.run_id
    run = run_here(draft, command, run_id)
    if run is None:
        return None
    problem = _problem(draft, run, name, payload)
    if problem:
        refuse(draft, command, run_id, problem)
        return None
    waiting = [
        wait
        for wait in (run.waits or {}).values()
        if wait.kind == "signal" and wait.label == name and _fits(run, wait.task, payload)
    ]
    draft.emit(
        Kind.SIGNAL_RECEIVED,
        run_id,
        label=name,
        value=Value(json=payload),
        actor=command.actor,
        request_id=command.request_id,
    )
    if waiting:
        slot = min(waiting, key=lambda wait: (wait.since_ms, wait.task)).task
        _take(draft, run, slot, payload, command.actor)
        accept(draft, command, run_id, f"signal {name!r} went to task {run.id_of(slot)!r}")
    else:
        accept(draft, command, run_id, f"signal {name!r} is kept until a task waits for it")
    return run


def _problem(draft: Draft, run: Run, name: str, payload: bytes) -> str:
    """Why a signal cannot be taken, or ""."""
    forms = [
        task.wait_for.details.get("form")
        for task in run.plan.tasks
        if task.wait_for is not None and task.wait_for.kind == "signal" and task.wait_for.details["signal"] == name
    ]
    if run.ending or not run.left:
        return "the run is ending already"
    if not forms:
        names = sorted(
            {t.wait_for.details["signal"] for t in run.plan.tasks if t.wait_for and t.wait_for.kind == "signal"}
        )
        hint = did_you_mean(name, names) or (f"; the signals are {listing(names)}" if names else "")
        return f"no task of workflow {run.plan.workflow!r} waits for a signal {name!r:.120}{hint}"
    limits = draft.limits
    if len(payload) > limits.value_bytes:
        return f"the payload is {len(payload)} bytes, the limit is {limits.value_bytes} (limits.value_bytes)"
    if found := outputs.problem(payload, limits.json_depth):
        return text(found.replace("the result", "the payload", 1))
    if run.signals is not None and len(run.signals) >= limits.signals:
        return f"{limits.signals} signals of this run wait to be taken already; that is the limit"
    value = json_values.loads(payload)
    problems = [_form_problem(form, value) for form in forms]
    return "" if any(not problem for problem in problems) else problems[0]


def _fits(run: Run, slot: int, payload: bytes) -> bool:
    """Whether a payload fits the form of this task: tasks that wait for one name may have forms of their own."""
    form = wait_for(run, slot).details.get("form")
    return not form or not _form_problem(form, json_values.loads(payload))


def _form_problem(form: Any, value: Any) -> str:
    """Why a payload does not fit a form, or ""."""
    if not form:
        return ""
    shape = ", ".join(f"{name}: {kind}" for name, kind in form.items())
    if not isinstance(value, dict):
        return f"the payload must be an object with {shape}"
    for name in value:
        if name not in form:
            return f"the form has no field {name!r:.120}{did_you_mean(name, form)}; it has {shape}"
    for name, kind in form.items():
        if name not in value:
            return f"the field {name!r} of the form is missing; it has {shape}"
        if not _TYPES[kind](value[name]):
            return f"the field {name!r} of the form must be of type {kind}; it has {shape}"
    return ""


def _received(state: State, run: Run | None, event: Event) -> None:
    """SIGNAL_RECEIVED: it is kept with the run; the task that takes it, if any, follows, and apply uses it up."""
    if run is not None:
        if run.signals is None:
            run.signals = []
        run.signals.append((event.label, event.value.json, event.actor, state.time_ms))


# -- what the shell observes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observed:
    """One record of a topic that tasks wait for, or the end of a run.

    kind: "kafka" (label: the topic) or "run" (label: the workflow)
    timestamp_ms: of the record; a wait that began later does not take it
    key, headers, value: as expressions see them; for a run `value` is the progress record of its end as an object
    origin: where the record lies
    """

    kind: str
    label: str
    timestamp_ms: int
    value: Any
    key: str | None = None
    headers: dict[str, str] | None = None
    origin: Origin | None = None


def observe(draft: Draft, builder: Builder, seen: Observed) -> list[Run]:
    """Ends each wait that this is for; returns the runs to be advanced. Raises Needs: then it is to be asked again."""
    advanced: list[Run] = []
    for wait in list(draft.state.awaited.get((seen.kind, seen.label), ())):
        run = wait.run
        if run.ending or seen.timestamp_ms < wait.since_ms:
            continue
        if draft.full():
            draft.seal()  # each end stands for itself
        try:
            passes = _passes(builder, run, wait, seen)
        except (EvaluationError, json_values.JsonValueError, Missing) as error:
            fail(draft, run, wait.task, f"the filter of its wait_for has no value: {error}")
            advanced.append(run)
            continue
        if passes:
            _observed(draft, run, wait, seen)
            advanced.append(run)
    return advanced


def _passes(builder: Builder, run: Run, wait: Wait, seen: Observed) -> bool:
    waits = wait_for(run, wait.task)
    if seen.kind == "kafka":
        if waits.filter is None:
            return True
        scope = scope_of(run, builder.values, wait.task)
        scope.value, scope.key, scope.headers = seen.value, seen.key, seen.headers
        return truthy(waits.filter.evaluate(scope))
    details = waits.details["run"]
    state = details.get("state", "SUCCESS")
    if state != "any" and seen.value.get("state") != state:
        return False
    if not waits.params:
        return True
    params = seen.value.get("params") or {}
    scope = scope_of(run, builder.values, wait.task)
    return all(params.get(name) == template.evaluate(scope) for name, template in waits.params.items())


def _observed(draft: Draft, run: Run, wait: Wait, seen: Observed) -> None:
    output = seen.value if seen.kind == "kafka" else {k: v for k, v in seen.value.items() if k != "params"}
    data = json_values.dumps(output)
    if len(data) > draft.limits.value_bytes:
        fail(draft, run, wait.task, draft.limits.too_large(len(data)))
        return
    fields: dict[str, Any] = {"value": Value(json=data)} if output is not None else {}
    if seen.origin is not None:
        fields["origin"] = seen.origin
    draft.emit(
        Kind.TASK_SUCCEEDED,
        run.run_id,
        task=wait.task,
        generation=wait.generation,
        reason=seen.kind,
        finished_ms=draft.state.time_ms,
        **fields,
    )


APPLIERS = {Kind.SIGNAL_RECEIVED: _received}
COMMANDS = {"signal": signal}
DUE = {Wait: due}
