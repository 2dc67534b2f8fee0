"""Why a task that is ready does not run: which queues have no worker.

Why: a run that waits for a worker looks like a run that is slow; `show` has to tell the two apart.

How: the announcements on the workers topic, which is compacted and small, against the queues of the tasks that are
QUEUED. A worker that has been silent for ten seconds, or three of its intervals, counts as gone.

It must never guess: a queue that somebody serves is not mentioned, however long its tasks wait.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection

from google.protobuf.message import DecodeError

from indegree.events.definition import Definition
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.sdk.client_reading import read
from indegree.v1.task_pb2 import Worker

from .instances import queue_of

QUIET_MS = 10_000


async def living_workers(settings: Settings) -> list[Worker]:
    """The workers that were heard of lately. Raises KafkaUnreachable, ClientError."""
    heard: dict[bytes, tuple[Worker, int]] = {}
    async for record in read(settings, Topics(settings.cluster).workers):
        key = record.key or b""
        heard.pop(key, None)
        if record.value is not None:
            with contextlib.suppress(DecodeError):  # anybody may write there: it is no worker, and `doctor` says so
                heard[key] = (Worker.FromString(record.value), record.timestamp)
    now_ms = int(time.time() * 1000)
    return [worker for worker, at_ms in heard.values() if now_ms - at_ms < max(QUIET_MS, 3 * worker.interval_ms)]


async def served_queues(settings: Settings) -> frozenset[str]:
    """The queues that some worker serves now. Raises KafkaUnreachable, ClientError."""
    return frozenset(queue.name for worker in await living_workers(settings) for queue in worker.queues)


async def unserved(settings: Settings, definition: Definition, ready: Collection[str]) -> list[str]:
    """A sentence with its way out for each queue of the tasks `ready` that no worker serves."""
    if not ready:
        return []
    served = await served_queues(settings)
    waiting = Counter(queue_of(definition, task_id) for task_id in ready)
    return [
        f"no worker serves queue {queue!r}, and {count} task(s) of this run wait for one: start it with "
        f"`indegree worker MODULE --queue {queue}`"
        for queue, count in sorted(waiting.items())
        if queue not in served
    ]
