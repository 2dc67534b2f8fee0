"""Events as lines, without repeating oneself: a task that is rejected every second is told once, then counted.

Why: a worker without the task's code says no again and again, until one with the code comes; a screen full of the same
sentence hides what else happens.

How: `Teller.lines` gives what is to be printed for one event. A rejection (a QUEUED record with an error) whose text
was told for that task before is only counted; the count is told at 10, 100, 1,000 and when something else happens.

It must never leave out anything but a repeated rejection. JSON output does not come this way: it has every record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from indegree.sdk.client_events import RunEvent, RunState, TaskView

from .output import clock, short, span
from .stored import brief


def plain_line(event: RunEvent) -> str:
    """One event as a line for a log file."""
    what = event.task_id or "run"
    attempt = f"#{event.attempt}" if event.task_id and event.attempt else ""
    parts = [clock(event.time_ms), f"{what + attempt:<32}", f"{event.state or event.type:<9}"]
    if event.started_ms and event.finished_ms:
        parts.append(span(event.finished_ms - event.started_ms))
    why = str(event.error) if event.error is not None else ""
    if event.state == "WAITING":
        parts.append(waiting(event))
    elif event.reason and not (why and (event.reason == "error" or why.startswith(event.reason))):
        parts.append(event.reason)
    if event.instances and event.state == "RUNNING":
        parts.append(f"{event.instances} instances")
    if who := by_hand(event):
        parts.append(who)
    if why:
        parts.append(short(why, 120))
    elif event.output is not None:
        parts.append("-> " + brief(event.output, 80))
    elif event.worker and event.state in ("QUEUED", "RUNNING"):
        parts.append(event.worker)
    return "  ".join(parts).rstrip()


def waiting(what: RunEvent | TaskView) -> str:
    """What a task waits for, and how long at most."""
    name = what.waits_for
    match what.reason:
        case "delay" | "until" if what.due_ms and what.reason == "delay":
            return f"waits until {clock(what.due_ms)}"
        case "signal":
            words = f"waits for signal {name}"
        case "kafka":
            words = f"waits for a record of {name}"
        case "run" | "workflow":
            words = f"waits for run {name}" if name else "waits for a run"
        case "pool" | "rate":
            words = f"waits for a place in {name}"
        case reason:
            words = f"waits for {name or reason}"
    return words + (f", until {clock(what.due_ms)} at most" if what.due_ms else "")


def by_hand(what: RunEvent | TaskView | RunState) -> str:
    """Who did it, where a person did; that a run was started by somebody is no such thing."""
    about_run = isinstance(what, RunState) or (isinstance(what, RunEvent) and not what.task_id)
    if about_run and what.state not in ("PAUSED", "CANCELLED"):
        return ""
    return f"by {what.actor}" if what.actor else ""


class Teller:
    """Remembers what it has told, for any number of runs."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], str] = {}  # (run, task) -> the rejection that was told last
        self._counts: dict[tuple[str, str], int] = {}  # how often it came since

    def lines(self, event: RunEvent) -> Iterator[str]:
        """The lines for one event: none, one, or a count and one."""
        key = (event.run_id, event.task_id)
        if not event.task_id:
            if event.ends_run:
                yield from self.rest(event.run_id)
            yield plain_line(event)
            return
        rejected = event.state == "QUEUED" and event.error is not None
        why = str(event.error) if rejected else ""
        if rejected and self._told.get(key) == why:
            count = self._counts[key] = self._counts.get(key, 0) + 1
            if str(count + 1).strip("0") == "1":
                yield f"{clock(event.time_ms)}  {event.task_id} was rejected {count + 1} times so far, for that reason"
            return
        if key in self._told and not (event.state == "QUEUED" and event.error is None):
            yield from self._count(key)
        if rejected:
            self._told[key] = why
        elif event.state != "QUEUED":
            self._told.pop(key, None)
        yield plain_line(event)

    def rest(self, run_id: str) -> Iterator[str]:
        """The counts that were not told yet, at the end of a run."""
        for key in [key for key in self._counts if key[0] == run_id]:
            yield from self._count(key)

    def _count(self, key: tuple[str, str]) -> Iterator[str]:
        count = self._counts.pop(key, 0)
        if count:
            yield f"{'':<12}  {key[1]} was rejected {count} more time(s), for that reason"


def told(events: Iterable[RunEvent]) -> Iterator[str]:
    """A run's history as lines, each with its position where it stands for a record."""
    teller = Teller()
    for event in events:
        for line in teller.lines(event):
            yield f"{event.position:>5}  {line}"
