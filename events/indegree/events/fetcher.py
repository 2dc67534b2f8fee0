"""Fetches from many topic-partitions and loses nothing when one of them holds what cannot be read.

Why: aiokafka's `getmany` takes the fetched records of one topic-partition after the other and moves their positions; an
error in a later one (a codec that is not installed, a damaged batch) throws away what it had taken before, and those
records are never seen again.

How: `Fetcher` keeps the position behind the last record that it has given out. After an error it seeks every
topic-partition back to that, and for some time asks each one by itself, so that the error shows whose it is and the
others go on. In the one that fails, the records before the fault are given out one by one, so the position that
`unreadable` is told is that of the fault.

A gap between that position and the first record that comes is doubted as well: it is read once more from the position.
If it is there again, Kafka has no records in it (a transaction's marker takes an offset), and it is said, once. What
was deleted is no such gap: a position below the first offset raises OffsetOutOfRangeError.

It must never give out a record twice without a seek, nor pass over one that it could have read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    UnsupportedCodecError,
)

log = logging.getLogger(__name__)

Unreadable = Callable[[TopicPartition, int, int, Exception], None]
"""(where, offset, how often in a row, the error)."""

_ROUNDS = 20  # without an error, after which all are asked together again
_PAUSE_S = 0.05  # between two rounds that found nothing
_STEP_PAUSE_S = 0.002  # after one was left out: a batch is left out one offset after the other
_TRIES = 5
_ONE_BY_ONE = 500  # records that one that fails gives out in a round


def damaged(error: Exception) -> bool:
    """Whether an error of a fetch is one of the record itself; others (a missing permission, for instance) may pass."""
    if isinstance(error, KafkaError):
        return isinstance(error, CorruptRecordException | UnsupportedCodecError | RecordTooLargeError)
    return not isinstance(error, OSError)


class Fetcher:
    """Of one consumer, which is assigned and sought by its owner; every seek is told here (`begin`).

    `unreadable` is called for each failure; it may call `begin`, `end` or `step_over`. Without it, a damaged record is
    left out after some tries, with a word. `compacted`: gaps are no news.
    """

    def __init__(
        self, client: AIOKafkaConsumer, unreadable: Unreadable | None = None, *, compacted: bool = False
    ) -> None:
        self._client, self._compacted = client, compacted
        self._unreadable = unreadable or self._leave_out
        self._next: dict[TopicPartition, int] = {}
        self._failed: dict[TopicPartition, tuple[int, int]] = {}  # offset and how often
        self._again: set[TopicPartition] = set()  # read once more, because of a gap
        self._gaps: set[TopicPartition] = set()  # those of which it was said that they have gaps
        self._left_out: dict[TopicPartition, int] = {}  # the last one that was left out
        self._pause_s = _PAUSE_S
        self._rounds = 0  # to go, in which each one is asked by itself

    def begin(self, tp: TopicPartition, offset: int) -> None:
        """Goes on there. Seeks."""
        self._next[tp] = offset
        self._failed.pop(tp, None)
        self._again.discard(tp)
        self._client.seek(tp, offset)

    def end(self, tp: TopicPartition) -> None:
        """It is read no more. Its owner pauses it."""
        self._next.pop(tp, None)
        self._failed.pop(tp, None)
        self._again.discard(tp)
        self._gaps.discard(tp)

    def step_over(self, tp: TopicPartition) -> None:
        """Leaves out the record where it stands. A batch that cannot be read is left out one offset after the other."""
        self._left_out[tp] = self._next[tp]
        offset = self._next[tp] + 1
        self.begin(tp, offset)
        self._failed[tp] = offset, 0  # most likely the same batch: it goes on one by one
        self._pause_s = _STEP_PAUSE_S

    def behind_left_out(self, tp: TopicPartition, offset: int) -> bool:
        """Whether the record before this one was left out: then both are most likely of one batch."""
        return self._left_out.get(tp) == offset - 1

    def _leave_out(self, tp: TopicPartition, offset: int, times: int, error: Exception) -> None:
        within = self.behind_left_out(tp, offset)
        if not damaged(error):
            if times == _TRIES:
                log.warning("%s partition %d: %s: %s; tries again", *tp, type(error).__name__, error)
            return
        if not within and times < _TRIES:
            return
        if not within:
            log.warning(
                "%s partition %d is left out from offset %d on, as far as it cannot be read: %s: %s",
                tp.topic, tp.partition, offset, type(error).__name__, error,
            )  # fmt: skip
        self.step_over(tp)

    async def many(self, timeout_ms: int, max_records: int | None = None) -> dict[TopicPartition, list[Any]]:
        """Records that have come, within that time at most. May give nothing before it is over.

        Raises OffsetOutOfRangeError and ConsumerStoppedError; of these nothing is lost.
        """
        if self._rounds:
            return await self._apart(timeout_ms, max_records)
        try:
            fetched = await self._client.getmany(timeout_ms=timeout_ms, max_records=max_records)
        except (ConsumerStoppedError, OffsetOutOfRangeError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, what was taken before it is not to be lost
            log.info("fetching: %s: %s; each topic-partition is read by itself", type(error).__name__, error)
            self._rounds = _ROUNDS
            for tp, offset in self._next.items():
                self._client.seek(tp, offset)
            return {}
        return {tp: records for tp, records in fetched.items() if self._follows(tp, records)}

    async def _apart(self, timeout_ms: int, max_records: int | None) -> dict[TopicPartition, list[Any]]:
        found: dict[TopicPartition, list[Any]] = {}
        try:
            for tp in list(self._next):
                records = await self._one(tp, max_records)
                if records:
                    found[tp] = records
        except (ConsumerStoppedError, OffsetOutOfRangeError):
            for tp in found:  # not given out: read again
                self.begin(tp, found[tp][0].offset)
            raise
        self._rounds = _ROUNDS if self._failed else self._rounds - 1
        if not found:
            await asyncio.sleep(min(self._pause_s, timeout_ms / 1000))
            self._pause_s = _PAUSE_S if self._failed else min(self._pause_s * 1.1, _PAUSE_S)
        return found

    async def _one(self, tp: TopicPartition, max_records: int | None) -> list[Any]:
        """Of one topic-partition, which nothing else can spoil."""
        if tp in self._failed:
            return await self._one_by_one(tp)
        try:
            return self._checked(tp, await self._client.getmany(tp, timeout_ms=0, max_records=max_records))
        except (ConsumerStoppedError, OffsetOutOfRangeError):
            raise
        except Exception:  # noqa: BLE001 - it comes again, in the round that can tell where it is
            if tp in self._next:
                self._failed[tp] = self._next[tp], 0
                self._client.seek(tp, self._next[tp])
            return []

    async def _one_by_one(self, tp: TopicPartition) -> list[Any]:
        """The same where it has failed: the good records before the fault, then the fault, at its own offset."""
        records: list[Any] = []
        try:
            for _ in range(_ONE_BY_ONE):
                more = self._checked(tp, await self._client.getmany(tp, timeout_ms=0, max_records=1))
                if not more:
                    if records and records[-1].offset >= self._failed[tp][0]:
                        del self._failed[tp]  # what could not be read has been read
                    break
                records += more
        except (ConsumerStoppedError, OffsetOutOfRangeError):
            if not records:
                raise
            self._client.seek(tp, self._next[tp])  # it comes again
        except Exception as error:  # noqa: BLE001 - whatever it is
            if tp not in self._next:
                return []
            offset = self._next[tp]
            self._client.seek(tp, offset)
            before, times = self._failed[tp]
            self._failed[tp] = offset, times + 1 if before == offset else 1
            if not records:  # else it fails again in the next round
                self._unreadable(tp, offset, self._failed[tp][1], error)
        return records

    def _checked(self, tp: TopicPartition, fetched: dict[TopicPartition, list[Any]]) -> list[Any]:
        records = fetched.get(tp, [])
        return records if records and self._follows(tp, records) else []

    def _follows(self, tp: TopicPartition, records: list[Any]) -> bool:
        """Whether these may be given out; moves the position behind them if so."""
        expected = self._next.get(tp)
        if expected is None or not records:
            return False
        first: int = records[0].offset
        if first > expected and not self._compacted and tp not in self._again:
            self._again.add(tp)
            self._client.seek(tp, expected)
            return False
        if first > expected and not self._compacted and tp not in self._gaps:
            self._gaps.add(tp)
            log.warning(
                "%s partition %d has no records at offsets %d to %d (the marker of a transaction takes one); goes on",
                tp.topic, tp.partition, expected, first - 1,
            )  # fmt: skip
        self._again.discard(tp)
        self._next[tp] = records[-1].offset + 1
        return True
