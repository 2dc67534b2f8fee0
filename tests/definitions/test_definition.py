"""Definitions: what is valid, what is refused with which words, the normal form and its hash."""

from __future__ import annotations

import time
from itertools import permutations
from typing import Any

import pytest

from indegree.events.definition import (
    Definition,
    DefinitionError,
    RetryPolicy,
    TaskKind,
    TriggerRule,
)
from indegree.events.durations import DurationError, format_duration, parse_duration


def define(*tasks: dict[str, Any], **head: Any) -> Definition:
    return Definition.from_normal({"id": "w", "tasks": list(tasks), **head})


def problems(*tasks: dict[str, Any], **head: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        define(*tasks, **head)
    return [str(problem) for problem in caught.value.problems]


def command(task_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": task_id, "command": "true", **fields}


# -- shapes


@pytest.mark.parametrize("order", list(permutations("abcd")))
def test_a_definition_takes_its_tasks_in_any_order(order: tuple[str, ...]) -> None:
    # CASES row 15
    tasks = {"a": command("a"), "b": command("b", depends_on=["a"]), "c": command("c", depends_on=["a"]),
             "d": command("d", depends_on=["b", "c"])}  # fmt: skip

    found = define(*(tasks[task] for task in order))

    assert [task.id for task in found.tasks] == list(order) == list(found.graph.ids)
    assert set(found.task("d").depends_on) == {"b", "c"}
    assert found.graph.depth[found.graph.index["d"]] == 2


def test_a_task_that_depends_on_itself_is_refused() -> None:
    # CASES row 17
    assert "task 'a' depends on itself" in problems(command("a", depends_on=["a"]))[0]
    assert "task 'a' depends on itself" in problems(command("a", when="a.ok"))[0]


def test_values_and_order_from_one_parent_are_one_edge() -> None:
    # CASES row 18
    found = define(
        command("p", output="json"),
        {"id": "join", "python": "m:join", "depends_on": ["p", "p"], "when": "p.ok",
         "args": {"x": "${{ p.a }}", "y": "${{ p.b }}"}},
    )  # fmt: skip

    assert found.graph.degree[1] == 1
    assert found.task("join").depends_on == ("p",)


def test_two_tasks_of_one_id_are_refused_with_both_places() -> None:
    # CASES row 19
    with pytest.raises(DefinitionError, match="the id 'load' is taken") as caught:
        define(command("load"), command("x"), command("load"))

    (problem,) = caught.value.problems
    assert (problem.path, problem.see) == ("tasks[2].id", ("tasks[0].id",))


def test_a_cycle_through_expressions_is_told_with_its_path() -> None:
    found = problems(command("a", when="c.ok"), command("b", env={"X": "${{ a }}"}), command("c", depends_on="b"))

    assert "a -> b -> c -> a" in found[0]


def test_every_task_named_in_any_place_is_a_parent() -> None:
    found = define(
        *(command(name) for name in ("w", "x", "y", "z", "c", "e", "model.x", "f")),
        command("all", when="w.ok", env={"A": "t-${{ x }}"}, input={"b": ["${{ y[0] }}"]}, depends_on=["z"]),
        {"id": "argv", "command": ["run", "${{ c }}", "--x=${{ tasks['model.x'].output.a }}"]},
        {"id": "map", "python": "m:f", "foreach": "e", "args": {"i": "${{ item }}", "n": "${{ tasks.f.state }}"}},
    )

    assert found.task("all").depends_on == ("w", "x", "y", "z")
    assert found.task("argv").depends_on == ("c", "model.x")
    assert found.task("map").depends_on == ("e", "f")


def test_what_a_task_waits_for_may_read_other_tasks() -> None:
    found = define(
        command("a"),
        {"id": "b", "wait_for": {"run": {"workflow": "x", "params": {"day": "${{ a.day }}"}}}},
        {"id": "c", "wait_for": {"kafka": {"topic": "t", "filter": "value.id == b.id"}}},
        {"id": "d", "wait_for": {"until": "trigger.date > c.day"}},
    )

    assert [task.depends_on for task in found.tasks] == [(), ("a",), ("b",), ("c",)]
    assert Definition.from_canonical(found.canonical()) == found
    assert "`item` does not exist" in problems({"id": "a", "wait_for": {"kafka": {"topic": "t", "filter": "item"}}})[0]


def test_kinds_follow_from_what_a_task_does() -> None:
    found = define(
        command("a"), {"id": "b", "python": "m:f"}, {"id": "c", "depends_on": ["a", "b"]},
        {"id": "d", "wait_for": {"delay": "10m"}}, {"id": "e", "workflow": "billing"},
    )  # fmt: skip

    assert [task.kind for task in found.tasks] == [
        TaskKind.COMMAND, TaskKind.PYTHON, TaskKind.JOIN, TaskKind.WAIT, TaskKind.WORKFLOW,
    ]  # fmt: skip


# -- fields


def test_defaults_fill_what_a_task_leaves_out_field_by_field() -> None:
    found = define(
        command("a"),
        command("b", timeout="1m", retry={"max_attempts": 5}, queue="heavy"),
        command("c", timeout=None),
        {"id": "join", "depends_on": ["a"]},
        defaults={"timeout": "15m", "retry": {"max_attempts": 3, "delay": "10s"}, "priority": 2},
    )

    a, b, c, join = found.tasks
    assert (a.timeout_ms, a.retry, a.priority) == (900_000, RetryPolicy(max_attempts=3, delay_ms=10_000), 2)
    assert (b.timeout_ms, b.retry.max_attempts, b.retry.delay_ms, b.queue) == (60_000, 5, 10_000, "heavy")
    assert c.timeout_ms is None
    assert (join.timeout_ms, join.retry.max_attempts) == (None, 1)
    assert a.retry is c.retry


@pytest.mark.parametrize("rule", [rule.value for rule in TriggerRule])
def test_all_ten_trigger_rules_are_known(rule: str) -> None:
    assert define(command("a"), command("b", depends_on=["a"], trigger_rule=rule)).tasks[1].trigger_rule.value == rule


@pytest.mark.parametrize(
    ("alias", "value"),
    [("needs", ["p"]), ("dependencies", ["p"]), ("dependsOn", "p"), ("runAfter", ["p"]), ("if", "p.ok")],
)
def test_other_systems_words_are_understood_with_a_note(alias: str, value: Any) -> None:
    found = define(command("p"), command("q", **{alias: value}))

    assert found.task("q").depends_on == ("p",)
    assert [note.path for note in found.notes] == [f"tasks[1].{alias}"]


def test_retries_count_the_attempts_after_the_first() -> None:
    found = define(command("p", retries=2))

    assert found.tasks[0].retry.max_attempts == 3
    assert "max_attempts: 3" in found.notes[0].message


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"comand": "x"}, r"tasks\[0\].comand: unknown field 'comand' in a task; did you mean 'command'"),
        ({"command": "x", "python": "m:f"}, "a task does one thing"),
        ({"command": ""}, "the command is empty"),
        ({"command": ["x", 3]}, r"command\[1\]: 3 is not text"),
        ({"python": "f"}, "module:function"),
        ({"python": "m:f", "env": {"A": 1}, "input": 1}, "`input` is for tasks with `command`"),
        ({"command": "x", "args": {}}, "`args` is for tasks with `python`"),
        ({"timeout": "1m"}, "`timeout` means nothing here"),
        ({"command": "x", "timeout": "1:30"}, r"tasks\[0\].timeout: '1:30' is ambiguous"),
        ({"command": "x", "retry": {"delay": "soon"}}, r"tasks\[0\].retry.delay: 'soon' is not a duration"),
        ({"command": "x", "retry": {"max_attempts": 0}}, r"max_attempts: 0 is out of range; it is 1 to"),
        ({"command": "x", "retry": 3}, r"retry: \{max_attempts: 3\}"),
        ({"command": "x", "retry": {"jitter": 2}}, "jitter: 2 is out of range"),
        ({"command": "x", "priority": "high"}, "priority: 'high' is not a whole number"),
        ({"command": "x", "queue": "Heavy"}, "not the name of a queue"),
        ({"command": "x", "trigger_rule": "all_sucess"}, "did you mean 'all_success'"),
        ({"command": "x", "output": "yaml"}, "is not one of json, text"),
        ({"command": "x", "allow_failure": "yes"}, "is not true or false"),
        ({"command": "x", "env": {"A-B": 1}}, "environment variable"),
        ({"command": "x", "when": "params.regio == 1"}, "no parameter 'regio'; did you mean 'region'"),
        ({"command": "x", "when": "region == 1"}, "written params.region"),
        ({"command": "x", "when": "chek.ok"}, "there is no task 'chek'"),
        ({"command": "x", "when": "a <"}, "at character 4"),
        ({"command": "x", "env": {"A": "${{ item }}"}}, "`item` does not exist in a task without foreach"),
        ({"command": "x", "env": {"A": "${{ value.x }}"}}, "`value` does not exist"),
        ({"command": "x", "depends_on": ["b"]}, r"depends_on\[0\]: there is no task 'b'"),
        ({"command": "x", "depends_on": {"a": 1}}, "is not a list of texts"),
        ({"command": "x", "concurrency": 3}, "counts instances of a foreach"),
        ({"command": "x", "secrets": ["A B"]}, "is not a name"),
        ({"wait_for": {"signal": "a", "delay": "1m"}}, "one of signal"),
        ({"command": "x", "label": 3}, "label: 3 is not text"),
        ({"foreach": [1]}, r"tasks\[0\].foreach: foreach is for tasks with .* this one has nothing to do"),
        ({"wait_for": {"delay": 1}, "foreach": [1]}, "this one waits; .* map a sub-workflow that waits"),
        ({"command": "x", "foreach": [1], "when": "item > 0"}, r"\.when: `when` is asked once for the whole task"),
        ({"command": "x", "foreach": [1], "foreach_with": "t"}, "exclude each other"),
        ({"command": "x", "foreach": "item"}, "`item` does not exist here"),
        ({"command": "x", "foreach": [1], "allow_failure": {"max": 1, "share": 0.1}}, "either"),
        ({"wait_for": {"signal": "a"}, "default": {}}, "default: the default is the output after the timeout"),
        ({"wait_for": {"signal": "a", "form": {"x": "text"}}}, "is not one of string, integer"),
        ({"wait_for": {"run": {"workflow": "v", "state": "SKIPPED"}}}, "is not one of SUCCESS, FAILED, CANCELLED, any"),
        ({"wait_for": {"run": {"state": "FAILED"}}}, "`workflow` is missing"),
        ({"wait_for": {"kafka": {"topic": "t", "filter": "item.x"}}}, "`item` does not exist here"),
        ({"wait_for": {"until": "2026-11-25T06:30:00Z"}}, "a fixed time is text in it: until: \"'2026"),
        ({"wait_for": {"until": "'2026-11-25T06:30'"}}, "has no offset from UTC"),
        ({"workflow": "v", "pool": "p"}, "`pool` is for tasks with `python` or `command`"),
        ({"command": "x", "rate_limit": {"limit": 1}}, "needs `limit` and `per`"),
        ({"command": "x", "rate_limit": {"limit": 1, "per": 1, "key": "item"}}, "in a task without foreach"),
    ],
)
def test_a_wrong_field_is_named_with_the_rule_and_the_way_out(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        define({"id": "t", **fields}, params={"region": {"type": "string"}})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "not a workflow|no id"),
        ({"tasks": [{"id": "a"}]}, "the workflow has no id"),
        ({"id": "a b", "tasks": [{"id": "a"}]}, "cannot be the id of a workflow"),
        ({"id": "w"}, "at least one"),
        ({"id": "w", "tasks": []}, "at least one"),
        ({"id": "w", "tasks": {"a": 1}}, "list of tasks"),
        ({"id": "w", "tasks": ["a"]}, r"tasks\[0\]: 'a' is not a task"),
        ({"id": "w", "tasks": [{"command": "x"}]}, r"tasks\[0\]: this task has no id"),
        ({"id": "w", "tasks": [{"id": 3}]}, "put it in quotes"),
        ({"id": "w", "tasks": [{"id": "-a"}]}, "beginning with a letter or digit"),
        ({"id": "w", "tasks": [{"id": "x" * 101}]}, "at most 100"),
        ({"id": "w", "tasks": [{"id": "params"}]}, "word of the expression language"),
        ({"id": "w", "params": {"a": {}}, "tasks": [{"id": "a"}]}, "name of a run parameter"),
        ({"id": "w", "parms": {}, "tasks": [{"id": "a"}]}, "did you mean 'params'"),
        ({"id": "w", "params": {"a": 3}, "tasks": [{"id": "b"}]}, "is not a declaration"),
        ({"id": "w", "params": {"a": {"type": "int"}}, "tasks": [{"id": "b"}]}, "called 'integer' here"),
        ({"id": "w", "params": {"a": {"type": "integer", "default": "x"}}, "tasks": [{"id": "b"}]}, "type is integer"),
        (
            {"id": "w", "params": {"a": {"required": True, "default": 1}}, "tasks": [{"id": "b"}]},
            "no use for a default",
        ),
        ({"id": "w", "timeout": -1, "tasks": [{"id": "b"}]}, "below zero"),
        ({"id": "w", "triggers": [{"kafka": {}}], "tasks": [{"id": "b"}]}, "no topic"),
        ({"id": "w", "triggers": [{"kafka": {"topic": "t", "filter": "b.x"}}], "tasks": [{"id": "b"}]}, "value.b"),
        ({"id": "w", "triggers": [{"cron": {"schedule": "1 2"}}], "tasks": [{"id": "b"}]}, "has five"),
        ({"id": "w", "concurrency": {"key": "b.x"}, "tasks": [{"id": "b"}]}, "before the run starts"),
        ({"id": "w", "hooks": {"on_fail": []}, "tasks": [{"id": "b"}]}, "unknown field 'on_fail'"),
        ({"id": "w", "hooks": {"on_end": [{"id": "b"}]}, "tasks": [{"id": "b"}]}, "that of a task; rename the hook"),
        (
            {"id": "w", "hooks": {"on_end": [{"id": "h"}], "on_cancel": [{"id": "h"}]}, "tasks": [{"id": "b"}]},
            r"hooks.on_end\[0\].id: the id 'h' is that of a hook of on_cancel",
        ),
        (
            {"id": "w", "hooks": {"on_end": [{"id": "h", "depends_on": ["b"]}]}, "tasks": [{"id": "b"}]},
            "there is no task 'b' among these hooks; all tasks have ended",
        ),
        (
            {"id": "w", "tasks": [{"id": "a", "command": "x"}, {"id": "b", "command": "x", "foreach_with": "a"}]},
            r"tasks\[1\].foreach_with: 'a' has no foreach",
        ),
    ],
)
def test_a_wrong_workflow_is_refused(value: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Definition.from_normal(value)


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        command("a", timeout="x", when="q.ok"), {"id": "a"}, {"id": "b c"}, command("d", depnds_on=["a"]), bogus=1
    )

    assert len(found) == 6


