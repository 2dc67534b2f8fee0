"""A computation whose result a person can check: what Python's own standard library is made of.

One task for each package counts lines, functions and the longest function; one joins them. `expected()` computes the
same in one plain loop, so that the demo can compare.
"""

from __future__ import annotations

import ast
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indegree import Workflow

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
# Python 3.11 counts the parser's recursion for all threads together and then raises SystemError (gh-106905).
_PARSING = threading.Lock()
_LEFT_OUT = {"site-packages", "__pycache__", "test", "tests", "lib-dynload", "idlelib", "ensurepip", "turtledemo"}


@dataclass
class Census:
    """What was counted. `longest`: module:function of the longest function, `longest_lines` its length in lines."""

    package: str
    files: int = 0
    lines: int = 0
    functions: int = 0
    longest: str = ""
    longest_lines: int = 0


def packages() -> list[str]:
    """The packages of the standard library, and "top" for the modules beside them."""
    found = [d.name for d in LIBRARY.iterdir() if d.is_dir() and (d / "__init__.py").is_file()]
    return ["top", *sorted(name for name in found if name not in _LEFT_OUT and name.isidentifier())]


def count(package: str) -> Census:
    """Reads every module of one package."""
    out = Census(package)
    files = LIBRARY.glob("*.py") if package == "top" else (LIBRARY / package).rglob("*.py")
    for path in sorted(files):
        if _LEFT_OUT.intersection(path.relative_to(LIBRARY).parts):
            continue
        text = path.read_bytes()
        try:
            with _PARSING:
                tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue  # a file that is kept broken on purpose
        out.files += 1
        out.lines += text.count(b"\n")
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                out.functions += 1
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > out.longest_lines:
                    out.longest = f"{path.relative_to(LIBRARY)}:{node.name}"
                    out.longest_lines = length
    return out


def join(counts: dict[str, Census]) -> dict[str, Any]:
    """Adds up the packages."""
    longest = max(counts.values(), key=lambda c: (c.longest_lines, c.package))
    return {
        "packages": len(counts),
        "files": sum(c.files for c in counts.values()),
        "lines": sum(c.lines for c in counts.values()),
        "functions": sum(c.functions for c in counts.values()),
        "longest": longest.longest,
        "longest_lines": longest.longest_lines,
    }


def report(total: dict[str, Any]) -> str:
    """The total as one sentence."""
    return (
        f"{total['packages']} packages, {total['files']:,} files, {total['lines']:,} lines, {total['functions']:,} "
        f"functions; the longest is {total['longest']} with {total['longest_lines']:,} lines"
    )


def build() -> Workflow:
    """The census as a workflow: one task a package, a join, a report."""
    out = Workflow("census")
    for package in packages():
        out.add(count, id=f"count.{package}", args={"package": package})
    out.add(join, id="join", args={"counts": {p: out[f"count.{p}"] for p in packages()}})
    out.add(report, id="report", args={"total": out["join"]})
    return out


def expected() -> str:
    """The same without indegree, in one loop."""
    return report(join({package: count(package) for package in packages()}))


census = build()
