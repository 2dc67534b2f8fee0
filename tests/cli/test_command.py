"""The command without a cluster: help, files, exit codes, and one clear message for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indegree.cli.main import COMMANDS, SECTIONS, call

CYCLE = "id: c\ntasks:\n  - {id: a, depends_on: [b], command: 'true'}\n  - {id: b, depends_on: [a], command: 'true'}\n"
GOOD = (
    "id: good\nparams: {zip: {type: string, required: true}}\ntasks:\n  - {id: a, command: 'echo ${{ params.zip }}'}\n"
)
DOWN = ["--kafka", "127.0.0.1:1", "--etcd", "127.0.0.1:1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder without any setting."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_lists_every_command_once_in_a_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_json(name: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert call([name, "--help"]) == 0
    text = capsys.readouterr().out
    if "COMMAND [ARGS]" not in text:
        assert "--json" in text


def test_the_help_of_the_whole_needs_no_cluster_and_is_quick(folder: Path) -> None:
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "indegree.cli", "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert "First" in done.stdout or "first minute" in done.stdout
    assert time.monotonic() - begun < 10


def test_an_unknown_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert call(["folow", "--all"]) == 2
    assert "did you mean 'follow'?" in capsys.readouterr().err


def test_an_unknown_setting_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert call(["runs", "--set", "engine.lease_ttl=3"]) == 2
    assert "did you mean 'engine.lease_ttl_s'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs"],
        ["trigger", "orders", "-p", "a=1"],
        ["show", "20261125T101530.123Z-0123456789AB-0001"],
        ["follow", "--all", "--json"],
        ["workflow", "list"],
        ["topics"],
        ["dead-letters", "list"],
        ["replay", "--partition", "0"],
        ["logs", "20261125T101530.123Z-0123456789AB-0001"],
        ["doctor"],
    ],
)
def test_an_unreachable_kafka_is_exit_3_with_the_address_within_a_bounded_time(
    arguments: list[str], capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    begun = time.monotonic()
    assert call([*arguments, *DOWN]) == 3
    assert time.monotonic() - begun < 25
    captured = capsys.readouterr()
    assert "127.0.0.1:1" in captured.err + captured.out
    assert "Traceback" not in captured.err + captured.out


def test_a_good_file_is_checked_with_its_version(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "good.yaml").write_text(GOOD)
    assert call(["workflow", "check", "good.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["workflow"], found["tasks"], len(found["version"])) == (True, "good", 1, 64)


def test_a_cycle_is_refused_with_its_path(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "c.yaml").write_text(CYCLE)
    for command in (["workflow", "check", "c.yaml"], ["run", "c.yaml"], ["workflow", "deploy", "c.yaml"]):
        assert call(command) == 2
        assert "a -> b -> a" in capsys.readouterr().err


def test_check_goes_on_after_a_bad_file_and_reports_each(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "c.yaml").write_text(CYCLE)
    (folder / "good.yaml").write_text(GOOD)
    assert call(["workflow", "check", "c.yaml", "good.yaml", "none.yaml", "--json"]) == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["ok"] for line in lines] == [False, True, False]
    assert "No such file" in lines[2]["problem"]


def test_fmt_prints_the_normal_form_and_is_stable(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "old.yaml").write_text(
        "id: old\ntasks:\n  - {id: a, command: 'true'}\n  - {id: b, needs: [a], command: 'true'}\n"
    )
    assert call(["workflow", "fmt", "old.yaml"]) == 0
    first = capsys.readouterr()
    assert "depends_on" in first.out
    assert "needs" in first.err
    (folder / "new.yaml").write_text(first.out)
    assert call(["workflow", "fmt", "new.yaml"]) == 0
    assert capsys.readouterr().out == first.out


def test_a_workflow_in_a_python_file_is_found(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "flow_of_this_test.py").write_text(
        "from indegree import Workflow\nflow = Workflow('inpy')\n@flow.task\ndef one() -> int:\n    return 1\n"
    )
    assert call(["workflow", "check", "flow_of_this_test.py", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workflow"] == "inpy"
    assert call(["workflow", "check", "flow_of_this_test:flwo"]) == 2
    assert "did you mean 'flow'?" in capsys.readouterr().err


def test_a_python_file_that_cannot_be_imported_names_the_line(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "broken_of_this_test.py").write_text("x = 1\ny = x / 0\n")
    assert call(["workflow", "check", "broken_of_this_test.py"]) == 2
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    assert "line 2" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "good.yaml"], "parameter 'zip' (string) is required"),
        (["run", "good.yaml", "-p", "zop=1"], "did you mean 'zip'?"),
        (["run", "good.yaml", "-p", "zip"], "is not NAME=VALUE"),
        (["run", "good.yaml", "--params", "none.json"], "No such file"),
        (["run", "good.txt"], "no file and no module"),
        (["show", "not-a-run"], "run id 'not-a-run'"),
        (["follow"], "name a run, or give --all"),
        (["replay"], "name a run, or give --partition"),
        (["worker"], "give it modules"),
        (["workflow", "activate", "x"], "name a version"),
        (["runs", "--cluster", "Bad_Name"], "a cluster's name"),
    ],
)
def test_a_mistake_is_exit_2_with_one_message(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "good.yaml").write_text(GOOD)
    assert call(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_parameter_of_type_string_keeps_its_text(folder: Path) -> None:
    from indegree.cli.params import read_params
    from indegree.cli.targets import one_target

    (folder / "good.yaml").write_text(GOOD)
    definition = one_target("good.yaml").definition
    assert read_params(["zip=0755"], None, definition) == {"zip": "0755"}
    assert read_params(["zip=0755", "n=3", "s=eu", "l=[1]"], None, None) == {"zip": "0755", "n": 3, "s": "eu", "l": [1]}


def test_a_closed_pipe_ends_quietly_with_0(folder: Path) -> None:
    (folder / "good.yaml").write_text(GOOD)
    command = f"{sys.executable} -m indegree.cli workflow check {'good.yaml ' * 2000} --json | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_examples_for_newcomers_are_valid(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    examples = Path(__file__).parents[2] / "examples" / "hello"
    assert call(["workflow", "check", str(examples / "hello.yaml"), str(examples / "hello.py")]) == 0


NULLS = "id: n\nparams:\n  date: {type: string}\n  rows: {type: integer, default: 3}\ntasks:\n  - {id: a, command: x}\n"


def test_check_notes_a_parameter_that_is_silently_null(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "n.yaml").write_text(NULLS)
    assert call(["workflow", "check", "n.yaml"]) == 0
    said = capsys.readouterr().err
    assert "line 3: parameter 'date' has no default and is not required: it is null when not given" in said
    assert "'rows'" not in said


def test_a_file_that_is_not_there_is_named_without_a_hint_at_the_options(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert call(["run", "nofile.yaml"]) == 2
    assert capsys.readouterr().err == "error: nofile.yaml: No such file or directory\n"


def test_a_cycle_names_the_line_of_each_task(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "c.yaml").write_text(CYCLE)
    assert call(["workflow", "check", "c.yaml"]) == 2
    assert "(their lines: 3, 4)" in capsys.readouterr().err


def test_a_parameter_of_the_wrong_type_comes_with_an_example(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "n.yaml").write_text(NULLS)
    assert call(["run", "n.yaml", "-p", "rows=abc"]) == 2
    assert "such as -p rows=3" in capsys.readouterr().err


def test_the_beginning_of_a_run_id_that_is_none_says_what_one_looks_like(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert call(["show", "2026"]) == 2
    said = capsys.readouterr().err
    assert "such as 20261125T1015" in said
    assert "`indegree runs` lists runs" in said


def test_without_any_address_the_error_says_that_the_default_was_tried(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indegree.events import kafka
    from indegree.events.settings import Settings

    text = str(kafka.unreachable(Settings(), TimeoutError()))
    assert "this folder has no .indegree/stack.json" in text
    given = Settings().with_values(kafka__bootstrap_servers="127.0.0.1:1")
    assert "no address is set" not in str(kafka.unreachable(given, TimeoutError()))
    assert call(["runs", *DOWN]) == 3
    said = capsys.readouterr().err
    assert "KafkaConnectionError" not in said
    assert "AddressFamily" not in said
