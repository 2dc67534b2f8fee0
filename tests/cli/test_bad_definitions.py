"""Bad definitions: each error names the place, the value, the rule and the way out. They never reach a cluster."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from indegree.cli.main import call


def says(text: str, *words: str) -> None:
    assert [word for word in words if word not in text] == [], text


def task(**fields: Any) -> str:
    return json.dumps(fields)


FILES = {
    "a cycle": (
        f"id: w\ntasks:\n  - {task(id='a', depends_on=['c'])}\n  - {task(id='b', depends_on=['a'])}\n"
        f"  - {task(id='c', depends_on=['b'])}\n",
        ["a -> b -> c -> a", "wait for each other in a circle", "remove one of these dependencies", "line 3"],
    ),
    "a task that depends on itself": (
        f"id: w\ntasks:\n  - {task(id='a', depends_on=['a'])}\n",
        ["'a' depends on itself", "could never start", "remove that dependency", "line 3"],
    ),
    "an unknown parent": (
        f"id: w\ntasks:\n  - {task(id='extract')}\n  - {task(id='b', depends_on=['extrakt'])}\n",
        ["there is no task 'extrakt'", "did you mean 'extract'?", "line 4"],
    ),
    "a duplicate id": (
        f"id: w\ntasks:\n  - {task(id='load')}\n  - {task(id='load')}\n",
        ["'load' is taken", "ids are unique", "line 4, first in line 3", "give one of them another id"],
    ),
    "no task": (
        "id: w\ntasks: []\n",
        ["the list of tasks is empty", "at least one", "{id: hi, command: echo hi}", "line 2"],
    ),
    "an id outside the rule": (
        f"id: w\ntasks:\n  - {task(id='a b')}\n",
        ["'a b'", "letters, digits, '_', '-' and '.', at most 100", "goes into `label`", "line 3, column"],
    ),
    "a key that stands twice": (
        "id: w\ntasks:\n  - id: a\n    depends_on: []\n    command: x\n    depends_on: [b]\n",
        ["'depends_on' stands twice", "line 4 and line 6", "keep one"],
    ),
    "a number that is text": (
        "id: w\ntasks:\n  - id: a\n    command: x\n    priority: high\n",
        ["line 5, column 5", "tasks[0].priority", "'high' is not a whole number"],
    ),
    "a list that is an object": (
        "id: w\ntasks:\n  - id: a\n    command: x\n    depends_on: {a: 1}\n",
        ["line 5, column 5", "tasks[0].depends_on", "is not a list of texts"],
    ),
    "a default of another type": (
        "id: w\nparams: {n: {type: integer, default: x}}\ntasks:\n  - {id: a, command: x}\n",
        ["line 2, column 29", "default of 'n' is 'x', which is a string", "its type is integer"],
    ),
    "an ambiguous duration": (
        "id: w\ntasks:\n  - id: a\n    command: x\n    timeout: 1:30\n",
        ["line 5, column 5", "'1:30' is ambiguous", "write 1m30s or 1h30m"],
    ),
    "a function without a name": (
        "id: w\ntasks:\n  - {id: a, python: json}\n",
        ["'json' names no function", "write module:function", "line 3, column"],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_exit_2_with_value_rule_and_way_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text, words = FILES[name]
    Path("flow.yaml").write_text(text)
    assert call(["workflow", "check", "flow.yaml"]) == 2
    said = capsys.readouterr().err
    assert [word for word in words if word not in said] == [], said
    assert said.count("flow.yaml") == 1, "said once where it is"


CODE = {
    "a lambda": ("flow.add(lambda: 1, id='a')", ["tasks.a", "a lambda has no name", "write it as a function with def"]),
    "an inner function": (
        "def outer():\n    def inner(): ...\n    return inner\nflow.add(outer(), id='a')",
        ["tasks.a", "outer.<locals>.inner", "a worker cannot import it", "move it to the top of its module"],
    ),
    "a parameter that is nothing": (
        "@flow.task\ndef extract() -> int: ...\n@flow.task\ndef load(extrakt): ...",
        ["'extrakt'", "load", "did you mean 'extract'"],
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_a_function_that_no_worker_could_import_is_refused_when_built(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, words = CODE[name]
    module = f"flow_{uuid.uuid4().hex}"
    Path(f"{module}.py").write_text(f"from indegree import Workflow\nflow = Workflow('w')\n{code}\n")
    assert call(["workflow", "check", f"{module}.py"]) == 2
    said = capsys.readouterr().err
    assert [word for word in words if word not in said] == [], said


def test_run_says_which_functions_of_a_file_cannot_be_imported_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = [
        task(id="a", python="no_such_package.flow:load"),
        task(id="b", python="json:lods"),
        task(id="c", python="json:JSONDecoder"),
    ]
    Path("flow.yaml").write_text("id: w\ntasks:\n" + "".join(f"  - {text}\n" for text in tasks))
    assert call(["workflow", "check", "flow.yaml"]) == 0, "it may well be importable where the worker runs"
    assert call(["run", "flow.yaml"]) == 2
    said = capsys.readouterr().err
    says(said, "task 'a'", "'no_such_package.flow' cannot be imported", "or put its folder on PYTHONPATH")
    says(said, "task 'b'", "'json' has no 'lods'", "did you mean 'loads'?", "task 'c'", "not a function")
