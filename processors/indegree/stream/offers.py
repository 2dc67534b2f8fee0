"""What has been read of users' topics for one ownership, until its stream takes it: a bounded queue.

Why: users' topics are read by the engine (intake.py, observing.py), but what a partition decides is decided by its
stream's task alone, between its inputs.

How: whoever reads puts offers, in order, and wakes the stream; a step takes some (`decide`, one slice at a time, so
that inputs and frames come in between). `room` says when to stop reading.

It must never be decided out of order, and never accept records that do not follow those before: `decide` raises, and
the partition begins anew from its log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from aiokafka import TopicPartition

from indegree.engine.core import PartitionCore
from indegree.engine.intake import Route, Taken
from indegree.engine.waiting import Observed

SLICE = 250
"""Records that are decided without a look at the clock: some 5 ms where nothing matches."""
FULL = 2_000
"""Records of one topic-partition that may wait: while so many do, it is read no further."""
_OBSERVED_FULL = 5_000


@dataclass(slots=True)
class Joined:
    """These workflows take records of it, from these offsets on."""

    tp: TopicPartition
    begins: Mapping[str, int]


@dataclass(slots=True)
class Left:
    """These workflows take no more of it."""

    tp: TopicPartition
    workflows: Collection[str]


@dataclass(slots=True)
class Lost:
    """Kafka has nothing at its position: it goes on there."""

    tp: TopicPartition
    offset: int


@dataclass(slots=True)
class Records:
    """Records that follow what was offered before, up to `begin`. `at_least`: see intake.decide."""

    tp: TopicPartition
    begin: int
    records: Sequence[Taken]
    routes: Sequence[Route]
    at_least: int = 1


class OffersSkipped(Exception):
    """Records do not follow what was decided: a fault of ours, seen before it does harm."""


class Offers:
    """Of one ownership. `wake()`: has the stream take a step soon. `culprits`: records (topic, partition, offset) that
    are refused unread, with the reason, since earlier ownerships failed at them.

    closed:  the ownership is over; what is put is dropped
    settled: the last frame that is acknowledged
    decided: how many records were decided
    """

    def __init__(
        self, core: PartitionCore, wake: Callable[[], None], culprits: dict[tuple[str, int, int], str] | None = None
    ) -> None:
        self.core = core
        self._culprits = culprits if culprits is not None else {}
        self.closed = False
        self.settled = 0
        self.decided = 0
        self._wake = wake
        self._waiting: deque[Joined | Left | Lost | Records] = deque()
        self._counts: dict[TopicPartition, int] = {}  # records that wait
        self._pending: dict[TopicPartition, int] = {}  # offers that wait
        self._decided: dict[TopicPartition, int] = {}  # the offset behind what was decided, event or not
        self._observed: deque[Observed] = deque()
        self._again: list[Observed] = []  # they wait for a value

    def put(self, offer: Joined | Left | Lost | Records) -> None:
        """Never blocks: who reads asks `room` before."""
        if self.closed:
            return
        self._waiting.append(offer)
        self._pending[offer.tp] = self._pending.get(offer.tp, 0) + 1
        if isinstance(offer, Records):
            self._counts[offer.tp] = self._counts.get(offer.tp, 0) + len(offer.records)
        self._wake()

    def observed(self, seen: Observed) -> None:
        """Something that a task of this partition may wait for."""
        if not self.closed:
            self._observed.append(seen)
            self._wake()

    def room(self, tp: TopicPartition) -> bool:
        """Whether more records of it may be read."""
        return self._counts.get(tp, 0) < FULL

    @property
    def hearing(self) -> bool:
        """Whether more may be observed."""
        return len(self._observed) + len(self._again) < _OBSERVED_FULL

    def pending(self, tp: TopicPartition) -> bool:
        """Whether anything of it has not been decided yet."""
        return bool(self._pending.get(tp))

    def close(self) -> None:
        """The ownership is over."""
        self.closed = True
        self._waiting.clear()
        self._counts.clear()
        self._pending.clear()
        self._observed.clear()
        self._again.clear()

    # -- for the stream's task

    def is_empty(self) -> bool:
        """Nothing to decide."""
        return not self._waiting and not self._observed

    def decide(self) -> None:
        """Decides the next slice, up to the bound of the open frame."""
        if self._observed:
            seen = self._observed.popleft()
            if not self.core.observe(seen):
                self._again.append(seen)
            return
        if not self._waiting:
            return
        offer, tp = self._waiting[0], self._waiting[0].tp
        match offer:
            case Joined(begins=begins):
                self.core.intake_began(tp.topic, tp.partition, begins)
            case Left(workflows=workflows):
                self.core.intake_ended(tp.topic, tp.partition, workflows)
                self._decided.pop(tp, None)
            case Lost(offset=offset):
                self.core.intake_lost(tp.topic, tp.partition, offset)
                self._decided[tp] = offset
            case Records():
                if not self._records(offer):
                    return
        self._waiting.popleft()
        self._pending[tp] -= 1

    def _records(self, offer: Records) -> bool:
        """True: all of them are decided."""
        tp = offer.tp
        intake = self.core.state.intakes.get((tp.topic, tp.partition))
        if intake is None:  # it ended meanwhile
            self._counts[tp] -= len(offer.records)
            return True
        position = max(intake.next, self._decided.get(tp, 0))
        if offer.begin > position:
            raise OffersSkipped(
                f"{tp.topic} partition {tp.partition}: records from {position} to {offer.begin - 1} are missing"
            )
        records = offer.records[:SLICE]
        if self._culprits:
            records = [self._without_culprit(tp, record) for record in records]
        done = self.core.intake(tp.topic, tp.partition, records, offer.routes, offer.at_least)
        for record in records[:done] if self._culprits else ():
            self._culprits.pop((tp.topic, tp.partition, record.offset), None)
        self._counts[tp] -= done
        self.decided += done
        if done:
            self._decided[tp] = offer.begin = max(position, offer.records[done - 1].offset + 1)
        offer.records = offer.records[done:]
        return not offer.records

    def _without_culprit(self, tp: TopicPartition, record: Taken) -> Taken:
        why = self._culprits.get((tp.topic, tp.partition, record.offset))
        return record if why is None else replace(record, data=None, error=why)

    def again(self) -> None:
        """A value may have come: what waited for it is decided anew."""
        if self._again:
            self._observed.extend(self._again)
            self._again.clear()
