"""Ids and the partitions they name: the one place that makes run ids and maps keys to partitions.

A run id is `20261125T101530.123Z-0123456789AB-0007`: UTC milliseconds, 12 hex digits, the partition where the run
lives. It begins with its time, so that a reader seeks by time; it ends in its partition, so that anybody routes to it
without hashing. Everything else that needs a partition (an idempotency key, a concurrency key, a workflow's name) is
mapped by SHA-256 and by the partition count of the cluster's settings, never by a client library's partitioner: those
differ.

Pure: time and randomness come in as arguments.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indegree.v1.trigger_pb2 import Command

_RUN_ID = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)-([0-9A-F]{12})-(\d{4,9})\Z")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}\Z")


class InvalidId(ValueError):
    """An id, name or run id that breaks its rule; the message names the value and the rule."""


def make_run_id(time_ms: int, digits: str, partition: int) -> str:
    """The run id of `partition` with these 12 hex digits. `time_ms`: milliseconds since the epoch."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y%m%dT%H%M%S")
    return f"{moment}.{time_ms % 1000:03d}Z-{digits[:12].upper()}-{partition:04d}"


def record_digits(topic: str, partition: int, offset: int) -> str:
    """12 hex digits for a start that has no id: from where its record lies, so that a redelivery makes the same id."""
    return hashlib.sha256(f"{topic}\0{partition}\0{offset}".encode()).hexdigest()[:12].upper()


def schedule_digits(workflow: str, place: int, scheduled_ms: int) -> str:
    """12 hex digits for the run of one time of a cron trigger (`place`: its number among the workflow's triggers)."""
    return hashlib.sha256(f"cron\0{workflow}\0{place}\0{scheduled_ms}".encode()).hexdigest()[:12].upper()


def moved_id(run_id: str, partition: int) -> str:
    """The same id on another partition: what it is made of stays."""
    return f"{run_id.rpartition('-')[0]}-{partition:04d}"


def is_run_id(text: str) -> bool:
    """True if `text` has the form of a run id."""
    return _RUN_ID.match(text) is not None


def partition_of_run(run_id: str) -> int:
    """The partition where the run lives. Raises InvalidId."""
    match = _RUN_ID.match(run_id)
    if match is None:
        raise InvalidId(
            f"run id {run_id!r} is not of the form 20261125T101530.123Z-0123456789AB-0007 "
            "(UTC milliseconds, 12 upper-case hex digits, partition): leave it empty to have one made"
        )
    return int(match[3])


def time_of_run(run_id: str) -> int:
    """Milliseconds since the epoch in the run id. Raises InvalidId."""
    match = _RUN_ID.match(run_id)
    if match is None:
        raise InvalidId(f"run id {run_id!r} does not begin with a UTC time such as 20261125T101530.123Z")
    text = match[1]
    try:
        return _second(text[:15]) * 1000 + int(text[16:19])
    except ValueError:
        raise InvalidId(f"run id {run_id!r} does not begin with a UTC time such as 20261125T101530.123Z") from None


@lru_cache(maxsize=256)
def _second(text: str) -> int:
    """Seconds since the epoch of `20261125T101530`; ids made together share it. Raises ValueError."""
    return int(datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp())


def partition_of_key(kind: str, workflow: str, key: str, partitions: int) -> int:
    """The partition of a key: first 8 bytes of SHA-256 over kind, NUL, workflow, NUL, key, modulo the cluster's count.

    `kind` is "idempotency" or "concurrency", or one with an empty key, where what has that name is judged: "workflow",
    "queue", "limit" (of "pool/NAME" or of a rate).
    """
    digest = hashlib.sha256(f"{kind}\0{workflow}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % partitions


def partition_of_command(command: Command, partitions: int) -> int:
    """The partition of `commands` that a command is judged on: that of its run, or that of the name that it is about.

    Raises InvalidId for a run id of another form, or of a partition that is not there, and ValueError for a command
    about nothing.
    """
    kind = command.WhichOneof("command")
    about = getattr(command, kind or "cancel")
    match kind:
        case "pause" | "resume" if about.workflow:
            return partition_of_key("workflow", about.workflow, "", partitions)
        case "pause" | "resume" if about.queue:
            return partition_of_key("queue", about.queue, "", partitions)
        case "deploy" | "activate" | "backfill":
            return partition_of_key("workflow", about.workflow, "", partitions)
        case "set_pool":
            return partition_of_key("limit", f"pool/{about.name}", "", partitions)
        case None | "message":
            raise ValueError("a command about nothing has no partition")
        case _:
            partition = partition_of_run(about.run_id)
            if partition >= partitions:
                raise InvalidId(f"run id {about.run_id!r} names partition {partition}; the cluster has {partitions}")
            return partition


def is_id(text: str) -> bool:
    """True if `text` may name a task or a workflow: letters, digits, `_`, `-`, `.`, at most 100, no leading sign."""
    return _ID.match(text) is not None


def is_name(text: str) -> bool:
    """True if `text` may name a queue or a cluster: a-z, 0-9, `-`, at most 100."""
    return _NAME.match(text) is not None
