"""A workflow's definition: validated, immutable, with one normal form and a hash of it.

Why: a run keeps the version it started with, versions are compared by content, and everybody (SDK, engine, worker, CLI)
reads one and the same object. It is data: no function and no module is in it.

How: `Definition.from_normal` validates an object as it stands in a workflow file and applies defaults
(definition_read); `normal` is the inverse (definition_write); `hash` is the SHA-256 of the normal form as canonical
JSON (RFC 8785). The normal form is itself a valid workflow file: durations are canonical text (`15m`), never bare
numbers, which would be seconds in a file.

It must never do IO or import a user's code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from indegree.events import definition_params, json_values
from indegree.events.definition_fields import Report
from indegree.events.definition_model import (
    MAX_TASKS,
    NO_RETRY,
    Concurrency,
    CronTrigger,
    Defaults,
    DefinitionError,
    KafkaTrigger,
    Mapped,
    Problem,
    RateLimit,
    RetryPolicy,
    RunTrigger,
    TaskDefinition,
    TaskKind,
    TriggerRule,
    WaitFor,
)
from indegree.events.definition_params import Parameter, ParameterError
from indegree.events.definition_read import read_workflow
from indegree.events.definition_write import (
    normal_concurrency,
    normal_defaults,
    normal_params,
    normal_task,
    normal_trigger,
)
from indegree.events.durations import format_duration
from indegree.events.graph import Graph

__all__ = [
    "MAX_DEFINITION_BYTES",
    "MAX_TASKS",
    "NO_RETRY",
    "Concurrency",
    "CronTrigger",
    "Defaults",
    "Definition",
    "DefinitionError",
    "KafkaTrigger",
    "Mapped",
    "Parameter",
    "ParameterError",
    "Problem",
    "RateLimit",
    "RetryPolicy",
    "RunTrigger",
    "TaskDefinition",
    "TaskKind",
    "TriggerRule",
    "WaitFor",
]

MAX_DEFINITION_BYTES = 64 * 1024 * 1024
"""Canonical JSON of one definition: 100,000 tasks with a few hundred bytes each, and the limit of every other value."""


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """One version of a workflow. Two definitions are equal if their hashes are.

    id:          the workflow's name
    params:      declared run parameters, in the order of writing
    tasks:       in the order of writing, which is the index order of `graph`
    graph:       which task waits for which
    timeout_ms:  of a run (None = no limit)
    defaults:    what the tasks' fields were filled from
    concurrency, triggers, hooks: see INTERFACES section 3
    notes:       what was understood though it is not the normal form (aliases of fields)
    """

    id: str
    params: Mapping[str, Parameter]
    tasks: tuple[TaskDefinition, ...]
    graph: Graph
    timeout_ms: int | None = None
    defaults: Defaults = field(default_factory=Defaults)
    concurrency: Concurrency | None = None
    triggers: tuple[KafkaTrigger | CronTrigger | RunTrigger, ...] = ()
    hooks: Mapping[str, tuple[TaskDefinition, ...]] = field(default_factory=dict)
    notes: tuple[Problem, ...] = ()
    _canonical: bytes | None = field(default=None, init=False, repr=False)
    _hash: str | None = field(default=None, init=False, repr=False)

    @classmethod
    def from_normal(cls, value: object) -> Definition:
        """Validate an object (a parsed workflow file or a normal form). Raises DefinitionError with every problem."""
        report = Report()
        parts = read_workflow(report, value)
        if report.problems:
            named = isinstance(value, dict) and isinstance(value.get("id"), str)
            raise DefinitionError(report.problems, f"workflow {parts.id!r}" if named and parts.id else "the workflow")
        return cls(
            id=parts.id,
            params=parts.params,
            tasks=parts.tasks,
            graph=parts.graph,
            timeout_ms=parts.timeout_ms,
            defaults=parts.defaults,
            concurrency=parts.concurrency,
            triggers=parts.triggers,
            hooks=parts.hooks,
            notes=tuple(report.notes),
        )

    @classmethod
    def from_canonical(cls, data: bytes, version: str = "") -> Definition:
        """The inverse of `canonical`. Raises DefinitionError for anything that is not a valid definition.

        `version`: the hash under which `data` is kept. If it has that hash it is taken for the normal form as it is,
        and not written anew: a version is its text, also for a later release with another normal form. Takes some 4 s
        for 100,000 tasks.
        """
        if len(data) > MAX_DEFINITION_BYTES:
            raise DefinitionError([Problem("", f"{len(data)} bytes; the limit is {MAX_DEFINITION_BYTES}")])
        if version and hashlib.sha256(data).hexdigest() != version:
            problem = f"the content has the hash {hashlib.sha256(data).hexdigest()}, and is kept as {version}"
            raise DefinitionError([Problem("", problem)])
        try:
            value = json_values.loads(data, max_depth=None)  # each value in it is looked at by itself
        except json_values.JsonValueError as error:
            raise DefinitionError([Problem("", error.problem)]) from None
        try:
            found = cls.from_normal(value)
        except RecursionError:
            raise DefinitionError([Problem("", "it is nested too deep")]) from None
        if version:
            object.__setattr__(found, "_canonical", data)
            object.__setattr__(found, "_hash", version)
        value["tasks"].reverse()
        while value["tasks"]:  # one by one: to free all at once would hold up other threads
            value["tasks"].pop()
        return found

    def normal(self) -> dict[str, Any]:
        """The normal form: a new object on each call, in the order in which people write it."""
        found: dict[str, Any] = {"id": self.id}
        if self.params:
            found["params"] = normal_params(self.params)
        if self.triggers:
            found["triggers"] = [normal_trigger(trigger) for trigger in self.triggers]
        if self.concurrency is not None:
            found["concurrency"] = normal_concurrency(self.concurrency)
        if self.timeout_ms is not None:
            found["timeout"] = format_duration(self.timeout_ms)
        defaults = normal_defaults(self.defaults)
        if defaults:
            found["defaults"] = defaults
        found["tasks"] = [normal_task(task, self.defaults) for task in self.tasks]
        if self.hooks:
            found["hooks"] = {
                name: [normal_task(task, self.defaults) for task in tasks] for name, tasks in self.hooks.items()
            }
        return found

    def canonical(self) -> bytes:
        """The normal form as canonical JSON (RFC 8785). Raises DefinitionError above MAX_DEFINITION_BYTES."""
        if self._canonical is None:
            data = json_values.canonical(self.normal())
            if len(data) > MAX_DEFINITION_BYTES:
                problem = Problem("", f"{len(data)} bytes of canonical JSON; the limit is {MAX_DEFINITION_BYTES}")
                raise DefinitionError([problem], f"workflow {self.id!r}")
            object.__setattr__(self, "_canonical", data)
            return data
        return self._canonical

    @property
    def hash(self) -> str:
        """The version: hex SHA-256 of `canonical()`."""
        if self._hash is None:
            object.__setattr__(self, "_hash", hashlib.sha256(self.canonical()).hexdigest())
        assert self._hash is not None
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Definition) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def task(self, task_id: str) -> TaskDefinition:
        """The task with this id. Raises KeyError."""
        return self.tasks[self.graph.index[task_id]]

    def bind_params(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A value for each parameter of a run. Raises ParameterError with each parameter at fault."""
        return definition_params.bind(self.params, given)

    def params_from_text(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Values of texts given on a command line, by the declared types; to be handed to `bind_params`.

        Raises ParameterError. Unknown names keep their text, so that `bind_params` names them.
        """
        return {
            name: self.params[name].from_text(text) if name in self.params else text for name, text in given.items()
        }

    def __repr__(self) -> str:
        return f"Definition({self.id!r}, {len(self.tasks)} tasks, {self.hash[:12]})"
