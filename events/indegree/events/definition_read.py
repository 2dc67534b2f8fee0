"""Reading a whole definition: from the object of a file (or a normal form) to tasks, graph, parameters and triggers.

Why: files, the SDK and the log all hold the same object, and all are validated by this one reader.

How: ids first (so that tasks may be written in any order), then each task, then the graph. All problems are gathered;
a definition with any is refused as a whole.

It must never accept something that it does not understand: an unknown field is a problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from indegree.events.definition_fields import QUEUE, Fields, Report, check_roots, id_problem, shown
from indegree.events.definition_model import (
    EMPTY,
    MAX_TASKS,
    Concurrency,
    Defaults,
    TaskDefinition,
)
from indegree.events.definition_params import PARAMETER_TYPES, Parameter
from indegree.events.definition_read_task import Names, read_retries, read_retry, read_task
from indegree.events.definition_read_trigger import Trigger, read_triggers
from indegree.events.graph import CycleError, Graph
from indegree.events.json_values import JsonValueError, check_value, member_path, normalised
from indegree.events.spelling import did_you_mean

WORKFLOW_FIELDS = ("id", "params", "triggers", "concurrency", "timeout", "defaults", "tasks", "hooks")
DEFAULTS_FIELDS = ("timeout", "queue_timeout", "retry", "queue", "priority")
PARAMETER_FIELDS = ("type", "required", "default", "description")
CONCURRENCY_FIELDS = ("key", "limit", "on_conflict")
HOOKS = ("on_success", "on_failure", "on_cancel", "on_end")

_RUN_ROOTS = frozenset({"params", "trigger"})
_OTHER_TYPE_NAMES = {
    "list": "array",
    "text": "string",
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "map": "object",
}
_CYCLE_LINES = 12  # tasks of a cycle whose lines are named
_NO_GRAPH = Graph.build((), ())


@dataclass(slots=True)
class Parts:
    """What was read. Complete only if the report has no problem."""

    id: str = ""
    params: dict[str, Parameter] = field(default_factory=dict)
    triggers: tuple[Trigger, ...] = ()
    concurrency: Concurrency | None = None
    timeout_ms: int | None = None
    defaults: Defaults = field(default_factory=Defaults)
    tasks: tuple[TaskDefinition, ...] = ()
    graph: Graph = _NO_GRAPH
    hooks: Mapping[str, tuple[TaskDefinition, ...]] = field(default_factory=lambda: EMPTY)


def read_workflow(report: Report, value: object) -> Parts:
    """Read a workflow's object. What is wrong stands in `report.problems` afterwards."""
    parts = Parts()
    fields = Fields(report, value, "", WORKFLOW_FIELDS, "a workflow")
    problem = id_problem(fields.raw("id"), "workflow", reserved=())
    if not fields.has("id"):
        report.problem("id", "the workflow has no id; write id: orders")
    elif problem:
        report.problem("id", problem)
    else:
        parts.id = fields.raw("id")
    parts.params = _params(report, fields)
    parts.timeout_ms = fields.duration("timeout")
    parts.defaults = _defaults(report, fields)
    parts.triggers = read_triggers(report, fields, parts.id, parts.params)
    parts.concurrency = _concurrency(report, fields, parts.params)
    parts.tasks, parts.graph, index = _tasks(report, fields.raw("tasks"), "tasks", parts, EMPTY)
    parts.hooks = _hooks(report, fields, parts, index)
    return parts


def _params(report: Report, fields: Fields) -> dict[str, Parameter]:
    value = fields.raw("params")
    if value is None:
        return {}
    if not isinstance(value, dict):
        fields.problem("params", f"{shown(value)} is not an object; write params: {{region: {{type: string}}}}")
        return {}
    found = {}
    for name, declared in value.items():
        path = member_path("params", str(name))
        problem = id_problem(name, "parameter")
        if problem:
            report.problem(path, problem)
            continue
        if not isinstance(declared, dict):
            report.problem(
                path,
                f"{shown(declared)} is not a declaration; write {{default: ...}} or {{type: string, required: true}}",
            )
            continue
        inner = Fields(report, declared, path, PARAMETER_FIELDS, "a parameter")
        found[name] = _parameter(inner, name)
    return found


def _parameter(fields: Fields, name: str) -> Parameter:
    default = fields.raw("default")
    required = fields.boolean("required", False)
    try:
        check_value(default)
        default = normalised(default)
    except JsonValueError as error:
        fields.problem("default", str(error))
        default = None
    kind = fields.raw("type")
    spelled = _OTHER_TYPE_NAMES.get(kind) if isinstance(kind, str) else None
    if spelled:
        fields.problem("type", f"the type is called {spelled!r} here, not {kind!r}")
        kind = spelled
    else:
        kind = fields.choice("type", PARAMETER_TYPES)
    if required and default is not None:
        fields.problem("default", "a required parameter has no use for a default; keep `required` or `default`")
    parameter = Parameter(name, kind or "any", required, default, fields.text("description", limit=10_000))
    if not required and default is not None:
        problem = parameter.problem_of(default)
        if problem:
            hint = "; put it in quotes" if parameter.type == "string" and isinstance(default, int | float) else ""
            fields.problem("default", problem.replace("parameter", "the default of", 1) + hint)
    return parameter


