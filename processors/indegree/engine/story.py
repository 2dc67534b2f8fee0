"""The history of a run, or of one task of it, as text: what happened, when, and why. From frames alone.

Why: `show --history` and a failing test need the same thing: the log in words.

How: one line for each event of the run, with the time since the first one. Task names come from the definition on the
log, or from the caller where that lies before what was read.

It must never leave out an event of the run: a history that hides something is worse than none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from indegree.engine.kinds import Kind
from indegree.events.codec import rfc3339
from indegree.events.definition import Definition
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.value_pb2 import Error, Value

_CAUSES = {0: "trigger", 1: "command", 2: "result", 3: "timer"}
_TEXT = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One event of a history. `place` is EPOCH.SEQ of its frame; `task_id` is empty for events of the run itself."""

    time_ms: int
    place: str
    task_id: str
    what: str
    cause: str

    def text(self, since_ms: int) -> str:
        """The line for people, with seconds since `since_ms`."""
        who = self.task_id or "run"
        cause = f"  [{self.cause}]" if self.cause else ""
        return f"+{(self.time_ms - since_ms) / 1000:.3f} s  {self.place:>7}  {who:<20} {self.what}{cause}"


def lines(frames: Iterable[Frame], run_id: str, task_id: str = "", *, ids: Sequence[str] | None = None) -> list[Line]:
    """The events of a run in order; only those of one task if `task_id` is given.

    `ids`: the task ids of its version by index, if its definition may lie before `frames`.
    """
    parts: dict[str, list[bytes]] = {}
    names = list(ids) if ids is not None else None
    found: list[Line] = []
    for frame in frames:
        own, cause = "", ""
        for event in frame.events:
            own = event.run_id or own
            if event.HasField("cause"):
                cause = _CAUSES.get(event.cause, "")
                if event.HasField("cause_offset"):
                    cause += f" {event.cause_offset}"
            if event.kind == Kind.DEFINITION_RECORDED:
                parts.setdefault(event.version, []).append(event.data)
            if own != run_id or event.kind >= 30:
                continue
            if event.kind == Kind.RUN_STARTED and names is None:
                definition = Definition.from_canonical(zlib.decompress(b"".join(parts[event.version])))
                names = [*definition.graph.ids, *(t.id for hooks in definition.hooks.values() for t in hooks)]
            if event.kind == Kind.TASK_EXPANDED and names is not None:
                own_name = names[event.task] if event.task < len(names) else f"#{event.task}"
                names += [f"{own_name}[{place}]" for place in range(event.total)]
            is_task = Kind.TASK_QUEUED <= event.kind <= Kind.TASK_ITEMS
            name = ""
            if is_task:
                name = names[event.task] if names is not None and event.task < len(names) else f"#{event.task}"
            if task_id and name != task_id:
                continue
            found.append(Line(frame.time_ms, f"{frame.epoch}.{frame.seq}", name, what(event, frame.time_ms), cause))
    return found


def story(frames: Iterable[Frame], run_id: str, task_id: str = "", *, ids: Sequence[str] | None = None) -> str:
    """The same as one text."""
    found = lines(frames, run_id, task_id, ids=ids)
    if not found:
        return f"no event of run {run_id}" + (f", task {task_id}" if task_id else "")
    first = found[0].time_ms
    head = f"{run_id} from {rfc3339(first)}"
    return "\n".join([head, *(line.text(first) for line in found)])


