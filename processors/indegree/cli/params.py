"""Run parameters from a command line: `-p name=value`, and whole objects from a file or stdin.

Why: a shell knows only text, a workflow has types: `-p zip=01234` must stay text where the parameter is a string, and
`-p rows=3` must be a number where it is one.

How: where the definition is known, each value is read by its declared type; else as JSON if it is JSON, else as text.
`-p` wins over `--params`.

It must never bind or check: the client does, with the definition.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from indegree.events import json_values
from indegree.events.definition import Definition
from indegree.events.definition_params import Parameter, ParameterError

from .problems import BadTarget

_EXAMPLES = {
    "integer": "3",
    "number": "0.5",
    "boolean": "true",
    "array": "'[1, 2]'",
    "object": "'{\"a\": 1}'",
    "string": "text",
    "any": "1",
}


def read_params(pairs: Sequence[str], source: str | None, definition: Definition | None) -> dict[str, Any]:
    """The parameters of a start. Raises click.UsageError, and ParameterError for a value that does not fit its type."""
    params: dict[str, Any] = {}
    if source is not None:
        params.update(_object(source))
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p {pair!r} is not NAME=VALUE, such as -p region=eu")
        declared = definition.params.get(name) if definition is not None else None
        try:
            params[name] = (declared or Parameter(name)).from_text(text)
        except ParameterError as problem:
            example = _EXAMPLES[declared.type] if declared is not None else "1"
            raise ParameterError([f"{problem}, such as -p {name}={example}"]) from None
    return params


def _object(source: str) -> dict[str, Any]:
    where = "standard input" if source == "-" else source
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        value = json_values.loads(text)
    except OSError as problem:
        raise BadTarget(f"--params {source}: {problem.strerror}") from None
    except ValueError as problem:
        raise click.UsageError(f"--params: {where} is not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"--params: {where} must hold a JSON object of names and values")
    return value
