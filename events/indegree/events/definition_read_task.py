"""Reading one task of a definition.

Why: a task has some thirty fields whose rules depend on what the task does; they stand together here.

How: `read_task` takes the object of one task, the workflow's defaults and the names it may refer to, and gives a
TaskDefinition with everything applied. Every task that is named in an expression is a parent.

It must never look at another task: whether the parents exist and form a DAG is judged by definition_read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from indegree.events.definition_fields import QUEUE, Fields, Report, check_roots, id_problem, shown
from indegree.events.definition_model import (
    Defaults,
    Mapped,
    RateLimit,
    RetryPolicy,
    TaskDefinition,
    TaskKind,
    TriggerRule,
    WaitFor,
)
from indegree.events.definition_read_wait import read_wait_for
from indegree.events.expressions import Expression, References, Template
from indegree.events.json_values import member_path
from indegree.events.spelling import did_you_mean, listing

TASK_FIELDS = (
    "id", "label", "depends_on", "trigger_rule", "when", "python", "command", "workflow", "wait_for", "args", "env",
    "input", "output", "params", "wait", "default", "foreach", "foreach_with", "concurrency", "queue", "priority",
    "timeout", "queue_timeout", "retry", "allow_failure", "isolate", "secrets", "pool", "rate_limit",
)  # fmt: skip
RETRY_FIELDS = ("max_attempts", "delay", "backoff", "max_delay", "jitter", "errors", "exit_codes")
RATE_LIMIT_FIELDS = ("key", "limit", "per")

ALIASES = {
    "needs": "depends_on",
    "dependencies": "depends_on",
    "dependsOn": "depends_on",
    "runAfter": "depends_on",
    "if": "when",
}
"""Other systems' words for ours: understood, with a note. `retries` is one more, see read_retries."""

