"""Reading `wait_for`: what a task waits for instead of doing something itself.

Why: five kinds of waiting, each with fields of its own, are a subject of their own beside the fields of a task.

How: exactly one kind is given; its fields are read into a WaitFor, whose names the task's reader checks.

It must never judge when a wait is over: the engine does.
"""

from __future__ import annotations

import re
from typing import Any

from indegree.events.definition_fields import Fields, shown
from indegree.events.definition_model import WaitFor
from indegree.events.definition_params import PARAMETER_TYPES
from indegree.events.expressions import EvaluationError, Expression, Scope
from indegree.events.json_values import JsonValueError, check_value, normalised
from indegree.events.moments import MomentError, moment_ms

WAIT_FIELDS = ("signal", "form", "kafka", "run", "delay", "until")
KAFKA_FIELDS = ("topic", "filter")
RUN_FIELDS = ("workflow", "state", "params")
RUN_STATES = ("SUCCESS", "FAILED", "CANCELLED", "any")
_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d")


def read_wait_for(fields: Fields) -> WaitFor | None:
    """The `wait_for` (and `default`) of a task, or None with problems reported."""
    inner = Fields(fields.report, fields.raw("wait_for"), fields.at("wait_for"), WAIT_FIELDS, "wait_for")
    kinds = [name for name in WAIT_FIELDS if name != "form" and inner.has(name)]
    if len(kinds) != 1 or (inner.has("form") and kinds != ["signal"]):
        message = "wait_for names one of signal (with or without form), kafka, run, delay and until"
        fields.problem("wait_for", message)
        return None
    has_default = "default" in fields.object
    if has_default and not fields.has("timeout"):
        fields.problem("default", "the default is the output after the timeout, and there is none: add timeout: 2d")
    default = _default(fields)
    match kinds[0]:
        case "signal":
            details: dict[str, Any] = {"signal": inner.identifier("signal", "signal")}
            if inner.has("form"):
                details["form"] = _form(inner)
            return WaitFor("signal", details, default=default, has_default=has_default)
        case "kafka":
            topic = _named(inner, "kafka", "topic", KAFKA_FIELDS)
            details = {"kafka": {"topic": topic.text("topic", limit=249)}}
            return WaitFor(
                "kafka", details, filter=topic.expression("filter"), default=default, has_default=has_default
            )
        case "run":
            run = _named(inner, "run", "workflow", RUN_FIELDS)
            details = {"run": {"workflow": run.identifier("workflow", "workflow")}}
            state = run.choice("state", RUN_STATES)
            if state is not None and state != "SUCCESS":
                details["run"]["state"] = state
            return WaitFor("run", details, params=run.templates("params"), default=default, has_default=has_default)
        case "delay":
            return WaitFor("delay", {}, delay_ms=inner.duration("delay"), default=default, has_default=has_default)
        case _:
            return WaitFor("until", {}, until=_until(inner), default=default, has_default=has_default)


def _until(fields: Fields) -> Expression | None:
    text = fields.raw("until")
    if isinstance(text, str) and _DATE.match(text):
        fields.problem("until", f"{shown(text)} is not an expression; a fixed time is text in it: until: \"'{text}'\"")
        return None
    until = fields.expression("until")
    if until is not None and not until.references.roots and not until.references.tasks:
        try:
            moment_ms(until.evaluate(Scope()))
        except (EvaluationError, MomentError) as error:
            fields.problem("until", str(error))
    return until


def _named(outer: Fields, name: str, needed: str, known: tuple[str, ...]) -> Fields:
    found = Fields(outer.report, outer.raw(name), outer.at(name), known, f"what wait_for.{name} names")
    if not found.has(needed):
        found.problem(needed, f"`{needed}` is missing")
    return found


def _form(outer: Fields) -> dict[str, Any]:
    form = outer.raw("form")
    if not isinstance(form, dict):
        outer.problem("form", f"{shown(form)} is not an object of names and types")
        return {}
    types = Fields(outer.report, form, outer.at("form"), form, "a form")
    return {name: types.choice(name, PARAMETER_TYPES) for name in form}


def _default(fields: Fields) -> Any:
    default = fields.object.get("default")
    try:
        check_value(default)
    except JsonValueError as error:
        fields.problem("default", str(error))
        return None
    return normalised(default)
