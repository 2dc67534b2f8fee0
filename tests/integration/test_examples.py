"""Each example does what its README promises, on a real stack; an eleventh is run without being listed here."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from examples import __main__ as command
from examples.stage import HERE, NotShown, cluster_settings, examples, play, stage

pytestmark = pytest.mark.integration


def test_there_are_ten() -> None:
    assert len(examples()) >= 10


@pytest.mark.parametrize("name", examples())
def test_an_example_shows_what_it_promises(name: str, stack: Any, cluster_name: str, tmp_path: Path) -> None:
    said: list[str] = []
    play(name, cluster_settings(stack.kafka, stack.etcd, cluster_name), tmp_path, said.append)
    assert len(said) > 1
    left = AdminClient({"bootstrap.servers": stack.kafka}).list_topics(timeout=10).topics
    assert [topic for topic in left if topic.startswith(f"{cluster_name}.")] == []
    assert [
        child.cmdline() for child in psutil.Process().children(recursive=True) if "indegree.cli" in child.cmdline()
    ] == []


@pytest.mark.parametrize("name", examples())
def test_an_example_has_a_readme_that_says_what_it_shows_and_its_one_command(name: str) -> None:
    text = (HERE / name / "README.md").read_text("utf-8")
    heading, _, rest = text.partition("\n")
    assert heading.startswith(f"# {name}: ")
    commands = [line.strip() for line in rest.splitlines() if line.startswith("    ")]
    assert commands == [f"./dev example {name}"]
    assert "prints" in rest
    assert (HERE / name / "run.py").is_file()


def test_the_command_without_a_name_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    told = capsys.readouterr().out
    for name, words in examples().items():
        assert f"{name:10} {words}" in told


def test_an_unknown_name_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["sega"]) == 2
    assert "did you mean 'saga'" in capsys.readouterr().err


def test_an_example_that_does_not_do_what_it_promises_ends_with_1_and_says_where_its_logs_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(*_: object) -> None:
        raise NotShown("each day was loaded: expected 3, and it is 2")

    monkeypatch.setattr(command, "play", fails)
    monkeypatch.setenv(command.KAFKA, "127.0.0.1:1")
    monkeypatch.setenv(command.ETCD, "127.0.0.1:1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert command.main(["etl"]) == 1
    told = capsys.readouterr().err
    assert "expected 3, and it is 2" in told
    assert f"logs of its engine and worker: {tmp_path}" in told


@pytest.mark.parametrize("ends", [RuntimeError, KeyboardInterrupt])
def test_a_stage_that_is_left_in_the_middle_leaves_nothing(
    ends: Callable[[], BaseException], stack: Any, cluster_name: str, tmp_path: Path
) -> None:
    settings = cluster_settings(stack.kafka, stack.etcd, cluster_name)
    with pytest.raises(BaseException) as raised, stage(settings, tmp_path, lambda text: None) as found:  # noqa: PT012
        found.topic("mine")
        found.worker("--commands")
        pids = [child.identity.pid for child in found._processes.running.values()]
        raise ends()
    assert type(raised.value) is ends
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    left = AdminClient({"bootstrap.servers": stack.kafka}).list_topics(timeout=10).topics
    assert [topic for topic in left if topic.startswith(f"{cluster_name}.")] == []


@pytest.mark.slow
def test_the_one_command_brings_its_own_stack_and_takes_it_down(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "TMPDIR": str(tmp_path)}
    line = [sys.executable, "-m", "examples", "saga"]
    done = subprocess.run(line, cwd=HERE.parent, env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("saga: ")
    assert list(tmp_path.iterdir()) == []
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])] == []
