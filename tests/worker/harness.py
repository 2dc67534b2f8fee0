"""A runner without Kafka, for tests: hand it a task, get its results."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from indegree.v1.task_pb2 import Result, Task
from indegree.worker import capture
from indegree.worker.attempt import Key
from indegree.worker.bounds import Bounds
from indegree.worker.functions import Functions
from indegree.worker.runner import Runner

FINAL = frozenset({Result.SUCCEEDED, Result.FAILED, Result.REJECTED, Result.RETURNED, Result.STOPPED})
_numbers = itertools.count(1)
WAIT_S = 20.0


class Bench:
    """A runner whose results are collected."""

    def __init__(self, runner_of: Callable[[Callable[[int, Result], None]], Runner]) -> None:
        self.results: list[Result] = []
        self._news = asyncio.Condition()
        self.runner = runner_of(self._report)

    def _report(self, partition: int, result: Result) -> None:
        copy = Result.FromString(result.SerializeToString())
        self.results.append(copy)
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, there: Callable[[], Any], within_s: float = WAIT_S) -> Any:
        """Waits until `there()` is true; looks whenever a result comes, and every 20 ms."""
        async with asyncio.timeout(within_s):
            while not (found := there()):
                with contextlib.suppress(TimeoutError):
                    async with self._news:
                        await asyncio.wait_for(self._news.wait(), 0.02)
            return found

    def of(self, task: Task) -> list[Result]:
        """Everything that was said of a task."""
        return [r for r in self.results if (r.run_id, r.task, r.attempt) == (task.run_id, task.task, task.attempt)]

    async def final(self, task: Task, within_s: float = WAIT_S) -> Result:
        """The final result of a task that was submitted."""
        found = await self.until(lambda: [r for r in self.of(task) if r.kind in FINAL], within_s)
        assert isinstance(found[0], Result)
        return found[0]

    async def run(self, task: Task, within_s: float = WAIT_S) -> Result:
        """Submits a task and waits for its end."""
        self.runner.submit([task])
        return await self.final(task, within_s)

    async def heard(self, task: Task, kind: Result.Kind, within_s: float = WAIT_S) -> Result:
        """Waits for a result of this kind."""
        found = await self.until(lambda: [r for r in self.of(task) if r.kind == kind], within_s)
        assert isinstance(found[0], Result)
        return found[0]


@contextlib.asynccontextmanager
async def bench(
    functions: Mapping[str, Callable[..., Any]] | None = None,
    *,
    registry: Functions | None = None,
    slots: int = 4,
    commands: bool = True,
    **bounds: Any,
) -> AsyncIterator[Bench]:
    """A runner with these functions (by short name), ended afterwards."""
    given = {f"flow:{name}": function for name, function in (functions or {}).items()}
    limits = Bounds(**{"kill_after_s": 1.0, **bounds})
    capture.install()

    def make(report: Callable[[int, Result], None]) -> Runner:
        return Runner(registry or Functions(given), report, worker="w1", slots=slots, commands=commands, bounds=limits)

    made = Bench(make)
    try:
        yield made
    finally:
        await made.runner.end_all()
        await made.runner.close()
        capture.uninstall()


def call(name: str, /, args: Mapping[str, Any] | None = None, **fields: Any) -> Task:
    """A task record that calls a function of the bench."""
    return _task(python=name if ":" in name else f"flow:{name}", args=json.dumps(args or {}).encode(), **fields)


def shell(command: str, **fields: Any) -> Task:
    """A task record with a command for the shell."""
    return _task(command=[command], shell=True, **fields)


def argv(*command: str, **fields: Any) -> Task:
    """A task record with an argument list."""
    return _task(command=list(command), **fields)


def _task(**fields: Any) -> Task:
    number = next(_numbers)
    base: dict[str, Any] = {
        "run_id": f"20261125T101530.123Z-{number:012X}-0003",
        "task_id": "t",
        "task": 0,
        "attempt": 1,
        "partition": 3,
        "workflow": "orders",
        "worker": "w1",
        "queue": "default",
    }
    return Task(**{**base, **fields})


def key_of(task: Task) -> Key:
    """What identifies the attempt."""
    return Key(task.run_id, task.task, task.attempt, task.generation)


def output(result: Result) -> Any:
    """The value of a result that succeeded."""
    assert result.kind == Result.SUCCEEDED, result
    return json.loads(result.output.json) if result.output.json else None
