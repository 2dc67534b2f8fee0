"""The progress topic, read once for everything that one client waits for.

Why: a program that starts ten thousand runs must not open ten thousand consumers, and an answer (accepted, refused,
deployed) must reach exactly the call that asked for it.

How: `ProgressFeed` is one consumer without a group, assigned to all partitions from their end as of its start, which is
before the client's first record. Records are told apart by their key (the run id) before they are decoded; what carries
a request id is decoded by its type. `read_run` is the other way in: one run's records from the past, by seeking to the
time in the run id on the partition in the run id.

It must never commit an offset, and never skip a record of a run that is watched: an error ends the feed and everybody
who waits hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiokafka import TopicPartition

from indegree.events import codec, kafka, run_ids
from indegree.events.settings import Settings

from .client_errors import ClientError, Closed
from .client_events import RunEvent
from .client_reading import open_reader, read, stretches

Sink = Callable[[RunEvent | ClientError], None]

_ANSWERS = ("run.accepted", "run.refused", "run.paused", "run.running", "run.pending", "workflow.", "command.")
_POLL_MS = 500
# Clocks differ: a run id made by a client whose clock is ahead lies before its time in the topic. First this, then
# a quarter of an hour, then the whole partition.
_SLACKS_MS = (2_000, 15 * 60_000, None)


def type_of(record: Any) -> str:
    """The progress type from a record's CloudEvents headers, empty where there is none."""
    return codec.header(record.headers, "ce_type").removeprefix("indegree.")


def decode(value: bytes) -> RunEvent:
    """One record of the progress topic, protobuf or JSON. Raises codec.Undecodable for bytes that are neither."""
    return RunEvent.of(codec.decode_progress(value))


class ProgressFeed:
    """One consumer for all runs and answers of a client. Used on one event loop only."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self.partitions = 0  # of the topic; known after `start`
        self._runs: dict[bytes, Sink] = {}
        self._answers: dict[str, Sink] = {}
        self._everything: Sink | None = None
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._failure: ClientError | None = None

    async def start(self) -> None:
        """Opens the consumer at the end of every partition; returns once all positions are fixed."""
        self._consumer, self.partitions = await open_reader(self._settings, self._topic, max_poll_records=10_000)
        parts = await stretches(self._consumer, self._topic, range(self.partitions))
        await kafka.assign(self._consumer, {TopicPartition(self._topic, part.partition): part.end for part in parts})
        self._task = asyncio.create_task(self._read(), name="indegree-progress")

    async def stop(self) -> None:
        """Closes the consumer; whoever still waits gets Closed."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await self._consumer.stop()
        self._fail(Closed("the client was closed while a run was still being waited for"))

    def watch(self, run_id: str, sink: Sink) -> None:
        """From now on every record of this run goes to `sink`, which must not block."""
        if self._failure is not None:
            sink(self._failure)
            return
        self._runs[run_id.encode()] = sink

    def forget(self, run_id: str) -> None:
        """Ends `watch`. A run that was never watched is no error."""
        self._runs.pop(run_id.encode(), None)

    def watch_all(self, sink: Sink | None) -> None:
        """Every record of every run goes to `sink` as well; None ends it."""
        self._everything = sink

    def expect(self, request_id: str, sink: Sink) -> None:
        """`sink` gets the answer to this request, once. Call it before the request is sent.

        It is called before the same record goes to who watches the run, so it may begin to watch.
        """
        if self._failure is not None:
            sink(self._failure)
        else:
            self._answers[request_id] = sink

    def withdraw(self, request_id: str) -> None:
        """The answer is no longer wanted."""
        self._answers.pop(request_id, None)

    async def _read(self) -> None:
        try:
            while True:
                for records in (await self._consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        self._take(record)
        except asyncio.CancelledError:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever ended the reader, those who wait must hear of it
            self._fail(ClientError(f"reading {self._topic} ended: {type(problem).__name__}: {problem}"))

    def _take(self, record: Any) -> None:
        if record.value is None:
            return
        sink = self._runs.get(record.key) if record.key is not None else None
        kind = type_of(record)
        answer = bool(self._answers) and (not kind or kind.startswith(_ANSWERS))
        if sink is None and not answer and self._everything is None:
            return
        try:
            event = decode(record.value)
        except codec.Undecodable as problem:
            if sink is not None:  # else it is somebody else's, and their loss
                sink(ClientError(f"{self._topic}, partition {record.partition}, offset {record.offset}: {problem}"))
            return
        if event.type == "marker":
            return
        if self._everything is not None:
            self._everything(event)
        if event.request_id:
            waiting = self._answers.pop(event.request_id, None)
            if waiting is not None:
                waiting(event)
                sink = self._runs.get(event.run_id.encode(), sink)
        if sink is not None:
            sink(event)

    def _fail(self, problem: ClientError) -> None:
        self._failure = problem
        sinks = [*self._runs.values(), *self._answers.values(), *([self._everything] if self._everything else [])]
        self._runs.clear()
        self._answers.clear()
        for sink in sinks:
            sink(problem)


async def read_run(settings: Settings, topic: str, run_id: str) -> AsyncIterator[RunEvent]:
    """The records of one run that lie on the topic now, from its first. Ends at the topic's end as of now: a run
    that has ended may have been begun again.

    Seeks to the time in the run id on its partition; where the first record found is not position 1, it looks earlier
    once more and then from the start of the partition. Raises run_ids.InvalidId.
    """
    partition = run_ids.partition_of_run(run_id)
    key = run_id.encode()
    for slack_ms in _SLACKS_MS:
        time_ms = None if slack_ms is None else max(0, run_ids.time_of_run(run_id) - slack_ms)
        begun = False
        async for record in read(settings, topic, [partition], time_ms=time_ms):
            if record.key != key or record.value is None:
                continue
            event = decode(record.value)
            if event.type == "marker":
                continue
            if not begun and event.position > 1 and slack_ms is not None:
                break  # its beginning lies earlier
            if event.position == 0 and event.type != "run.refused":
                continue  # an answer to somebody, no transition
            if event.type == "run.refused" and begun:
                continue  # somebody else's start under the same id
            begun = True
            yield event
        if begun:
            return
