"""Reading triggers: what starts runs of a workflow besides clients.

Why: records of topics, ends of other runs and times of a schedule are described in a few fields each, and a mistake in
one would show as runs that never start.

How: one function a kind. Expressions read the record (value, key, headers, trigger), never a run, which does not exist
yet.

It must never accept a name that does not exist in a trigger.
"""

from __future__ import annotations

from collections.abc import Mapping

from indegree.events.cron import ScheduleError, schedule_of
from indegree.events.definition_fields import Fields, Report, check_roots, id_problem, shown
from indegree.events.definition_model import MAX_TRIGGERS, CronTrigger, KafkaTrigger, RunTrigger
from indegree.events.definition_params import Parameter
from indegree.events.expressions import Expression
from indegree.events.json_values import member_path
from indegree.events.spelling import did_you_mean

KAFKA_FIELDS = ("topic", "filter", "idempotency_key", "params", "begin")
RUN_FIELDS = ("workflow", "state", "task", "filter", "params", "idempotency_key")
CRON_FIELDS = ("schedule", "timezone", "catch_up")

_RECORD_ROOTS = frozenset({"value", "key", "headers", "trigger"})
_RUN_STATES = ("SUCCESS", "FAILED", "CANCELLED", "any")
_TASK_STATES = ("SUCCESS", "FAILED", "CANCELLED", "SKIPPED", "any")

Trigger = KafkaTrigger | CronTrigger | RunTrigger


def read_triggers(
    report: Report, fields: Fields, workflow: str, params: Mapping[str, Parameter]
) -> tuple[Trigger, ...]:
    """The triggers of the workflow with this name."""
    value = fields.raw("triggers")
    if value is None:
        return ()
    if not isinstance(value, list):
        problem = f"{shown(value)} is not a list of triggers: [{{kafka: ...}}, {{cron: ...}}, {{run: ...}}]"
        fields.problem("triggers", problem)
        return ()
    if len(value) > MAX_TRIGGERS:
        fields.problem("triggers", f"{len(value)} triggers; the limit is {MAX_TRIGGERS}")
        return ()
    found: list[Trigger] = []
    for place, member in enumerate(value):
        path = f"triggers[{place}]"
        outer = Fields(report, member, path, ("kafka", "cron", "run"), "a trigger")
        if len(outer.object) != 1:
            report.problem(path, "a trigger is one of kafka, cron and run; write two as two elements of the list")
        elif outer.has("kafka"):
            found.append(_kafka(report, outer.raw("kafka"), f"{path}.kafka", params))
        elif outer.has("run"):
            found.append(_run(report, outer.raw("run"), f"{path}.run", workflow, params))
        elif outer.has("cron"):
            found.append(_cron(report, outer.raw("cron"), f"{path}.cron"))
    return tuple(found)


def _kafka(report: Report, value: object, path: str, params: Mapping[str, Parameter]) -> KafkaTrigger:
    fields = Fields(report, value, path, KAFKA_FIELDS, "a Kafka trigger")
    topic = fields.text("topic", limit=249)
    if not fields.has("topic"):
        report.problem(path, "the trigger has no topic")
    return KafkaTrigger(
        topic or "",
        _of_record(report, fields.expression("filter"), fields.at("filter")),
        _of_record(report, fields.expression("idempotency_key"), fields.at("idempotency_key")),
        _params(report, fields, params),
        fields.choice("begin", ("latest", "earliest")) or "latest",
    )


def _run(report: Report, value: object, path: str, workflow: str, params: Mapping[str, Parameter]) -> RunTrigger:
    fields = Fields(report, value, path, RUN_FIELDS, "a run trigger")
    of, task = fields.text("workflow"), fields.text("task")
    if not fields.has("workflow"):
        report.problem(path, "the trigger names no workflow whose runs it waits for")
    for name, text in (("workflow", of), ("task", task)):
        if text is not None and (problem := id_problem(text, name)):
            fields.problem(name, problem)
    states = _RUN_STATES if task is None else _TASK_STATES
    if of == workflow and not fields.has("filter"):
        fields.problem("workflow", f"each run of {workflow!r} would start the next, for ever; add a filter")
    return RunTrigger(
        of or "",
        fields.choice("state", states) or "SUCCESS",
        task,
        _of_record(report, fields.expression("filter"), fields.at("filter")),
        _params(report, fields, params),
        _of_record(report, fields.expression("idempotency_key"), fields.at("idempotency_key")),
    )


def _of_record(report: Report, expression: Expression | None, where: str) -> Expression | None:
    if expression is not None:
        check_roots(report, where, expression.references, _RECORD_ROOTS, "in a trigger")
        for name in expression.references.tasks - expression.references.roots:
            report.problem(where, f"`{name}` does not exist in a trigger; the record's fields are value.{name}")
    return expression


def _params(report: Report, fields: Fields, params: Mapping[str, Parameter]) -> dict[str, Expression] | None:
    declared = fields.raw("params")
    if declared is None:
        return None
    if not isinstance(declared, dict):
        fields.problem("params", f"{shown(declared)} is not an object of parameters and expressions")
        return None
    bound: dict[str, Expression] = {}
    for name, text in declared.items():
        where = member_path(fields.at("params"), name)
        if name not in params:
            report.problem(where, f"there is no parameter {name!r}{did_you_mean(name, params)}")
        expression = _of_record(report, report.expression(text, where), where)
        if expression is not None:
            bound[name] = expression
    return bound


def _cron(report: Report, value: object, path: str) -> CronTrigger:
    fields = Fields(report, value, path, CRON_FIELDS, "a cron trigger")
    schedule = fields.text("schedule")
    timezone = fields.text("timezone", limit=100) or "UTC"
    if not fields.has("schedule"):
        report.problem(path, 'the trigger has no schedule; write schedule: "30 6 * * 1-5"')
    # Each by itself, so that both are told where both are wrong.
    for part, of, zone in (("schedule", schedule, "UTC"), ("timezone", "0 0 * * *", timezone)):
        try:
            if of is not None:
                schedule_of(of, zone)
        except ScheduleError as error:
            fields.problem(part, str(error))
    return CronTrigger(
        " ".join((schedule or "").split()),
        timezone,
        fields.choice("catch_up", ("none", "last", "all")) or "none",
    )
