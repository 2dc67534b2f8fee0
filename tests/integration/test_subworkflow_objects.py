"""A sub-workflow that is handed over as an object is deployed along with the workflow that starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

CODE = """
from indegree import Workflow

child = Workflow("child", params={"n": int})

@child.task
def double(n: int) -> int:
    return 2 * n

world = Workflow("world")

@world.task
def numbers() -> list[int]:
    return [1, 2, 3]

world.subworkflow("kids", child, params={"n": "${{ item }}"}, foreach="numbers")

@world.task
def total(kids: list[int]) -> int:
    return sum(kids)
"""


def test_run_deploys_the_sub_workflows_of_an_object(tmp_path: Path, stack: object) -> None:
    (tmp_path / "nested.py").write_text(CODE)
    environ = {
        "INDEGREE_KAFKA__BOOTSTRAP_SERVERS": stack.kafka,  # type: ignore[attr-defined]
        "INDEGREE_ETCD__ENDPOINTS": stack.etcd,  # type: ignore[attr-defined]
        "INDEGREE_TOPICS__REPLICATION": "1",
        "INDEGREE_TOPICS__MIN_INSYNC_REPLICAS": "1",
        "INDEGREE_TOPICS__ALLOW_WEAKER": "true",
        "PATH": str(Path(sys.executable).parent),
        "HOME": str(tmp_path),
    }
    command = [sys.executable, "-m", "indegree.cli", "run", "nested.py:world", "--timeout", "60"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total -> 12" in done.stdout
