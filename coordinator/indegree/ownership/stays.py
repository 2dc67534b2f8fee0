"""The partitions that are with us, each from taken to given back, beside the session's rounds.

Each stay is a task of its own: take, wait for its end, give, delete the owner's key. So a stream that is slow to start
or to end delays neither another partition nor the lease. A partition is free for its next stay only when the task is
over: two streams of one partition never run at once (unless one has ignored its cancellation; then it is left behind,
and the log's fences hold against it as against any other process).

What ends a stay is always one of ``grant.Ending``. After FENCED and FAILED the partition is barred for a time that
doubles, and what was read from etcd before that time is up cannot bring it back: else two owners would fence each other
in turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass

from indegree.ownership.errors import EtcdError
from indegree.ownership.grant import Ending, Grant
from indegree.ownership.lease import Clock
from indegree.ownership.reconcile import Granted, Holding

log = logging.getLogger(__name__)

_BAR_S = (0.2, 30.0)
"""First and longest time for which a partition that the log took from us is not taken again."""
_BAR_FORGOTTEN_S = 60.0
"""A refusal this long after the last bar's end counts as the first."""
_CANCELLED_S = 0.5
"""How long a stream that was cancelled is waited for before it is left behind."""


@dataclass(slots=True)
class Counters:
    """What has happened since the start; only ever grow. For /metrics."""

    rounds: int = 0
    failed_rounds: int = 0
    outcomes_unknown: int = 0
    leases: int = 0
    leases_lost: int = 0
    keepalives: int = 0
    keepalives_failed: int = 0
    keepalives_withheld: int = 0
    step_downs: int = 0
    """Times that all partitions were given up because the lease was lost or late."""
    assignments_written: int = 0
    taken: int = 0
    granted: int = 0
    granted_by_waiting: int = 0
    given: int = 0
    given_late: int = 0
    """Partitions whose stream had not ended in time and was cancelled."""
    take_failed: int = 0
    give_failed: int = 0
    fenced: int = 0


@dataclass(frozen=True, slots=True)
class _Bar:
    times: int
    """Refusals before this one that are not forgotten."""
    until: float


