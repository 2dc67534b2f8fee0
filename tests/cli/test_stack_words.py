"""`stack status` and `stack down --purge` on folders, without bringing anything up."""

from __future__ import annotations

from pathlib import Path

import pytest

from indegree.cli.main import call
from indegree.stack.commands import delete_data


def test_purge_deletes_what_a_stack_keeps_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / ".indegree"
    (folder / "kafka" / "data").mkdir(parents=True)
    (folder / "run-20261125-101530-ab12").mkdir()
    (folder / "ports.json").write_text("{}")
    (folder / "mine.txt").write_text("keep me")
    assert delete_data(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_purge_touches_no_folder_that_is_no_stacks(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    assert not delete_data(tmp_path)
    assert (tmp_path / "kafka").exists()


def test_down_says_how_to_delete_the_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "ports.json").write_text("{}")
    assert call(["stack", "down", "--folder", str(tmp_path)]) == 0
    assert "indegree stack down --purge" in capfd.readouterr().err
    assert call(["stack", "down", "--folder", str(tmp_path), "--purge"]) == 0
    assert "its data is deleted" in capfd.readouterr().err
    assert not tmp_path.exists()
