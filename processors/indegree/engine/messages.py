"""Messages to other partitions (or to the own one), through the outbox.

Why: limits, sub-workflows, starts and pauses span partitions, and each partition decides by its own log alone.

How: a message is an event of the sender first (OUTBOX_ADDED), numbered per target, produced after its frame is
acknowledged, and sent again until it is; the receiver passes over what it has received.

It must never hold anything that the receiver could not read from the message alone.
"""

from __future__ import annotations

from indegree.engine.draft import Draft
from indegree.v1.trigger_pb2 import Command, PartitionMessage

_FIELDS_BYTES = 16_384  # more than all fields of a message have, but for the parameters


def forward(draft: Draft, target: int, message: PartitionMessage) -> None:
    """Sends a message to another partition through the outbox; its number is filled in here."""
    message.source = draft.number
    message.number = draft.state.outbox_numbers.get(target, 0) + 1
    if message.ByteSize() > draft.limits.value_bytes + _FIELDS_BYTES:
        message.DiscardUnknownFields()  # all that we know has been bounded
    draft.send(target, "commands", Command(message=message).SerializeToString())
