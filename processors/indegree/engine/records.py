"""Task records: what a worker is told of one attempt.

Why: most arguments are a parent's whole output or a parameter. Decoding and encoding them again would cost more than
all other work on a task, and would change nothing.

How: for each task of a version a recipe is made once. Arguments that are a whole output, a whole parameter or a
constant are pieces of JSON text that are joined; everything else is a template that is evaluated. `check` evaluates
before a task is queued, so that an error in an expression fails the task there; `build` makes the record when a
worker is there.

It must never change the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from indegree.engine.limits import Limits
from indegree.engine.past import Reopened
from indegree.engine.plan import Plan
from indegree.engine.scope import item_of, scope_of, trigger_scope
from indegree.engine.state import Attempt, Ref, Run
from indegree.engine.states import SUCCESS, TASK_STATES
from indegree.engine.values import Missing, Values
from indegree.events import json_values
from indegree.events.definition_model import TaskDefinition, TaskKind
from indegree.events.expressions import EvaluationError, Scope, Template, to_text
from indegree.events.expressions_syntax import Literal, Path
from indegree.events.expressions_template import Whole
from indegree.events.graph import Graph
from indegree.v1.task_pb2 import Task

OUTPUT: Final = 0
PARAM: Final = 1
CONSTANT: Final = 2
TEMPLATE: Final = 3
ITEM: Final = 4
INDEX: Final = 5


_LIGHT_BYTES: Final = 16_384
_MOST_STATES: Final = 1_000
"""In one record: some 100 KiB with the longest ids, which the bound of the inputs leaves room for."""


class Unbuildable(Exception):
    """A task's inputs cannot be made; the message says why. Trying again gives the same."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One argument. `head` is its name as JSON with the colon; `what` says which of the others counts."""

    head: bytes
    what: int
    task: int = 0
    param: str = ""
    constant: bytes = b""
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the record of one task is made.

    fixed:    a record with all that does not depend on the run
    args:     pieces of the argument object
    size:     bytes of `fixed`, which may hold a large constant command, environment or standard input
    input_of: task whose whole output is the standard input, or -1
    simple:   nothing needs evaluation or measuring: the inputs are values that are there already, and what is fixed
              or constant is small
    """

    fixed: Task
    args: tuple[Piece, ...]
    size: int
    command: Template | None
    env: tuple[tuple[str, Template], ...]
    input: Template | None
    input_of: int
    simple: bool


def recipe_of(plan: Plan, task: int) -> Recipe:
    """The recipe of a task, made when it is first needed and kept with the plan."""
    recipe = plan.recipes.get(task)
    if recipe is None:
        recipe = plan.recipes[task] = _recipe(plan, task)
    return cast(Recipe, recipe)


def _recipe(plan: Plan, index: int) -> Recipe:
    task: TaskDefinition = plan.tasks[index]
    fixed = Task(
        task_id=task.id,
        task=index,
        workflow=plan.workflow,
        version=plan.version,
        python=task.python or "",
        output=task.output or "",
        timeout_ms=task.timeout_ms or 0,
        isolate=task.isolate,
        secrets=task.secrets,
        priority=task.priority,
        queue=task.queue,
    )
    command: Template | None = None
    env: list[tuple[str, Template]] = []
    if task.kind is TaskKind.COMMAND and task.command is not None:
        fixed.shell = isinstance(task.command.source, str)
        if task.command.is_constant:
            source = task.command.source
            fixed.command.extend([source] if isinstance(source, str) else source)
        else:
            command = task.command
    for name, template in task.env.items():
        if template.is_constant:
            fixed.env[name] = to_text(template.source)
        else:
            env.append((name, template))
    stdin = task.input
    if stdin is not None and stdin.is_constant:
        fixed.input = json_values.dumps(stdin.source)
        stdin = None
    input_of = -1
    if stdin is not None and stdin.whole_output_of is not None:
        input_of = plan.graph.index[stdin.whole_output_of]
    args = tuple(_piece(name, template, plan.graph) for name, template in task.args.items())
    size = fixed.ByteSize()
    simple = not (command or env or stdin) and all(piece.what != TEMPLATE for piece in args)
    simple = simple and size + sum(len(piece.constant) for piece in args) <= _LIGHT_BYTES
    return Recipe(fixed, args, size, command, tuple(env), stdin, input_of, simple)


def _piece(name: str, template: Template, graph: Graph) -> Piece:
    head = json_values.dumps(name) + b":"
    if template.is_constant:
        return Piece(head, CONSTANT, constant=json_values.dumps(template.source))
    parent = template.whole_output_of
    if parent is not None:
        return Piece(head, OUTPUT, task=graph.index[parent])
    part = template.part
    if isinstance(part, Whole):
        node = part.node
        if isinstance(node, Path) and node.name == "params" and len(node.steps) == 1:
            step = node.steps[0]
            if isinstance(step, Literal) and isinstance(step.value, str):
                return Piece(head, PARAM, param=step.value)
        if isinstance(node, Path) and node.name in ("item", "index") and not node.steps:
            return Piece(head, ITEM if node.name == "item" else INDEX)
    return Piece(head, TEMPLATE, template=template)


def oversized(plan: Plan, limits: Limits) -> str:
    """Why a task of this version can never be sent, whatever its parents give; "" if each can. For a deploy."""
    if len(plan.definition.canonical()) <= limits.inputs_bytes:
        return ""
    for task in plan.tasks:
        size = sum(map(_constant_bytes, (task.command, task.input, *task.args.values(), *task.env.values())))
        if size > limits.inputs_bytes:
            return limits.inputs_too_large(task.id, size)
    return ""


def _constant_bytes(template: Template | None) -> int:
    if template is None or not template.is_constant:
        return 0
    source = template.source
    return len(source) if isinstance(source, str) else len(json_values.dumps(source))


class Builder:
    """Makes task records for one partition. Keeps the decoded parameters of the run it saw last.

    values: what lies in the payloads topic, as far as decisions asked for it
    reopened: the run that has ended and that the command being decided is about, if any
    """

    __slots__ = ("_harmless", "_limits", "_number", "_params", "_params_of", "reopened", "values")

    def __init__(self, number: int, limits: Limits) -> None:
        self._number = number
        self._limits = limits
        # So many whole values, each within its own limit, cannot be too large in sum, with half a value for the names.
        self._harmless = limits.inputs_bytes // limits.value_bytes - 1
        self._params_of = ""
        self._params: dict[str, bytes] = {}
        self.values = Values()
        self.reopened: Reopened | None = None

    def check(self, run: Run, slot: int) -> None:
        """Raises Unbuildable if the inputs have no value now or are too large in sum, Needs if one is to be fetched."""
        recipe = recipe_of(run.plan, run.node(slot))
        if not recipe.simple or len(recipe.args) > self._harmless or slot >= run.plan.n or run.references:
            self._fill(Task(), recipe, run, slot, recipe.size)

    def build(self, attempt: Attempt, worker: str, epoch: int, now_ms: int) -> Task:
        """The record of an attempt. Raises Unbuildable and Needs."""
        run, slot = attempt.run, attempt.task
        recipe = recipe_of(run.plan, attempt.node)
        record = Task()
        record.CopyFrom(recipe.fixed)
        record.run_id = run.run_id
        record.attempt = attempt.number
        record.generation = attempt.generation
        record.partition = self._number
        record.epoch = epoch
        record.seq = attempt.seq
        record.worker = worker
        record.traceparent = run.traceparent
        record.tracestate = run.tracestate
        record.dispatched_ms = now_ms
        if slot >= run.plan.n:
            record.task = slot
            record.task_id = run.id_of(slot)
            record.index = run.place(slot)
        # What belongs to the attempt is bounded and not counted: else `check` could say yes and this no.
        self._fill(record, recipe, run, slot, 0 if recipe.simple else recipe.size - record.ByteSize())
        _add_states(record, run, attempt.node)
        if run.triggered:
            record.trigger = trigger_of(run)
        return record

    def _fill(self, record: Task, recipe: Recipe, run: Run, slot: int, extra: int) -> None:
        """Adds the inputs. `extra`: bytes of the finished record that `record` does not hold, as far as they count."""
        if recipe.size > self._limits.inputs_bytes:
            raise Unbuildable(self._limits.inputs_too_large(run.id_of(slot), recipe.size))
        scope: Scope | None = None
        try:
            if not recipe.simple:
                scope = scope_of(run, self.values, slot)
            if recipe.args:
                record.args = self._args(record, recipe, run, slot, scope)
            if scope is not None:
                if recipe.command is not None:
                    words = recipe.command.evaluate(scope)
                    record.command.extend([words] if isinstance(words, str) else words)
                for name, template in recipe.env:
                    record.env[name] = _environment(name, to_text(template.evaluate(scope)))
                if recipe.input is not None:
                    self._input(record, recipe, run, scope)
        except (EvaluationError, json_values.JsonValueError, Missing) as error:
            raise Unbuildable(f"an input of task {run.id_of(slot)!r} has no value: {error}") from None
        except UnicodeEncodeError:
            raise Unbuildable(
                f"an input of task {run.id_of(slot)!r} holds a lone surrogate, which is not text: hand the value "
                "over in `args` or `input`"
            ) from None
        size = recipe.size + len(record.args) if scope is None else record.ByteSize() + extra
        if size > self._limits.inputs_bytes:
            raise Unbuildable(self._limits.inputs_too_large(run.id_of(slot), size))
        if run.references and (record.references or record.HasField("input_reference")):
            whole = sum(r.whole or r.size for r in (*record.references.values(), record.input_reference))
            if whole > self._limits.task_payload_bytes:
                raise Unbuildable(self._limits.payloads_too_large(run.id_of(slot), whole))

    def _input(self, record: Task, recipe: Recipe, run: Run, scope: Scope) -> None:
        output = run.outputs.get(recipe.input_of) if recipe.input_of >= 0 else None
        if isinstance(output, Ref):
            record.input_reference.CopyFrom(output.reference)
        elif recipe.input is not None:
            record.input = json_values.dumps(recipe.input.evaluate(scope))

    def _args(self, record: Task, recipe: Recipe, run: Run, slot: int, scope: Scope | None) -> bytes:
        members: list[bytes] = []
        for piece in recipe.args:
            what = piece.what
            if what == OUTPUT and type(output := run.outputs.get(piece.task, b"null")) is bytes:
                members.append(piece.head + output)  # most of them
            elif what == PARAM:
                members.append(piece.head + self._param(run, piece.param))
            elif what == CONSTANT:
                members.append(piece.head + piece.constant)
            elif what == INDEX:
                members.append(piece.head + str(run.place(slot)).encode())
            elif what == TEMPLATE:
                assert scope is not None
                assert piece.template is not None
                members.append(piece.head + json_values.dumps(piece.template.evaluate(scope)))
            else:
                found = run.outputs.get(piece.task, b"null") if what == OUTPUT else item_of(run, self.values, slot)
                if isinstance(found, Ref):
                    record.references[json_values.loads(piece.head[:-1])].CopyFrom(found.reference)
                else:
                    members.append(piece.head + found)
        return b"{" + b",".join(members) + b"}"

    def _param(self, run: Run, name: str) -> bytes:
        if self._params_of != run.run_id:
            values: dict[str, Any] = json_values.loads(run.params)
            self._params = {key: json_values.dumps(value) for key, value in values.items()}
            self._params_of = run.run_id
        return self._params.get(name, b"null")


def _add_states(record: Task, run: Run, node: int) -> None:
    """The states that the task's code may ask for and that are not SUCCESS."""
    plan = run.plan
    if node < plan.main and run.not_taken is None and run.failed is None:
        return  # all parents succeeded
    for task in plan.graph.parents[node] if node < plan.main else (*range(plan.main), *plan.graph.parents[node]):
        if run.states[task] != SUCCESS:
            if len(record.states) == _MOST_STATES:
                record.states_cut = True
                return
            record.states[plan.ids[task]] = TASK_STATES[run.states[task]]


def trigger_of(run: Run) -> bytes:
    """What started the run, for the code that runs its tasks: a JSON object."""
    return json_values.dumps(trigger_scope(run))


def _environment(name: str, text: str) -> str:
    if "\0" in text:
        raise EvaluationError(f"the environment variable {name} would hold the character NUL; use `input` instead")
    return text
