"""Sub-workflows: a task whose work is a run of another workflow.

Why: a large piece of work is made of smaller ones that have names, versions and limits of their own, and a task that
waits for one must not hold a worker.

How: the start of the child is a message to the partition where the child will live (spread by the parent's id, so that
a
fan-out over many children uses the whole cluster); its run id is made of the parent's run, task, generation and
attempt,
so a repeat is the same run. The task is WAITING meanwhile. At its end, or where it was refused, the child's partition
sends ChildEnded; the task then succeeds with the child's result or its attempt has failed, and a retry starts another
child. A cancel, a timeout or a hand that ends the task cancels the child. With `wait: false` the task succeeds at once
with the child's run id.

The result of a run: the output of its one leaf (a task that no other depends on), or of several an object of their
outputs by id.

It must never start a child deeper than the limit: a workflow that starts itself would never end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.failing import fail, failed
from indegree.engine.kinds import Kind
from indegree.engine.messages import forward
from indegree.engine.records import Builder
from indegree.engine.scope import scope_of
from indegree.engine.state import Ref, Run, Wait
from indegree.engine.values import Missing
from indegree.events import json_values
from indegree.events.expressions import EvaluationError
from indegree.events.run_ids import make_run_id, partition_of_key, partition_of_run
from indegree.v1.trigger_pb2 import (
    Cancel,
    ChildEnded,
    Command,
    ForwardedStart,
    Origin,
    Parent,
    PartitionMessage,
    Start,
)
from indegree.v1.value_pb2 import Error, Value

OF_BACKFILL: list[Callable[[Draft, ChildEnded], None]] = []
"""Who hears of the runs of backfills, which have no task as their parent (features.py)."""


def begin(draft: Draft, builder: Builder, run: Run, slot: int, number: int) -> None:
    """Starts the child of attempt `number`. Raises Needs before anything is emitted."""
    task = run.plan.tasks[run.node(slot)]
    workflow = task.workflow or ""
    depth = (Parent.FromString(run.parent).depth if run.parent else 0) + 1
    if depth > draft.limits.child_depth:
        fail(
            draft,
            run,
            slot,
            f"sub-workflows lie {depth} deep in each other, the limit is {draft.limits.child_depth} "
            f"(limits.child_depth): does workflow {workflow!r} start itself?",
        )
        return
    try:
        scope = scope_of(run, builder.values, slot) if task.params else None
        params = {name: template.evaluate(scope) for name, template in task.params.items()} if scope else {}
        data = json_values.dumps(params) if params else b""
    except (EvaluationError, json_values.JsonValueError, Missing) as error:
        fail(draft, run, slot, f"a parameter of its sub-workflow has no value: {error}")
        return
    if len(data) > draft.limits.value_bytes:
        fail(
            draft,
            run,
            slot,
            f"the parameters of its sub-workflow are {len(data)} bytes, the limit is {draft.limits.value_bytes} "
            "(limits.value_bytes); hand over paths or URLs instead",
        )
        return
    generation = run.generation(slot)
    name = f"{run.run_id}\0{slot}\0{generation}\0{number}"
    home = partition_of_key("child", workflow, name, draft.partitions)
    digits = hashlib.sha256(name.encode()).hexdigest()[:12]
    child = make_run_id(draft.state.time_ms, digits, home)
    parent = Parent(
        partition=draft.number,
        run_id=run.run_id,
        task=slot,
        attempt=number,
        generation=generation,
        depth=depth,
        forget=not task.wait,
    )
    start = Start(workflow=workflow, params=data, run_id=child, actor=f"task {run.id_of(slot)} of {run.run_id}")
    start.parent.CopyFrom(parent)
    origin = Origin(
        kind="task",
        timestamp_ms=draft.state.time_ms,
        partition=draft.number,
        traceparent=run.traceparent,
        tracestate=run.tracestate,
    )
    if task.wait:
        limit = run.plan.timeout_ms[run.node(slot)]
        draft.emit(
            Kind.TASK_WAITING,
            run.run_id,
            task=slot,
            attempt=number,
            generation=generation,
            reason="workflow",
            label=child,
            due_ms=draft.state.time_ms + limit if limit else 0,
        )
    else:
        value = Value(json=json_values.dumps({"run_id": child}))
        draft.emit(
            Kind.TASK_SUCCEEDED,
            run.run_id,
            task=slot,
            attempt=number,
            generation=generation,
            value=value,
            finished_ms=draft.state.time_ms,
        )
    forward(draft, home, PartitionMessage(start=ForwardedStart(start=start, origin=origin)))


def look_at_params(builder: Builder, run: Run, slot: int) -> None:
    """Raises Needs where a parameter is to be fetched first. What is wrong with one is told when the child begins."""
    scope = scope_of(run, builder.values, slot)
    for template in run.plan.tasks[run.node(slot)].params.values():
        try:
            template.evaluate(scope)
        except (EvaluationError, json_values.JsonValueError, Missing):
            return


def cancel(draft: Draft, wait: Wait) -> None:
    """The task is ended from outside: its child is cancelled, wherever it lives."""
    reason = f"task {wait.run.id_of(wait.task)} of run {wait.run.run_id}, which waited for it, has ended"
    _cancel(draft, wait.label, reason)


def _cancel(draft: Draft, child: str, reason: str) -> None:
    command = Command(actor="parent", cancel=Cancel(run_id=child, reason=reason[: draft.limits.reason_chars]))
    forward(draft, partition_of_run(child), PartitionMessage(command=command))


def tell_parent(draft: Draft, run: Run, state: str, reason: str) -> None:
    """The run is about to end: whoever waits for it hears of it. `state`: SUCCESS, FAILED, CANCELLED."""
    parent = Parent.FromString(run.parent)
    if parent.forget or _is_backfill_here(draft, parent):
        return
    ended = ChildEnded(parent=parent, run_id=run.run_id, state=state, reason=reason)
    if state == "SUCCESS" and not parent.backfill:
        value, problem = result_of(draft, run)
        if problem:
            ended.state, ended.reason = "FAILED", problem
        elif value is not None:
            ended.output.CopyFrom(value)
    forward(draft, parent.partition, PartitionMessage(ended=ended))


def moved(draft: Draft, parent: Parent, run_id: str) -> None:
    """A child lives on the partition of its key, under another id than its task gave it: its task hears of it."""
    if not parent.forget and not parent.backfill:
        ended = ChildEnded(parent=parent, run_id=run_id, state="STARTED")
        forward(draft, parent.partition, PartitionMessage(ended=ended))


def refused(draft: Draft, parent: Parent, run_id: str, reason: str) -> None:
    """The start of a child was refused: its task hears of it."""
    if not parent.forget and not _is_backfill_here(draft, parent):
        ended = ChildEnded(parent=parent, run_id=run_id, state="REFUSED", reason=reason)
        forward(draft, parent.partition, PartitionMessage(ended=ended))


def _is_backfill_here(draft: Draft, parent: Parent) -> bool:
    """A backfill of this partition hears of its runs without a message (backfills.py)."""
    return parent.backfill > 0 and parent.partition == draft.number


def result_of(draft: Draft, run: Run) -> tuple[Value | None, str]:
    """The result of a run that succeeds (None: null), or why there is none."""
    plan = run.plan
    leaves = [task for task in range(plan.main) if not plan.graph.children[task]]
    found = {plan.ids[task]: run.outputs[task] for task in leaves if task in run.outputs}
    if len(leaves) == 1:
        for output in found.values():
            return _value(output), ""
        return None, ""
    if any(isinstance(output, Ref) for output in found.values()):
        names = ", ".join(name for name, output in found.items() if isinstance(output, Ref))
        return None, f"its result has several parts, and {names[:200]} is too large to be one of them: give it one leaf"
    members = [
        json_values.dumps(plan.ids[task]) + b":" + output
        for task in leaves
        if isinstance(output := run.outputs.get(task, b"null"), bytes)
    ]
    data = b"{" + b",".join(members) + b"}"
    if len(data) > draft.limits.value_bytes:
        return None, draft.limits.too_large(len(data))
    return Value(json=data), ""


def _value(output: bytes | Ref) -> Value:
    return Value(reference=output.reference) if isinstance(output, Ref) else Value(json=output)


def ended(draft: Draft, builder: Builder, message: PartitionMessage) -> Run | None:
    """Message `ended`: a child of one of our tasks has ended, or was never started."""
    told = message.ended
    parent = told.parent
    if parent.backfill:
        OF_BACKFILL[0](draft, told)
        return None
    run = draft.state.runs.get(parent.run_id)
    wait = run.waits.get(parent.task) if run is not None and run.waits is not None else None
    if (
        run is None
        or wait is None
        or wait.kind != "workflow"
        or (wait.attempt, wait.generation) != (parent.attempt, parent.generation)
    ):  # the task ended before its child did
        if told.state == "STARTED":  # and the cancel that told it so went to where the child no longer was
            _cancel(draft, told.run_id, f"its task of run {parent.run_id} has ended")
        return None
    if told.state == "STARTED":  # its workflow has a key, and it lives where that does
        if wait.label != told.run_id:
            draft.emit(
                Kind.TASK_WAITING,
                run.run_id,
                task=wait.task,
                attempt=wait.attempt,
                generation=wait.generation,
                reason="workflow",
                label=told.run_id,
                due_ms=wait.due_ms,
            )
        return None
    if run.ending:
        return None  # it is about to be cancelled
    if told.state == "SUCCESS":
        fields: dict[str, Any] = {"value": told.output} if told.HasField("output") else {}
        draft.emit(
            Kind.TASK_SUCCEEDED,
            run.run_id,
            task=wait.task,
            attempt=wait.attempt,
            generation=wait.generation,
            worker=told.run_id,
            started_ms=wait.since_ms,
            finished_ms=draft.state.time_ms,
            **fields,
        )
        return run
    words = {"FAILED": "failed", "CANCELLED": "was cancelled", "REFUSED": "was refused"}
    message_text = f"run {told.run_id} {words.get(told.state, told.state)}: {told.reason}"
    error = Error(
        type=f"child_{told.state.lower()}",
        message=text(message_text)[: draft.limits.reason_chars],
        permanent=told.state == "REFUSED",
    )
    failed(
        draft,
        run,
        wait.task,
        wait.attempt,
        wait.generation,
        "error",
        error,
        worker=told.run_id,
        started_ms=wait.since_ms,
        finished_ms=draft.state.time_ms,
    )
    return run


MESSAGES = {"ended": ended}