_WORK = frozenset({TaskKind.PYTHON, TaskKind.COMMAND})
_MAPPABLE = _WORK | {TaskKind.WORKFLOW}
_ONLY_FOR: dict[str, frozenset[TaskKind]] = {
    "args": frozenset({TaskKind.PYTHON}),
    "isolate": frozenset({TaskKind.PYTHON}),
    "env": _WORK,
    "input": frozenset({TaskKind.COMMAND}),
    "output": frozenset({TaskKind.COMMAND}),
    "queue": _WORK,
    "queue_timeout": _WORK,
    "secrets": _WORK,
    "pool": _WORK,
    "rate_limit": _WORK | {TaskKind.WORKFLOW},
    "retry": _WORK | {TaskKind.WORKFLOW},
    "timeout": _WORK | {TaskKind.WORKFLOW, TaskKind.WAIT},
    "params": frozenset({TaskKind.WORKFLOW}),
    "wait": frozenset({TaskKind.WORKFLOW}),
    "default": frozenset({TaskKind.WAIT}),
}
_KIND_FIELDS = {
    "python": TaskKind.PYTHON,
    "command": TaskKind.COMMAND,
    "workflow": TaskKind.WORKFLOW,
    "wait_for": TaskKind.WAIT,
}
_RULES = {rule.value: rule for rule in TriggerRule}
_PYTHON = re.compile(r"[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TASK_ROOTS = frozenset({"params", "trigger", "run", "tasks"})
_ITEM_ROOTS = frozenset({"item", "index"})
_INSTANCE_ROOTS = _TASK_ROOTS | _ITEM_ROOTS
_RECORD_ROOTS = _TASK_ROOTS | {"value", "key", "headers"}


@dataclass(frozen=True, slots=True)
class Names:
    """What the expressions of a task may refer to. tasks: id -> place; visible: readable without being parents."""

    tasks: Mapping[str, int]
    params: Mapping[str, Any]
    visible: Mapping[str, int]


def read_task(report: Report, value: object, path: str, names: Names, defaults: Defaults) -> TaskDefinition | None:
    """The task at `path`, or None (with problems reported) where its id is unusable."""
    value = _without_aliases(report, value, path)
    fields = Fields(report, value, path, TASK_FIELDS_SET, "a task")
    task_id = fields.raw("id")
    if id_problem(task_id, "task"):
        return None  # reported by definition_read, which reads all ids first
    kind = _kind(fields)
    for name in fields.object:
        only = _ONLY_FOR.get(name)
        if only is not None and kind not in only and fields.has(name):
            _misplaced(fields, name, kind, only)
    mapped = _mapped(fields, kind)
    read = _Reading(fields, names, mapped is not None)
    command = report.command(fields.raw("command"), fields.at("command")) if kind is TaskKind.COMMAND else None
    rule = fields.choice("trigger_rule", _RULES)
    works = kind in _WORK
    base = defaults if works or kind is TaskKind.WORKFLOW else _NO_DEFAULTS
    when = fields.expression("when")
    args, env, params = fields.templates("args"), fields.templates("env"), fields.templates("params")
    given_input = fields.template("input")
    rate_limit = _rate_limit(fields)
    wait_for = read_wait_for(fields) if kind is TaskKind.WAIT else None
    if len(fields.object) > 1:  # most tasks of a large workflow have few fields: skip what cannot be there
        read.expression("when", when)
        read.template("command", command)
        read.template("input", given_input)
        for name, templates in (("args", args), ("env", env), ("params", params)):
            for key, template in templates.items():
                read.template(f"{name}.{key}", template)
        if rate_limit is not None:
            read.expression("rate_limit.key", rate_limit.key, instance=mapped is not None)
        if mapped is not None:
            read.over(mapped)
        if wait_for is not None:
            read.wait_for(wait_for)
    for name in env:
        if not _ENV_NAME.fullmatch(name):
            fields.problem("env", f"{name!r} cannot be the name of an environment variable: letters, digits and '_'")
    return TaskDefinition(
        id=str(task_id),
        kind=kind,
        label=fields.text("label"),
        depends_on=read.parents(fields),
        trigger_rule=TriggerRule.ALL_SUCCESS if rule is None else _RULES[rule],
        when=when,
        python=_python(fields) if kind is TaskKind.PYTHON else None,
        command=command,
        workflow=fields.identifier("workflow", "workflow"),
        args=args,
        env=env,
        params=params,
        input=given_input,
        output=fields.choice("output", ("json", "text")),
        queue=report.share(fields.identifier("queue", "queue", QUEUE) or base.queue),
        priority=_or(fields.integer("priority", -1_000_000, 1_000_000), defaults.priority),
        timeout_ms=fields.duration("timeout", base.timeout_ms),
        queue_timeout_ms=fields.duration("queue_timeout", base.queue_timeout_ms if works else None),
        retry=read_retry(report, fields, base.retry),
        allow_failure=_allow_failure(fields, mapped is not None),
        isolate=fields.boolean("isolate", False),
        secrets=_secrets(fields),
        mapped=mapped,
        pool=fields.identifier("pool", "pool"),
        rate_limit=rate_limit,
        wait_for=wait_for,
        wait=fields.boolean("wait", True),
    )


TASK_FIELDS_SET = dict.fromkeys(TASK_FIELDS)
_NO_DEFAULTS = Defaults()


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _without_aliases(report: Report, value: object, path: str) -> object:
    if not isinstance(value, dict) or (ALIASES.keys().isdisjoint(value) and "retries" not in value):
        return value
    value = dict(value)
    for alias, ours in ALIASES.items():
        if alias in value:
            if ours in value:
                report.problem(f"{path}.{alias}", f"`{alias}` means `{ours}`, which is given as well; keep one of them")
            else:
                report.note(f"{path}.{alias}", f"`{alias}` is understood as `{ours}`")
                value[ours] = value[alias]
            del value[alias]
    return read_retries(report, value, path)


def read_retries(report: Report, value: dict[str, Any], path: str) -> dict[str, Any]:
    """`retries: n` as other systems have it: n attempts after the first one."""
    if "retries" not in value:
        return value
    value = dict(value)
    retries = value.pop("retries")
    if "retry" in value:
        report.problem(f"{path}.retries", "`retries` means `retry.max_attempts`; write it into the `retry` given here")
    elif isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        report.problem(f"{path}.retries", f"{shown(retries)} is no number of retries; write retry: {{max_attempts: 3}}")
    else:
        ours = f"retry: {{max_attempts: {retries + 1}}}"
        report.note(f"{path}.retries", f"`retries: {retries}` is understood as `{ours}`")
        value["retry"] = {"max_attempts": retries + 1}
    return value


def _kind(fields: Fields) -> TaskKind:
    found = [name for name in _KIND_FIELDS if fields.has(name)]
    if len(found) > 1:
        fields.problem(found[1], f"a task does one thing, and this one has {' and '.join(found)}; make two tasks of it")
    return _KIND_FIELDS[found[0]] if found else TaskKind.JOIN


def _misplaced(fields: Fields, name: str, kind: TaskKind, only: frozenset[TaskKind]) -> None:
    does = " or ".join(f"`{field}`" for field, field_kind in _KIND_FIELDS.items() if field_kind in only)
    if kind is TaskKind.JOIN:
        fields.problem(name, f"`{name}` means nothing here, since the task has nothing to do; {does} is missing")
    else:
        fields.problem(name, f"`{name}` is for tasks with {does}, and this one has `{kind.value}`")


def _python(fields: Fields) -> str | None:
    value = fields.text("python")
    if value is not None and not _PYTHON.fullmatch(value):
        fields.problem("python", f"{shown(value)} names no function; write module:function (orders.quality:check)")
        return None
    return value


def read_retry(report: Report, fields: Fields, base: RetryPolicy) -> RetryPolicy:
    """The policy of a task: what it says itself over what the workflow's defaults say, field by field."""
    value = fields.raw("retry")
    if value is None:
        return base
    if isinstance(value, int) and not isinstance(value, bool):
        fields.problem("retry", f"write retry: {{max_attempts: {value}}}; it counts all attempts, the first included")
        return base
    inner = Fields(report, value, fields.at("retry"), RETRY_FIELDS, "a retry policy")
    delay_ms = inner.duration("delay", base.delay_ms, least_ms=0)
    codes = inner.raw("exit_codes")
    if codes is not None and not (
        isinstance(codes, list) and all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c <= 255 for c in codes)
    ):
        inner.problem("exit_codes", f"{shown(codes)} is not a list of exit codes (0 to 255)")
        codes = None
    backoff, jitter = inner.number("backoff", 1, 1_000), inner.number("jitter", 0, 1)
    policy = replace(
        base,
        max_attempts=_or(inner.integer("max_attempts", 1, 100_000), base.max_attempts),
        delay_ms=0 if delay_ms is None else delay_ms,
        backoff=base.backoff if backoff is None else backoff,
        max_delay_ms=inner.duration("max_delay", base.max_delay_ms),
        jitter=base.jitter if jitter is None else jitter,
        errors=inner.texts("errors") if inner.has("errors") else base.errors,
        exit_codes=tuple(sorted(set(codes))) if codes is not None else base.exit_codes,
    )
    shared: RetryPolicy = report.share(policy)
    return shared


