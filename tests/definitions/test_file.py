"""Workflow files: YAML 1.2 with places, JSON, and printing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indegree.events.definition import Definition, DefinitionError
from indegree.sdk import from_file, from_json, from_yaml
from indegree.sdk.file import load, parse
from indegree.sdk.file_write import normal_yaml, to_yaml
from indegree.sdk.file_yaml import read_yaml
from tests.definitions.test_definition import FULL

EXAMPLE = """\
id: orders
params: {region: {type: string, default: eu-west-1}, rows: {type: integer, default: 0}}    # or required: true
triggers:
  - kafka: {topic: orders.ready, filter: "value.rows > 0", idempotency_key: value.batch_id, params: {region: value.region, rows: value.rows}}
  - cron: {schedule: "30 6 * * 1-5", timezone: Europe/Berlin, catch_up: last}      # none | last | all
concurrency: {key: params.region, limit: 1, on_conflict: queue}                    # queue | skip | cancel_running
timeout: 2h
defaults: {timeout: 15m, retry: {max_attempts: 3, delay: 10s, backoff: 2, max_delay: 5m, jitter: 0.2}}
tasks:
  - {id: extract, command: [./extract.sh, "${{ params.region }}"], output: json}
  - {id: check, python: "orders.quality:check", args: {files: "${{ extract }}"}}
  - {id: load, when: check.ok, foreach: extract, concurrency: 4, python: "orders.load:load_file", args: {path: "${{ item }}"}, queue: heavy, priority: 10, rate_limit: {key: params.region, limit: 10, per: 1s}}
  - {id: approve, depends_on: [load], wait_for: {signal: approve, form: {approved: boolean, amount: number}}, timeout: 2d, default: {approved: false}}
  - {id: bill, workflow: billing, params: {day: "${{ trigger.date }}"}, when: approve.approved}
  - {id: report, depends_on: [bill], trigger_rule: none_failed_min_one_success, command: ./report.sh, allow_failure: true}
hooks: {on_failure: [{id: page, command: ./page.sh}]}                              # on_success, on_cancel, on_end
"""  # noqa: E501


def refused(text: str, **options: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse(text, **options)
    return str(caught.value)


def scalars(text: str) -> dict[str, Any]:
    return read_yaml(text).value


# -- the forms


def test_the_example_is_read_without_a_note() -> None:
    found, notes = parse(EXAMPLE)

    assert notes == []
    assert found.graph.parents == ((), (0,), (0, 1), (2,), (3,), (4,))
    assert parse(normal_yaml(found))[0] == found
    assert parse(json.dumps(found.normal()), kind="json")[0] == found


def test_a_list_of_tasks_is_a_whole_workflow(tmp_path: Path) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_text("- {id: a, command: echo hello}\n- {id: b, depends_on: [a], command: [echo, b]}\n")

    found, _ = load(file)

    assert (found.id, found.graph.parents) == ("nightly", ((), (0,)))


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_files_are_read_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_text('{"id": "w", "tasks": [{"id": "a", "command": "x"}]}')

    assert from_file(file).definition().id == "w"


def test_texts_become_workflows() -> None:
    yaml, js = (
        from_yaml("id: w\ntasks: [{id: a, command: x}]"),
        from_json('{"id":"w","tasks":[{"id":"a","command":"x"}]}'),
    )

    assert yaml.definition() == js.definition()


# -- YAML 1.2


def test_scalars_follow_the_core_schema() -> None:
    # CASES row M7
    assert scalars("""
on: {no: no, yes: Yes, octal: 0755, long: 0123456, sexagesimal: 12:30:00, clock: 1:30, version: 3.10, day: 2026-09-24,
     exp: 1e3, tiny: 1e-5, under: 1_000, hex: 0xff, oct: 0o17, number: 20200219, null1: ~, null2: , true1: True,
     plus: +1, point: .5, text: "0755", single: 'no'}
""") == {
        "on": {
            "no": "no", "yes": "Yes", "octal": 755, "long": 123456, "sexagesimal": "12:30:00", "clock": "1:30",
            "version": 3.1, "day": "2026-09-24", "exp": 1000.0, "tiny": 1e-5, "under": "1_000", "hex": 255, "oct": 15,
            "number": 20200219, "null1": None, "null2": None, "true1": True, "plus": 1, "point": 0.5, "text": "0755",
            "single": "no",
        }
    }  # fmt: skip


@pytest.mark.parametrize("written", ["0755", "01234", "3.10", "no", "20200219", "12:30:00", "1e-5", "true", "0x1F"])
def test_a_parameter_of_type_string_keeps_its_source_text(written: str) -> None:
    # CASES row 60
    found, notes = parse(f"id: w\nparams: {{p: {{type: string, default: {written}}}}}\ntasks: [{{id: a, command: x}}]")

    assert found.params["p"].default == written
    assert notes == []


def test_ambiguous_scalars_are_notes_with_their_lines() -> None:
    # CASES row 60
    text = """id: w
params:
  mode: {default: 0755}
  country: {default: no}
  v: {default: 3.10}
  t: {default: 12:30:00}
  e: {default: 1e-5}
  d: {default: 20200219}
  quoted: {default: "no"}
