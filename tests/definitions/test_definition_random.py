"""Random definitions over every field: what is written is what was read, in each of the forms that a definition has."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from indegree.events.definition import Definition
from indegree.events.expressions import Expression, Template
from indegree.sdk import Workflow
from tests.definitions.test_schema import SCHEMA, misfits

Draw = Callable[[st.SearchStrategy[Any]], Any]

DURATIONS = st.sampled_from(["90s", "5m", 3, "1h30m", 0.25, "2d"])
EXPRESSIONS = st.sampled_from(["params.a == 1", "'x' in params.b", "len(params.b) > 0 and not params.a", "run.state"])
STATES = st.sampled_from(["SUCCESS", "FAILED", "CANCELLED", "any"])
VALUES = st.sampled_from(
    [1, 2.5, None, "text", "${{ params.a }}", "a-${{ params.b }}", ["${{ params.a }}", {"k": 1.0}]]
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def named(prefix: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from([f"{prefix}1", f"{prefix}2"]), VALUES, max_size=2)


RETRIES = some(
    max_attempts=st.integers(1, 5), delay=DURATIONS, backoff=st.sampled_from([1, 2.5]), max_delay=DURATIONS,
    jitter=st.sampled_from([0, 0.5]), errors=st.just(["OSError", "m.Odd"]), exit_codes=st.just([75, 3]),
)  # fmt: skip
COMMON = some(
    label=st.just("A label: with #signs"),
    when=EXPRESSIONS,
    trigger_rule=st.sampled_from(["all_done", "one_success", "always"]),
    priority=st.integers(-3, 3),
)
WORKING = some(
    env=named("E"), queue=st.just("heavy"), queue_timeout=DURATIONS, timeout=DURATIONS | st.none(), retry=RETRIES,
    secrets=st.just(["TOKEN"]), pool=st.just("db"),
)  # fmt: skip
FORMS = st.dictionaries(st.sampled_from(["x", "y z"]), st.sampled_from(["string", "boolean", "any"]), max_size=2)


@st.composite
def waits(draw: Draw) -> dict[str, Any]:
    kind = draw(st.sampled_from(["signal", "kafka", "run", "delay", "until"]))
    inner: st.SearchStrategy[Any] = {
        "signal": st.just("go"),
        "kafka": st.fixed_dictionaries({"topic": st.just("t")}, optional={"filter": st.just("value.n > params.a")}),
        "run": st.fixed_dictionaries({"workflow": st.just("up")}, optional={"state": STATES, "params": named("p")}),
        "delay": DURATIONS,
        "until": st.just("params.b"),
    }[kind]
    found: dict[str, Any] = {"wait_for": {kind: draw(inner)}}
    if kind == "signal" and draw(st.booleans()):
        found["wait_for"]["form"] = draw(FORMS)
    if draw(st.booleans()):
        found |= {"timeout": draw(DURATIONS), "default": draw(st.sampled_from([None, {"x": 1.0}, []]))}
    return found


@st.composite
def tasks(draw: Draw, name: str, earlier: list[str], mapped: list[str]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["python", "command", "workflow", "wait_for", "join"]))
    found: dict[str, Any] = {"id": name, **draw(COMMON)}
    if earlier and draw(st.booleans()):
        found["depends_on"] = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True))
    match kind:
        case "python":
            found |= {"python": "m:f", **draw(WORKING), **draw(some(args=named("x"), isolate=st.booleans()))}
        case "command":
            found |= {"command": draw(st.sampled_from(["echo ${{ params.b }}", ["x", "${{ params.b }}"]]))}
            found |= {**draw(WORKING), **draw(some(output=st.sampled_from(["json", "text"]), input=VALUES))}
        case "workflow":
            found |= {"workflow": "other", **draw(some(params=named("p"), wait=st.booleans(), retry=RETRIES))}
        case "wait_for":
            found |= draw(waits())
        case _:
            pass
    if kind in ("wait_for", "join"):
        return found
    limit = some(key=st.just("params.a"))
    if draw(st.booleans()):
        over = st.sampled_from(["params.b", [1, "${{ params.a }}"]])
        found |= {"foreach_with": mapped[0]} if mapped and draw(st.booleans()) else {"foreach": draw(over)}
        allowed = [True, {"max": 2}, {"share": 0.25}]
        found |= draw(some(concurrency=st.integers(1, 9), allow_failure=st.sampled_from(allowed)))
        limit = some(key=st.just("item.site"))
        mapped.append(name)
    if draw(st.booleans()):
        found["rate_limit"] = {"limit": draw(st.integers(1, 9)), "per": draw(DURATIONS), **draw(limit)}
    return found


TRIGGERS = st.one_of(
    st.builds(
        lambda fields: {"kafka": {"topic": "t", **fields}},
        some(filter=st.just("value.n"), idempotency_key=st.just("key"), params=st.just({"a": "value.a"}),
             begin=st.sampled_from(["latest", "earliest"])),
    ),
    st.builds(
        lambda fields: {"run": {"workflow": "up", **fields}},
        some(state=STATES, task=st.just("load"), filter=st.just("value.output"), params=st.just({"a": "value.run_id"})),
    ),
    st.builds(
        lambda fields: {"cron": {"schedule": "30 6 * * 1-5", **fields}},
        some(timezone=st.just("Europe/Berlin"), catch_up=st.sampled_from(["none", "last", "all"])),
    ),
)  # fmt: skip


@st.composite
def definitions(draw: Draw) -> dict[str, Any]:
    count, mapped = draw(st.integers(1, 5)), list[str]()
    names = [f"t{i}" for i in range(count)]
    found: dict[str, Any] = {"id": "w", "params": {"a": {}, "b": {"type": "string", "default": "x"}}}
    found["tasks"] = [draw(tasks(name, names[:i], mapped)) for i, name in enumerate(names)]
    if draw(st.booleans()):
        found["tasks"].reverse()
    found |= draw(
        some(
            timeout=DURATIONS,
            triggers=st.lists(TRIGGERS, max_size=3),
            concurrency=some(key=st.just("params.a"), limit=st.integers(1, 3),
                             on_conflict=st.sampled_from(["queue", "skip", "cancel_running"])),
            defaults=some(timeout=DURATIONS, queue=st.just("q"), priority=st.integers(-1, 1), retry=RETRIES),
        )
    )  # fmt: skip
    for event in draw(st.lists(st.sampled_from(["on_success", "on_failure", "on_cancel", "on_end"]), unique=True)):
        hook = {"id": f"h_{event}", "command": "echo ${{ tasks.t0.state }}", "when": "run.state == 'FAILED'"}
        found.setdefault("hooks", {})[event] = [hook, {"id": f"j_{event}", "depends_on": [f"h_{event}"]}]
    return found


def meaning(part: Any) -> Any:
    """Everything that a definition says, as values that can be compared. Without it a field that the normal form leaves
    out would be missing on both sides."""
    if isinstance(part, Expression | Template):
        return part.normal
    if isinstance(part, Mapping):
        return {name: meaning(member) for name, member in part.items()}
    if isinstance(part, tuple | list):
        return [meaning(member) for member in part]
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return {field.name: meaning(getattr(part, field.name)) for field in dataclasses.fields(part)}
    return part


def everything(definition: Definition) -> list[Any]:
    parts = ("id", "params", "tasks", "timeout_ms", "defaults", "concurrency", "triggers", "hooks")
    return [meaning(getattr(definition, name)) for name in parts]


@settings(max_examples=200, deadline=None, print_blob=True)
@given(definitions())
def test_every_form_of_a_definition_reads_back_as_the_same(form: dict[str, Any]) -> None:
    found = Definition.from_normal(form)
    text = Workflow.from_definition(found).to_yaml()

    again = Definition.from_normal(found.normal())
    assert everything(again) == everything(found)
    assert again.canonical() == found.canonical()
    assert Definition.from_canonical(found.canonical(), found.hash).normal() == found.normal()
    assert Workflow.from_yaml(text).definition() == found
    assert Workflow.from_yaml(text).to_yaml() == text
    assert Workflow.from_yaml(json.dumps(found.normal())).definition() == found
    assert misfits(found.normal(), SCHEMA) == []
    assert found.notes == ()
