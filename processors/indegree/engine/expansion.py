"""Mapped tasks, decided: expansion, what may begin, and the judgement of the whole.

Why: `foreach` over 100,000 elements must neither fill one frame nor hold up other runs, and a takeover in the middle
goes on where the log ends.

How: `begin` evaluates the list and emits TASK_EXPANDED with the number of instances and the first slice of the items;
further slices follow while the first instances run already. `advance` then goes through the run's busy maps: writes
what
is left of the items, begins what may begin (in the order of the list, as many at a time as `concurrency` says), and
when all instances have ended judges the task: their outputs in the order of the list are its output, as references
where they are large.

It must never begin an instance whose item is not on the log.
"""

from __future__ import annotations

from typing import Any

from indegree.engine import fire
from indegree.engine.draft import Draft
from indegree.engine.failing import fail
from indegree.engine.kinds import Kind
from indegree.engine.limits import Limits
from indegree.engine.mapping import MapState
from indegree.engine.records import Builder
from indegree.engine.scope import scope_of
from indegree.engine.state import Ref, Run
from indegree.engine.states import FAILED, SKIPPED, SUCCESS
from indegree.engine.values import Missing, Needs
from indegree.events import json_values
from indegree.events.definition_fields import shown
from indegree.events.expressions import EvaluationError
from indegree.v1.value_pb2 import Reference, Value, ValueList

SLICE_BYTES = 128 * 1024
"""Of items in one event, as far as one item does not reach over it."""
SLICE_ITEMS = 8_192
"""Of these, at most: to write and to read them takes some 10 ms."""
_SLICE_SHARE = 100
"""Decisions that take as long."""
_CHAR_BYTES = 12
"""Of a character in JSON text, at most."""


def begin(draft: Draft, builder: Builder, run: Run, task: int) -> None:
    """The rule and the condition of a mapped task are met. Raises Needs."""
    plan = run.plan
    follows = plan.follows.get(task, -1)
    if follows >= 0:
        _begin_following(draft, run, task, follows)
        return
    try:
        items = _items(builder, run, task)
    except (EvaluationError, json_values.JsonValueError, Missing) as error:
        fail(draft, run, task, f"its foreach has no value: {error}")
        return
    if not isinstance(items, list):
        fail(draft, run, task, f"foreach needs a list, and its value is {shown(items)}")
        return
    if len(items) > draft.limits.instances:
        fail(
            draft,
            run,
            task,
            f"foreach over {len(items)} elements; the limit is {draft.limits.instances} (limits.instances): hand over "
            "chunks of them",
        )
        return
    if not items:
        draft.emit(Kind.TASK_SUCCEEDED, run.run_id, task=task, value=Value(json=b"[]"), **run.again(task))
        return
    problem = _problem(items, draft.limits)
    if problem:
        fail(draft, run, task, problem)
        return
    draft.emit(
        Kind.TASK_EXPANDED,
        run.run_id,
        task=task,
        total=len(items),
        number=len(run.states),
        data=_slice(items, 0),
        generation=run.generation(task),
    )
    if run.maps is not None and run.maps[task].known < len(items):
        builder.values.lists[run.run_id, task] = items


def _begin_following(draft: Draft, run: Run, task: int, parent: int) -> None:
    state = run.states[parent]
    found = run.maps.get(parent) if run.maps is not None else None
    if found is not None:
        draft.emit(
            Kind.TASK_EXPANDED,
            run.run_id,
            task=task,
            total=found.total,
            number=len(run.states),
            generation=run.generation(task),
        )
    elif state == SUCCESS or (state == FAILED and run.plan.allow[parent]):
        draft.emit(Kind.TASK_SUCCEEDED, run.run_id, task=task, value=Value(json=b"[]"), **run.again(task))
    else:
        skipped = state == SKIPPED and (run.reasons or {}).get(parent) != "upstream_failed"
        reason = "upstream_skipped" if skipped else "upstream_failed"
        draft.emit(Kind.TASK_SKIPPED, run.run_id, task=task, reason=reason, **run.again(task))


def _items(builder: Builder, run: Run, task: int) -> Any:
    mapped = run.plan.mapped[task] if run.plan.mapped is not None else None
    assert mapped is not None
    assert mapped.over is not None
    scope = scope_of(run, builder.values)
    return mapped.over.evaluate(scope)


def _problem(items: list[Any], limits: Limits) -> str:
    """Why these cannot be elements, or "": each has to be a JSON value that fits into an event."""
    try:
        size = len(json_values.dumps(items))
    except json_values.JsonValueError as error:
        return f"an element of foreach is no JSON value: {error}"
    if size <= limits.value_bytes:
        return ""
    for place, item in enumerate(items):
        if isinstance(item, str):
            if len(item) * _CHAR_BYTES <= limits.value_bytes:
                continue
        elif not isinstance(item, list | dict):
            continue
        if (size := len(json_values.dumps(item))) > limits.value_bytes:
            return (
                f"element {place} of foreach is {size} bytes, the limit is {limits.value_bytes} (limits.value_bytes); "
                "let it name a path or a URL instead"
            )
    return ""