def _defaults(report: Report, fields: Fields) -> Defaults:
    value = fields.raw("defaults")
    if value is None:
        return Defaults()
    if isinstance(value, dict):
        value = read_retries(report, value, "defaults")
    inner = Fields(report, value, "defaults", DEFAULTS_FIELDS, "the defaults")
    base = Defaults()
    priority = inner.integer("priority", -1_000_000, 1_000_000)
    return Defaults(
        timeout_ms=inner.duration("timeout"),
        queue_timeout_ms=inner.duration("queue_timeout"),
        retry=read_retry(report, inner, base.retry),
        queue=inner.identifier("queue", "queue", QUEUE) or base.queue,
        priority=base.priority if priority is None else priority,
    )


def _tasks(
    report: Report, value: object, path: str, parts: Parts, visible: Mapping[str, int]
) -> tuple[tuple[TaskDefinition, ...], Graph, dict[str, int]]:
    if not isinstance(value, list) or not value:
        what = "is missing" if value is None else "is empty" if value == [] else f"is {shown(value)}"
        report.problem(path, f"the list of tasks {what}; a workflow has at least one: {{id: hi, command: echo hi}}")
        return (), _NO_GRAPH, {}
    if len(value) > MAX_TASKS:
        report.problem(path, f"{len(value)} tasks; the limit is {MAX_TASKS}. Make sub-workflows, or a foreach")
        return (), _NO_GRAPH, {}
    index: dict[str, int] = {}
    for place, task in enumerate(value):
        task_id = task.get("id") if isinstance(task, dict) else None
        problem = id_problem(task_id, "task")
        where = f"{path}[{place}]"
        if problem:
            if not isinstance(task, dict):
                report.problem(where, f"{shown(task)} is not a task; a task is an object with an id")
            elif task_id is None:
                report.problem(where, "this task has no id")
            else:
                report.problem(f"{where}.id", problem)
            continue
        assert task_id is not None
        first = index.setdefault(task_id, place)
        if first != place:
            report.problem(
                f"{where}.id",
                f"the id {task_id!r} is taken; ids are unique in a workflow: give one of them another id",
                f"{path}[{first}].id",
            )
        elif task_id in parts.params:
            report.problem(
                f"{where}.id",
                f"the task {task_id!r} has the name of a run parameter, so a value of that name would be ambiguous; "
                "rename one of them",
                member_path("params", task_id),
            )
    names = Names(index, parts.params, visible)
    tasks = []
    for place, task in enumerate(value):
        if isinstance(task, dict):
            found = read_task(report, task, f"{path}[{place}]", names, parts.defaults)
            if found is not None:
                tasks.append(found)
    if report.problems and (len(tasks) != len(value) or len(index) != len(value)):
        return tuple(tasks), _NO_GRAPH, index
    for place, task in enumerate(tasks):
        follows = task.mapped.follows if task.mapped is not None else None
        if follows is not None and follows in index and tasks[index[follows]].mapped is None:
            report.problem(
                f"{path}[{place}].foreach_with",
                f"{follows!r} has no foreach, so there are no instances to follow; write foreach: {follows} for the "
                "elements of its output",
            )
    try:
        graph = Graph.build([task.id for task in tasks], [task.depends_on for task in tasks])
    except CycleError as error:
        ring = error.path[:-1] if len(error.path) > 2 else ()
        see = [f"{path}[{index[task_id]}]" for task_id in ring[:_CYCLE_LINES]]
        report.problem(f"{path}[{index[error.task_id]}]", str(error), *see)
        graph = _NO_GRAPH
    return tuple(tasks), graph, index


def _hooks(
    report: Report, fields: Fields, parts: Parts, index: Mapping[str, int]
) -> Mapping[str, tuple[TaskDefinition, ...]]:
    if not fields.has("hooks"):
        return EMPTY
    inner = Fields(report, fields.raw("hooks"), "hooks", HOOKS, "the hooks")
    found = {}
    known: dict[str, str] = {}
    for name in HOOKS:
        value = inner.raw(name)
        if value is None:
            continue
        tasks, _, ids = _tasks(report, value, f"hooks.{name}", parts, index)
        for task_id, place in ids.items():
            where = f"hooks.{name}[{place}]"
            if task_id in index:
                report.problem(f"{where}.id", f"the id {task_id!r} is that of a task; rename the hook's")
            elif task_id in known:
                report.problem(f"{where}.id", f"the id {task_id!r} is that of a hook of {known[task_id]}; rename one")
            known.setdefault(task_id, name)
        for task in tasks:
            if task.mapped is not None and task.mapped.follows is not None and task.mapped.follows not in ids:
                report.problem(
                    f"hooks.{name}[{ids[task.id]}].foreach_with",
                    f"{task.mapped.follows!r} has ended when hooks begin, so there is nothing to follow: write foreach",
                )
        found[name] = tasks
    return found


def _concurrency(report: Report, fields: Fields, params: Mapping[str, Parameter]) -> Concurrency | None:
    if not fields.has("concurrency"):
        return None
    inner = Fields(report, fields.raw("concurrency"), "concurrency", CONCURRENCY_FIELDS, "the concurrency")
    key = inner.expression("key")
    if key is not None:
        check_roots(report, "concurrency.key", key.references, _RUN_ROOTS, "in a concurrency key")
        for name in key.references.tasks:
            report.problem("concurrency.key", f"`{name}` does not exist before the run starts; read params or trigger")
        for name in key.references.params - params.keys():
            report.problem("concurrency.key", f"there is no parameter {name!r}{did_you_mean(name, params)}")
    limit = inner.integer("limit", 1, 1_000_000)
    return Concurrency(
        1 if limit is None else limit, key, inner.choice("on_conflict", ("queue", "skip", "cancel_running")) or "queue"
    )
