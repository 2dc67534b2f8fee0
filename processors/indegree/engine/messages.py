"""Messages to other partitions (or to the own one), through the outbox.

Why: limits, sub-workflows, starts and pauses span partitions, and each partition decides by its own log alone.

How: a message is an event of the sender first (OUTBOX_ADDED), numbered per target, produced after its frame is
acknowledged, and sent again until it is; the receiver passes over what it has received.

It must never hold anything that the receiver could not read from the message alone.
"""

from __future__ import annotations

from indegree.engine.bounds import MAX_TIME_MS
from indegree.engine.draft import Draft
from indegree.engine.limits import Limits
from indegree.events import json_values
from indegree.events.run_ids import InvalidId, partition_of_run, time_of_run
from indegree.v1.trigger_pb2 import Command, Holder, Origin, Parent, PartitionMessage

_FIELDS_BYTES = 16_384  # more than all fields of a message have, but for the parameters


def most_bytes(draft: Draft) -> int:
    """Of a message, as far as we know its fields."""
    return draft.limits.value_bytes + _FIELDS_BYTES


def forward(draft: Draft, target: int, message: PartitionMessage) -> None:
    """Sends a message to another partition through the outbox; its number is filled in here."""
    message.source = draft.number
    message.number = draft.state.outbox_numbers.get(target, 0) + 1
    if message.ByteSize() > most_bytes(draft):
        message.DiscardUnknownFields()  # all that we know has been bounded
    draft.send(target, "commands", Command(message=message).SerializeToString())


# -- what no partition sends -------------------------------------------------------------------------------------------


def forged(message: PartitionMessage, partitions: int, limits: Limits) -> str:
    """Why no partition of ours has written this; empty where one may have. What is only meaningless is left to whoever
    it is for: here it is about what could not be decided, or not be answered."""
    match message.WhichOneof("content"):
        case "start":
            start = message.start.start
            if start.HasField("parent") and (problem := _parent(start.parent, partitions, limits)):
                return problem
            return _origin(message.start.origin, limits)
        case "ended":
            told = message.ended
            try:
                time_of_run(told.run_id)
                if partition_of_run(told.run_id) >= partitions:
                    return f"tells of run {told.run_id}, which no partition has"
            except InvalidId as error:
                return f"tells of no run: {error!s:.200}"
            if len(told.output.json) > limits.value_bytes:
                return f"tells of an output of {len(told.output.json)} bytes"
            return _parent(told.parent, partitions, limits)
        case "ask":
            ask = message.ask
            if ask.limit.startswith("rate/") and not (0 < ask.per_ms <= MAX_TIME_MS and ask.tokens):
                return f"asks for one of {ask.tokens} tokens in {ask.per_ms} ms"
            return _limit(ask.limit, ask.holder, partitions, limits)
        case "grant":
            return _limit(message.grant.limit, message.grant.holder, partitions, limits)
        case "release":
            return _limit(message.release.limit, message.release.holder, partitions, limits)
        case _:
            return ""


def _parent(parent: Parent, partitions: int, limits: Limits) -> str:
    if parent.partition >= partitions or len(parent.run_id) > limits.name_chars:
        return f"names a task of run {parent.run_id!r:.120} on partition {parent.partition}"
    return ""


def _limit(name: str, holder: Holder, partitions: int, limits: Limits) -> str:
    if not name.startswith(("pool/", "rate/")) or len(name) > limits.key_bytes:
        return f"names a limit {name!r:.120}"
    if holder.partition >= partitions or len(holder.run_id) > limits.name_chars:
        return f"names a task of run {holder.run_id!r:.120} on partition {holder.partition}"
    return ""


def _origin(origin: Origin, limits: Limits) -> str:
    """A record that started a run was bounded where it was read, and its value was JSON."""
    if not origin.value and not origin.headers:
        return ""
    size = len(origin.value) + sum(len(name) + len(value) for name, value in origin.headers.items())
    if size > limits.value_bytes:
        return f"holds a record of {size} bytes"
    try:
        json_values.loads(origin.value or b"null", max_depth=limits.json_depth)
    except json_values.JsonValueError as error:
        return f"holds a record that is not JSON: {error!s:.200}"
    return ""