def _slice(items: list[Any], at: int) -> bytes:
    """The items from `at` on that fit into one event, as a JSON list; one at least."""
    count = min(len(items) - at, SLICE_ITEMS)
    while True:
        data = json_values.dumps(items[at : at + count])
        if len(data) <= SLICE_BYTES or count == 1:
            return data
        count = max(1, min(count - 1, count * SLICE_BYTES // len(data)))


def advance(draft: Draft, builder: Builder, run: Run, share: int) -> int:
    """Decides what the run's busy maps have to decide. Returns what is left of the share."""
    for found in list((run.busy or {}).values()):
        try:
            while share > 0 and not draft.full() and run.busy is not None and found.task in run.busy:
                share, known = share - 1, found.known
                if not _step(draft, builder, run, found):
                    break
                if found.known != known:
                    share -= _SLICE_SHARE
        except Needs:
            continue
    return share


def _step(draft: Draft, builder: Builder, run: Run, found: MapState) -> bool:
    """One decision of a map. False: nothing was to be decided."""
    if not found.left:
        _conclude(draft, builder, run, found)
        return True
    place = found.place_to_begin()
    if place < 0:
        if found.follows < 0 and found.known < found.total:
            _write_items(draft, builder, run, found)
            return True
        return False
    slot = found.first + place
    if found.follows >= 0 and (skip := _not_followed(run, found, place)):
        draft.emit(Kind.TASK_SKIPPED, run.run_id, task=slot, reason=skip, **run.again(slot))
        return True
    fire.fire(draft, builder, run, slot)
    return True


def _not_followed(run: Run, found: MapState, place: int) -> str:
    """Why the element of the parent gives this instance nothing to do, or ""."""
    assert run.maps is not None
    parent = run.maps[found.follows]
    slot = parent.first + place
    state = run.states[slot]
    if state == SUCCESS or (state == FAILED and run.plan.allow[found.follows]):
        return ""
    if state == SKIPPED and (run.reasons or {}).get(slot) != "upstream_failed":
        return "upstream_skipped"
    return "upstream_failed"


def _write_items(draft: Draft, builder: Builder, run: Run, found: MapState) -> None:
    key = (run.run_id, found.task)
    items = builder.values.lists.get(key)
    if items is None:  # after a takeover: the same expression over the same outputs
        items = builder.values.lists[key] = _items(builder, run, found.task)
    assert found.total == len(items), "a list is the same whenever it is evaluated"
    data = _slice(items, found.known)
    draft.emit(Kind.TASK_ITEMS, run.run_id, task=found.task, number=found.known, data=data)
    if found.known >= found.total:
        del builder.values.lists[key]


def _conclude(draft: Draft, builder: Builder, run: Run, found: MapState) -> None:
    plan, task = run.plan, found.task
    mapped = plan.mapped[task] if plan.mapped is not None else None
    assert mapped is not None
    if found.follows >= 0 and run.states[found.follows] not in (SUCCESS, SKIPPED) and not plan.allow[found.follows]:
        _failed(draft, run, found, f"upstream_failed: {plan.ids[found.follows]!r}, which it follows, failed")
        return
    allowed = found.total if plan.allow[task] else 0
    if mapped.max_failures is not None:
        allowed = mapped.max_failures
    elif mapped.max_failed_share is not None:
        allowed = int(mapped.max_failed_share * found.total)
    if found.failed > allowed:
        more = f"; {allowed} may fail" if allowed else ""
        _failed(draft, run, found, f"{found.failed} of {found.total} instances failed{more}")
        return
    try:
        value = _gathered(builder, run, found, draft.limits.gathered_bytes)
    except Missing as error:
        _failed(draft, run, found, str(error))
        return
    draft.emit(
        Kind.TASK_SUCCEEDED, run.run_id, task=task, value=value, generation=run.generation(task), total=found.total
    )


def _failed(draft: Draft, run: Run, found: MapState, reason: str) -> None:
    draft.emit(
        Kind.TASK_FAILED, run.run_id, task=found.task, reason=reason, generation=run.generation(found.task),
        total=found.total,
    )  # fmt: skip


def _gathered(builder: Builder, run: Run, found: MapState, inline: int) -> Value:
    """The outputs in the order of the list, null where there is none. Raises Needs and Missing."""
    outputs = [run.outputs.get(slot, b"null") for slot in range(found.first, found.first + found.total)]
    size = sum(output.size if isinstance(output, Ref) else len(output) for output in outputs) + found.total + 1
    if size <= inline and not any(isinstance(output, Ref) for output in outputs):
        return Value(json=b"[" + b",".join(o for o in outputs if isinstance(o, bytes)) + b"]")
    begun = 0 if run.generations is None else sum(run.generations.get(found.first + p, 0) for p in range(found.total))
    token = f"{run.run_id}/{found.task}/{found.first}/{begun}"  # another where an instance began again
    reference: Reference = builder.values.stored(run, token, lambda: _value_list(outputs))
    kept = Reference()
    kept.CopyFrom(reference)
    kept.list = True
    kept.whole = size
    return Value(reference=kept)


def _value_list(outputs: list[bytes | Ref]) -> bytes:
    gathered = ValueList()
    for output in outputs:
        if isinstance(output, Ref):
            gathered.values.add(reference=output.reference)
        else:
            gathered.values.add(json=output)
    return gathered.SerializeToString(deterministic=True)
