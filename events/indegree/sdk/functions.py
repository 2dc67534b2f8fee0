"""What a workflow needs to know of a Python function: its name for workers, and which values its parameters take.

Why: a worker finds a function by `module:qualified.name` in its own process, and values come by parameter name.

How: names are checked where they must hold (for deployment); parameters are matched with `item`, tasks and run
parameters when the workflow is built, since tasks may be registered in any order.

It must never import or call anything.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection
from typing import Any

from indegree.events.spelling import did_you_mean

Function = Callable[..., Any]


def display(function: Function) -> str:
    """`orders.py:12`, for messages."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return str(getattr(function, "__qualname__", function))
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"


def registration_problem(function: object) -> str | None:
    """Why this object cannot be a task at all, or None."""
    if inspect.isclass(function) or not callable(function):
        return f"{function!r:.80} is not a function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return f"{_name(function)} is a generator; a task returns one value, so return a list"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        return f"the signature of {function!r:.80} cannot be read ({error}); wrap it in a function"
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return (
                f"{_name(function)} takes *{parameter.name}; values come by name, so write out its parameters, "
                "or take one list"
            )
    return None


def python_name(function: Function) -> str:
    """`module:qualified.name`. For functions that no worker could import it is a stand-in of the same form."""
    qualname = re.sub(r"[^\w.]", "_", _name(function))
    return f"{_module(function)}:{qualname}"


def import_problem(function: Function) -> str | None:
    """Why a worker could not import this function, with the way out, or None."""
    name, module = _name(function), _module(function)
    if module == "__main__":
        return (
            f"{name} is defined in the script that is being run (__main__), and a worker cannot import that; move it "
            "into a module (say, orders.py) and import it here, or start the script with `indegree run FILE`"
        )
    if "<lambda>" in name:
        return "a lambda has no name by which a worker could import it; write it as a function with def"
    if "<locals>" in name:
        return f"{name} is defined inside a function, where a worker cannot import it; move it to the top of its module"
    if not re.fullmatch(r"[\w.]+", name) or not module:
        return f"{function!r:.80} has no importable name; write a function with def at the top of a module"
    found: Any = sys.modules.get(module)
    if found is None:
        return f"the module {module!r} of {name} is not importable by that name here; start Python where it is"
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        return f"the module {module!r} has no {name!r} any more (deleted or renamed after it was registered)"
    if found is not function and inspect.unwrap(found) is not inspect.unwrap(function):
        return (
            f"{module}:{name} is another object by now, so a worker would run that one; "
            "give the two functions different names, or add the same one twice with orders.add(...)"
        )
    return None


def arguments(
    function: Function,
    given: Collection[str],
    *,
    task_id: str,
    tasks: Collection[str],
    params: Collection[str],
    mapped: bool,
) -> tuple[dict[str, str], list[str]]:
    """Values for the parameters that were not `given`, as templates by name; and what is wrong."""
    found: dict[str, str] = {}
    problems: list[str] = []
    takes_all = False
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_all = True
            continue
        names.append(name)
        if name == "context":
            if name in given:
                problems.append("`context` is given to every task that has such a parameter; leave it out of args")
        elif name in given:
            pass
        elif name in tasks or (mapped and name in ("item", "index")):
            found[name] = f"${{{{ {name} }}}}"
        elif name in params:
            found[name] = f"${{{{ params.{name} }}}}"
        elif parameter.default is parameter.empty:
            if name in ("item", "index"):
                hint = f"; `{name}` exists where the task has foreach"
            else:
                hint = did_you_mean(name, [*tasks, *params, "context"])
                hint = hint or "; add it to the workflow's params, give it a default, or hand it over in args"
            problems.append(
                f"the parameter {name!r} of {_name(function)} ({display(function)}) is no task and no run parameter, "
                f"and has no default{hint}"
            )
    if not takes_all:
        for name in given:
            if name not in names:
                problems.append(f"{_name(function)} has no parameter {name!r}{did_you_mean(name, names)}")
    return found, problems


def _name(function: Any) -> str:
    return str(getattr(inspect.unwrap(function), "__qualname__", type(function).__qualname__))


def _module(function: Any) -> str:
    return str(getattr(inspect.unwrap(function), "__module__", None) or "")
