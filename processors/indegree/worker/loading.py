"""Modules given on the command line (`orders.flow`, `orders.flow:orders`) and what they bring.

A module brings its own functions and the workflows in it; a workflow brings the functions of its tasks, wherever they
were defined. `MODULE:OBJECT` names one workflow: only that one is deployed; the module's functions may be run all the
same.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indegree.sdk import Workflow


class CannotLoad(ValueError):
    """A module or object that was given cannot be had; the message says which and why."""


@dataclass(slots=True)
class Loaded:
    """What the given modules bring."""

    modules: list[ModuleType] = field(default_factory=list)
    workflows: list[Workflow] = field(default_factory=list)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)


def load(targets: Iterable[str]) -> Loaded:
    """Imports the modules. Runs user code, may block. Raises CannotLoad."""
    loaded = Loaded()
    for target in targets:
        name, _, attribute = target.partition(":")
        module = _import(name)
        if module not in loaded.modules:
            loaded.modules.append(module)
        for workflow in _workflows(module, attribute):
            if workflow not in loaded.workflows:
                loaded.workflows.append(workflow)
                loaded.functions.update(workflow.functions)
    return loaded


def _import(name: str) -> ModuleType:
    if name.endswith(".py") or "/" in name:
        raise CannotLoad(f"{name!r} is a file name; give the module's name, such as {_module_name(name)!r}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CannotLoad(
                f"there is no module {name!r} (no {error.name!r} on the path); start the worker in the folder that "
                "holds it, or set PYTHONPATH"
            ) from error
        raise CannotLoad(f"module {name!r} needs {error.name!r}, which is not installed here") from error
    except Exception as error:
        raise CannotLoad(f"module {name!r} cannot be imported: {type(error).__name__}: {error}") from error


def _module_name(file: str) -> str:
    return file.removesuffix(".py").strip("./").replace("/", ".")


def _workflows(module: ModuleType, attribute: str) -> list[Workflow]:
    from indegree.sdk import Workflow

    if not attribute:
        return [value for value in vars(module).values() if isinstance(value, Workflow)]
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Workflow):
        there = ", ".join(name for name, value in vars(module).items() if isinstance(value, Workflow))
        hint = f"; its workflows are {there}" if there else "; it holds no workflow"
        if found is None:
            raise CannotLoad(f"module {module.__name__!r} has no {attribute!r}{hint}")
        raise CannotLoad(f"{module.__name__}:{attribute} is no workflow, it is a {type(found).__name__}{hint}")
    return [found]
