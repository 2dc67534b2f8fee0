"""The normal form of a definition: the one object that is stored, compared and hashed.

Why: two files that mean the same have one version; and what is on the log can be read by any language, and printed
as a file that people can go on with.

How: the inverse of definition_read. Only what differs from a default is written, expressions in canonical spacing,
durations in canonical text, `depends_on` with every parent (those named in expressions too), tasks in the order in
which they were written. The result is itself a valid workflow file.

It must never change what it writes for a given definition: the hash of every deployed version rests on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indegree.events.definition_model import (
    Concurrency,
    CronTrigger,
    Defaults,
    KafkaTrigger,
    Mapped,
    RetryPolicy,
    RunTrigger,
    TaskDefinition,
    TaskKind,
    TriggerRule,
    WaitFor,
)
from indegree.events.definition_params import Parameter
from indegree.events.durations import format_duration
from indegree.events.expressions import Expression, Template
from indegree.events.json_values import normalised

_NO_DEFAULTS = Defaults()


def normal_params(params: Mapping[str, Parameter]) -> dict[str, Any]:
    found = {}
    for name, parameter in params.items():
        declared: dict[str, Any] = {}
        if parameter.type != "any":
            declared["type"] = parameter.type
        if parameter.required:
            declared["required"] = True
        elif parameter.default is not None:
            declared["default"] = parameter.default
        if parameter.description is not None:
            declared["description"] = parameter.description
        found[name] = declared
    return found


def normal_defaults(defaults: Defaults) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _duration(found, "timeout", defaults.timeout_ms, None)
    _duration(found, "queue_timeout", defaults.queue_timeout_ms, None)
    retry = normal_retry(defaults.retry, _NO_DEFAULTS.retry)
    if retry:
        found["retry"] = retry
    if defaults.queue != _NO_DEFAULTS.queue:
        found["queue"] = defaults.queue
    if defaults.priority != _NO_DEFAULTS.priority:
        found["priority"] = defaults.priority
    return found


def normal_trigger(trigger: KafkaTrigger | CronTrigger | RunTrigger) -> dict[str, Any]:
    found: dict[str, Any]
    if isinstance(trigger, CronTrigger):
        found = {"schedule": trigger.schedule, "timezone": trigger.timezone}
        if trigger.catch_up != "none":
            found["catch_up"] = trigger.catch_up
        return {"cron": found}
    if isinstance(trigger, RunTrigger):
        found = {"workflow": trigger.workflow}
        if trigger.state != "SUCCESS":
            found["state"] = trigger.state
        if trigger.task is not None:
            found["task"] = trigger.task
    else:
        found = {"topic": trigger.topic}
    _expression(found, "filter", trigger.filter)
    _expression(found, "idempotency_key", trigger.idempotency_key)
    if trigger.params is not None:
        found["params"] = {name: expression.normal for name, expression in trigger.params.items()}
    if isinstance(trigger, RunTrigger):
        return {"run": found}
    if trigger.begin != "latest":
        found["begin"] = trigger.begin
    return {"kafka": found}


def normal_concurrency(concurrency: Concurrency) -> dict[str, Any]:
    found: dict[str, Any] = {"limit": concurrency.limit}
    _expression(found, "key", concurrency.key)
    if concurrency.on_conflict != "queue":
        found["on_conflict"] = concurrency.on_conflict
    return found


def normal_retry(policy: RetryPolicy, base: RetryPolicy) -> dict[str, Any]:
    """What of `policy` differs from `base`."""
    if policy is base:
        return {}
    found: dict[str, Any] = {}
    if policy.max_attempts != base.max_attempts:
        found["max_attempts"] = policy.max_attempts
    _duration(found, "delay", policy.delay_ms, base.delay_ms)
    if policy.backoff != base.backoff:
        found["backoff"] = normalised(policy.backoff)
    _duration(found, "max_delay", policy.max_delay_ms, base.max_delay_ms)
    if policy.jitter != base.jitter:
        found["jitter"] = normalised(policy.jitter)
    if policy.errors != base.errors:
        found["errors"] = list(policy.errors)
    if policy.exit_codes != base.exit_codes:
        found["exit_codes"] = list(policy.exit_codes)
    return found


def normal_task(task: TaskDefinition, defaults: Defaults) -> dict[str, Any]:
    kind = task.kind
    works = kind is TaskKind.PYTHON or kind is TaskKind.COMMAND
    base = defaults if works or kind is TaskKind.WORKFLOW else _NO_DEFAULTS
    found: dict[str, Any] = {"id": task.id}
    if task.label is not None:
        found["label"] = task.label
    if task.depends_on:
        found["depends_on"] = list(task.depends_on)
    if task.trigger_rule is not TriggerRule.ALL_SUCCESS:
        found["trigger_rule"] = task.trigger_rule.value
    _expression(found, "when", task.when)
    if task.mapped is not None:
        _mapped(found, task.mapped)
    if task.python is not None:
        found["python"] = task.python
    if task.command is not None:
        found["command"] = task.command.normal
    if task.workflow is not None:
        found["workflow"] = task.workflow
    if task.wait_for is not None:
        _wait_for(found, task.wait_for)
    for name, templates in (("args", task.args), ("env", task.env), ("params", task.params)):
        if templates:
            found[name] = _templates(templates)
    if task.input is not None:
        found["input"] = task.input.normal
    if task.output is not None:
        found["output"] = task.output
    if not task.wait:
        found["wait"] = False
    if task.queue != base.queue:
        found["queue"] = task.queue
    if task.priority != defaults.priority:
        found["priority"] = task.priority
    _duration(found, "timeout", task.timeout_ms, base.timeout_ms)
    _duration(found, "queue_timeout", task.queue_timeout_ms, base.queue_timeout_ms if works else None)
    if task.retry is not base.retry:
        retry = normal_retry(task.retry, base.retry)
        if retry:
            found["retry"] = retry
    if task.allow_failure:
        found["allow_failure"] = True
    if task.isolate:
        found["isolate"] = True
    if task.secrets:
        found["secrets"] = list(task.secrets)
    if task.pool is not None:
        found["pool"] = task.pool
    if task.rate_limit is not None:
        found["rate_limit"] = {"limit": task.rate_limit.limit, "per": format_duration(task.rate_limit.per_ms)}
        _expression(found["rate_limit"], "key", task.rate_limit.key)
    return found


def _mapped(found: dict[str, Any], mapped: Mapped) -> None:
    if mapped.over is not None:
        found["foreach"] = mapped.over.normal
    if mapped.follows is not None:
        found["foreach_with"] = mapped.follows
    if mapped.concurrency is not None:
        found["concurrency"] = mapped.concurrency
    if mapped.max_failures is not None:
        found["allow_failure"] = {"max": mapped.max_failures}
    elif mapped.max_failed_share is not None:
        found["allow_failure"] = {"share": normalised(mapped.max_failed_share)}


def _wait_for(found: dict[str, Any], wait_for: WaitFor) -> None:
    inner = {name: dict(value) if isinstance(value, dict) else value for name, value in wait_for.details.items()}
    if wait_for.filter is not None:
        inner["kafka"]["filter"] = wait_for.filter.normal
    if wait_for.params:
        inner["run"]["params"] = _templates(wait_for.params)
    if wait_for.delay_ms is not None:
        inner["delay"] = format_duration(wait_for.delay_ms)
    _expression(inner, "until", wait_for.until)
    found["wait_for"] = inner
    if wait_for.has_default:
        found["default"] = wait_for.default


def _templates(templates: Mapping[str, Template]) -> dict[str, Any]:
    return {name: template.normal for name, template in templates.items()}


def _expression(found: dict[str, Any], name: str, expression: Expression | None) -> None:
    if expression is not None:
        found[name] = expression.normal


def _duration(found: dict[str, Any], name: str, ms: int | None, base_ms: int | None) -> None:
    if ms != base_ms:
        found[name] = None if ms is None else format_duration(ms)
