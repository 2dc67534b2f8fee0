"""`python -m tests.architecture.contracts`: import-linter over all source roots.

Why: import-linter asks the import system where `indegree` lies, and that answers with the one root that has an
`__init__.py`, before its `extend_path` has joined the others. So the joined path is told to it first.

How: the contracts themselves stand in pyproject.toml; arguments go to lint-imports.
"""

from __future__ import annotations

import sys

from importlinter.cli import lint_imports_command

import indegree


def main() -> None:
    spec = indegree.__spec__
    assert spec is not None
    spec.submodule_search_locations = list(indegree.__path__)
    lint_imports_command(["--no-logo", *sys.argv[1:]])


if __name__ == "__main__":
    main()
