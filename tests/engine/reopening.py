"""The shell's part of a rerun of a run that has ended, on a Road: the run is read back from the log."""

from __future__ import annotations

from typing import Any

from indegree.engine.past import Past, Reopened
from indegree.v1.event_pb2 import Frame
from indegree.v1.trigger_pb2 import Command, MarkSuccess, Origin, Rerun, Skip
from tests.engine.road import Road


def past_of(road: Road, run_id: str) -> Past:
    """What the log says of a run, from where a recovery of now would begin."""
    past = Past(run_id)
    for data in road.log:
        past.use(Frame.FromString(data))
    return past


def command(road: Road, **content: Any) -> str:
    """Gives a command by ann; returns the answer: "" where it was accepted, else the reason of the refusal."""
    asked = Command(request_id=f"q{road.offsets[1]}", actor="ann", **content)
    road.core.begin(road.now)
    run_id = road.core.needs_run(asked)
    reopened = None
    if run_id:
        road.step()
        run = past_of(road, run_id).run
        reopened = Reopened(run_id, run, "" if run is not None else "its events are gone")
        road.core.begin(road.now)
    road.core.command(asked, Origin(topic="indegree.commands", offset=road.offsets[1]), None, reopened)
    road.offsets[1] += 1
    road.step()
    [answer] = [p for p in road.progress if p.request_id == asked.request_id]
    assert answer.actor == "ann"
    return answer.reason if answer.type == "command.refused" else ""


def rerun(road: Road, run_id: str, *task_ids: str, reason: str = "fixed") -> str:
    return command(road, rerun=Rerun(run_id=run_id, task_ids=task_ids, reason=reason))


def skip(road: Road, run_id: str, task_id: str, reason: str = "no need") -> str:
    return command(road, skip=Skip(run_id=run_id, task_id=task_id, reason=reason))


def mark(road: Road, run_id: str, task_id: str, output: bytes = b"", reason: str = "done by hand") -> str:
    return command(road, mark_success=MarkSuccess(run_id=run_id, task_id=task_id, output=output, reason=reason))