# -- the normal form

FULL: dict[str, Any] = {
    "id": "full",
    "params": {"region": {"type": "string", "default": "eu"}, "day": {"required": True}, "opt": {"type": "number"}},
    "triggers": [
        {"kafka": {"topic": "t", "filter": "value.n>0", "idempotency_key": "key", "params": {"day": "value.d"}}},
        {"cron": {"schedule": "30  6 * * 1-5", "timezone": "Europe/Berlin", "catch_up": "last"}},
    ],
    "concurrency": {"key": "params.region", "limit": 1, "on_conflict": "skip"},
    "timeout": 7200,
    "defaults": {"timeout": "15m", "queue_timeout": "1h", "retry": {"max_attempts": 3, "delay": 10, "backoff": 2.0}},
    "tasks": [
        {"id": "extract", "label": "Extract it", "command": ["./x.sh", "${{params.region}}"], "output": "json"},
        {"id": "check", "python": "orders.quality:check", "args": {"files": "${{ extract }}"}, "isolate": True,
         "timeout": None, "retry": {"max_attempts": 1, "errors": ["OSError"], "max_delay": "1h"}},
        {"id": "load", "when": 'check["ok"]', "foreach": "extract", "concurrency": 4, "python": "orders.load:load",
         "args": {"path": "${{ item }}"}, "queue": "heavy", "priority": 10, "pool": "db",
         "rate_limit": {"key": "params.region", "limit": 10, "per": "1s"}, "allow_failure": {"share": 0.1}},
        {"id": "pair", "foreach_with": "load", "python": "m:f", "args": {"i": "${{ index }}"}},
        {"id": "approve", "depends_on": ["pair"], "wait_for": {"signal": "ok", "form": {"yes": "boolean"}},
         "timeout": "2d", "default": {"yes": False}},
        {"id": "bill", "workflow": "billing", "params": {"day": "${{ trigger.date }}"}, "wait": False,
         "depends_on": ["approve"]},
        {"id": "report", "depends_on": ["bill", "extract"], "trigger_rule": "all_done", "command": "echo ${{ bill }}",
         "allow_failure": True, "secrets": ["TOKEN"], "env": {"N": 1.0}, "input": {"a": [1, 2.5]},
         "retry": {"exit_codes": [75, 3]}},
        {"id": "end", "depends_on": ["report"]},
    ],
    "hooks": {"on_failure": [{"id": "page", "command": "./page.sh ${{ tasks.load.state }}"}]},
}  # fmt: skip


