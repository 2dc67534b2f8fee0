"""One round of reconciling: read all of the cluster's keys, ask ``reconcile.py`` for the steps, take them.

A round may fail at any call, or be cut off in the middle: the next one starts from a fresh reading and takes what is
still missing. So nothing here tries again, and a transaction whose outcome is unknown is read back by the next round.

It must never wait for a stream: what it takes and gives runs in ``stays.py``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from indegree.ownership.grant import Ending
from indegree.ownership.lease import Clock, LeaseClock
from indegree.ownership.membership import Card, Keys, Membership, Quarantine, encode_assignment
from indegree.ownership.operations import Absent, Compare, Connection, CreatedAt, Delete, HeldUnder, ModifiedAt, Put
from indegree.ownership.reconcile import Granted, Me, Steps, lead, steps
from indegree.ownership.stays import Counters, Stays

log = logging.getLogger(__name__)

_SETTLE_S = 0.5
"""How long an assignment must have been missing before the leader writes one (at most a quarter of the TTL): a watch
wakes everybody within milliseconds, and who has no watch just then looks again too late to matter: its partitions
move."""
_LOOK_AGAIN_S = 0.25
"""After a reading in which we do not stand as we are."""
_CALLS_AT_ONCE = 16


class Troubles:
    """Failures that repeat: each is told once when it begins (as a warning), and once when it is over."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._told: set[str] = set()

    def tell(self, kind: str, words: str) -> None:
        log.log(logging.DEBUG if kind in self._told else logging.WARNING, "%s: %s", self._who, words)
        self._told.add(kind)

    def over(self, kind: str) -> None:
        if kind in self._told:
            self._told.remove(kind)
            log.info("%s: %s is in order again", self._who, kind)


