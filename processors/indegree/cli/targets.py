"""What a command is given to work on: a workflow file, a Python file, or MODULE[:OBJECT].

Why: `run`, `worker`, `workflow deploy` and the rest all take "a workflow", and people have it in different shapes.

How: a path that ends in .yaml, .yml or .json is a workflow file; one that ends in .py is imported under its own name
with its folder on the path (so that a worker can import it by that name); anything else is a module name, with the
current folder on the path. A module gives all `Workflow` objects at its top level, or the one that OBJECT names.

It must never run anything but the module's own top level.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from indegree.events.definition import Definition, Problem
from indegree.events.spelling import did_you_mean
from indegree.sdk.file import MAX_LOCATED_JSON_BYTES, load
from indegree.sdk.file_yaml import read_yaml
from indegree.sdk.workflow import Workflow

from .problems import BadTarget

FILES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Target:
    """A workflow that was asked for. `module`: importable name it came from, empty for a file. `folder`: to be on
    the path of a worker that runs it. `notes`: what was understood though it is not the normal form. `workflow`: the
    object, where there is one; it knows its sub-workflows."""

    definition: Definition
    module: str
    folder: Path
    notes: tuple[str, ...] = ()
    file: Path | None = None
    workflow: Workflow | None = None

    def nulls(self) -> list[str]:
        """A note for each parameter that is null when it is not given, though nobody said so."""
        params = self.definition.params.values()
        names = [parameter.name for parameter in params if not parameter.required and parameter.default is None]
        lines = lines_of(self.file, [f"params.{name}" for name in names]) if self.file and names else [0] * len(names)
        return [
            (f"line {line}: " if line else "")
            + f"parameter {name!r} has no default and is not required: it is null when not given"
            for name, line in zip(names, lines, strict=True)
        ]


def load_targets(text: str) -> list[Target]:
    """The workflows behind FILE or MODULE[:OBJECT]. Raises DefinitionError, and BadTarget with the way out."""
    path = Path(text)
    if path.suffix.lower() in FILES:
        return [read_file(path)]
    name, _, wanted = text.partition(":")
    module, folder = _imported(name)
    found = {attribute: value for attribute, value in vars(module).items() if isinstance(value, Workflow)}
    if wanted:
        if wanted not in found:
            hint = did_you_mean(wanted, found) or (f"; it has {', '.join(found)}" if found else "")
            raise BadTarget(f"{name} has no workflow object {wanted!r}{hint}")
        found = {wanted: found[wanted]}
    if not found:
        raise BadTarget(f'{name} holds no workflow: put one at its top level, such as orders = Workflow("orders")')
    unique = {id(value): value for value in found.values()}
    return [Target(value.definition(), module.__name__, folder, workflow=value) for value in unique.values()]


def one_target(text: str) -> Target:
    """Exactly one workflow. Raises BadTarget where there are several."""
    found = load_targets(text)
    if len(found) > 1:
        names = ", ".join(target.definition.id for target in found)
        raise BadTarget(f"{text} holds several workflows ({names}): name one as {text.partition(':')[0]}:OBJECT")
    return found[0]


def read_file(path: Path) -> Target:
    """The workflow in a file. Raises DefinitionError with line and column, BadTarget."""
    try:
        definition, notes = load(path)
    except OSError as problem:
        raise BadTarget(f"{path}: {problem.strerror}") from None
    return Target(definition, "", path.resolve().parent, tuple(str(note) for note in notes), path)


def lines_of(path: Path, paths: list[str]) -> list[int]:
    """The line of each place in a workflow file, 0 where it is not known. Reads the file once more."""
    try:
        text = path.read_text("utf-8-sig")
        document = read_yaml(text) if len(text) <= MAX_LOCATED_JSON_BYTES else None
    except (OSError, ValueError):  # a JSON file that is no YAML, or it has gone
        document = None
    if document is None:
        return [0] * len(paths)
    if isinstance(document.value, list):
        paths = [place.removeprefix("tasks") for place in paths]
    return [document.locate(Problem(place, "")).line for place in paths]


def _imported(name: str) -> tuple[ModuleType, Path]:
    path = Path(name)
    folder = Path.cwd()
    if path.suffix == ".py":
        if not path.is_file():
            raise BadTarget(f"{name}: no such file")
        if not path.stem.isidentifier():
            raise BadTarget(f"{name}: a worker imports it by name, and {path.stem!r} is no Python name: rename it")
        folder, name = path.resolve().parent, path.stem
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name), folder
    except ModuleNotFoundError as problem:
        if problem.name is not None and (name == problem.name or name.startswith(problem.name + ".")):
            raise BadTarget(
                f"no file and no module {name!r} from {folder}: give a file such as flow.yaml or flow.py, or the "
                "name of a module that can be imported from here"
            ) from None
        raise BadTarget(f"{name} cannot be imported: {problem}") from None
    except Exception as problem:
        if type(problem).__module__.startswith("indegree."):
            raise  # a workflow that is not valid says so itself
        last = traceback.extract_tb(problem.__traceback__)[-1]
        raise BadTarget(
            f"{name} cannot be imported: {type(problem).__name__}: {problem} ({last.filename}, line {last.lineno})"
        ) from None