def what(event: Event, time_ms: int) -> str:
    """One event in words."""
    attempt = f"attempt {event.attempt}"
    worker = f" at {event.worker}" if event.worker else ""
    match event.kind:
        case Kind.RUN_STARTED:
            begins = "accepted, to begin later" if event.state == "PENDING" else "started"
            return f"{begins}: {event.workflow} {event.version[:12]}, params {_short(event.value.json or b'{}')}"
        case Kind.RUN_FINISHED:
            return event.state + _because(event.reason)
        case Kind.RUN_CANCEL_REQUESTED:
            return f"is to end {event.state or 'CANCELLED'}{_by(event.actor)}{_because(event.reason)}"
        case Kind.RUN_PAUSED | Kind.RUN_RESUMED:
            return (
                f"{'paused' if event.kind == Kind.RUN_PAUSED else 'resumed'}{_by(event.actor)}{_because(event.reason)}"
            )
        case Kind.RUN_REFUSED:
            return f"refused{_because(event.reason)}"
        case Kind.RUN_REPEATED:
            return "the same start again: answered with this run"
        case Kind.RUN_RELEASED:
            return "begins: its time and its turn have come"
        case Kind.RUN_CLOSING:
            return f"is to end {event.state}{_because(event.reason)}; its hooks begin"
        case Kind.RUN_RERUN:
            return f"{len(event.data) // 4} tasks begin again{_by(event.actor)}{_because(event.reason)}"
        case Kind.RUN_REOPENED:
            return f"is live again{_by(event.actor)}{_because(event.reason)}"
        case Kind.SIGNAL_RECEIVED:
            return f"signal {event.label}{_by(event.actor)}: {_short(event.value.json or b'null')}"
        case Kind.TASK_QUEUED:
            return f"QUEUED, {attempt}" + (f", generation {event.generation}" if event.generation else "")
        case Kind.TASK_WAITING:
            if event.reason in ("delay", "until"):
                return f"WAITING until {rfc3339(int(event.label))}"
            until = f", until {rfc3339(event.due_ms)} at most" if event.due_ms else ""
            return f"WAITING for {event.reason} {event.label}{until}"
        case Kind.TASK_EXPANDED:
            return f"RUNNING, {event.total} instances"
        case Kind.TASK_ITEMS:
            return f"its items from place {event.number} on"
        case Kind.TASK_STARTED:
            return f"RUNNING, {attempt}{worker}"
        case Kind.TASK_SUCCEEDED:
            done = f", {attempt}{worker}" if event.attempt else ""
            took = f", {event.finished_ms - event.started_ms} ms" if event.started_ms and event.finished_ms else ""
            why = f" {_short(event.data)}" if event.reason == "by_hand" and event.data else ""
            return f"SUCCESS{done}{took}{_by(event.actor)}{_because(event.reason)}{why}, output {_output(event.value)}"
        case Kind.ATTEMPT_FAILED:
            return f"{attempt} failed{worker}: {event.reason}{_error(event.error, event.reason)}"
        case Kind.TASK_RETRYING:
            return f"RETRYING, {attempt} in {(event.due_ms - time_ms) / 1000:.3f} s"
        case Kind.TASK_FAILED:
            return f"FAILED{_because(event.reason)}{_error(event.error) if event.HasField('error') else ''}"
        case Kind.TASK_SKIPPED:
            return f"SKIPPED{_by(event.actor)}{_because(event.reason)}{' ' + _short(event.data) if event.data else ''}"
        case Kind.TASK_CANCELLED:
            return f"CANCELLED{_because(event.reason)}"
        case Kind.RESULT_STALE:
            return f"stale {event.state or 'result'} of {attempt}{worker}{_because(event.reason)}: changes nothing"
        case Kind.TASK_REJECTED:
            return f"{attempt} rejected{worker}{_error(event.error)}: sent again"
        case Kind.TASK_RETURNED:
            return f"{attempt} handed back{worker}"
        case _:
            return f"event of kind {event.kind}"


def _by(actor: str) -> str:
    return f" by {actor}" if actor else ""


def _output(value: Value) -> str:
    if value.HasField("reference"):
        return f"{value.reference.whole or value.reference.size} bytes in the payloads topic"
    return _short(value.json or b"null")


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _error(error: Error, said: str = "") -> str:
    if not error.type and not error.message:
        return ""
    text = f", {error.message}" if error.type == said else f" {error.type}: {error.message}"
    return text if len(text) <= _TEXT else text[:_TEXT] + "..."


def _short(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}... ({len(data)} bytes)"
