"""One attempt in a worker: its record, where it stands, and what user code may see of it.

An `Attempt` is owned by the runner's loop. Lanes read it from their threads; the only fields that they write are the
times of the beginning and what user code reports (`progress`, captured output).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from indegree.v1.task_pb2 import Task
from indegree.worker.capture import Capture
from indegree.worker.secret_values import NOTHING, Masking

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from indegree.worker.functions import Plan


NOTHING_FETCHED: Mapping[str, bytes] = MappingProxyType({})


class Key(NamedTuple):
    """What makes two records the same attempt."""

    run_id: str
    task: int
    attempt: int
    generation: int


class Phase(Enum):
    """Where an attempt stands in this worker."""

    WAITING = auto()  # no slot yet
    RUNNING = auto()
    STOPPING = auto()  # its end is decided (`verdict`), its process or coroutine has not ended yet
    ABANDONED = auto()  # over for the engine, but its thread cannot be ended: it holds its slot
    OVER = auto()


class Verdict(Enum):
    """Why a running attempt was ended from outside."""

    TIMEOUT = "timeout"
    STOPPED = "stopped"  # the engine said so
    SHUTDOWN = "shutdown"  # the worker ends and its grace time is over


class Attempt:
    """One attempt. Times named `_ms` are the wall clock, in milliseconds since the epoch; others are monotonic
    seconds."""

    # What an attempt begins with; most never get another value, so they are the class's.
    phase = Phase.WAITING
    # 0 until user code begins.
    began = 0.0
    started_ms = 0
    # Monotonic; 0 for none. Set when a slot is given.
    deadline = 0.0
    verdict: Verdict | None = None
    verdict_reason = ""
    # When a lane that was asked to stop has to have ended, before the attempt is reported without it.
    stop_by = 0.0
    # Read by user code as `context.cancelled`.
    cancelled = False
    report_start_sent = False
    last_report = 0.0
    # Written by user code's thread: replaced as a whole.
    progress: tuple[float, str] | None = None
    progress_sent: tuple[float, str] | None = None
    secrets: Mapping[str, str] = MappingProxyType({})
    # JSON texts of the arguments that the record holds by reference, and of the standard input if it does that.
    fetched = NOTHING_FETCHED
    stdin: bytes | None = None
    mask: Masking = NOTHING
    span: Span | None = None
    _capture: Capture | None = None

    def __init__(self, task: Task, plan: Plan | None, log_bytes: int = 16_384) -> None:
        self.task = task
        self.key = Key(task.run_id, task.task, task.attempt, task.generation)
        # None for a command.
        self.plan = plan
        self.arrived = time.monotonic()
        self.log_bytes = log_bytes
        # The context that user code passes on: the span's, or the record's where no span is made.
        self.traceparent = task.traceparent
        self.tracestate = task.tracestate

    @property
    def capture(self) -> Capture:
        """Where output goes; made on the first use, so that a silent task does not pay for it."""
        found = self._capture
        if found is None:
            found = self._capture = Capture(self.log_bytes, self.mask)
        return found

    @property
    def over(self) -> bool:
        """Its outcome is told, and its code has ended."""
        return self.phase is Phase.OVER

    def begin(self) -> None:
        """Called by the lane just before user code runs."""
        self.started_ms = int(time.time() * 1000)
        self.began = time.monotonic()

    def log_tail(self) -> str:
        """The end of what was captured, masked and cut; empty if nothing was."""
        return "" if self._capture is None else self._capture.tail()
