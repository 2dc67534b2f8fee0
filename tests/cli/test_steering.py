"""Steering commands without a cluster: each mistake is exit 2 with the value, the rule and the way out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from indegree.cli.main import call
from indegree.cli.steering import fields_of

RUN = "20261125T101530.123Z-0123456789AB-0001"
DOWN = ["--kafka", "127.0.0.1:1", "--etcd", "127.0.0.1:1"]
RANGE = ["--start", "2026-11-01T00:00Z", "--end", "2026-11-02T00:00Z"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pause"], "name a run, or --workflow, or --queue: none is given"),
        (["pause", RUN, "--queue", "heavy"], f"2 are given: {RUN}, heavy"),
        (["resume", "yesterday"], "run id 'yesterday' is not of the form"),
        (["rerun", RUN], "name the tasks, or give --failed"),
        (["rerun", RUN, "load", "--failed"], "name the tasks, or give --failed, not both"),
        (["signal", RUN], "Missing argument 'NAME'"),
        (["signal", RUN, "go", "-p", "approved"], "-p 'approved' is not NAME=VALUE, such as -p approved=true"),
        (["signal", RUN, "go", "--json-payload", "{"], "--json-payload '{' is not JSON"),
        (["signal", RUN, "go", "-p", "a=1", "--json-payload", "1"], "not both"),
        (["mark", RUN, "load", "--output", "yes"], "--output 'yes' is not JSON"),
        (["skip", RUN], "Missing argument 'TASK'"),
        (["backfill", "nightly"], "a backfill needs --start and --end"),
        (["backfill", "nightly", "--start", "2026-11-01", "--end", "2026-11-02T00:00Z"], "has no offset from UTC"),
        (["backfill", "nightly", *RANGE, "--concurrency", "0"], "concurrency (runs at a time) must be a whole number"),
        (["backfill", "nightly", "--start", "2026-11-02T00:00Z", "--end", "2026-11-01T00:00Z"], "is empty"),
        (["backfill", "nightly", "--cancel", "--wait"], "it takes no range and does not wait"),
        (["pools", "set", "gpu", "-1"], "No such option"),
        (["pools", "set", "gpu", "many"], "'many' is not a valid integer"),
        (["partitions", "lift", "x"], "'x' is not a valid integer"),
        (["trigger", "orders", "--at", "tomorrow"], "'tomorrow' is no time; write it as 2026-11-25T06:30:00+01:00"),
        (["trigger", "orders", "--at", "2026-11-25T06:30:00"], "has no offset from UTC"),
        (["trigger", "orders", "--delay", "1:30"], "1:30"),
        (["trigger", "orders", "--delay", "10m", "--at", "2026-11-25T06:30Z"], "not both"),
    ],
)
def test_bad_usage_is_exit_2_and_names_the_way_out(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call([*arguments, *DOWN]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["pause", "--workflow", "orders"],
        ["signal", RUN, "go"],
        ["backfill", "nightly", *RANGE],
        ["pools", "set", "gpu", "3"],
        ["workflow", "rollback", "orders"],
    ],
)
def test_an_unreachable_kafka_is_exit_3_with_the_address(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    assert call([*arguments, *DOWN]) == 3
    assert time.monotonic() - begun < 25
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_an_unreachable_etcd_is_exit_3_for_partitions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["partitions", "lift", "3", *DOWN]) == 3
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_fields_of_a_signal_are_json_where_they_are_json_else_text() -> None:
    assert fields_of(("approved=true", "amount=12.5", "note=fine by me", "zip=01234")) == {
        "approved": True,
        "amount": 12.5,
        "note": "fine by me",
        "zip": "01234",
    }
    assert fields_of(()) is None


@pytest.mark.parametrize("same", [True, False])
def test_files_are_compared_by_their_normal_form(
    same: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text("id: w\ntasks:\n  - {id: a, command: 'true'}\n")
    Path("two.yaml").write_text(f"tasks:\n- command: '{'true' if same else 'false'}'\n  id: a\nid: w\n")
    assert call(["workflow", "diff", "one.yaml", "two.yaml"]) == 0
    said = capsys.readouterr()
    if same:
        assert (said.out, said.err.strip()) == ("", "no difference")
    else:
        lines = said.out.splitlines()
        assert lines[:2] == ["--- one.yaml", "+++ two.yaml"]
        assert [line[0] for line in lines[3:] if line[0] in "+-"] == ["-", "+"]
