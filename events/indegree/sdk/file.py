"""Workflow files: YAML or JSON to a validated definition, with lines and columns in every complaint.

Why: the file is one of the two ways to write a workflow, and the only one for people who do not write Python.

How: the text becomes a JSON value (file_yaml, or json_values for JSON), the value goes to `Definition.from_normal`, and
the paths in its problems and notes are looked up among the positions. JSON is read with positions only once something
is wrong with it, since that takes a hundred times as long.

It must never import code: a function is only a name in a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indegree.events import json_values
from indegree.events.definition import MAX_DEFINITION_BYTES, Definition, DefinitionError, Problem
from indegree.sdk.file_yaml import Document, Located, read_yaml

if TYPE_CHECKING:
    from indegree.sdk.workflow import Workflow

MAX_YAML_BYTES = 8 * 1024 * 1024
"""A YAML file is written by people; the parser takes some seconds for a megabyte. Larger workflows are JSON files."""

MAX_LOCATED_JSON_BYTES = 512 * 1024
"""JSON files up to this size get lines and columns in their errors (by a second, slow reading)."""


def load(path: str | os.PathLike[str]) -> tuple[Definition, list[Located]]:
    """The definition in a file, and notes about it (aliases of fields, ambiguous scalars).

    Raises DefinitionError (its message begins with the file's name) and OSError. Reads the disk.
    """
    file = Path(path)
    kind = "json" if file.suffix.lower() == ".json" else "yaml"
    limit = MAX_DEFINITION_BYTES if kind == "json" else MAX_YAML_BYTES
    with file.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        hint = "; write it as a .json file" if kind == "yaml" else ""
        raise DefinitionError([Problem("", f"more than {limit} bytes, the limit for {kind} files{hint}")], str(file))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DefinitionError([Located("", f"not UTF-8: {error.reason}", (), line, 1)], str(file)) from None
    return parse(text, kind=kind, name=str(file), default_id=file.stem)


def parse(
    text: str, *, kind: str | None = None, name: str = "the workflow", default_id: str | None = None
) -> tuple[Definition, list[Located]]:
    """The definition that a text describes, and notes. `kind` is yaml, json, or None to find out.

    A list of tasks alone is a workflow too; `default_id` is its id (and that of a file without one).
    Raises DefinitionError; `name` is what its message calls the text.
    """
    if len(text) > (MAX_DEFINITION_BYTES if kind == "json" else MAX_YAML_BYTES) and kind is not None:
        raise DefinitionError([Problem("", "the text is too long")], name)
    document = _read(text, kind, name)
    value, prefix = document.value, ""
    if value is None:
        raise DefinitionError([Problem("", "there is nothing in it; a workflow has an id and tasks")], name)
    if isinstance(value, list):
        value = {"id": default_id, "tasks": value} if default_id else {"tasks": value}
        prefix = "tasks"
    elif isinstance(value, dict) and default_id and "id" not in value:
        value = {"id": default_id, **value}
    if document.marks:
        value = _with_source_texts(value, document)
    try:
        definition = Definition.from_normal(value)
    except DefinitionError as error:
        if not document.marks and len(text) <= MAX_LOCATED_JSON_BYTES:
            try:
                document = read_yaml(text)
            except DefinitionError:
                document = Document()  # JSON that is not YAML (rare): the problems stay without lines
        problems: list[Problem] = [_locate(document, problem, prefix) for problem in error.problems]
        problems.sort(key=lambda problem: problem.line if isinstance(problem, Located) else 0)
        raise DefinitionError(problems, name) from None
    notes = [_locate(document, note, prefix) for note in definition.notes]
    return definition, sorted([*notes, *document.warnings], key=lambda note: (note.line, note.column))


def _read(text: str, kind: str | None, name: str) -> Document:
    if kind == "json" or (kind is None and text.lstrip()[:1] in ("{", "[")):
        try:
            return Document(json_values.loads(text))
        except json_values.JsonValueError as error:
            if kind == "json":
                position = re.search(r"\(line (\d+), column (\d+)\)$", error.problem)
                at = (int(position[1]), int(position[2])) if position else (0, 0)
                message = error.problem[: position.start()].rstrip() if position else error.problem
                if not position and len(text) <= MAX_LOCATED_JSON_BYTES:
                    # A key that stands twice, say: the other reader knows the lines.
                    try:
                        read_yaml(text)
                    except DefinitionError as located:
                        raise DefinitionError(list(located.problems), name) from None
                raise DefinitionError([Located("", message, (), *at)], name) from None
    try:
        return read_yaml(text)
    except DefinitionError as error:
        raise DefinitionError(list(error.problems), name) from None


def _locate(document: Document, problem: Problem, prefix: str) -> Located:
    """The position of a problem; in a file that is only a list, paths are without the `tasks` that was put before."""
    if prefix and problem.path.startswith(prefix):
        see = tuple(path.removeprefix(prefix) for path in problem.see)
        found = document.locate(Problem(problem.path.removeprefix(prefix), problem.message, see))
        return Located(problem.path, found.message, problem.see, found.line, found.column)
    return document.locate(problem)


def _with_source_texts(value: Any, document: Document) -> Any:
    """Defaults of parameters declared as `type: string` keep what was written: 0755, 3.10, no."""
    params = value.get("params") if isinstance(value, dict) else None
    if not isinstance(params, dict):
        return value
    kept: set[str] = set()
    changed = dict(params)
    for name, declared in params.items():
        if not isinstance(declared, dict) or declared.get("type") != "string":
            continue
        path = json_values.member_path(json_values.member_path("params", name), "default")
        kept.add(path)
        if path in document.sources and declared.get("default") is not None:
            changed[name] = {**declared, "default": document.sources[path]}
    document.warnings = [warning for warning in document.warnings if warning.path not in kept]
    return {**value, "params": changed}


def from_yaml(text: str) -> Workflow:
    """The workflow that a YAML text describes. Raises DefinitionError with lines and columns."""
    from indegree.sdk.workflow import Workflow

    return Workflow.from_definition(parse(text)[0])


def from_json(text: str) -> Workflow:
    """The workflow that a JSON text describes. Raises DefinitionError with lines and columns."""
    from indegree.sdk.workflow import Workflow

    return Workflow.from_definition(parse(text, kind="json")[0])


def from_file(path: str | os.PathLike[str]) -> Workflow:
    """The workflow in a file (.yaml, .yml or .json). Raises DefinitionError, OSError. Reads the disk."""
    from indegree.sdk.workflow import Workflow

    return Workflow.from_definition(load(path)[0])