def _secrets(fields: Fields) -> tuple[str, ...]:
    names = fields.texts("secrets")
    for place, name in enumerate(names):
        if not _ENV_NAME.fullmatch(name):
            where = f"{fields.at('secrets')}[{place}]"
            fields.report.problem(where, f"{name!r} is not a name: letters, digits and '_'")
    return tuple(dict.fromkeys(names))


def _allow_failure(fields: Fields, mapped: bool) -> bool:
    value = fields.raw("allow_failure")
    if isinstance(value, dict):
        if not mapped:
            fields.problem("allow_failure", "{max} and {share} count instances of a foreach; without it write true")
        return False
    return fields.boolean("allow_failure", False)


def _mapped(fields: Fields, kind: TaskKind) -> Mapped | None:
    over: Expression | Template | None = None
    raw = fields.raw("foreach")
    follows = fields.text("foreach_with")
    if isinstance(raw, list):
        over = fields.template("foreach")
    elif raw is not None:
        over = fields.expression("foreach")
    if raw is not None and follows is not None:
        fields.problem("foreach_with", "`foreach` and `foreach_with` exclude each other; keep one of them")
    if (raw is not None or follows is not None) and kind not in _MAPPABLE:
        what = "waits" if kind is TaskKind.WAIT else "has nothing to do"
        fields.problem(
            "foreach" if raw is not None else "foreach_with",
            f"foreach is for tasks with `python`, `command` or `workflow`, and this one {what}; to wait once for each "
            "element, map a sub-workflow that waits",
        )
    if raw is None and follows is None:
        if fields.has("concurrency"):
            fields.problem("concurrency", "a task's `concurrency` counts instances of a foreach, and there is none")
        return None
    most: int | None = None
    share: float | None = None
    allowed = fields.raw("allow_failure")
    if isinstance(allowed, dict):
        inner = Fields(fields.report, allowed, fields.at("allow_failure"), ("max", "share"), "allow_failure")
        most, share = inner.integer("max", 0, 100_000), inner.number("share", 0, 1)
        if (most is None) == (share is None):
            fields.problem("allow_failure", "write either {max: 5} or {share: 0.1}")
    return Mapped(over, follows, fields.integer("concurrency", 1, 100_000), most, share)