def test_the_normal_form_reads_back_as_the_same_definition() -> None:
    found = Definition.from_normal(FULL)

    again = Definition.from_normal(found.normal())
    stored = Definition.from_canonical(found.canonical())

    assert again.normal() == found.normal()
    assert again.hash == stored.hash == found.hash
    assert [task.retry for task in stored.tasks] == [task.retry for task in found.tasks]
    assert [task.timeout_ms for task in stored.tasks] == [task.timeout_ms for task in found.tasks]
    assert len(found.hash) == 64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (command("b", depends_on=["a"], when="a.ok"), command("b", when="a.ok")),
        (command("b", when="a.ok and 'x' in a"), command("b", when='a["ok"]  and "x" in a')),
        (command("b", timeout="90s"), command("b", timeout=90)),
        (command("b", retry={"max_attempts": 1}), command("b")),
        (command("b", env={"A": "${{a}}", "B": 1.0}), command("b", env={"A": "${{ a }}", "B": 1})),
        (command("b", needs="a"), command("b", depends_on=["a"])),
    ],
)
def test_what_means_the_same_is_one_version(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert define(command("a"), one) == define(command("a"), other)


def test_values_are_the_same_before_and_after_they_were_stored() -> None:
    found = define({"id": "a", "python": "m:f", "args": {"x": 1.0, "y": [1e20, 2.5, 10**25], "z": "${{ params.p }}"}},
                   params={"p": {"default": 3.0}})  # fmt: skip
    stored = Definition.from_canonical(found.canonical())

    def values(definition: Definition) -> list[Any]:
        return [repr(template.source) for template in definition.tasks[0].args.values()]

    assert values(found) == values(stored) == ["1", "[100000000000000000000, 2.5, 10000000000000000000000000]",
                                               "'${{ params.p }}'"]  # fmt: skip
    assert repr(found.bind_params({})) == repr(stored.bind_params({})) == "{'p': 3}"


def test_another_meaning_is_another_version() -> None:
    hashes = {define(command("a"), command("b", **fields)).hash for fields in (
        {}, {"depends_on": ["a"]}, {"timeout": 1}, {"env": {"A": "1"}}, {"env": {"A": 1}}, {"priority": 1},
        {"label": "x"},
    )}  # fmt: skip

    assert len(hashes) == 7


def test_the_hash_of_a_released_form_never_changes() -> None:
    # If this fails, every deployed version gets another name: a new meaning needs a new field instead.
    found = define(command("a"), command("b", depends_on=["a"], timeout="90s"))

    assert found.canonical() == (
        b'{"id":"w","tasks":[{"command":"true","id":"a"},'
        b'{"command":"true","depends_on":["a"],"id":"b","timeout":"1m30s"}]}'
    )
    assert found.hash == "63b1e2154e56635209eabdc6043ca5b44fd7a51b5e3df9201b0b25e25af4d99f"


@pytest.mark.parametrize(
    ("given", "ms", "text"),
    [("90s", 90_000, "1m30s"), (5, 5_000, "5s"), (0.25, 250, "250ms"), ("1h30m", 5_400_000, "1h30m"),
     ("2d", 172_800_000, "2d"), ("1.5h", 5_400_000, "1h30m"), ("15", 15_000, "15s"), (0, 0, "0s")],
)  # fmt: skip
def test_durations(given: Any, ms: int, text: str) -> None:
    assert parse_duration(given) == ms
    assert format_duration(ms) == text
    assert parse_duration(text) == ms


@pytest.mark.parametrize("given", ["1:30", "", "5 m", "m", "5m1h", "1h1h", "-5s", -1, True, None, "1e3", "9999999d",
                                   float("nan"), 0.0001, [5]])  # fmt: skip
def test_what_is_no_duration_is_refused(given: Any) -> None:
    with pytest.raises(DurationError):
        parse_duration(given)


def test_a_hundred_thousand_tasks_build_and_come_back() -> None:
    n = 100_000
    middle = [f"t{i}" for i in range(n - 2)]
    tasks = [
        command("root"),
        *(command(task, depends_on=["root"]) for task in middle),
        {"id": "z", "depends_on": middle},
    ]

    started = time.perf_counter()
    found = define(*tasks, defaults={"retry": {"max_attempts": 3}})
    built = time.perf_counter()
    data = found.canonical()
    written = time.perf_counter()
    again = Definition.from_canonical(data)
    print(f"{n} tasks: built {built - started:.1f} s, canonical {written - built:.1f} s ({len(data)} bytes), "
          f"read {time.perf_counter() - written:.1f} s")  # fmt: skip

    assert again == found
    assert again.graph.degree[n - 1] == n - 2
    assert len({id(task.retry) for task in again.tasks[:-1]}) == 1


def test_a_run_trigger_and_its_normal_form() -> None:
    trigger = {
        "workflow": "up",
        "state": "FAILED",
        "task": "load",
        "filter": "value.attempt > 1",
        "params": {"p": "key"},
    }
    normal = {"id": "w", "params": {"p": {}}, "tasks": [{"id": "a"}], "triggers": [{"run": trigger}]}
    definition = Definition.from_normal(normal)
    assert definition.normal()["triggers"] == [{"run": trigger}]
    assert Definition.from_normal(definition.normal()) == definition


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({}, "names no workflow"),
        ({"workflow": "w"}, "for ever"),
        ({"workflow": "w", "task": "a"}, "for ever"),
        ({"workflow": "up", "state": "SKIPPED"}, "not one of SUCCESS, FAILED, CANCELLED, any"),
        ({"workflow": "up", "filter": "tasks.a.output"}, "tasks"),
        ({"workflow": "up", "begin": "earliest"}, "begin"),
    ],
)
def test_run_triggers_that_are_wrong(trigger: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        Definition.from_normal({"id": "w", "tasks": [{"id": "a"}], "triggers": [{"run": trigger}]})