class Stays:
    """All stays of one session.

    ``delete_key(partition)`` deletes the owner's key if it is ours; ``changed()`` is called, without blocking, after
    each change that a round should look at. Nothing here raises what ``take`` or ``give`` raised.
    """

    def __init__(
        self,
        *,
        take: Callable[[int], Awaitable[object]],
        give: Callable[[int], Awaitable[object]],
        delete_key: Callable[[int], Awaitable[None]],
        changed: Callable[[], None],
        give_up_s: float,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._take, self._give, self._delete_key, self._changed = take, give, delete_key, changed
        self._give_up_s, self._clock, self._counters = give_up_s, clock, counters
        self._all: dict[int, tuple[Grant, asyncio.Task[None]]] = {}  # every partition whose stream may be running
        self._barred: dict[int, _Bar] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, partition: int) -> bool:
        return partition in self._all

    def get(self, partition: int) -> Grant | None:
        """The token of the partition's stay, also while it is being given up."""
        stay = self._all.get(partition)
        return None if stay is None else stay[0]

    def held(self) -> dict[int, Grant]:
        """The stays that have not ended."""
        return {p: grant for p, (grant, _) in self._all.items() if not grant.revoked}

    def holding(self, quarantined: Iterable[int]) -> Holding:
        """Where things stand, for the next steps."""
        held = self.held()
        return Holding(
            since={p: grant.since for p, grant in held.items()},
            keyless={p for p, grant in held.items() if grant.way is Granted.WAITED},
            warm={p for p, grant in held.items() if grant.warm and grant.way is not Granted.KEY},
            moving={p: grant.moving_since for p, grant in held.items() if grant.moving_since is not None},
            leaving=self._all.keys() - held.keys(),
            barred={p: bar.until for p, bar in self._barred.items()},
            quarantined=frozenset(quarantined),
        )

    def begin(self, partition: int, read_at: float) -> None:
        """Take the partition, on the strength of a reading asked for at ``read_at``; not if the partition is still
        leaving, or was barred while the reading was judged."""
        bar = self._barred.get(partition)
        if partition not in self._all and (bar is None or bar.until <= read_at):
            grant = Grant(partition, read_at)
            self._all[partition] = grant, asyncio.create_task(self._stay(grant), name=f"stay of partition {partition}")
            self._counters.taken += 1

    def grant(self, partition: int, way: Granted) -> None:
        """The partition's stream may announce itself now. Nothing happens when the stay has ended meanwhile."""
        grant = self.get(partition)
        if grant is not None and grant.grant(way):
            self._counters.granted += 1
            if way is Granted.WAITED:
                self._counters.granted_by_waiting += 1
                log.warning("partition %d: its key stayed with another owner for a TTL; the log will judge", partition)

    def linger(self, partitions: Collection[int], read_at: float) -> None:
        """These are assigned to somebody else and kept until he is warm; all others are not."""
        for p, grant in self.held().items():
            if p not in partitions:
                grant.moving_since = None
            elif grant.moving_since is None:
                grant.moving_since = read_at

    def end(self, partitions: Iterable[int], ending: Ending) -> list[int]:
        """End these stays, now; giving up runs beside us. Those that had not ended before."""
        grants = [grant for p in partitions if (grant := self.get(p)) is not None and not grant.revoked]
        for grant in grants:
            grant.revoke(ending)
        if grants:
            self._changed()
        return sorted(grant.partition for grant in grants)

    def refuse(self, partition: int, ending: Ending) -> None:
        """End the stay and bar the partition, for longer each time."""
        now = self._clock()
        old = self._barred.get(partition)
        times = 0 if old is None or now - old.until > _BAR_FORGOTTEN_S else old.times + 1
        first, longest = _BAR_S
        self._barred[partition] = _Bar(times, now + min(longest, first * 2 ** min(times, 20)))
        self.end([partition], ending)

    async def end_all(self, ending: Ending) -> None:
        """End all stays and wait until they are over, for at most the time to give up and one second."""
        self.end(list(self._all), ending)
        tasks = [task for _, task in self._all.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=self._give_up_s + 1.0)
        for task in tasks:
            task.cancel()

    async def _stay(self, grant: Grant) -> None:
        p = grant.partition
        taking = asyncio.ensure_future(self._take(p))
        ended = asyncio.ensure_future(grant.ended())
        try:
            await asyncio.wait([taking, ended], return_when=asyncio.FIRST_COMPLETED)
            if taking.done() and (taking.cancelled() or taking.exception() is not None):
                self._counters.take_failed += 1
                why = None if taking.cancelled() else taking.exception()
                log.error("partition %d could not be started; it is tried again later", p, exc_info=why)
                self.refuse(p, Ending.FAILED)
            await ended
            await self._give_up(p, taking)
            self._counters.given += 1
            await self._delete_key(p)
        except EtcdError as error:
            log.debug("the owner's key of partition %d is left to the next round: %s", p, error)
        except Exception:
            log.exception("giving up partition %d failed by a fault of our own", p)
        finally:
            taking.cancel()
            ended.cancel()
            del self._all[p]
            self._changed()

    async def _give_up(self, p: int, taking: asyncio.Future[object]) -> None:
        async def give() -> None:
            await asyncio.wait([taking])  # the two never overlap
            await self._give(p)

        giving = asyncio.create_task(give(), name=f"giving up partition {p}")
        try:
            await asyncio.wait([giving], timeout=self._give_up_s)
        finally:
            if not giving.done():
                taking.cancel()
                giving.cancel()
        if giving.done():
            if giving.cancelled() or giving.exception() is not None:
                self._counters.give_failed += 1
                why = None if giving.cancelled() else giving.exception()
                log.error("partition %d: ending its stream failed", p, exc_info=why)
        else:
            self._counters.given_late += 1
            log.warning("partition %d: its stream had not ended after %.1f s and is cancelled", p, self._give_up_s)
            await asyncio.wait([giving], timeout=_CANCELLED_S)
