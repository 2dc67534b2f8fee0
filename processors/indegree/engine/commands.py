"""Commands: cancel, deploy, activate, and the messages between partitions.

Why: two people who deploy at once are judged in one place, the partition of the workflow's name; a cancel is judged
where the run lives. What lands elsewhere is forwarded, never dropped.

How: a message carries its number in the sequence (source, target); what is not above the highest number received is a
repeat of a sender that could not know, and is passed over. Its content is judged like one that landed here. A number
beyond the next one comes from no partition of ours (`out_of_order`): owners send in order, nothing behind what failed,
and whoever sends again begins at the lowest number that was not acknowledged.

It must never answer twice, and never leave a command without an answer on the progress topic.
"""

from __future__ import annotations

from collections.abc import Callable

from indegree.engine import decide, schedules
from indegree.engine.answers import refuse, run_here
from indegree.engine.bounds import text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.limits import Limits
from indegree.engine.messages import forged, forward
from indegree.engine.plan import plan_of
from indegree.engine.records import Builder, oversized
from indegree.engine.starts import decide_start, unknown
from indegree.engine.state import WORKFLOWS, Run, State
from indegree.events.definition import Definition
from indegree.events.run_ids import is_id, partition_of_key
from indegree.v1.trigger_pb2 import Activate, Cancel, Command, Deploy, Origin, PartitionMessage
from indegree.v1.workflow_pb2 import VersionPointer

COMMANDS: dict[str, Callable[[Draft, Builder, Command, Origin, Definition | None], Run | None]] = {}
"""Commands of the features (features.py), by name. What they return is advanced."""
MESSAGES: dict[str, Callable[[Draft, Builder, PartitionMessage], Run | None]] = {}
"""The same for what partitions tell each other."""


def decide_command(
    draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None
) -> bool:
    """Decides one command; False where it was a repeated message and is passed over.

    `definition`: for deploy and activate what the catalog has for its version or label, for a forwarded start what it
    has for that start.
    """
    kind = command.WhichOneof("command")
    most = draft.limits.name_chars
    if len(command.actor) > most or len(command.request_id) > most:
        bounded = Command(request_id=command.request_id[:most], actor=command.actor[:most])
        refuse(draft, bounded, "", f"actor and request_id may have {most} characters: shorten them")
        return True
    match kind:
        case "cancel":
            _cancel(draft, builder, command, command.cancel)
        case "deploy":
            if _at_home(draft, command, command.deploy.workflow):
                _deploy(draft, command, command.deploy, definition)
        case "activate":
            if _at_home(draft, command, command.activate.workflow):
                _activate(draft, command, command.activate, definition)
        case _ if kind in COMMANDS:
            run = COMMANDS[kind](draft, builder, command, origin, definition)
            if run is not None:
                decide.advance(draft, builder, run)
        case "message":
            return _message(draft, builder, command.message, definition)
        case _:
            refuse(draft, command, "", "the record holds no command: cancel, deploy, activate, pause and their like")
    return True


def out_of_order(state: State, command: Command, partitions: int, limits: Limits) -> str:
    """Why a message between partitions is refused for its number, or for what no partition says; empty where it is not.

    Taken as it is, it would have every later message of its source passed over as a repeat.
    """
    if command.WhichOneof("command") != "message" or command.message.source >= partitions:
        return ""
    if problem := forged(command.message, partitions, limits):
        return f"a message {problem}; messages between partitions are not for others to write"
    source, number = command.message.source, command.message.number
    following = state.received.get(source, 0) + 1
    if number <= following:
        return ""
    return (
        f"message {number} of partition {source} is not the next one, which is {following}: no partition of this "
        "cluster has sent it; messages between partitions are not for others to write"
    )


def _message(draft: Draft, builder: Builder, message: PartitionMessage, definition: Definition | None) -> bool:
    source = message.source
    if source >= draft.partitions or message.number <= draft.state.received.get(source, 0):
        return False
    match message.WhichOneof("content"):
        case "start":
            decide_start(draft, builder, message.start.start, message.start.origin, definition, message.start.placed)
        case "command":
            if message.command.WhichOneof("command") != "message":  # one hop: a message never holds a message
                decide_command(draft, builder, message.command, Origin(), definition)
        case kind if kind in MESSAGES:
            run = MESSAGES[kind](draft, builder, message)
            if run is not None and run.run_id in draft.state.runs:
                decide.advance(draft, builder, run)
        case _:
            pass  # of a later release, which never sends it to a partition that an older one may own
    # In the last frame of what it caused: should the log end before that, it comes again and is decided again.
    draft.emit(Kind.MESSAGE_RECEIVED, None, target=source, number=message.number)
    return True


def _cancel(draft: Draft, builder: Builder, command: Command, cancel: Cancel) -> None:
    run = run_here(draft, command, cancel.run_id)
    if run is None:
        return
    if (not run.left and not run.paused) or run.ending:
        refuse(draft, command, cancel.run_id, "the run is ending already" if run.ending else "the run has ended")
        return
    draft.emit(
        Kind.RUN_CANCEL_REQUESTED,
        run.run_id,
        state="CANCELLED",
        reason=cancel.reason[: draft.limits.reason_chars],
        actor=command.actor,
        request_id=command.request_id,
    )
    decide.advance(draft, builder, run)


