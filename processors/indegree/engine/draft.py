"""The open frame: where every decision becomes an event, and takes effect at once.

Why: what is decided next must see what was decided before; and a frame must hold exactly the events that were applied.

How: `emit` is the one way to make an event. It adds it to the frame, applies it, and notes what it causes outside
(attempts to dispatch, progress records, stops). `run_id` is left out where it is that of the event before; the input
that caused an event is written on the first event that it caused.

It must never show anything to the outside: only `close` gives the frame and its effects away, together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from indegree.engine.apply import apply
from indegree.engine.dispatch import Dispatch
from indegree.engine.effects import Effects
from indegree.engine.kinds import Kind
from indegree.engine.limits import Limits
from indegree.engine.progress import Projection
from indegree.engine.state import Attempt, OutboxEntry, Run, State
from indegree.events.frames import FORMAT
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.task_pb2 import Control


class Draft:
    """The frame that is being written, on top of the state that it changes.

    state, dispatch, limits: of the partition; number: its number; partitions: the cluster's count
    count, size: events so far, and their bytes
    sealed:      frames that were closed in the middle of an input, to be given away before this one
    outbox:      entries added by this frame
    stops:       stops so far; `urgent` is False while all of them only answer stale heartbeats
    """

    __slots__ = (
        "_cause",
        "_cause_offset",
        "_frame",
        "_last_run",
        "_projection",
        "_ready",
        "_stopped",
        "count",
        "dispatch",
        "limits",
        "number",
        "outbox",
        "partitions",
        "sealed",
        "size",
        "state",
        "stops",
        "urgent",
    )

    def __init__(self, state: State, dispatch: Dispatch, limits: Limits, number: int, partitions: int) -> None:
        self.state = state
        self.dispatch = dispatch
        self.limits = limits
        self.number = number
        self.partitions = partitions
        self._cause: int | None = None
        self._cause_offset: int | None = None
        self.sealed: deque[tuple[Frame, Effects]] = deque()
        self._open()

    def _open(self) -> None:
        state = self.state
        self._frame = Frame()
        self._last_run = ""
        self._projection = Projection(self.number, state.epoch, state.seq + 1, state.time_ms)
        self._ready: list[tuple[Attempt, int]] = []
        self.outbox: list[OutboxEntry] = []
        self.stops: list[Control] = []
        self._stopped: set[tuple[str, int, int, str]] = set()
        self.urgent = False
        self.count = 0
        self.size = 0

    def begin(self, time_ms: int, steady_ms: int | None = None) -> None:
        """The frame's time; stands once it has an event, so that all its events have one time."""
        if not self.count:
            self.dispatch.now_ms = time_ms if steady_ms is None else steady_ms
            self.state.time_ms = max(self.state.time_ms, time_ms)
            self._projection.time_ms = self.state.time_ms
            self._projection.epoch = self.state.epoch
            self._projection.seq = self.state.seq + 1

    def caused_by(self, cause: int | None, offset: int | None = None) -> None:
        """The next event is the first that this input causes."""
        self._cause = cause
        self._cause_offset = offset

    def full(self) -> bool:
        """The frame has reached its bound: what else is to be decided goes into the next one."""
        return self.count >= self.limits.frame_events or self.size >= self.limits.frame_bytes

    def emit(self, kind: int, run_id: str | None, **fields: Any) -> Event:
        """Writes an event and applies it. `run_id` None: it belongs to no run.

        Raises IllegalTransition if the event does not fit: then this core is broken.
        """
        event = self._frame.events.add(kind=kind, **fields)
        if run_id is None:
            run_id = self._last_run
        elif run_id != self._last_run:
            event.run_id = run_id
            self._last_run = run_id
        if self._cause is not None:
            event.cause = self._cause
            if self._cause_offset is not None:
                event.cause_offset = self._cause_offset
                self._cause_offset = None
            self._cause = None
        self.count += 1
        state = self.state
        held = None
        if kind == Kind.TASK_QUEUED:
            # By far the most: a bare one, small whatever it says. But a condition records its operands with it.
            self.size += 96 if "data" not in fields else 96 + len(fields["data"])
        else:
            self.size += event.ByteSize() + 4
            if kind in _ENDS and (of_run := state.runs.get(run_id)) is not None:
                if kind in _ENDS_ATTEMPT and (attempt := of_run.attempts.get(event.task)) is not None:
                    self.dispatch.drop(attempt)
                if of_run.held is not None and kind in _GIVES_BACK:
                    held = of_run.held.get(event.task)
        run = apply(state, event, run_id)
        self._projection.add(event, kind, run_id, run)
        if run is not None:
            if kind == Kind.TASK_QUEUED:
                self._ready.append((run.attempts[event.task], event.attempt))
            elif kind == Kind.TASK_SUCCEEDED:
                pass  # half of all events: nothing more to note
            elif kind == Kind.TASK_STARTED:
                self.dispatch.bind(run.attempts[event.task])
            elif kind == Kind.TASK_REJECTED:
                self.dispatch.refused(run.attempts[event.task], event.worker, event.due_ms)
        if held is not None and run is not None:
            for name, asked_by in held:
                RELEASE[0](self, run, event.task, name, asked_by)
        return event

    def note(self, kind: int, **fields: Any) -> None:
        """Writes an event of no run that says only what this state knows already: a part of a snapshot."""
        event = self._frame.events.add(kind=kind, **fields)
        self.count += 1
        self.size += event.ByteSize() + 4

    def send(self, target: int, topic: str, data: bytes) -> int:
        """Adds an outbox entry and returns its number."""
        number = self.state.outbox_numbers.get(target, 0) + 1
        self.emit(Kind.OUTBOX_ADDED, None, target=target, number=number, topic=topic, data=data)
        self.outbox.append(self.state.outbox[target][number])
        return number

    def stop(self, run_id: str, task: int, attempt: int, generation: int, worker: str, why: str) -> None:
        """A worker is told to end an attempt. `why`: cancelled, timeout or stale.

        Once in a frame for each; a stale one alone does not make a frame urgent.
        """
        key = (run_id, task, attempt, worker)
        if not worker or key in self._stopped:
            return
        self._stopped.add(key)
        stop = Control.Stop(run_id=run_id, task=task, attempt=attempt, generation=generation, reason=why)
        self.stops.append(Control(worker=worker, stop=stop))
        if why != "stale":
            self.urgent = True

    def seal(self) -> None:
        """Closes the frame before `cut` asks for it. In the middle of an input it does not move its position: should
        the log end there, the input is decided again; so only for facts that may stand twice (parts of a definition).
        Anywhere else each event stands for itself, and a loop over many of them seals whenever the frame is full."""
        self.sealed.append(self.close())

    def close(self) -> tuple[Frame, Effects]:
        """The frame, numbered, and what it causes; a new one is open from now on."""
        state = self.state
        frame = self._frame
        frame.format = FORMAT
        frame.epoch = state.epoch
        frame.seq = state.seq + 1
        frame.time_ms = state.time_ms
        frame.next.extend(state.next)
        effects = Effects(frame.seq, self._ready, self._projection, self.outbox, self.stops)
        state.seq += 1
        self._open()
        return frame, effects


_ENDS_ATTEMPT = frozenset({Kind.TASK_SUCCEEDED, Kind.ATTEMPT_FAILED, Kind.TASK_CANCELLED, Kind.TASK_SKIPPED})
"""After these nobody needs to run the attempt. (TASK_FAILED and TASK_RETRYING follow an ATTEMPT_FAILED.)"""

_GIVES_BACK = frozenset(
    {Kind.TASK_SUCCEEDED, Kind.TASK_CANCELLED, Kind.TASK_SKIPPED, Kind.TASK_FAILED, Kind.TASK_RETRYING}
)
"""After these a task holds and asks for no limit (apply takes it out of `held`)."""

_ENDS = _ENDS_ATTEMPT | _GIVES_BACK

RELEASE: list[Callable[[Draft, Run, int, str, int], None]] = []
"""Who is told then (features.py: tickets.release), with the name of the limit and the attempt that asked for it."""
