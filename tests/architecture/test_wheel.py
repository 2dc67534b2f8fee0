"""What is built is what is needed: one root package, the contract, and the stack's data files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = folder.glob("indegree-*.whl")
    return zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize(
    "name",
    [
        "indegree/__init__.py",
        "indegree/py.typed",
        "indegree/v1/event_pb2.py",
        "indegree/v1/event_pb2.pyi",
        "indegree/events/frames.py",
        "indegree/stack/kafka.lock",
        "indegree/stack/formatted.checkpoint",
    ],
)
def test_the_wheel_holds(names, name):
    assert names.count(name) == 1


def test_everything_in_the_wheel_is_under_indegree(names):
    assert [name for name in names if not name.startswith(("indegree/", "indegree-"))] == []