tasks: [{id: a, command: x}]
"""
    _, notes = parse(text)

    assert [(note.line, note.path) for note in notes] == [
        (3, "params.mode.default"), (4, "params.country.default"), (5, "params.v.default"), (6, "params.t.default"),
        (7, "params.e.default"),
    ]  # fmt: skip
    assert "is the number 755 here and octal for YAML 1.1" in str(notes[0])


def test_a_key_that_stands_twice_is_refused_with_both_lines() -> None:
    # CASES row 59
    said = refused("id: w\ntasks:\n  - id: a\n    depends_on: [b]\n    command: x\n    depends_on: [c]\n  - id: b\n")

    assert "the key 'depends_on' stands twice in one object, in line 4 and line 6" in said


def test_two_tasks_of_one_id_are_refused_with_both_lines() -> None:
    # CASES row 19
    said = refused("id: w\ntasks:\n  - id: load\n    command: x\n  - id: b\n  - id: load\n")

    assert "line 6, column 5: tasks[2].id: the id 'load' is taken" in said
    assert "first in line 3" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id: w\ntasks:\n  - id: a\n    comand: x\n", "line 4, column 5: tasks[0].comand: unknown field"),
        ("id: w\ntasks:\n  - id: a\n    command: x\n    timeout: soon\n", "line 5, column 5: tasks[0].timeout: 'soon'"),
        ("id: w\ntasks:\n  - {id: a, command: x, retry: {delay: 1:30}}\n", "line 3, column 33: tasks[0].retry.delay"),
        ("id: w\ntasks:\n  - {id: a, needs: [b, a]}\n  - {id: b, needs: a}", "depends on itself"),
        ("id: w\ntasks:\n  - {id: 3, command: x}", "line 3, column 6: tasks[0].id: 3 is not text"),
        ("id: w\ntasks: [\n", "not YAML"),
        ("id: w\ntasks:\n\t- id: a", "indent with spaces"),
        ("", "there is nothing in it"),
        ("just text", "is not a workflow"),
        ("id: w\n---\nid: x", "a second document"),
        ("a: &x [1, *x]", "stands inside itself"),
        ("a: *nowhere", "has no anchor"),
        ("a: !!python/name:os.system x", "not of the core schema"),
        ("a: !local x", "not of the core schema"),
        ("a: !!int x", "not a value of the type"),
        ("a: .nan", ".nan is not JSON"),
        ("a: -.inf", "is not JSON"),
        ("1: x", "the key 1 is not text"),
        ("? [a]\n: x", "as a key"),
        ("a: {<<: {b: 1}}", "merge keys"),
        ("[" * 200, "nested deeper than"),
        ("x: \x07", "not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_column(text: str, says: str) -> None:
    assert says in refused(text)


def test_aliases_share_values_within_a_bound() -> None:
    found, _ = parse("id: w\ntasks:\n  - {id: a, command: x, env: &e {A: 1}}\n  - {id: b, command: x, env: *e}")
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )

    assert found.task("b").env["A"].source == 1
    assert "more than 1000000 values" in refused(bomb)


def test_json_errors_have_lines_too() -> None:
    assert "line 2, column 11" in refused('{"id": "w",\n "tasks": }', kind="json")
    assert "stands twice in one object, in line 1 and line 2" in refused('{"id": "w",\n"id": "x"}', kind="json")
    assert "line 2, column 23: tasks[0].comand" in refused(
        '{"id": "w",\n"tasks": [{"id": "a", "comand": 1}]}', kind="json"
    )


def test_files_that_are_too_large_or_not_text_are_refused(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_bytes(b"#" * (8 * 1024 * 1024 + 1))
    binary.write_bytes(b"id: w\n# \xff\n")

    with pytest.raises(DefinitionError, match=r"large.yaml.*\n.*the limit for yaml files; write it as a .json file"):
        load(large)
    with pytest.raises(DefinitionError, match="line 2, column 1: not UTF-8"):
        load(binary)


# -- printing


def test_the_normal_form_of_everything_is_printed_and_read_back() -> None:
    found = Definition.from_normal(FULL)

    again, notes = parse(normal_yaml(found))

    assert again.canonical() == found.canonical()
    assert notes == []


def test_scripts_are_printed_as_blocks() -> None:
    script = 'set -e\n\nif true; then\n  echo "$HOME"\nfi\n'

    text = to_yaml({"id": "w", "tasks": [{"id": "a", "command": script}]})

    assert "    command: |\n      set -e\n\n      if true; then\n        echo" in text
    assert scalars(text)["tasks"][0]["command"] == script


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text(
    "ab \n:#-'\"\\[]{},&*!|>%@`\t0?~", max_size=20
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
    | st.sampled_from(["no", "on", "~", "null", "0755", "3.10", "1e3", "12:30", "2026-01-01", "=", "<<", "- a", "a: b",
                       ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(texts.filter(lambda key: key != "<<"), values, min_size=1, max_size=4))
def test_what_is_printed_reads_back_equal_and_without_a_warning(value: dict[str, Any]) -> None:
    document = read_yaml(to_yaml(value))

    assert document.value == value
    assert document.warnings == []


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80) | st.text("ab: -[]{},&*!|>'\"\n #?%", max_size=60))
def test_random_text_raises_nothing_but_a_definition_error(text: str) -> None:
    try:
        parse(text)
    except DefinitionError:
        pass