class Rounds:
    """What a member remembers from round to round, and the round itself. See ``session.Session`` for the arguments."""

    def __init__(
        self,
        *,
        id: str,
        keys: Keys,
        partitions: int,
        etcd: Connection,
        stays: Stays,
        card: Card,
        fit: Callable[[], bool],
        wake: Callable[[], None],
        stopping: Callable[[], bool],
        ttl_s: int,
        warm_s: float,
        limit_s: float,
        clock: Clock,
        counters: Counters,
        troubles: Troubles,
    ) -> None:
        self.card = card
        """What we say about ourselves from the next round on."""
        self.seen = Membership()
        """The newest reading."""
        self.to_quarantine: dict[int, Quarantine] = {}
        """Not known to be in etcd yet."""
        self._id, self._keys, self._partitions, self._etcd, self._stays = id, keys, partitions, etcd, stays
        self._fit, self._wake, self._stopping = fit, wake, stopping
        self._ttl_s, self._warm_s, self._limit_s = ttl_s, warm_s, limit_s
        self._clock, self._counters, self._troubles = clock, counters, troubles
        self._unassigned_since: float | None = None  # since when readings have shown no assignment
        self._stranger_since: float | None = None  # since when our member key has hung on a lease that is not ours

    async def reconcile(self, lease: LeaseClock) -> float | None:
        """One round. When to look again without a change in etcd, by the clock; None: not foreseen.

        Raises EtcdUnreachable, OutcomeUnknown, EtcdRefused; LeaseNotFound when the lease has ended.
        """
        read_at = self._clock()
        snapshot = await self._etcd.get_prefix(self._keys.prefix, timeout_s=self._limit_s)
        seen = self.seen = Membership.parse(self._keys, snapshot)
        if not await self._show_card(seen, lease):
            return read_at + _LOOK_AGAIN_S  # nothing is decided from a reading without us
        quarantined = seen.quarantined.keys() | self.to_quarantine.keys()
        await self._tell_quarantine(seen)

        me = Me(self._id, lease.lease, lease.valid())
        assignment, settled_at = seen.assignment, self._settled_at(seen, read_at)
        wanted = lead(seen, me, self._partitions, settled=settled_at is None or settled_at <= read_at)
        if wanted is not None and await self._write_assignment(seen, wanted):
            assignment, settled_at = wanted, None
        holding = self._stays.holding(quarantined)
        todo = steps(seen, assignment, me, holding, read_at, self._ttl_s, self._partitions, self._warm_s)
        await self._carry_out(todo, quarantined, lease, read_at)
        return min((at for at in (settled_at, todo.again_at) if at is not None), default=None)

    async def delete_owner_key(self, partition: int, lease: LeaseClock) -> None:
        """If it hangs on this lease; else nothing is done."""
        await self._delete_ours(self._keys.owner(partition), lease)

    def _settled_at(self, seen: Membership, read_at: float) -> float | None:
        """From when on a missing assignment may be written; None: there is one."""
        if seen.assignment is not None:
            self._unassigned_since = None
            return None
        if self._unassigned_since is None:
            self._unassigned_since = read_at
        return self._unassigned_since + min(_SETTLE_S, self._ttl_s / 4)

    async def _show_card(self, seen: Membership, lease: LeaseClock) -> bool:
        """See to it that members/ID stands there as we are. True: it did."""
        card = self.card = replace(self.card, fit=self._is_fit())
        key, mine = self._keys.member(self._id), seen.members.get(self._id)
        there: Compare = Absent(key) if mine is None else CreatedAt(key, mine.create_revision)
        if mine is not None and mine.lease != lease.lease:
            # Of an earlier life of ours, or of another process with our id: it goes with its lease, or it does not.
            now = self._clock()
            self._stranger_since = now if self._stranger_since is None else self._stranger_since
            if now - self._stranger_since > 2 * self._ttl_s:
                words = f"the id {self._id!r} is used by another living process: give each engine an id of its own"
                self._troubles.tell("id", words)
            return False
        self._stranger_since = None
        self._troubles.over("id")
        if mine is not None and mine.card == card:
            return True
        await self._etcd.txn([there], [Put(key, card.encode(), lease.lease)], timeout_s=self._limit_s)
        self._wake()  # and is read back at once
        return False

    def _is_fit(self) -> bool:
        try:
            fit = self._fit()
        except Exception as error:  # noqa: BLE001 - the engine's fault is told, and counts as an answer
            self._troubles.tell("fit", f"fit() failed ({type(error).__name__}: {error}): counted as not fit")
            return False
        self._troubles.over("fit")
        return fit

    async def _tell_quarantine(self, seen: Membership) -> None:
        for p, quarantine in list(self.to_quarantine.items()):
            if p not in seen.quarantined:
                await self._etcd.put(self._keys.quarantine(p), quarantine.encode(), timeout_s=self._limit_s)
            self.to_quarantine.pop(p, None)  # from here on etcd's word counts, so that it can be lifted there

    async def _write_assignment(self, seen: Membership, wanted: Mapping[int, str]) -> bool:
        """Write it if we are still the member that this reading showed, and nobody has written since."""
        compare: list[Compare] = [
            CreatedAt(self._keys.member(self._id), seen.members[self._id].create_revision),
            ModifiedAt(self._keys.assign, seen.assign_revision),
        ]
        put = Put(self._keys.assign, encode_assignment(wanted))
        written = await self._etcd.txn(compare, [put], timeout_s=self._limit_s)
        self._counters.assignments_written += written
        if not written:
            self._wake()
        return written

    async def _carry_out(self, todo: Steps, quarantined: set[int], lease: LeaseClock, read_at: float) -> None:
        self._stays.end(todo.revoke & quarantined, Ending.QUARANTINED)
        self._stays.end(todo.revoke, Ending.MOVED)
        self._stays.linger(todo.linger, read_at)
        if not lease.valid() or self._stopping():
            return
        for p in todo.take:
            self._stays.begin(p, read_at)
        for p, way in todo.grant.items():
            self._stays.grant(p, way)
        calls: list[Callable[[], Awaitable[None]]] = [partial(self._claim, p, lease) for p in todo.claim]
        calls += [partial(self._say_warm, p, lease) for p in todo.warm]
        calls += [partial(self._delete_ours, self._keys.warm(p), lease) for p in todo.cool]
        calls += [partial(self.delete_owner_key, p, lease) for p in todo.release if p not in self._stays]
        gate = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def in_turn(call: Callable[[], Awaitable[None]]) -> None:
            async with gate:
                await call()

        for outcome in await asyncio.gather(*map(in_turn, calls), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _claim(self, p: int, lease: LeaseClock) -> None:
        key = self._keys.owner(p)
        put = Put(key, self._id.encode(), lease.lease)
        if not await self._etcd.txn([Absent(key)], [put], timeout_s=self._limit_s):
            self._wake()  # somebody was faster than our reading
        elif lease.valid():
            self._stays.grant(p, Granted.KEY)

    async def _say_warm(self, p: int, lease: LeaseClock) -> None:
        await self._etcd.put(self._keys.warm(p), self._id.encode(), lease=lease.lease, timeout_s=self._limit_s)

    async def _delete_ours(self, key: str, lease: LeaseClock) -> None:
        await self._etcd.txn([HeldUnder(key, lease.lease)], [Delete(key)], timeout_s=self._limit_s)
