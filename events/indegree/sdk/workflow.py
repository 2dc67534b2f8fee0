"""The workflow as a Python object: it holds data and functions, and is known whole before it runs.

Why: people write workflows where their code is, unit-test their functions as they are, and read the DAG without running
it. So there is no ambient context and no registry: importing a module only builds objects.

How: each method notes one task in the form of the workflow file; `definition()` resolves parameter names to values and
edges, and hands the whole to `Definition.from_normal`, the one validator. Functions are kept beside, by task id.

It must never run a task, and what it says must be what its file says: `to_yaml` and `from_yaml` are inverse.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, Unpack, overload

from indegree.events.definition import Definition, DefinitionError, Problem
from indegree.events.json_values import JsonValueError
from indegree.sdk import functions
from indegree.sdk.convert import to_json
from indegree.sdk.functions import Function
from indegree.sdk.nodes import Node, Reference, plain
from indegree.sdk.options import (
    AfterRun,
    Concurrency,
    Cron,
    Defaults,
    Duration,
    Kafka,
    TaskOptions,
    duration_form,
    expression_form,
    options_form,
    param_form,
    type_name,
)

F = TypeVar("F", bound=Callable[..., Any])


class Workflow:
    """A named DAG of tasks.

    params: a type is a required run parameter, a value is a default (`{"region": str, "rows": 0}`)
    triggers: what starts runs besides clients; timeout: of a run; defaults: of tasks that say nothing themselves
    """

    def __init__(
        self,
        id: str,
        *,
        params: Mapping[str, Any] | None = None,
        triggers: Iterable[Kafka | Cron | AfterRun] = (),
        timeout: Duration | None = None,
        defaults: Defaults | None = None,
        concurrency: Concurrency | Mapping[str, Any] | None = None,
    ) -> None:
        self.id = id
        self._head: dict[str, Any] = {"id": id}
        if params:
            self._head["params"] = {name: self._param(name, value) for name, value in params.items()}
        found = [trigger.file_form() for trigger in triggers]
        if found:
            self._head["triggers"] = found
        if concurrency is not None:
            given = concurrency if isinstance(concurrency, Concurrency) else Concurrency(**concurrency)
            self._head["concurrency"] = given.file_form()
        if timeout is not None:
            self._head["timeout"] = duration_form(timeout)
        if defaults is not None:
            self._head["defaults"] = defaults.file_form()
        self._tasks: dict[str, dict[str, Any]] = {}
        self._hooks: dict[str, dict[str, dict[str, Any]]] = {}
        self._functions: dict[str, Function] = {}
        self._built: dict[bool, Definition] = {}
        self._below: dict[str, Workflow] = {}

    # -- writing tasks down

    @overload
    def task(self, function: F, /) -> F: ...

    @overload
    def task(
        self, /, *, id: str | None = None, args: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]
    ) -> Callable[[F], F]: ...

    def task(
        self,
        function: F | None = None,
        /,
        *,
        id: str | None = None,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> F | Callable[[F], F]:
        """Register a function under its name (or `id`) and return it unchanged. Values come by parameter name."""
        if function is not None:
            self.add(function)
            return function

        def register(function: F) -> F:
            self.add(function, id=id, args=args, **options)
            return function

        return register

    def add(
        self,
        function: Function,
        *,
        id: str | None = None,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> Node:
        """Register a function as a task, also a second time under another id. `args` may hold references."""
        problem = functions.registration_problem(function)
        if problem:
            raise DefinitionError([Problem(f"tasks.{id}" if id else "", problem)], f"workflow {self.id!r}")
        task_id = id if id is not None else getattr(function, "__name__", "")
        task = {"id": task_id, "python": functions.python_name(function), **self._options(task_id, options)}
        if args is not None:
            task["args"] = self._json(f"tasks.{task_id}.args", args)
        node = self._note(task, f"{functions.display(function)}")
        self._functions[task_id] = function
        return node

    def command(self, id: str, command: str | list[str], **options: Unpack[TaskOptions]) -> Node:
        """A task that runs a command: text for a shell, a list of words without one."""
        return self._note({"id": id, "command": plain(command), **self._options(id, options)})

    def join(self, id: str, **options: Unpack[TaskOptions]) -> Node:
        """A task with nothing to do: a place where paths meet."""
        return self._note({"id": id, **self._options(id, options)})

    def wait_for(
        self,
        id: str,
        *,
        signal: str | None = None,
        form: Mapping[str, Any] | None = None,
        kafka: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
        delay: Duration | None = None,
        until: str | Reference | None = None,
        **options: Any,
    ) -> Node:
        """A task that waits for a signal, a record, a run or a time; what arrives is its output.

        form: what the signal's payload consists of, names and types (`{"approved": bool}`)
        kafka: topic, and filter (over value, key, headers and what other expressions read)
        run: workflow, state (SUCCESS unless given, or "any") and params that its parameters have to contain
        until: an expression that gives an ISO 8601 time with an offset
        `default` (with a timeout) is the output when nothing came.
        """
        given = {"signal": signal, "kafka": kafka, "run": run}
        waits = {name: plain(value) for name, value in given.items() if value is not None}
        if form is not None:
            waits["form"] = {name: type_name(kind) for name, kind in form.items()}
        if until is not None:
            waits["until"] = expression_form(until)
        if delay is not None:
            waits["delay"] = duration_form(delay)
        return self._note({"id": id, "wait_for": waits, **self._options(id, options)})

    def subworkflow(
        self,
        id: str,
        workflow: str | Workflow,
        *,
        params: Mapping[str, Any] | None = None,
        wait: bool = True,
        **options: Unpack[TaskOptions],
    ) -> Node:
        """A task that starts another workflow; `wait=False` forgets it. One given as an object is deployed along with
        this one by whoever starts or deploys it, where no version of it is active yet."""
        name = workflow.id if isinstance(workflow, Workflow) else workflow
        if isinstance(workflow, Workflow):
            self._below[name] = workflow
        task = {"id": id, "workflow": name, **self._options(id, options)}
        if params:
            task["params"] = self._json(f"tasks.{id}.params", params)
        if not wait:
            task["wait"] = False
        return self._note(task)

    def hook(
        self,
        event: str,
        /,
        *,
        id: str | None = None,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> Callable[[F], F]:
        """Register a function that runs after a run: on_success, on_failure, on_cancel, on_end.

        Its parameters may be tasks of the workflow, too: all of them have ended by then.
        """

        def register(function: F) -> F:
            problem = functions.registration_problem(function)
            if problem:
                raise DefinitionError([Problem(f"hooks.{event}", problem)], f"workflow {self.id!r}")
            task_id = id or function.__name__
            if task_id in self._tasks or any(task_id in hooks for hooks in self._hooks.values()):
                problem = f"the id {task_id!r} is taken by a task or another hook; give this one another id="
                raise DefinitionError([Problem(f"hooks.{event}.{task_id}", problem)], f"workflow {self.id!r}")
            task = {"id": task_id, "python": functions.python_name(function), **self._options(task_id, options)}
            if args is not None:
                task["args"] = self._json(f"hooks.{event}.{task_id}.args", args)
            self._hooks.setdefault(event, {})[task_id] = task
            self._functions[task_id] = function
            self._built.clear()
            return function

        return register

    # -- reading

    def __getitem__(self, id: str) -> Node:
        """The node of a task. Raises KeyError with a suggestion."""
        if id not in self._tasks:
            from indegree.events.spelling import did_you_mean

            raise KeyError(f"workflow {self.id!r} has no task {id!r}{did_you_mean(id, self._tasks)}")
        return Node(self, id)

    def __contains__(self, id: object) -> bool:
        return id in self._tasks

    def __iter__(self) -> Any:
        return iter([Node(self, task_id) for task_id in self._tasks])

    def __len__(self) -> int:
        return len(self._tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"Workflow({self.id!r}, {len(self._tasks)} tasks)"

    def function(self, task_id: str) -> Function | None:
        """The function registered for a task; None for commands, joins and tasks that came from a file."""
        return self._functions.get(task_id)

    @property
    def functions(self) -> dict[str, Function]:
        """The registered functions by the name that a definition has for them (`module:qualified.name`)."""
        return {functions.python_name(function): function for function in self._functions.values()}

    def subworkflows(self) -> list[Workflow]:
        """The workflow objects that were handed to `subworkflow`, and those handed to theirs; each once."""
        found: dict[int, Workflow] = {}
        waiting = list(self._below.values())
        while waiting:
            below = waiting.pop(0)
            if below is not self and id(below) not in found:
                found[id(below)] = below
                waiting.extend(below._below.values())
        return list(found.values())

    def definition(self, *, deployable: bool = True) -> Definition:
        """The validated definition; cached until the workflow is changed.

        `deployable=False` allows functions that no worker could import (for `simulate` and workers in this process).
        Raises DefinitionError with every problem; places are named by task (`tasks.load.when`).
        """
        found = self._built.get(deployable)
        if found is None:
            found = self._built[deployable] = self._build(deployable)
        return found

    def to_yaml(self) -> str:
        """The workflow as a file. Raises DefinitionError also for functions that a worker could not import."""
        from indegree.sdk.file_write import normal_yaml

        return normal_yaml(self.definition())

    @classmethod
    def from_definition(cls, definition: Definition) -> Workflow:
        """A workflow to go on with, from a definition. Its Python tasks are known by name only."""
        normal = definition.normal()
        workflow = cls(definition.id)
        workflow._tasks = {task["id"]: task for task in normal.pop("tasks")}
        workflow._hooks = {
            name: {task["id"]: task for task in tasks} for name, tasks in normal.pop("hooks", {}).items()
        }
        workflow._head = normal
        return workflow

    @classmethod
    def from_yaml(cls, text: str) -> Workflow:
        """The workflow that a YAML (or JSON) text describes. Raises DefinitionError with lines and columns."""
        from indegree.sdk.file import parse

        return cls.from_definition(parse(text)[0])

    from_json = from_yaml

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Workflow:
        """The workflow in a file (.yaml, .yml or .json). Raises DefinitionError, OSError."""
        from indegree.sdk.file import load

        return cls.from_definition(load(path)[0])

    # -- inside

    def _param(self, name: str, value: Any) -> dict[str, Any]:
        try:
            return param_form(value)
        except JsonValueError as error:
            problem = Problem(f"params.{name}", f"{error.problem} (a parameter is a type or a default)")
            raise DefinitionError([problem], f"workflow {self.id!r}") from None

    def _json(self, path: str, value: Any) -> Any:
        try:
            return to_json(plain(value))
        except JsonValueError as error:
            raise DefinitionError(
                [Problem(path + error.path.removeprefix("$"), error.problem)], f"workflow {self.id!r}"
            ) from None

    def _options(self, task_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
        try:
            found = options_form({k: v for k, v in options.items() if k not in ("depends_on", "foreach_with")})
        except JsonValueError as error:
            raise DefinitionError([Problem(f"tasks.{task_id}", str(error))], f"workflow {self.id!r}") from None
        parents = options.get("depends_on")
        if parents is not None:
            single = isinstance(parents, str | Node) or callable(parents)
            found["depends_on"] = [self._id_of(parent) for parent in ([parents] if single else parents)]
        if options.get("foreach_with") is not None:
            found["foreach_with"] = self._id_of(options["foreach_with"])
        return found

    def _id_of(self, parent: object) -> str:
        if isinstance(parent, Node):
            return parent._id
        if isinstance(parent, str):
            return parent
        if isinstance(parent, Reference):
            raise TypeError(f"{parent!r} is part of an output; depends_on takes tasks")
        for task_id, function in self._functions.items():
            if function is parent:
                return task_id
        raise TypeError(f"depends_on takes ids, nodes or functions registered in this workflow, not {parent!r:.80}")

    def _note(self, task: dict[str, Any], where: str = "") -> Node:
        task_id = task["id"]
        earlier = self._tasks.get(task_id) if isinstance(task_id, str) else None
        if earlier is not None:
            other = self._functions.get(task_id)
            places = " and ".join(place for place in (functions.display(other) if other else "", where) if place)
            raise DefinitionError(
                [
                    Problem(
                        f"tasks.{task_id}",
                        f"two tasks have the id {task_id!r}{f' ({places})' if places else ''}; "
                        "give one of them another id=",
                    )
                ],
                f"workflow {self.id!r}",
            )
        self._tasks[task_id] = task
        self._built.clear()
        return Node(self, task_id)

    def _depend(self, task_id: str, parent: str) -> None:
        parents = self._tasks[task_id].setdefault("depends_on", [])
        if parent not in parents:
            parents.append(parent)
        self._built.clear()

    def _build(self, deployable: bool) -> Definition:
        problems: list[Problem] = []
        params = self._head.get("params", {})
        tasks = [
            self._resolved(task, f"tasks.{task_id}", self._tasks, params, deployable, problems)
            for task_id, task in self._tasks.items()
        ]
        form: dict[str, Any] = {**self._head, "tasks": tasks}
        if self._hooks:
            form["hooks"] = {
                name: [
                    self._resolved(task, f"hooks.{name}.{task_id}", known, params, deployable, problems)
                    for known in [{**self._tasks, **hooks}]
                    for task_id, task in hooks.items()
                ]
                for name, hooks in self._hooks.items()
            }
        try:
            found = Definition.from_normal(form)
        except DefinitionError as error:
            problems.extend(self._by_id(problem) for problem in error.problems)
        if problems:
            raise DefinitionError(problems, f"workflow {self.id!r}")
        return found

    def _resolved(
        self,
        task: dict[str, Any],
        path: str,
        tasks: Mapping[str, Any],
        params: Mapping[str, Any],
        deployable: bool,
        problems: list[Problem],
    ) -> dict[str, Any]:
        function = self._functions.get(task["id"])
        if function is None or "python" not in task:
            return task
        given = task.get("args", {})
        mapped = "foreach" in task or "foreach_with" in task
        values, wrong = functions.arguments(
            function, given, task_id=task["id"], tasks=tasks, params=params, mapped=mapped
        )
        unimportable = functions.import_problem(function) if deployable else None
        problems.extend(Problem(path, problem) for problem in [*wrong, *([unimportable] if unimportable else [])])
        return {**task, "args": {**values, **given}} if values else task

    def _by_id(self, problem: Problem) -> Problem:
        """`tasks[3].when` as `tasks.load.when`: in Python nobody counts tasks."""
        head, bracket, rest = problem.path.partition("[")
        number, closing, tail = rest.partition("]")
        ids = list(self._tasks if head == "tasks" else self._hooks.get(head.removeprefix("hooks."), ()))
        if not bracket or not closing or not number.isdigit() or int(number) >= len(ids):
            return problem
        return Problem(f"{head}.{ids[int(number)]}{tail}", problem.message, problem.see)
