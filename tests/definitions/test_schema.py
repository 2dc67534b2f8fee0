"""The JSON Schema that ships for editors says what the reader does."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest

from indegree.events import (
    definition_read,
    definition_read_task,
    definition_read_trigger,
    definition_read_wait,
)
from indegree.events.definition import Definition, TriggerRule
from indegree.events.definition_params import PARAMETER_TYPES
from tests.definitions.orders_example import orders
from tests.definitions.test_definition import FULL

SCHEMA = json.loads(files("indegree.sdk").joinpath("workflow.schema.json").read_text())
DEFS = SCHEMA["$defs"]


def fields(name: str) -> set[str]:
    return set(DEFS[name]["properties"])


def test_every_field_of_the_reader_is_in_the_schema_and_no_other() -> None:
    triggers = DEFS["trigger"]["properties"]
    aliases = {*definition_read_task.ALIASES, "retries"}
    assert fields("task") == {*definition_read_task.TASK_FIELDS, *aliases}
    assert fields("workflow") == set(definition_read.WORKFLOW_FIELDS)
    assert fields("defaults") == {*definition_read.DEFAULTS_FIELDS, "retries"}
    assert fields("parameter") == set(definition_read.PARAMETER_FIELDS)
    assert fields("retry") == set(definition_read_task.RETRY_FIELDS)
    assert fields("rateLimit") == set(definition_read_task.RATE_LIMIT_FIELDS)
    assert fields("concurrency") == set(definition_read.CONCURRENCY_FIELDS)
    assert fields("hooks") == set(definition_read.HOOKS)
    waits = DEFS["waitFor"]["properties"]
    assert fields("waitFor") == set(definition_read_wait.WAIT_FIELDS)
    assert set(waits["kafka"]["properties"]) == set(definition_read_wait.KAFKA_FIELDS)
    assert set(waits["run"]["properties"]) == set(definition_read_wait.RUN_FIELDS)
    assert waits["run"]["properties"]["state"]["enum"] == list(definition_read_wait.RUN_STATES)
    assert {kind: set(triggers[kind]["properties"]) for kind in triggers} == {
        "kafka": set(definition_read_trigger.KAFKA_FIELDS),
        "run": set(definition_read_trigger.RUN_FIELDS),
        "cron": set(definition_read_trigger.CRON_FIELDS),
    }


def test_choices_are_those_of_the_reader() -> None:
    assert DEFS["task"]["properties"]["trigger_rule"]["enum"] == [rule.value for rule in TriggerRule]
    assert DEFS["valueType"]["enum"] == list(PARAMETER_TYPES)


@pytest.mark.parametrize("definition", [Definition.from_normal(FULL), orders.definition()], ids=["full", "orders"])
def test_normal_forms_fit_the_schema(definition: Definition) -> None:
    assert misfits(definition.normal(), SCHEMA) == []


def test_a_misspelt_field_does_not_fit() -> None:
    assert misfits({"id": "w", "tasks": [{"id": "a", "comand": "x"}]}, SCHEMA)
    assert misfits({"id": "w"}, SCHEMA)


TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "integer": int, "number": (int, float),
         "null": type(None)}  # fmt: skip


def misfits(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """The few keywords that our schema uses, after JSON Schema 2020-12."""
    found: list[str] = []
    for keyword, rule in schema.items():
        match keyword:
            case "$ref":
                found += misfits(value, DEFS[rule.removeprefix("#/$defs/")], at)
            case "anyOf":
                options = [misfits(value, option, at) for option in rule]
                found += [] if [] in options else min(options, key=len)
            case "type":
                kinds = [rule] if isinstance(rule, str) else rule
                fits = any(
                    isinstance(value, TYPES[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds
                )
                found += [] if fits else [f"{at}: {value!r} is not {rule}"]
            case "enum":
                found += [] if value in rule else [f"{at}: {value!r} is not in {rule}"]
            case "pattern" if isinstance(value, str):
                found += [] if re.search(rule, value) else [f"{at}: {value!r} does not match {rule}"]
            case "required" if isinstance(value, dict):
                found += [f"{at}: no {name}" for name in rule if name not in value]
            case "properties" if isinstance(value, dict):
                for name, inner in rule.items():
                    found += misfits(value[name], inner, f"{at}.{name}") if name in value else []
            case "additionalProperties" if isinstance(value, dict):
                for name in value.keys() - schema.get("properties", {}).keys():
                    found += [f"{at}: {name}?"] if rule is False else misfits(value[name], rule, f"{at}.{name}")
            case "items" if isinstance(value, list):
                for place, member in enumerate(value):
                    found += misfits(member, rule, f"{at}[{place}]")
            case "minItems" if isinstance(value, list):
                found += [] if len(value) >= rule else [f"{at}: too few"]
            case "minimum" if isinstance(value, int | float):
                found += [] if value >= rule else [f"{at}: below {rule}"]
            case _:
                pass
    return found
