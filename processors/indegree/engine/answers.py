"""Answers to commands: yes, no, or "not here".

Why: everybody who asks for something finds an answer on the progress topic by the request's id, and a command for a run
that lives elsewhere goes there.

How: `run_here` gives the live run of a command, or answers and forwards; `accept` and `refuse` are the two answers of
commands that are no transition of a run by themselves.

It must never leave a command without an answer.
"""

from __future__ import annotations

from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.messages import forward, most_bytes
from indegree.engine.state import Run
from indegree.events.run_ids import InvalidId, partition_of_run
from indegree.v1.trigger_pb2 import Command, PartitionMessage


def refuse(draft: Draft, command: Command, run_id: str, reason: str) -> None:
    """Answers a command with no."""
    # A run id is never left empty in this event: an empty one would be read as that of the event before it.
    draft.emit(
        Kind.COMMAND_REFUSED,
        text(run_id)[:200] or "-",
        reason=text(reason)[: draft.limits.reason_chars],
        request_id=command.request_id,
        actor=command.actor,
    )


def accept(draft: Draft, command: Command, run_id: str, what: str, workflow: str = "") -> None:
    """Answers a command with yes; `what` it did. For commands whose own events carry no request id."""
    draft.emit(
        Kind.COMMAND_ACCEPTED,
        text(run_id)[:200] or "-",
        workflow=workflow,
        reason=text(what)[: draft.limits.reason_chars],
        request_id=command.request_id,
        actor=command.actor,
    )


def run_here(draft: Draft, command: Command, run_id: str) -> Run | None:
    """The live run that a command is for. None: the command is answered (no such run), or forwarded to its home."""
    state = draft.state
    run = state.runs.get(run_id)
    if run is not None:
        return run
    try:
        home = partition_of_run(run_id)
    except InvalidId as error:
        refuse(draft, command, run_id, str(error))
        return None
    if home >= draft.partitions:
        refuse(draft, command, run_id, f"no such run: its id names partition {home} of {draft.partitions}")
    elif home != draft.number:
        kept = bounded(draft, command)
        if kept.ByteSize() > most_bytes(draft):
            kept.DiscardUnknownFields()
        if (size := kept.ByteSize()) > most_bytes(draft):
            reason = (
                f"the command is {size} bytes, and one for a run on another partition may have {most_bytes(draft)} "
                "(limits.value_bytes and some): name fewer tasks, or hand over a path or a URL"
            )
            refuse(draft, command, run_id, reason)
        else:
            forward(draft, home, PartitionMessage(command=kept))
    elif state.windows.ended_run(run_id, state.time_ms) is not None:
        refuse(draft, command, run_id, "the run has ended")
    else:
        refuse(draft, command, run_id, "no such run: it was never started here, or ended long ago")
    return None


def bounded(draft: Draft, command: Command) -> Command:
    """The command with its free text within the limit."""
    kept = Command()
    kept.CopyFrom(command)
    content = getattr(kept, command.WhichOneof("command") or "cancel")
    if hasattr(content, "reason"):
        content.reason = content.reason[: draft.limits.reason_chars]
    return kept
