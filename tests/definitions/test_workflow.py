"""The workflow as Python code: what it becomes, and what is refused while it is built."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from indegree.events.definition import Definition, DefinitionError, TaskKind
from indegree.sdk import Concurrency, Cron, Defaults, Kafka, Permanent, Retry, Workflow
from tests.definitions import orders_example

# -- functions of tasks: at the top of a module, where a worker could import them


def extract(region: str) -> list[str]:
    return [region]


def check(extract: list[str]) -> dict[str, Any]:
    return {"ok": True, "reason": "", "files": extract}


def use(value: Any, context: Any, limit: int = 3) -> Any:
    return value


def one(item: Any, index: int) -> int:
    return index


def anything(**values: Any) -> None: ...


def positional(*values: Any) -> None: ...


def generator() -> Any:
    yield 1


async def asynchronous(region: str) -> str:
    return region


@dataclass
class Answer:
    yes: bool


class Steps:
    @staticmethod
    def step() -> None: ...


def workflow(*functions: Callable[..., Any]) -> Workflow:
    made = Workflow("w", params={"region": str, "rows": 0})
    for function in functions:
        made.add(function)
    return made


def problems(made: Workflow, **options: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        made.definition(**options)
    return str(caught.value)


# -- the example


def test_the_example_becomes_the_definition_that_it_looks_like() -> None:
    found = orders_example.orders.definition()

    assert found.normal() == {
        "id": "orders",
        "params": {"region": {"type": "string", "required": True}, "rows": {"type": "integer", "default": 0}},
        "triggers": [
            {"kafka": {"topic": "orders.ready", "filter": "value.rows > 0", "idempotency_key": "value.batch_id"}}
        ],
        "timeout": "2h",
        "defaults": {
            "timeout": "15m",
            "retry": {"max_attempts": 3, "delay": "2s", "backoff": 2, "max_delay": "1m", "jitter": 0.2},
        },
        "tasks": [
            {"id": "extract", "python": "tests.definitions.orders_example:extract", "timeout": "5m",
             "args": {"region": "${{ params.region }}"}},
            {"id": "check", "depends_on": ["extract"], "python": "tests.definitions.orders_example:check",
             "args": {"extract": "${{ extract }}"}},
            {"id": "load", "depends_on": ["extract", "check"], "when": "check.ok", "foreach": "extract",
             "concurrency": 4, "python": "tests.definitions.orders_example:load", "args": {"item": "${{ item }}"},
             "queue": "heavy"},
            {"id": "quarantine", "depends_on": ["check"], "when": "not check.ok",
             "command": './quarantine.sh "$REASON"', "env": {"REASON": "${{ check.reason }}"}},
            {"id": "report", "depends_on": ["load", "quarantine"], "trigger_rule": "none_failed_min_one_success",
             "python": "tests.definitions.orders_example:report", "args": {"load": "${{ load }}"}},
        ],
    }  # fmt: skip


def test_a_decorated_function_is_returned_unchanged() -> None:
    assert orders_example.extract("eu") == ["eu-1", "eu-2"]
    assert orders_example.orders.function("extract") is orders_example.extract
    assert orders_example.orders.function("quarantine") is None


def test_to_yaml_and_from_yaml_are_inverse() -> None:
    text = orders_example.orders.to_yaml()

    again = Workflow.from_yaml(text)

    assert again.definition() == orders_example.orders.definition()
    assert again.to_yaml() == text


# -- values by name


def test_values_come_by_parameter_name_and_a_name_is_the_edge() -> None:
    found = workflow(check, extract, asynchronous).definition()

    assert found.task("check").depends_on == ("extract",)
    assert found.task("check").args["extract"].source == "${{ extract }}"
    assert found.task("extract").args["region"].source == "${{ params.region }}"
    assert found.task("asynchronous").kind is TaskKind.PYTHON


def test_context_and_defaults_need_no_value() -> None:
    made = workflow()
    made.add(use, args={"value": 1})

    assert set(made.definition().task("use").args) == {"value"}


def test_item_and_index_exist_under_foreach() -> None:
    made = workflow(extract)
    made.add(one, foreach="extract")

    assert {name: t.source for name, t in made.definition().task("one").args.items()} == {
        "item": "${{ item }}", "index": "${{ index }}",
    }  # fmt: skip
    assert "exists where the task has foreach" in problems(workflow(one))


def test_a_function_can_be_used_twice_with_references() -> None:
    made = workflow(extract, check)
    made.add(extract, id="extract_eu", args={"region": "eu"})
    made.add(use, id="model.x", args={"value": [made["check"]["reason"], made["check"].files[0]]})
    made.add(use, id="last", args={"value": made["model.x"].a, "limit": f"n-{made['check'].n}"})

    found = made.definition()

    assert found.task("extract_eu").args["region"].source == "eu"
    assert found.task("model.x").depends_on == ("check",)
    assert found.task("model.x").args["value"].source == ["${{ check.reason }}", "${{ check.files[0] }}"]
    assert found.task("last").args["value"].normal == '${{ tasks["model.x"].output.a }}'
    assert found.task("last").args["limit"].source == "n-${{ check.n }}"
    assert set(found.task("last").depends_on) == {"check", "model.x"}


def test_two_values_of_one_parent_are_one_edge() -> None:
    # CASES row 18
    made = workflow(extract, check)
    made.add(anything, id="join", args={"x": made["check"]["a"], "y": made["check"]["b"]}, depends_on=[check])

    assert made.definition().graph.degree[2] == 1


def test_parents_are_ids_nodes_or_functions() -> None:
    made = workflow(extract, check)
    made.command("a", "true", depends_on=extract)
    made.command("b", ["x", "y"], depends_on=[made["a"], "check", check])
    made.join("c", depends_on=made["b"])

    found = made.definition()

    assert (found.task("a").depends_on, found.task("b").depends_on) == (("extract",), ("check", "a"))
    assert found.task("c").kind is TaskKind.JOIN


def test_arrows_are_order_without_a_value() -> None:
    made = Workflow("w")
    a, b, c, d = (made.command(name, "true") for name in "abcd")

    _ = a >> [b, c] >> d

    found = made.definition()
    assert [found.task(name).depends_on for name in "bcd"] == [("a",), ("a",), ("b", "c")]
    _ = d << a
    assert set(made.definition().task("d").depends_on) == {"a", "b", "c"}


def test_the_definition_is_cached_until_something_changes() -> None:
    made = workflow(extract)
    first = made.definition()

    assert made.definition() is first
    made.command("more", "true")
    assert made.definition() is not first


# -- refused, with the way out


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: bool(workflow(extract)["extract"]), r'neither true nor false; put the condition into when="check.ok"'),
        (lambda: workflow(extract)["extract"].rows > 3, "has no order"),
        (lambda: workflow(extract)["extract"].rows == 3, "cannot be compared"),
        (lambda: list(workflow(extract)["extract"]), "cannot be looped over; use foreach"),
        (lambda: len(workflow(extract)["extract"]), "has no length"),
        (lambda: "x" in workflow(extract)["extract"], "nothing can be looked up"),
        (lambda: workflow(extract)["extract"](1), "cannot be called"),
        (lambda: f"{workflow(extract)['extract']:>10}", "cannot be formatted"),
        (lambda: workflow(extract)["extract"] >> "check", "both sides are nodes"),
        (lambda: workflow(extract)["extract"] >> workflow(extract)["extract"], "belongs to the workflow"),
    ],
)
def test_a_node_is_no_value_and_says_what_to_do(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        build()


def test_an_unknown_node_is_named_with_a_suggestion() -> None:
    with pytest.raises(KeyError, match="did you mean 'extract'"):
        workflow(extract)["extrct"]


def test_a_parameter_that_is_nothing_is_an_error_with_a_suggestion() -> None:
    made = Workflow("w", params={"regions": str})
    made.add(extract)

    assert "the parameter 'region' of extract (test_workflow.py:" in problems(made)
    assert "did you mean 'regions'" in problems(made)


def test_an_argument_that_the_function_lacks_is_an_error() -> None:
    made = workflow()
    made.add(use, args={"valeu": 1})

    assert "use has no parameter 'valeu'; did you mean 'value'" in problems(made)


def test_two_tasks_of_one_id_are_refused_at_the_second() -> None:
    # CASES row 19: a loop over objects with a constant name
    made = workflow(extract)

    with pytest.raises(DefinitionError, match=r"two tasks have the id 'extract' \(test_workflow.py:\d+ and test_w"):
        made.add(extract)
    with pytest.raises(DefinitionError, match="two tasks have the id 'extract'"):
        made.command("extract", "true")


def test_a_task_named_like_a_run_parameter_is_refused() -> None:
    made = Workflow("w", params={"extract": str})
    made.add(extract, args={"region": "eu"})

    assert "has the name of a run parameter" in problems(made)


@pytest.mark.parametrize(
    ("function", "says"),
    [(positional, r"takes \*values; values come by name"), (generator, "is a generator"), (Steps, "is not a function"),
     (3, "is not a function")],
)  # fmt: skip
def test_what_cannot_be_a_task_is_refused_at_once(function: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Workflow("w").add(function)


def test_functions_that_no_worker_could_import_are_refused_for_deployment_only() -> None:
    made = Workflow("w")

    @made.task
    def inner() -> int:
        return 1

    made.add(lambda inner: [inner], id="odd")

    said = problems(made)
    assert "inner is defined inside a function" in said
    assert "a lambda has no name" in said
    assert made.definition(deployable=False).task("odd").depends_on == ("inner",)
    assert made.function("inner") is inner


def test_a_static_method_is_importable() -> None:
    made = Workflow("w")
    made.add(Steps.step)

    assert made.definition().task("step").python == "tests.definitions.test_workflow:Steps.step"


def test_a_name_that_is_another_function_by_now_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = workflow(extract)

    monkeypatch.setattr(sys.modules[__name__], "extract", check)

    assert "is another object by now" in problems(made)


def test_a_function_of_the_main_script_is_refused_with_the_way_out() -> None:
    script = """
