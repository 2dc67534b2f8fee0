"""What a client has open: producer, progress feed and catalog; appends and requests with an answer.

Why: what is said to a cluster and how it is carried are two things; this is the second.

How: everything is opened before the first record is sent, so that no answer can be missed. Appends are acknowledged by
Kafka within a bounded time, or reported; a request carries an id that its answer on the progress topic repeats.

It must never send anything twice.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from indegree.events import kafka
from indegree.events.appender import Appender
from indegree.events.payloads import PayloadLost, Payloads, PayloadTooLarge
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.v1.trigger_pb2 import Command

from .client_catalog import Catalog
from .client_errors import ClientError, Closed, InvalidStart, Refused, Unreachable, ValueLost
from .client_events import RunEvent, StoredValue
from .client_progress import ProgressFeed
from .client_spans import current_headers

ANSWER_S = 30.0
APPEND_S = 30.0  # aiokafka's idempotent append never gives up by itself (DESIGN section 5, trap 14)
_BLOCK = 10_000  # records handed to the producer before their acknowledgements are awaited


class Connection:
    """Made for one event loop; `open` before use. `partitions` is the cluster's count, 0 before `open`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics(settings.cluster)
        self.catalog = Catalog(settings)
        self.feed = ProgressFeed(settings, self.topics.progress)
        self.partitions = 0
        self._payloads: Payloads | None = None  # opened by the first value that is read
        self._appender: Appender | None = None

    async def open(self) -> None:
        """Connects; about 10 s at most. Raises Unreachable, and ClientError where the cluster was never set up."""
        try:
            self._appender = Appender(self.settings)
            await self._appender.start()
            await self.feed.start()
            await self.catalog.start()
        except BaseException as problem:
            await self.close()
            if isinstance(problem, kafka.KafkaUnreachable):
                raise Unreachable(str(problem)) from problem
            raise
        self.partitions = self.catalog.partitions or self.feed.partitions

    async def close(self) -> None:
        """Ends everything; whoever still waits gets Closed. Takes 10 s at most."""
        await self.feed.stop()
        await self.catalog.stop()
        if self._payloads is not None:
            payloads, self._payloads = self._payloads, None
            await payloads.stop()
        if self._appender is not None:
            appender, self._appender = self._appender, None
            await appender.stop(10)  # if Kafka is away: what was not acknowledged was reported to its caller

    async def fetch(self, value: StoredValue) -> Any:
        """Reads a value of the payloads topic. Raises ValueLost, Unreachable, Closed."""
        if self._appender is None:
            raise Closed("the client is not open: use it in a `with` block")
        if self._payloads is None:
            self._payloads = Payloads(self.settings)
        try:
            return json.loads(await self._payloads.fetch(value.reference))
        except (PayloadLost, PayloadTooLarge) as problem:
            raise ValueLost(str(problem)) from problem
        except ValueError as problem:
            raise ValueLost(f"a value of {value.size} bytes in the payloads topic is not JSON: {problem}") from problem
        except kafka.KafkaUnreachable as problem:
            raise Unreachable(str(problem)) from problem
        except (KafkaError, OSError) as problem:
            raise Unreachable(str(kafka.unreachable(self.settings, problem))) from problem

    async def append(self, topic: str, partition: int, records: Sequence[kafka.Record]) -> None:
        """Appends in order and waits for the acknowledgements.

        Raises InvalidStart for a record over the limit, and Unreachable when there is no acknowledgement in time: then
        the records may have been written, or be written later.
        """
        if self._appender is None:
            raise Closed("the client is not open: use it in a `with` block")
        try:
            async with asyncio.timeout(APPEND_S):
                for at in range(0, len(records), _BLOCK):
                    await self._appender.append_wait(topic, partition, records[at : at + _BLOCK])
        except kafka.RecordTooLarge as problem:
            raise InvalidStart(str(problem)) from problem
        except TimeoutError:
            raise Unreachable(
                f"Kafka at {self.settings.kafka.bootstrap_servers} has not acknowledged {len(records)} record(s) for "
                f"{topic} within {APPEND_S:g} s; they may have been written. With an idempotency key it is safe to "
                "start again"
            ) from None
        except kafka.KafkaUnreachable as problem:
            raise Unreachable(str(problem)) from problem
        except KafkaError as problem:
            raise Unreachable(str(kafka.unreachable(self.settings, problem))) from problem

    async def append_all(self, topic: str, by_partition: Mapping[int, Sequence[kafka.Record]]) -> None:
        """Appends to several partitions at the same time."""
        await asyncio.gather(*(self.append(topic, partition, records) for partition, records in by_partition.items()))

    async def tell(self, partition: int, key: str, command: Command) -> None:
        """Sends a command, and waits for no answer."""
        command.request_id = command.request_id or secrets.token_hex(8)
        command.actor = command.actor or user()
        record = (key.encode(), command.SerializeToString(), current_headers())
        await self.append(self.topics.commands, partition, [record])

    async def ask(self, partition: int, key: str, command: Command, what: str, timeout: float) -> RunEvent:
        """Sends a command and waits for its answer. Raises Refused, TimeoutError."""
        command.request_id = secrets.token_hex(8)
        answer: asyncio.Future[RunEvent | ClientError] = asyncio.get_running_loop().create_future()
        self.feed.expect(command.request_id, lambda item: None if answer.done() else answer.set_result(item))
        try:
            await self.tell(partition, key, command)
            async with asyncio.timeout(timeout):
                item = await answer
        except TimeoutError:
            raise TimeoutError(
                f"{what}: no engine of cluster {self.settings.cluster!r} has answered within {timeout:g} s; is one "
                "running? (`indegree doctor`, `indegree engine`)"
            ) from None
        finally:
            self.feed.withdraw(command.request_id)
        if isinstance(item, ClientError):
            raise item
        if item.type.endswith(".refused"):
            raise Refused(what, item.reason)
        return item


def user() -> str:
    """Who runs this process, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""