def _rate_limit(fields: Fields) -> RateLimit | None:
    if not fields.has("rate_limit"):
        return None
    inner = Fields(fields.report, fields.raw("rate_limit"), fields.at("rate_limit"), RATE_LIMIT_FIELDS, "a rate limit")
    limit, per = inner.integer("limit", 1, 1_000_000), inner.duration("per")
    if limit is None or per is None:
        fields.problem("rate_limit", "a rate limit needs `limit` and `per`: {limit: 10, per: 1s}")
        return None
    return RateLimit(limit, per, inner.expression("key"))


class _Reading:
    """Gathers the parents of one task from its expressions, and checks the names in them."""

    __slots__ = ("fields", "found", "mapped", "names")

    def __init__(self, fields: Fields, names: Names, mapped: bool) -> None:
        self.fields = fields
        self.names = names
        self.mapped = mapped
        self.found: set[str] = set()

    def expression(self, name: str, expression: Expression | None, *, instance: bool = False) -> None:
        if expression is not None:
            self._references(name, expression.references, instance=instance)

    def template(self, name: str, template: Template | None) -> None:
        if template is not None and not template.is_constant:
            self._references(name, template.references, instance=self.mapped)

    def over(self, mapped: Mapped) -> None:
        if mapped.over is not None:
            self._references("foreach", mapped.over.references, instance=False)
        if mapped.follows is not None:
            self._task("foreach_with", mapped.follows)

    def wait_for(self, wait_for: WaitFor) -> None:
        self.expression("wait_for.until", wait_for.until)
        if wait_for.filter is not None:
            self._references("wait_for.kafka.filter", wait_for.filter.references, instance=False, record=True)
        for key, template in wait_for.params.items():
            self.template(f"wait_for.run.params.{key}", template)

    def _references(self, name: str, references: References, *, instance: bool, record: bool = False) -> None:
        allowed = _RECORD_ROOTS if record else _INSTANCE_ROOTS if instance else _TASK_ROOTS
        if self.mapped and name == "when" and not references.roots.isdisjoint(_ITEM_ROOTS):
            self._problem(
                name,
                "`when` is asked once for the whole task, so there is no item in it; leave elements out in the task "
                "that makes the list, or return early",
            )
            return
        where = "here" if self.mapped or record else "in a task without foreach"
        if not references.roots <= allowed:
            check_roots(self.fields.report, self._at(name), references, allowed, where)
        for param in references.params:
            if param not in self.names.params:
                hint = did_you_mean(param, self.names.params) or "; declare it in `params`"
                self._problem(name, f"there is no parameter {param!r}{hint}")
        for task_id in references.tasks:
            self._task(name, task_id)

    def _task(self, name: str, task_id: str) -> None:
        if task_id in self.names.tasks:
            self.found.add(task_id)
        elif task_id not in self.names.visible:
            if task_id in self.names.params:
                hint = f"; the parameter of that name is written params.{task_id}"
            else:
                dotted = [known for known in self.names.tasks if known.startswith(task_id + ".")][:1]
                hint = f'; did you mean tasks["{dotted[0]}"].output?' if dotted else ""
                hint = hint or did_you_mean(task_id, [*self.names.tasks])
            self._problem(name, f"there is no task {task_id!r}{hint}")

    def _at(self, name: str) -> str:
        path = self.fields.path
        for part in name.split(".") if name.startswith("wait_for.") else name.split(".", 1):
            path = member_path(path, part)
        return path

    def _problem(self, name: str, message: str) -> None:
        self.fields.report.problem(self._at(name), message)

    def parents(self, fields: Fields) -> tuple[str, ...]:
        known = self.names.tasks
        for place, parent in enumerate(fields.texts("depends_on")):
            if parent in known:
                self.found.add(parent)
            else:
                path = fields.at("depends_on")
                path = f"{path}[{place}]" if isinstance(fields.raw("depends_on"), list) else path
                hint = did_you_mean(parent, known) or f"; the tasks are {listing(known)}"
                if parent in self.names.visible:
                    hint = (
                        " among these hooks; all tasks have ended when hooks begin, so leave it out: expressions can "
                        f"read {parent!r} as it is"
                    )
                fields.report.problem(path, f"there is no task {parent!r}{hint}")
        return tuple(sorted(self.found, key=known.__getitem__)) if self.found else ()