from indegree import Workflow
w = Workflow("w")
@w.task
def hello(): ...
w.definition(deployable=False)
try:
    w.definition()
except ValueError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert "__main__" in found.stdout
    assert "indegree run FILE" in found.stdout


def test_a_misspelt_option_is_an_error_with_the_task_in_it() -> None:
    made = Workflow("w")
    made.command("a", "true", tiemout="5m")  # type: ignore[call-arg]

    assert "tasks.a.tiemout: unknown field 'tiemout' in a task; did you mean 'timeout'" in problems(made)


def test_a_value_that_is_not_json_is_named_with_its_place() -> None:
    with pytest.raises(DefinitionError, match=r"tasks.use.args.value.a\[1\]: NaN is not JSON"):
        workflow().add(use, args={"value": {"a": [1, float("nan")]}})
    with pytest.raises(DefinitionError, match=r"params\.when: .* is naive"):
        Workflow("w", params={"when": datetime(2026, 1, 1)})


def test_building_a_workflow_loads_no_kafka_client_and_no_yaml() -> None:
    script = """
import sys
from indegree import Workflow, Retry, Kafka
w = Workflow("w")
w.command("a", "true", retry=Retry(max_attempts=2))
w.definition()
print([name for name in ("aiokafka", "faust", "ruamel.yaml", "grpc", "google.protobuf") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert found.stdout.strip() == "[]"


# -- options


def test_what_waits_takes_types_references_and_values() -> None:
    made = workflow(check, extract)
    made.wait_for("moment", until=made["check"].at)
    made.wait_for("approve", signal="ok", form={"yes": bool, "n": int, "why": str, "any": Any, "old": "number"},
                  timeout="1d", default=Answer(True))  # fmt: skip
    made.add(
        one, foreach=made["extract"], rate_limit={"key": made["check"].site, "limit": 1, "per": timedelta(seconds=2)}
    )

    found = made.definition().normal()["tasks"]
    assert found[2]["wait_for"] == {"until": "check.at"}
    assert found[3]["wait_for"]["form"] == {
        "yes": "boolean", "n": "integer", "why": "string", "any": "any", "old": "number",
    }  # fmt: skip
    assert found[3]["default"] == {"yes": True}
    assert found[4]["rate_limit"] == {"limit": 1, "per": "2s", "key": "check.site"}


def test_a_hook_reads_the_tasks_of_the_workflow_by_parameter_name() -> None:
    made = workflow(extract)

    @made.hook("on_failure")
    def first(extract: Any, region: str) -> None: ...

    @made.hook("on_failure")
    def then(first: Any) -> None: ...

    hooks = made.definition(deployable=False).hooks["on_failure"]
    assert {name: t.source for name, t in hooks[0].args.items()} == {
        "extract": "${{ extract }}", "region": "${{ params.region }}",
    }  # fmt: skip
    assert (hooks[0].depends_on, hooks[1].depends_on) == ((), ("first",))


def test_one_function_as_two_hooks_needs_two_ids() -> None:
    made = workflow(extract)
    made.hook("on_failure")(anything)

    with pytest.raises(DefinitionError, match=r"hooks.on_cancel.anything: the id 'anything' is taken .* another id="):
        made.hook("on_cancel")(anything)
    made.hook("on_cancel", id="other")(anything)
    assert [task.id for task in made.definition().hooks["on_cancel"]] == ["other"]


def test_parameters_are_types_or_defaults() -> None:
    made = Workflow("w", params={
        "a": str, "b": 1, "c": 1.5, "d": True, "e": list[str], "f": {"x": 1}, "g": str | None, "h": int,
        "i": Any, "j": None,
    })  # fmt: skip
    made.join("end")

    assert made.definition().normal()["params"] == {
        "a": {"type": "string", "required": True}, "b": {"type": "integer", "default": 1},
        "c": {"type": "number", "default": 1.5}, "d": {"type": "boolean", "default": True},
        "e": {"type": "array", "required": True}, "f": {"type": "object", "default": {"x": 1}}, "g": {"type": "string"},
        "h": {"type": "integer", "required": True}, "i": {"required": True}, "j": {},
    }  # fmt: skip


def test_options_of_every_kind_reach_the_definition() -> None:
    made = Workflow(
        "w",
        params={"region": "eu"},
        triggers=[Kafka("t", params={"region": "value.r"}), Cron("0 6 * * *", timezone="Europe/Berlin")],
        timeout=timedelta(hours=2),
        defaults=Defaults(queue="q", retry=Retry(errors=[OSError, Permanent, "m.Odd"], exit_codes=[75])),
        concurrency=Concurrency(key="params.region"),
    )
    made.add(extract, retry=Retry(max_attempts=2), timeout=timedelta(milliseconds=1500), secrets=["A"], isolate=True)
    made.add(one, foreach=made["extract"], allow_failure={"max": 2}, rate_limit={"limit": 1, "per": "1s"})
    made.add(one, id="two", foreach_with=made["one"])
    made.wait_for("approve", signal="ok", form={"yes": "boolean"}, timeout="1d", default={"yes": False})
    made.subworkflow("bill", "billing", params={"day": made["approve"].day}, wait=False)

    @made.hook("on_failure")
    def page() -> None: ...

    found = made.definition(deployable=False)

    assert found.timeout_ms == 7_200_000
    assert found.task("extract").retry.errors == ("OSError", "indegree.sdk.errors.Permanent", "m.Odd")
    assert (found.task("extract").retry.max_attempts, found.task("extract").timeout_ms) == (2, 1_500)
    assert found.task("bill").depends_on == ("approve",)
    assert found.task("two").depends_on == ("one",)
    assert Definition.from_normal(found.normal()) == found
