"""Outputs that lie in the payloads topic, for `show`.

Why: the progress topic says only where a large output lies; a person wants to see it.

How: `--json` reads each, as long as all of them fit into `limits.payload_bytes`; for people those of up to 1 MiB are
read and their beginning is shown, with the size. What cannot be read is shown as the reference that it is.

It must never fail the command: the rest of the run is still worth showing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_errors import ClientError
from indegree.sdk.client_events import StoredValue, TaskView

from .output import short

_READ_BYTES = 1_048_576


def size_text(size: int) -> str:
    """A size for people: 812 bytes, 5.0 KiB, 5.0 MiB."""
    if size < 1_024:
        return f"{size} bytes"
    return f"{size / 1_024:.1f} KiB" if size < 1_048_576 else f"{size / 1_048_576:.1f} MiB"


def plain(value: Any) -> Any:
    """An output as JSON shows it."""
    if isinstance(value, StoredValue):
        return {"$reference": {"partition": value.partition, "offset": value.offset, "size": value.whole}}
    return value


def brief(value: Any, limit: int) -> str:
    """An output on one line of about `limit` characters."""
    return f"({size_text(value.whole)})" if isinstance(value, StoredValue) else short(value, limit)


async def read_all(client: AsyncClient, tasks: Iterable[TaskView]) -> list[str]:
    """Puts the values in the place of references; returns why some were left as they are."""
    room = client.settings.limits.payload_bytes
    problems = []
    for task in tasks:
        value = task.value
        if not isinstance(value, StoredValue):
            continue
        if value.whole > room:
            problems.append(f"{task.id}: {size_text(value.whole)} more than limits.payload_bytes for all outputs shown")
            continue
        try:
            task.value = await client.fetch(value)
        except ClientError as error:
            problems.append(f"{task.id}: {error}")
        else:
            room -= value.whole
    return problems


async def beginnings(client: AsyncClient, tasks: Iterable[TaskView], limit: int) -> dict[str, str]:
    """Task id to what a person is shown of an output that lies in the payloads topic."""
    found = {}
    for task in tasks:
        value = task.value
        if not isinstance(value, StoredValue):
            continue
        size = f"({size_text(value.whole)})"
        if value.whole > _READ_BYTES:
            found[task.id] = f"{size} `show --json` has it"
            continue
        try:
            found[task.id] = f"{size} {short(await client.fetch(value), limit)}"
        except ClientError as error:
            found[task.id] = f"{size} {error}"
    return found
