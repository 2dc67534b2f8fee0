"""Values by reference on a worker: inputs fetched before the code runs, large outputs stored before they are reported.

Why: a record has room for a few KiB of a value. What is larger lies in the payloads topic, and user code must not see
the difference.

How: the runner calls `fetch` for an attempt that has a slot, and `store` for a result whose code has ended and that
still has it: so what is in memory is bounded by the slots. Kafka may be away for a while: fetching tries again for
`FETCH_S` seconds, storing until the attempt is ended, as a result that is there must not be lost.

Both check sizes first, and name the number and the setting.
"""

from __future__ import annotations

import asyncio
import logging
import time

from aiokafka.errors import KafkaError

from indegree.events.kafka import KafkaUnreachable
from indegree.events.payloads import PayloadLost, Payloads, PayloadTooLarge
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.value_pb2 import Error, Reference
from indegree.worker.attempt import Attempt
from indegree.worker.bounds import Bounds
from indegree.worker.failures import failure

log = logging.getLogger(__name__)

FETCH_S = 30.0
_AGAIN_S = 0.5
_PASSING = (KafkaError, KafkaUnreachable, OSError, TimeoutError)


class InputsUnread(Exception):
    """The referenced inputs of an attempt cannot be had; `error` is what is told of it."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def has_references(task: Task) -> bool:
    """Whether something must be fetched before the code can run."""
    return bool(task.references) or task.HasField("input_reference")


class Values:
    """Of one worker. `inline_bytes`: an output above it is stored."""

    def __init__(self, payloads: Payloads, bounds: Bounds) -> None:
        self._payloads, self._bounds = payloads, bounds
        self._warned = float("-inf")

    def inline(self, result: Result) -> bool:
        """Whether a result may be reported as it is."""
        limit = self._bounds.inline_bytes
        return result.output.ByteSize() <= limit or len(result.output.json) <= limit

    async def fetch(self, attempt: Attempt) -> None:
        """Sets the attempt's `fetched` and `stdin`. Raises InputsUnread."""
        task, limit = attempt.task, self._bounds.task_payload_bytes
        references = dict(task.references)
        size = sum(max(r.size, r.whole) for r in references.values())
        if task.HasField("input_reference"):
            size += max(task.input_reference.size, task.input_reference.whole)
        if size > limit:
            raise InputsUnread(
                failure(
                    "inputs_too_large",
                    f"the referenced inputs of task {task.task_id!r} are {size} bytes in sum > limit {limit} (setting "
                    "limits.task_payload_bytes); keep the data elsewhere and hand over where it lies",
                    permanent=True,
                )
            )
        attempt.fetched = {name: await self._one(r, f"argument {name!r}") for name, r in references.items()}
        if task.HasField("input_reference"):
            attempt.stdin = await self._one(task.input_reference, "the standard input")

    async def _one(self, reference: Reference, what: str) -> bytes:
        until = time.monotonic() + FETCH_S
        while True:
            try:
                return await self._payloads.fetch(reference)
            except PayloadLost as lost:
                raise InputsUnread(failure("payload_lost", f"{what}: {lost}")) from None
            except PayloadTooLarge as large:
                raise InputsUnread(failure("inputs_too_large", f"{what}: {large}", permanent=True)) from None
            except _PASSING as error:
                if time.monotonic() >= until:
                    why = f"{what} could not be read from the payloads topic: {type(error).__name__}: {error}"
                    raise InputsUnread(failure("payload_unreadable", why)) from None
                self._warn("reading", error)
            await asyncio.sleep(_AGAIN_S)

    async def store(self, attempt: Attempt, result: Result) -> None:
        """Puts a reference in the place of the output. Does not end before Kafka has it: to be cancelled."""
        data = result.output.json
        while True:
            try:
                reference = await self._payloads.store(attempt.task.partition, data)
            except _PASSING as error:
                self._warn("writing", error)
                await asyncio.sleep(_AGAIN_S)
            else:
                result.output.Clear()
                result.output.reference.CopyFrom(reference)
                return

    def _warn(self, doing: str, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._warned > 5.0:
            self._warned = now
            log.warning("%s a value of the payloads topic: %s: %s; tries again", doing, type(error).__name__, error)
