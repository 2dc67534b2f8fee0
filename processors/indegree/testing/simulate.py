"""`simulate`: one run of a workflow on the real core and an in-memory log, with time that jumps.

Why: a workflow is code, and code wants unit tests: which tasks run, with what, how often, and what is skipped. They
should take milliseconds and need nothing installed, and yet show what the real engine would do.

How: the core decides; this module does what the shell and the workers do around it. Frames go to a list. Attempts are
run one after the other, Python functions for real; where nothing is to be run, time jumps to the next timer (the end of
a retry's delay, a timeout). Time stands still while a function runs.

It must never decide anything that the core decides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from indegree.engine.core import PartitionCore
from indegree.engine.limits import Limits
from indegree.engine.states import TASK_STATES
from indegree.engine.waiting import Observed
from indegree.events import json_values
from indegree.events.definition import Definition
from indegree.events.spelling import did_you_mean
from indegree.sdk.convert import encode_output, to_json
from indegree.sdk.workflow import Workflow
from indegree.testing import calls
from indegree.testing.result import SimulatedRun, result_of
from indegree.testing.world import Payloads, World, origin_of
from indegree.v1.event_pb2 import Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Cancel, Command, Origin, SetPool, Start
from indegree.v1.value_pb2 import Error

Failure = BaseException | type[BaseException] | str | None
"""What an attempt comes to: an exception (or its class), "timeout", "worker_lost", or None: it runs as it is."""

_EPOCH_MS = 1_764_039_600_000
"""When simulated time begins unless said otherwise: 2025-11-25T03:00:00Z."""
_WORKER = "simulated"


class StartRefused(ValueError):
    """The engine refused the start; the message is the reason that a client would get."""


class NeverEnds(RuntimeError):
    """The run did not end within `max_attempts` attempts, or nothing can happen any more."""


def simulate(
    workflow: Workflow | Definition,
    params: Mapping[str, Any] | None = None,
    *,
    fail: Mapping[str, Failure | Sequence[Failure]] | None = None,
    outputs: Mapping[str, Any] | None = None,
    seed: int = 0,
    signals: Mapping[str, Any] | None = None,
    records: Mapping[str, Sequence[Any]] | None = None,
    runs: Mapping[str, Sequence[Any]] | None = None,
    workflows: Sequence[Workflow | Definition] = (),
    pools: Mapping[str, int] | None = None,
    trigger: Mapping[str, Any] | None = None,
    cancel_after: int | None = None,
    now_ms: int = _EPOCH_MS,
    max_attempts: int = 1_000_000,
    limits: Limits | None = None,
) -> SimulatedRun:
    """Runs `workflow` to its end and says how everything ended.

    fail:     task id -> what each attempt comes to, in turn: an exception, or None for "it runs". A single value counts
              for all attempts.
    outputs:  task id -> output; the task's function is not called then. Commands give null without it: none is run.
    seed:     0 runs ready tasks in the engine's order, any other number in a shuffled one (the same for each number).
    signals:  name -> payload, delivered as soon as a task waits for it. What is not here never comes: time jumps to the
              timeout of the wait.
    records:  topic -> values of the records that come once a task waits for one (each is an object, or a JSON value)
    runs:     workflow -> progress records of runs of it that end once a task waits for one: `{"state": "SUCCESS"}`
    workflows: of sub-workflows; their tasks run like those of the workflow itself
    pools:    name -> limit; a pool that is not here has one place
    trigger:  what started the run, as expressions see it: key, headers and value of a record, or scheduled_at
    cancel_after: cancels the run after so many attempts.
    now_ms:   when the run starts, milliseconds since the epoch.

    Raises StartRefused (parameters that do not fit, features that this release cannot run), NeverEnds, ImportError or
    AttributeError for a function of a definition that cannot be imported, and KeyError for an unknown task in `fail` or
    `outputs`. Errors of tasks are not raised: they are in the result.
    """
    definitions: list[Definition] = []
    functions: dict[tuple[str, str], Callable[..., Any]] = {}
    for one in (workflow, *workflows):
        definition = one.definition(deployable=False) if isinstance(one, Workflow) else one
        definitions.append(definition)
        for task_id in ids_of(definition):
            if isinstance(one, Workflow) and (f := one.function(task_id)) is not None:
                functions[definition.id, task_id] = f
    ids = [task_id for definition in definitions for task_id in ids_of(definition)]
    for task_id in [*(fail or {}), *(outputs or {})]:
        if task_id.partition("[")[0] not in ids:
            raise KeyError(f"there is no task {task_id!r}{did_you_mean(task_id, ids)}")
    world = World(signals or {}, records or {}, runs or {})
    simulation = _Simulation(definitions, functions, fail or {}, outputs or {}, seed, now_ms, limits, world)
    for name, limit in (pools or {}).items():
        simulation.command(Command(set_pool=SetPool(name=name, limit=limit)))
    simulation.start(params, trigger or {})
    return simulation.run(cancel_after, max_attempts)


def ids_of(definition: Definition) -> list[str]:
    """The ids of all tasks and hooks."""
    return [*definition.graph.ids, *(task.id for hooks in definition.hooks.values() for task in hooks)]


class _Simulation:
    def __init__(
        self,
        definitions: list[Definition],
        functions: dict[tuple[str, str], Callable[..., Any]],
        fail: Mapping[str, Any],
        outputs: Mapping[str, Any],
        seed: int,
        now_ms: int,
        limits: Limits | None,
        world: World,
    ) -> None:
        self.definition = definitions[0]
        self.definitions = {definition.id: definition for definition in definitions}
        self.functions = functions
        self.fail = fail
        self.outputs = {task_id: encode_output(value) for task_id, value in outputs.items()}
        self.shuffled = random.Random(seed) if seed else None
        self.now = now_ms
        self.world = world
        self.core = PartitionCore(0, 1, limits)
        self.core.announced(1, now_ms)
        self.frames: list[Frame] = []
        self.progress: list[Progress] = []
        self.calls: list[tuple[str, int]] = []
        self.ready: list[Task] = []
        self.messages: list[Command] = []  # of the partition to itself
        self.payloads = Payloads()
        self.offsets = [0, 0, 0]
        self.run_id = ""

    def start(self, params: Mapping[str, Any] | None, trigger: Mapping[str, Any]) -> None:
        for definition in self.definitions.values():
            for task in (*definition.tasks, *(task for hooks in definition.hooks.values() for task in hooks)):
                name = (definition.id, task.id)
                if task.python and name not in self.functions and task.id not in self.outputs:
                    self.functions[name] = calls.imported(task.python)
        data = json_values.dumps(to_json(dict(params))) if params else b""
        origin = origin_of(trigger, self.now)
        before = len(self.progress)
        self.core.begin(self.now)
        self.core.trigger(Start(workflow=self.definition.id, params=data), origin, self.definition)
        self.offsets[0] += 1
        self._decide()
        answer = self.progress[before]
        if answer.type == "run.refused":
            raise StartRefused(answer.reason)
        self.run_id = answer.run_id

    def command(self, command: Command) -> None:
        """Somebody sends a command."""
        definition = None
        if command.message.HasField("start"):
            definition = self.definitions.get(command.message.start.start.workflow)
        self.core.begin(self.now)
        self.core.command(command, Origin(offset=self.offsets[1]), definition)
        self.offsets[1] += 1
        self._decide()

    def run(self, cancel_after: int | None, max_attempts: int) -> SimulatedRun:
        while self.core.run(self.run_id) is not None:
            if cancel_after is not None and len(self.calls) >= cancel_after:
                cancel_after = None
                cancel = Cancel(run_id=self.run_id, reason="cancelled by the simulation")
                self.command(Command(request_id="simulated", cancel=cancel))
                continue
            if self.messages:
                self.command(self.messages.pop(0))
                continue
            for queue in list(self.core.queues()):
                while (task := self.core.take(queue, _WORKER)) is not None:
                    self.ready.append(task)
            self._decide()
            if self.ready:
                if len(self.calls) >= max_attempts:
                    raise NeverEnds(f"the run has not ended after {max_attempts} attempts (max_attempts)")
                self._attempt(self.ready.pop(self.shuffled.randrange(len(self.ready)) if self.shuffled else 0))
            elif self.messages or self.world.act(self):
                continue
            elif not self._jump() and not self.messages and self.core.run(self.run_id) is not None:
                raise NeverEnds(
                    f"nothing can happen any more in run {self.run_id}, and it has not ended{self.world.waiting(self)}"
                )
        ids = ids_of(self.definition)
        return result_of(self.run_id, ids, self.frames, self.progress, self.calls, self.payloads.text)

    def _decide(self) -> None:
        """Closes frames until nothing is left to decide; they are acknowledged at once."""
        while True:
            more = self.core.proceed()
            while (cut := self.core.cut()) is not None:
                frame, effects = cut
                self.frames.append(frame)
                self.progress += effects.progress
                self.core.release(effects)
                for entry in effects.outbox:
                    if entry.topic == "commands":
                        self.messages.append(Command.FromString(entry.data))
            if self.payloads.serve(self.core):
                more = True
            if not more:
                return

    def observe(self, seen: Observed) -> None:
        """A record that a task may wait for."""
        self.core.begin(self.now)
        while not self.core.observe(seen):
            self._decide()
        self._decide()

    def _jump(self) -> bool:
        """Time goes on to the next timer. False: there is none."""
        due = self.core.next_due_ms()
        if due is None:
            return False
        self.now = max(self.now, due)
        self.core.begin(self.now)
        self.core.fire_timers()
        self._decide()
        return True

    def _attempt(self, task: Task) -> None:
        run = self.core.run(task.run_id)
        attempt = run.attempts.get(task.task) if run is not None else None
        if attempt is None or (attempt.number, attempt.generation) != (task.attempt, task.generation):
            return  # cancelled or timed out while it waited
        self.calls.append((task.task_id, task.attempt))
        self.payloads.fill(task)
        result = self._outcome(task)
        self.payloads.take(result, self.core.limits.value_bytes)
        self.core.begin(self.now)
        self.core.result(result, self.offsets[2])
        self.offsets[2] += 1
        self._decide()

    def _outcome(self, task: Task) -> Result:
        base = task.task_id.partition("[")[0]
        scripted = self.fail.get(task.task_id, self.fail.get(base))
        if isinstance(scripted, Sequence) and not isinstance(scripted, str):
            scripted = scripted[task.attempt - 1] if task.attempt <= len(scripted) else None
        if isinstance(scripted, str):
            if scripted not in ("timeout", "worker_lost"):
                raise ValueError(f'fail of {task.task_id!r} is {scripted!r}; a text is "timeout" or "worker_lost"')
            return calls.failed(task, Error(type=scripted, message="simulated"), self.now, scripted)
        if scripted is not None:
            raised = scripted() if isinstance(scripted, type) else scripted
            return calls.failed(task, calls.error_of(raised), self.now)
        for name in (task.task_id, base):
            if name in self.outputs:
                return calls.succeeded(task, self.outputs[name], self.now)
        function = self.functions.get((task.workflow, base))
        if function is None:
            return calls.succeeded(task, b"null", self.now)  # a command
        return calls.call(function, task, self._context(task), self.now)

    def _context(self, task: Task) -> calls.SimulatedContext:
        def state(task_id: str) -> str:
            run = self.core.run(task.run_id)
            if run is None or task_id not in run.plan.graph.index:
                raise KeyError(f"there is no task {task_id!r}{did_you_mean(task_id, ids_of(self.definition))}")
            found = run.plan.graph.index[task_id]
            node = run.node(task.task)
            if node < run.plan.main and found not in run.plan.graph.parents[node]:
                raise KeyError(f"a worker is told of parents only: add {task_id!r} to depends_on of {task.task_id!r}")
            return TASK_STATES[run.states[found]]

        return calls.SimulatedContext(
            run_id=task.run_id,
            task_id=task.task_id,
            workflow=task.workflow,
            version=task.version,
            queue=task.queue,
            attempt=task.attempt,
            generation=task.generation,
            states=state,
            trigger=json_values.loads(task.trigger) if task.trigger else None,
            index=task.index if task.HasField("index") else None,
        )
