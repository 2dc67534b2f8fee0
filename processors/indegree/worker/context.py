"""What a function gets as its parameter `context`: who it is, and how it talks to the outside while it runs."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from indegree.worker.attempt import Attempt
from indegree.worker.current import CURRENT
from indegree.worker.plain_text import cut_end

_LOG = logging.getLogger("indegree.task")
_MAX_PROGRESS_TEXT = 500


class NotAvailable(LookupError):
    """The task record does not carry what was asked for; the message says how to get it."""


class NoTaskRuns(LookupError):
    """There is no task here: the code was called outside of a worker."""


class _TaskLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class Context:
    """One attempt, as its code sees it. Safe to use from any thread of the task."""

    __slots__ = ("_attempt", "_logger")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._logger: _TaskLogger | None = None

    @classmethod
    def current(cls) -> Context:
        """The context of the task whose code calls this. Raises NoTaskRuns."""
        attempt = CURRENT.get()
        if attempt is None:
            raise NoTaskRuns("no task runs here: call this from a task's own code, or take a parameter named `context`")
        return cls(attempt)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._attempt.task.run_id

    @property
    def task_id(self) -> str:
        """The task's id in its workflow."""
        return self._attempt.task.task_id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._attempt.task.workflow

    @property
    def version(self) -> str:
        """The content hash of the workflow's version."""
        return self._attempt.task.version

    @property
    def queue(self) -> str:
        """The queue that the task came by."""
        return self._attempt.task.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._attempt.task.attempt

    @property
    def generation(self) -> int:
        """0, and one more for each rerun of the task."""
        return self._attempt.task.generation

    @property
    def traceparent(self) -> str:
        """The W3C trace context to pass on: the worker's span, or the run's where no span is made."""
        return self._attempt.traceparent

    @property
    def cancelled(self) -> bool:
        """True once the outcome of this attempt no longer counts (cancelled, over its time limit, or the worker ends).
        A function in a thread cannot be ended from outside: one that runs long should ask now and then."""
        return self._attempt.cancelled

    @property
    def deadline(self) -> datetime | None:
        """When the attempt's time limit is over (UTC); None without a limit."""
        if not self._attempt.task.timeout_ms:
            return None
        return datetime.fromtimestamp((self._attempt.started_ms + self._attempt.task.timeout_ms) / 1000, UTC)

    @property
    def remaining_s(self) -> float:
        """Seconds until the time limit, not below 0; infinite without a limit."""
        if not self._attempt.task.timeout_ms:
            return math.inf
        return max(0.0, self._attempt.began + self._attempt.task.timeout_ms / 1000 - time.monotonic())

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secrets that the task names."""
        return self._attempt.secrets

    @property
    def trigger(self) -> dict[str, Any] | None:
        """What started the run, as `trigger` is in expressions: topic, partition, offset, key, headers, timestamp,
        value, date, and of a schedule scheduled_at and previous_scheduled_at. None for a plain start (a client, the
        command line). A new object on each call."""
        data = self._attempt.task.trigger
        if not data:
            return None
        found: dict[str, Any] = json.loads(data)
        return found

    @property
    def index(self) -> int | None:
        """The place of this instance of a foreach in its list, from 0; None for a task without foreach."""
        task = self._attempt.task
        return task.index if task.HasField("index") else None

    def state(self, task_id: str) -> str:
        """How a parent of this task ended: SUCCESS, FAILED, SKIPPED or CANCELLED. A hook may ask for every task of the
        workflow.

        The record names those that are not SUCCESS, so a task that is no parent is answered by SUCCESS: name it in
        `depends_on`. Raises NotAvailable where more than 1,000 are not SUCCESS and this one is not among those sent.
        """
        task = self._attempt.task
        found: str | None = task.states.get(task_id)
        if found is None and task.states_cut:
            raise NotAvailable(
                f"more than {len(task.states)} tasks did not succeed, so the record does not say whether {task_id!r} "
                f"did; pass it as an argument: args={{'state': '${{{{ tasks[\"{task_id}\"].state }}}}'}}"
            )
        return found or "SUCCESS"

    def progress(self, share: float, text: str = "") -> None:
        """Reports how far the task is: `share` from 0 to 1, and a short text. Costs nothing here; the worker sends the
        latest value at most twice a second. Raises ValueError for a share that is no number from 0 to 1."""
        value = float(share)
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"progress({share!r}): the share must be a number from 0 to 1")
        note = cut_end(self._attempt.mask(str(text)), _MAX_PROGRESS_TEXT)[0]  # a cut must not leave half a secret
        self._attempt.progress = (value, note)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry run_id, task_id and attempt."""
        if self._logger is None:
            extra = {"run_id": self.run_id, "task_id": self.task_id, "attempt": self.attempt}
            self._logger = _TaskLogger(_LOG, extra)
        return self._logger
