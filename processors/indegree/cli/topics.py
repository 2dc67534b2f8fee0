"""`indegree topics` and `indegree dead-letters`.

Why: an operator wants to see which topics there are, whether they are as they must be, and what was refused for good.

How: `events.admin` makes and checks topics; dead letters carry their origin and reason in headers.

It must never change a topic that exists.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from typing import Any

import click

from indegree.events import admin, codec
from indegree.events.durations import parse_duration
from indegree.events.topics import Topics
from indegree.sdk.client_errors import InvalidStart
from indegree.sdk.client_reading import open_reader, read, stretches

from .exits import Exit
from .output import moment, short
from .session import IndegreeCommand, IndegreeGroup, Session, session


@click.command(cls=IndegreeCommand)
@click.option("--create", is_flag=True, help="Make those that are missing, then check.")
@click.option(
    "--accept", is_flag=True, help="Record the topics as they are now: after they were restored, or copied elsewhere."
)
@click.option("--queue", "queues", multiple=True, default=("default",), help="Task queues to look at; repeat it.")
def topics(create: bool, accept: bool, queues: tuple[str, ...]) -> int:
    """The topics of the cluster: who writes, who reads, partitions, records. Checked against what they must be."""
    now = session()
    return now.run(_topics(now, queues, create=create, accept=accept))


async def _topics(now: Session, queues: tuple[str, ...], *, create: bool, accept: bool) -> int:
    names = Topics(now.settings.cluster)
    if accept:
        await admin.accept_topics(now.settings)
    if create:
        await admin.ensure_topics(now.settings, queues)
    all_topics = {**names.all(), **{names.tasks(queue): names.describe(names.tasks(queue)) for queue in queues}}
    rows: list[dict[str, Any]] = []
    reader, _ = await open_reader(now.settings, names.workflows)
    try:
        for full_name, topic in all_topics.items():
            await reader._client.add_topic(full_name)
            await reader._client.force_metadata_update()
            numbers = sorted(reader.partitions_for_topic(full_name) or ())
            parts = await stretches(reader, full_name, numbers) if numbers else []
            rows.append(
                {
                    "topic": full_name,
                    "partitions": len(numbers),
                    "records": sum(part.end - part.first for part in parts),
                    "key": topic.key,
                    "writer": topic.writer,
                    "reader": topic.reader,
                }
            )
    finally:
        await reader.stop()
    if now.out.json_lines:
        for row in rows:
            now.out.value(row)
    else:
        columns = ["topic", "partitions", "records", "writer", "reader", "key"]
        now.out.table(columns, [[row[column] for column in columns] for row in rows], whole=("topic",))
    await admin.check_topics(now.settings, queues)
    now.out.note("partition counts and settings are as they must be")
    return Exit.SUCCESS


@click.group(cls=IndegreeGroup)
def dead_letters() -> None:
    """Records that could not be read or were refused for good, with where they came from and why."""


@dead_letters.command("list")
@click.option("--limit", type=int, default=50, show_default=True, help="The newest so many.")
@click.option("--since", default="", metavar="DURATION", help="Only those of the last 10m, 2h, 1d.")
def list_(limit: int, since: str) -> int:
    """The newest dead letters."""
    now = session()
    return now.run(_list(now, limit, since))


@dead_letters.command()
@click.argument("offset", type=int)
def show(offset: int) -> int:
    """One dead letter with its key, headers and bytes. OFFSET is the first column of `list`."""
    now = session()
    return now.run(_show(now, offset))


def letter(record: Any) -> dict[str, Any]:
    """A dead letter as plain values."""
    return {
        "offset": record.offset,
        "time_ms": record.timestamp,
        "topic": codec.header(record.headers, "indegree.topic"),
        "partition": codec.header(record.headers, "indegree.partition"),
        "record": codec.header(record.headers, "indegree.offset"),
        "reason": codec.header(record.headers, "indegree.reason"),
    }


async def _list(now: Session, limit: int, since: str) -> int:
    topic = Topics(now.settings.cluster).dead_letter
    time_ms = int(time.time() * 1000) - parse_duration(since) if since else None
    newest: deque[dict[str, Any]] = deque(maxlen=limit)
    async for record in read(now.settings, topic, time_ms=time_ms):
        newest.append(letter(record))
    if now.out.json_lines:
        for found in newest:
            now.out.value(found)
    elif not newest:
        now.out.note(f"no dead letters on {topic}")
    else:
        now.out.table(
            ["offset", "when", "from", "reason"],
            [
                [
                    found["offset"],
                    moment(found["time_ms"]),
                    f"{found['topic']}/{found['partition']}@{found['record']}",
                    short(found["reason"], 120),
                ]
                for found in newest
            ],
            whole=("offset", "from"),
            text=("reason",),
        )
    return Exit.SUCCESS


async def _show(now: Session, offset: int) -> int:
    topic = Topics(now.settings.cluster).dead_letter
    async for record in read(now.settings, topic, begin={0: offset}):
        if record.offset != offset:
            break
        found = letter(record)
        value = record.value
        found["key"] = (record.key or b"").decode("utf-8", "backslashreplace")
        found["headers"] = {name: (data or b"").decode("utf-8", "backslashreplace") for name, data in record.headers}
        found["text"] = None if value is None else value.decode("utf-8", "backslashreplace")
        found["base64"] = None if value is None else base64.b64encode(value).decode()
        if now.out.json_lines:
            now.out.value(found)
        else:
            now.out.line(f"{found['topic']}, partition {found['partition']}, offset {found['record']}", "bold")
            now.out.line(f"reason   {found['reason']}")
            now.out.line(f"when     {moment(found['time_ms'])}")
            now.out.line(f"key      {found['key']}")
            now.out.line(f"value    {'(tombstone)' if value is None else short(found['text'], 4_000)}")
        return Exit.SUCCESS
    raise InvalidStart(f"no dead letter at offset {offset} of {topic}: `indegree dead-letters list` shows them")
