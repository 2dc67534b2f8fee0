"""Which functions this worker may run, and how each is called.

A worker runs only what it was given: the functions of the modules it was started with, those that the workflows in
these modules name, those of modules that match an allowed pattern (`orders.*`), and those handed to it as objects. A
record can name anything, so what a name resolves to is checked: `orders:os.system` is refused although `orders` imports
`os`, because the function must belong to an allowed module itself.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any

from indegree.events.spelling import did_you_mean
from indegree.worker.attempt import Attempt
from indegree.worker.context import Context
from indegree.worker.conversion import ArgumentError, Decode, decoder, hints


class Refused(Exception):
    """The worker lacks this code or may not run it. Answered with `rejected`."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    decode: Decode | None
    required: bool


@dataclass(slots=True)
class Plan:
    """How one function is called."""

    # "module:qualified.name", as in the record.
    name: str
    function: Callable[..., Any]
    is_async: bool
    parameters: tuple[_Parameter, ...]
    # Positional-only parameters, which come first.
    positional: int
    takes_context: bool
    takes_all: bool
    # The file of its module, for a child process that cannot import the module by name; empty if unknown.
    file: str = ""
    # Calls in a row that took more than a moment: after some, the next one is given a thread at once.
    slow_calls: int = field(default=0, compare=False)

    def bind(self, arguments: Mapping[str, Any], attempt: Attempt) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments. Raises ArgumentError."""
        named: dict[str, Any] = {}
        for parameter in self.parameters:
            name = parameter.name
            if name in arguments:
                value = arguments[name]
                named[name] = value if parameter.decode is None else parameter.decode(value)
            elif parameter.required:
                raise ArgumentError(
                    f"{self.name} needs an argument {name!r}, and the task gives "
                    f"{', '.join(map(repr, arguments)) or 'none'}; name a parent or a run parameter so, or use args="
                )
        if self.takes_all:
            for name, value in arguments.items():
                named.setdefault(name, value)
        if self.takes_context:
            named["context"] = Context(attempt)
        if not self.positional:
            return [], named
        first = [named.pop(p.name) for p in self.parameters[: self.positional] if p.name in named]
        return first, named


def plan(name: str, function: Callable[..., Any]) -> Plan:
    """Reads a function's signature once. Raises Refused for what cannot be called by name."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise Refused(f"{name}: its signature cannot be read ({error})") from None
    types = hints(function)
    parameters: list[_Parameter] = []
    positional = 0
    takes_context = takes_all = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_all = True
        elif parameter.kind is parameter.VAR_POSITIONAL:
            continue  # refused when a workflow is built; here nothing is passed for it
        elif parameter.name == "context":
            takes_context = True
        else:
            positional += parameter.kind is parameter.POSITIONAL_ONLY
            annotation = types.get(parameter.name, inspect.Parameter.empty)
            decode = decoder(name, parameter.name, annotation, parameter.default)
            parameters.append(_Parameter(parameter.name, decode, parameter.default is parameter.empty))
    inner = inspect.unwrap(function)
    file = ""
    try:
        file = inspect.getsourcefile(inner) or ""
    except TypeError:
        pass
    return Plan(
        name=name,
        function=function,
        is_async=inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(function, "__call__", None)),  # noqa: B004
        parameters=tuple(parameters),
        positional=positional,
        takes_context=takes_context,
        takes_all=takes_all,
        file=file,
    )


class Functions:
    """The code that a worker was given. `given`: names to functions; `modules`: imported ones; `allow`: patterns of
    further modules, imported when a task first names them."""

    def __init__(
        self,
        given: Mapping[str, Callable[..., Any]] | None = None,
        modules: Iterable[ModuleType] = (),
        allow: Iterable[str] = (),
    ) -> None:
        self._given = dict(given or {})
        self._modules = {module.__name__: module for module in modules}
        self._allow = tuple(allow)
        self._plans: dict[str, Plan] = {}

    @property
    def modules(self) -> list[str]:
        """Names of the modules it was given, and the allowed patterns, for `doctor`."""
        return sorted({*self._modules, *self._allow, *(name.partition(":")[0] for name in self._given)})

    def known(self, name: str) -> Plan | None:
        """The plan, if the function was called before: the fast path, never blocks."""
        return self._plans.get(name)

    def needs_import(self, name: str) -> bool:
        """True if `find` would import a module, which may take long."""
        module = name.partition(":")[0]
        return name not in self._given and module not in self._modules and module not in sys.modules

    def find(self, name: str) -> Plan:
        """The plan of "module:qualified.name". May import an allowed module (blocks). Raises Refused."""
        found = self._plans.get(name)
        if found is None:
            found = self._plans[name] = plan(name, self._resolve(name))
        return found

    def _resolve(self, name: str) -> Callable[..., Any]:
        if name in self._given:
            return self._given[name]
        module_name, colon, path = name.partition(":")
        if not colon or not module_name or not path:
            raise Refused(f"python: {name!r} is not of the form module:qualified.name")
        module = self._modules.get(module_name)
        if module is None:
            if not self._allowed(module_name):
                raise Refused(
                    f"this worker was not given the module {module_name!r} "
                    f"(it has: {', '.join(self.modules) or 'none'}); "
                    f"start it with {module_name} or with --allow-import '{module_name}'"
                )
            try:
                module = importlib.import_module(module_name)
            except Exception as error:
                raise Refused(
                    f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}; install it where the "
                    "worker runs, or put its folder on PYTHONPATH"
                ) from error
        target: Any = module
        for part in path.split("."):
            target = getattr(target, part, None)
            if target is None:
                hint = did_you_mean(path, vars(module)) or "; write module:function of a function at its top level"
                raise Refused(f"module {module_name!r} has no {path!r}{hint}")
        if not callable(target) or inspect.isclass(target):
            raise Refused(f"{name} is a {type(target).__name__}, not a function")
        owner = getattr(inspect.unwrap(target), "__module__", None)
        if owner != module_name and owner not in self._modules and not self._allowed(str(owner)):
            raise Refused(
                f"{name} is a function of {owner}, a module that this worker was not given; "
                f"start it with {owner} or with --allow-import '{owner}'"
            )
        return target  # type: ignore[no-any-return]

    def _allowed(self, module: str) -> bool:
        return any(
            fnmatchcase(module, pattern) or (pattern.endswith(".*") and module == pattern[:-2])
            for pattern in self._allow
        )