# -- versions ----------------------------------------------------------------------------------------------------------


def _at_home(draft: Draft, command: Command, workflow: str) -> bool:
    """True if the name is judged here; else the command is forwarded, or refused for its name."""
    if not is_id(workflow):
        _refuse_deploy(draft, command, workflow, "", "", f"{workflow!r:.120} is no name of a workflow")
        return False
    which = command.deploy if command.WhichOneof("command") == "deploy" else command.activate
    most = draft.limits.name_chars
    if len(which.version) > most or len(which.label) > most:
        reason = f"a version and a label may have {most} characters: shorten them"
        _refuse_deploy(draft, command, workflow, which.version, which.label, reason)
        return False
    home = partition_of_key("workflow", workflow, "", draft.partitions)
    if home != draft.number:
        forward(draft, home, PartitionMessage(command=command))
        return False
    return True


def _refuse_deploy(draft: Draft, command: Command, workflow: str, version: str, label: str, reason: str) -> None:
    draft.emit(
        Kind.DEPLOY_REFUSED,
        None,
        workflow=text(workflow)[: draft.limits.name_chars],
        version=text(version)[: draft.limits.name_chars],
        label=text(label)[: draft.limits.name_chars],
        reason=text(reason)[: draft.limits.reason_chars],
        request_id=command.request_id,
        actor=command.actor,
    )


def _deploy(draft: Draft, command: Command, deploy: Deploy, definition: Definition | None) -> None:
    workflow, version, label = deploy.workflow, deploy.version, deploy.label
    windows = draft.state.windows
    problem = ""
    if definition is None or definition.id != workflow or definition.hash != version:
        problem = (
            f"the definition {version!r:.100} of workflow {workflow!r} does not lie on the workflows topic: publish it "
            "before it is deployed"
        )
    else:
        plan = plan_of(definition)
        problem = oversized(plan, draft.limits)
        other = windows.labels.get((workflow, label)) if label else None
        if not problem and other not in (None, version):
            problem = (
                f"label {label!r} of workflow {workflow!r} stands for version {other}; a label is never moved: use "
                "another one"
            )
    if problem:
        _refuse_deploy(draft, command, workflow, version, label, problem)
        return
    assert definition is not None, "without one there is a problem"
    is_new_label = bool(label) and (workflow, label) not in windows.labels
    activates = deploy.activate or (deploy.activate_if_none and workflow not in windows.active)
    if activates:
        schedules.record_cron(draft, plan_of(definition))
    draft.emit(
        Kind.VERSION_DEPLOYED,
        None,
        workflow=workflow,
        version=version,
        label=label,
        actor=command.actor,
        request_id=command.request_id,
    )
    if is_new_label:
        _publish(draft, command, workflow, version, label)
    _publish(draft, command, workflow, version, label, "deployed")
    if activates:
        _make_active(draft, command, definition, label, "activated")


def _activate(draft: Draft, command: Command, activate: Activate, definition: Definition | None) -> None:
    workflow, version, label = activate.workflow, activate.version, activate.label
    if activate.rollback:
        version = draft.state.windows.previous.get(workflow, "")
        if problem := _no_way_back(draft.state, activate, version):
            _refuse_deploy(draft, command, workflow, "", "", problem)
            return
    elif not version and label:
        version = draft.state.windows.labels.get((workflow, label), "")
    if not version or definition is None or definition.id != workflow or definition.hash != version:
        _refuse_deploy(draft, command, workflow, version, label, unknown(workflow, version, label))
        return
    schedules.record_cron(draft, plan_of(definition))
    _make_active(draft, command, definition, label, "rolled_back" if activate.rollback else "activated")


def _no_way_back(state: State, activate: Activate, previous: str) -> str:
    """Why a rollback is refused; empty where it is not."""
    workflow = activate.workflow
    if activate.version or activate.label:
        return "a rollback names no version and no label: it takes the version that was active before the present one"
    if workflow not in state.windows.active:
        return unknown(workflow, "", "")
    if not previous:
        return (
            f"no version of workflow {workflow!r} was active before the present one, "
            f"{state.windows.active[workflow][:12]}: activate one by its version or label"
        )
    return ""


def _make_active(draft: Draft, command: Command, definition: Definition, label: str, what: str) -> None:
    """The definition of a version with schedules stands on the log already (`schedules.record_cron`)."""
    workflow, version = definition.id, definition.hash
    draft.emit(
        Kind.VERSION_ACTIVATED,
        None,
        workflow=workflow,
        version=version,
        label=label,
        actor=command.actor,
        request_id=command.request_id,
    )
    _publish(draft, command, workflow, version, label, what)
    _publish(draft, command, workflow, version, "")  # also what is active already: the topic may say something else
    schedules.activated(draft, plan_of(definition))


def _publish(draft: Draft, command: Command, workflow: str, version: str, label: str, what: str = "") -> None:
    """Tells the workflows topic: with a label that this label stands for the version, without that it is active; with
    `what` was done ("deployed", "activated", "rolled_back") a line of the history."""
    pointer = VersionPointer(
        workflow=workflow, version=version, label=label, actor=command.actor, time_ms=draft.state.time_ms, what=what
    )
    draft.send(WORKFLOWS, "workflows", pointer.SerializeToString())
