"""What a workflow consists of, as immutable data: tasks, rules, retries, parameters, triggers.

Why: the SDK, the engine, the worker and the CLI speak about the same things; here they have their names and types.

How: frozen, slotted dataclasses and enums. Expressions and templates are compiled. Equal small parts (retry policies,
empty mappings) are shared between tasks by the reader, so that 100,000 tasks stay lean.

It must never validate: whoever holds one of these may rely on definition_read having done so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from indegree.events.expressions import Expression, Template

MAX_TASKS = 100_000
MAX_TRIGGERS = 1_000
"""All schedules of a workflow are set in one frame."""
MAX_ID_CHARS = 100
DEFAULT_QUEUE = "default"
EMPTY: Mapping[str, Any] = MappingProxyType({})


class TaskKind(Enum):
    """What a task does when it is fired."""

    PYTHON = "python"
    COMMAND = "command"
    JOIN = "join"
    """Nothing to do: succeeds at once, with the output null."""
    WAIT = "wait"
    """Waits for a signal, a record, a run or a time."""
    WORKFLOW = "workflow"
    """Starts a sub-workflow."""


class TriggerRule(Enum):
    """Which ends of its parents fire a task (INTERFACES section 5). The names and meanings are Airflow's."""

    ALL_SUCCESS = "all_success"
    ALL_DONE = "all_done"
    ALL_FAILED = "all_failed"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_SKIPPED = "none_skipped"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a failed attempt is tried again.

    max_attempts: all attempts, the first included (1 = no retry)
    delay_ms, backoff, max_delay_ms: the delay after attempt n is delay_ms * backoff**(n - 1), at most max_delay_ms
        (None = no cap of its own)
    jitter: 0..1, the share of the delay that may be taken off
    errors: names of exception types that are retried; empty = all but Permanent
    exit_codes: exit codes of a command that are retried; empty = all
    """

    max_attempts: int = 1
    delay_ms: int = 0
    backoff: float = 1.0
    max_delay_ms: int | None = None
    jitter: float = 0.0
    errors: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()


NO_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` starts per `per_ms` and value of `key` (None = one limit for all)."""

    limit: int
    per_ms: int
    key: Expression | None = None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Runs of one workflow (or of one value of `key`) at a time. on_conflict: queue, skip or cancel_running."""

    limit: int
    key: Expression | None = None
    on_conflict: str = "queue"


@dataclass(frozen=True, slots=True)
class Mapped:
    """One instance of a task per element.

    over: the list (None with `follows`); follows: id of a mapped parent, element by element
    concurrency: instances at a time (None = no limit)
    max_failures, max_failed_share: how many may fail with the task still a success (None = the task's allow_failure)
    """

    over: Expression | Template | None = None
    follows: str | None = None
    concurrency: int | None = None
    max_failures: int | None = None
    max_failed_share: float | None = None


@dataclass(frozen=True, slots=True)
class WaitFor:
    """What a WAIT task waits for. kind: signal, kafka, run, delay or until; the fields that go with it are set.

    details: what is constant of it, in its normal form (`{"kafka": {"topic": ...}}`, `{"signal": ..., "form": ...}`)
    filter: of a Kafka record; params: what the run's parameters have to contain; delay_ms, until: what their kinds need
    default: the output after the timeout; without has_default the task fails then
    """

    kind: str
    details: Mapping[str, Any]
    filter: Expression | None = None
    params: Mapping[str, Template] = field(default_factory=lambda: EMPTY)
    delay_ms: int | None = None
    until: Expression | None = None
    default: Any = None
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """One task, with all defaults of its workflow applied. Durations are milliseconds, None = no limit.

    depends_on: ids of all parents, those named in expressions included, in the order of `Graph.parents`
    python: `module:qualified.name`; command: a template of text (shell) or of a list (argv)
    args, env, params: a template for each name; input: a template, goes to a command's stdin as JSON
    output: what a command's output is read as (`json`, `text`, None = the output is null)
    isolate: a Python function in a process of its own
    secrets: names that the worker resolves; never values
    """

    id: str
    kind: TaskKind = TaskKind.JOIN
    label: str | None = None
    depends_on: tuple[str, ...] = ()
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    when: Expression | None = None
    python: str | None = None
    command: Template | None = None
    workflow: str | None = None
    args: Mapping[str, Template] = field(default_factory=lambda: EMPTY)
    env: Mapping[str, Template] = field(default_factory=lambda: EMPTY)
    params: Mapping[str, Template] = field(default_factory=lambda: EMPTY)
    input: Template | None = None
    output: str | None = None
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    retry: RetryPolicy = NO_RETRY
    allow_failure: bool = False
    isolate: bool = False
    secrets: tuple[str, ...] = ()
    mapped: Mapped | None = None
    pool: str | None = None
    rate_limit: RateLimit | None = None
    wait_for: WaitFor | None = None
    wait: bool = True


@dataclass(frozen=True, slots=True)
class Defaults:
    """What tasks with something to do have where they say nothing themselves."""

    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    retry: RetryPolicy = NO_RETRY
    queue: str = DEFAULT_QUEUE
    priority: int = 0


@dataclass(frozen=True, slots=True)
class KafkaTrigger:
    """Each record of `topic` that passes `filter` starts a run.

    begin: "latest" (records from the trigger's activation on) or "earliest" (those that lie there already, too)
    """

    topic: str
    filter: Expression | None = None
    idempotency_key: Expression | None = None
    params: Mapping[str, Expression] | None = None
    begin: str = "latest"


@dataclass(frozen=True, slots=True)
class RunTrigger:
    """Each run of `workflow` that ends in `state` ("any": in whichever), or each task `task` of it, starts a run.

    The record that filter, idempotency_key and params read is the progress record of that end, as a JSON object.
    """

    workflow: str
    state: str = "SUCCESS"
    task: str | None = None
    filter: Expression | None = None
    params: Mapping[str, Expression] | None = None
    idempotency_key: Expression | None = None


@dataclass(frozen=True, slots=True)
class CronTrigger:
    """A start at each time of a schedule. catch_up: none, last or all of the times missed."""

    schedule: str
    timezone: str = "UTC"
    catch_up: str = "none"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a definition.

    path: where (`tasks[3].retry.delay`); see: other places that belong to it (the first of two equal ids)
    """

    path: str
    message: str
    see: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DefinitionError(ValueError):
    """A workflow is not valid. `problems` has every one that was found."""

    def __init__(self, problems: list[Problem], subject: str = "the workflow") -> None:
        self.problems = tuple(problems)
        count = len(problems)
        head = f"{subject} is not valid" if count == 1 else f"{subject} has {count} problems"
        super().__init__("\n  ".join([f"{head}:", *map(str, problems[:50])]) + ("\n  ..." if count > 50 else ""))
