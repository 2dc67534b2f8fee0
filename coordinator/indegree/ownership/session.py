"""The service that lives on one etcd lease: it says which partitions are ours, and takes and gives them.

How it works. Four loops, none of which waits for another:

* ``_run``     gets a lease, then reconciles: reads all of the cluster's keys, asks ``reconcile.py`` for the steps,
  takes them. Woken by the watch, at least every third of the TTL, and when a step falls due.
* ``_beat``    renews the lease every quarter of the TTL, but only while a round of reconciling was completed within the
  TTL: a member that lives without working loses its lease, and others take over.
* ``_guard``   gives everything up at the lease's deadline by our own clock, even while every call to etcd hangs.
* ``_watch``   wakes ``_run``; nothing more.

What is taken runs beside them (``stays.py``).

When etcd goes away, all is given up at the deadline, with one line in the log. When it comes back, the lease is still
known there (go on with it) or it is not (a new one is begun). Nobody has to restart anything.

What it must never do: await a stream or a callback inside a round; raise out of ``on_stop`` (Faust would hang); grant
what a reading older than the log's refusal says; keep a lease alive that it does not work for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

from mode import Service

from indegree.ownership.errors import BadEtcdSetting, EtcdError, LeaseNotFound, OutcomeUnknown
from indegree.ownership.grant import Ending, Grant
from indegree.ownership.lease import Clock, LeaseClock, boot_clock
from indegree.ownership.membership import Card, Keys, Membership, Quarantine, check_member_id, encode_assignment
from indegree.ownership.operations import (
    Absent,
    Compare,
    CreatedAt,
    Delete,
    HeldUnder,
    Lease,
    ModifiedAt,
    Put,
    Snapshot,
    Write,
)
from indegree.ownership.reconcile import Granted, Me, Steps, lead, steps
from indegree.ownership.stays import Counters, Stays

log = logging.getLogger(__name__)

DEFAULT_TTL_S = 5
SMALLEST_TTL_S = 2
"""etcd grants no shorter lease with its usual election timeout."""
_RETRY_S = (0.1, 1.0)
"""First and longest pause after a failed round, watch or lease; doubles in between."""
_SETTLE_S = 0.5
"""How long an assignment must have been missing before the leader writes one: a watch wakes everybody in milliseconds,
a member without a watch looks every third of the TTL (hence at most a quarter of the TTL)."""
_CLAIMS_AT_ONCE = 16


class Connection(Protocol):
    """The calls that a session makes (``etcd.Etcd`` has them; a simulator may bring its own)."""

    async def get_prefix(self, prefix: str, *, timeout_s: float | None = None) -> Snapshot: ...
    async def put(self, key: str, value: bytes, *, lease: int = 0, timeout_s: float | None = None) -> None: ...
    async def txn(
        self, compare: Sequence[Compare], then: Sequence[Write], *, timeout_s: float | None = None
    ) -> bool: ...
    async def lease_grant(self, ttl_s: int, *, timeout_s: float | None = None) -> Lease: ...
    async def lease_keepalive(self, lease: int, *, timeout_s: float | None = None) -> float: ...
    async def lease_revoke(self, lease: int, *, timeout_s: float | None = None) -> None: ...
    def watch_prefix(self, prefix: str) -> AsyncGenerator[None, None]: ...


class Session(Service):
    """This member's part in the ownership of a cluster's partitions. Owned and run by Faust, or by ``async with``.

    ``take(partition)`` starts the partition's stream and returns; the stream looks up its token by
    ``grant(partition)``, warms up, waits for it to be granted, announces itself. ``give(partition)`` ends the stream
    and returns when it has drained; what it may still send depends on the grant's ``ending``. It is cancelled after
    ``give_up_s``, upon which it must drop the partition's producer at once. It is also called after a ``take`` that
    raised. Calls for one partition never overlap. ``fit()`` says, without blocking, whether this member can do its
    work; it is asked in every round.

    ``id`` must belong to this process alone. The connection stays the caller's, to be closed after the session.
    Raises BadEtcdSetting for a name, TTL (whole seconds, at least 2) or partition count that cannot be.
    """

    def __init__(
        self,
        id: str,
        cluster: str,
        partitions: int,
        etcd: Connection,
        *,
        take: Callable[[int], Awaitable[object]],
        give: Callable[[int], Awaitable[object]],
        fit: Callable[[], bool] = lambda: True,
        address: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        ttl_s: int = DEFAULT_TTL_S,
        give_up_s: float = 5.0,
        clock: Clock = boot_clock,
        wall: Callable[[], float] = time.time,
        **service: Any,
    ) -> None:
        super().__init__(**service)
        if ttl_s < SMALLEST_TTL_S or ttl_s != int(ttl_s):
            raise BadEtcdSetting(f"etcd.ttl_s is {ttl_s}: it must be whole seconds, at least {SMALLEST_TTL_S}")
        if partitions < 1:
            raise BadEtcdSetting(f"the partition count is {partitions}: it must be at least 1")
        self.id = check_member_id(id)
        self.partitions = partitions
        self.keys = Keys(cluster)
        self.ttl_s = int(ttl_s)
        self.counters = Counters()
        self._etcd, self._fit, self._clock, self._wall = etcd, fit, clock, wall
        self._stays = Stays(
            take=take,
            give=give,
            delete_key=self._delete_key,
            changed=self._changed,
            give_up_s=give_up_s,
            clock=clock,
            counters=self.counters,
        )
        self._card = Card(address=address, metadata=dict(metadata))
        self._lease: LeaseClock | None = None  # the present lease; a lost one stays until the next is granted
        self._to_quarantine: dict[int, Quarantine] = {}  # not yet known to be in etcd
        self._seen = Membership()
        self._wake = asyncio.Event()
        self._news = asyncio.Event()  # of this moment: set and replaced after each round and each end of a stay
        self._round_done_at = -math.inf
        self._unassigned_since: float | None = None  # since when readings have shown no assignment
        self._stranger_since: float | None = None  # since when our member key has hung on a lease that is not ours
        self._beating: asyncio.Task[None] | None = None
        self._troubles: set[str] = set()  # failures that the log has been told of and that have not ended

    # -- for the stream and the engine

    def valid(self) -> bool:
        """Whether the lease is proven, now. To be asked before every dispatch. Never blocks."""
        return self._lease is not None and self._lease.valid()

    def lease_remaining_s(self) -> float:
        return 0.0 if self._lease is None else self._lease.remaining_s()

    def grant(self, partition: int) -> Grant | None:
        """The partition's present token: the one whose stream may be running, revoked or not; None: there is none."""
        return self._stays.get(partition)

    @property
    def owned(self) -> frozenset[int]:
        """Partitions that are granted and not revoked."""
        return frozenset(p for p, grant in self._stays.held().items() if grant.granted.is_set())

    @property
    def leads(self) -> bool:
        """Whether we lead, as of the last round."""
        return self.valid() and self._seen.leader == self.id

    def members(self) -> Membership:
        """What etcd said in the last completed round; empty before the first. No IO; may be old while etcd is away."""
        return self._seen

    def fenced(self, partition: int) -> None:
        """The log has a newer owner: ends the stay (``give`` is called). May be called from the stream itself.

        The partition comes back only when etcd, read again after a pause that doubles from 0.2 s to 30 s, still says
        that it is ours.
        """
        self.counters.fenced += 1
        self._stays.refuse(partition, Ending.FENCED)

    def quarantine(self, partition: int, reason: str) -> None:
        """No engine takes the partition until ``membership.lift_quarantine``; ends the stay.

        etcd is told in the next round, again and again until it knows. Advisory: an emptied etcd forgets it, and the
        partition is tried again.
        """
        log.error("partition %d goes into quarantine: %s", partition, reason)
        self._to_quarantine[partition] = Quarantine(reason, self.id, self._wall())
        self._stays.end([partition], Ending.QUARANTINED)
        self.wake()

    async def drain(self, timeout_s: float = 10.0) -> bool:
        """Mark this member as draining and wait until the leader has moved all its partitions and they are given up.

        True: nothing is left here. False: somebody else has not taken over within ``timeout_s``, or there is nobody who
        could (returns as soon as that is known). Either way the session goes on until it is stopped.
        """
        self._card = replace(self._card, draining=True)
        self.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.should_stop:
                    me = self._seen.members.get(self.id)
                    told = me is not None and me.card.draining
                    if told and not self._stays and self.id not in (self._seen.assignment or {}).values():
                        return True
                    if told and not self._seen.members.keys() - self._seen.avoid:
                        return False
                    await self._news.wait()
        return not self._stays

    def wake(self) -> None:
        """Reconcile now rather than at the next wake-up."""
        self._wake.set()

    # -- the service

    @Service.task
    async def _run(self) -> None:
        pause = _RETRY_S[0]
        while not self._stopping():
            rounds = self.counters.rounds
            try:
                await self._live()
            except EtcdError as error:
                self._trouble("lease", f"no lease: {error}")
            except Exception:
                log.exception("a session of %s ended by a fault of our own; a new one is begun", self.id)
            if self._stopping():
                return
            self._step_down("the lease has ended")
            pause = _RETRY_S[0] if self.counters.rounds > rounds else min(2 * pause, _RETRY_S[1])
            await self.sleep(pause)

    @Service.task
    async def _watch(self) -> None:
        pause = _RETRY_S[0]
        while not self._stopping():
            try:
                async with contextlib.aclosing(self._etcd.watch_prefix(self.keys.prefix)) as changes:
                    async for _ in changes:
                        pause = _RETRY_S[0]
                        self.wake()
            except EtcdError as error:
                log.debug("watch: %s", error)
            except Exception:
                log.exception("the watch of %s failed by a fault of our own; it is begun again", self.id)
            await self.sleep(pause)
            pause = min(2 * pause, _RETRY_S[1])

    @Service.task
    async def _guard(self) -> None:
        while not self._stopping():
            lease = self._lease
            remaining_s = self.ttl_s if lease is None else lease.remaining_s()
            if lease is not None and remaining_s <= 0:
                self._step_down("its lease is lost" if lease.lost else "its lease was not renewed in time")
                remaining_s = 0.05
            # The loop's clock stands still while the machine is suspended, the lease's does not: look often.
            await self.sleep(min(max(remaining_s, 0.002), 0.25))

    async def on_stop(self) -> None:
        """Give everything up (at most ``give_up_s`` and one second), revoke the lease. Raises nothing."""
        try:
            self.wake()
            await self._stays.end_all(Ending.STOPPED)
            if self._beating is not None:
                self._beating.cancel()
            lease, self._lease = self._lease, None
            if lease is not None and not lease.lost:
                await self._etcd.lease_revoke(lease.lease, timeout_s=1.0)
        except EtcdError as error:
            log.info("the lease of %s was not revoked and ends by itself within %d s: %s", self.id, self.ttl_s, error)
        except Exception:
            log.exception("stopping the session of %s failed by a fault of our own", self.id)

    def _stopping(self) -> bool:
        return bool(self.should_stop)

    # -- one lease

    async def _live(self) -> None:
        """Get a lease and work on it until it is lost (returns) or we stop. Raises EtcdError when there is none."""
        sent_at = self._clock()
        granted = await self._etcd.lease_grant(self.ttl_s, timeout_s=self.ttl_s / 3)
        self._lease = lease = LeaseClock(granted.id, sent_at, granted.ttl_s, self._clock)
        self.counters.leases += 1
        self._cleared("lease")
        self._round_done_at = self._clock()
        beating = self._beating = asyncio.create_task(self._beat(lease), name=f"lease of {self.id}")
        failures = 0
        try:
            while not self._stopping() and not beating.done():
                self._wake.clear()  # before the work: a wake-up during it must count
                due_s = await self._round(lease)
                failures = failures + 1 if due_s is None else 0
                if lease.lost:
                    break
                if due_s is None:
                    await self.sleep(min(_RETRY_S[1], _RETRY_S[0] * 2 ** min(failures - 1, 10)))
                else:
                    await self._until_woken(beating, due_s)
        finally:
            if not self._stopping():  # while we stop, the lease lives until all is given up
                beating.cancel()
        if lease.lost:
            self.counters.leases_lost += 1
            log.warning("%s has lost its lease and begins a new one", self.id)
            with contextlib.suppress(EtcdError):  # etcd gave no TTL: whatever it still has of that lease is to go
                await self._etcd.lease_revoke(lease.lease, timeout_s=1.0)

    async def _round(self, lease: LeaseClock) -> float | None:
        """Reconcile once, within the TTL. In how many seconds to do so again at the latest; None: it failed."""
        try:
            async with asyncio.timeout(self.ttl_s):
                again_at = await self._reconcile(lease)
        except LeaseNotFound:
            lease.lose()
            return None
        except (EtcdError, TimeoutError) as error:
            self.counters.failed_rounds += 1
            self.counters.outcomes_unknown += isinstance(error, OutcomeUnknown)
            self._trouble("round", str(error) or f"a round took longer than the TTL of {self.ttl_s} s")
            return None
        self._cleared("round")
        self.counters.rounds += 1
        self._round_done_at = self._clock()
        self._tell()
        third = self.ttl_s / 3
        return third if again_at is None else min(third, max(0.01, again_at - self._clock()))

    async def _until_woken(self, beating: asyncio.Task[None], seconds: float) -> None:
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([woken, beating], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _beat(self, lease: LeaseClock) -> None:
        """Renew the lease; returns when it is lost. Nothing is renewed that no round was completed for."""
        while not lease.lost:
            await asyncio.sleep(self.ttl_s / 4 if lease.valid() else 0.1)
            idle_s = self._clock() - self._round_done_at
            if idle_s > self.ttl_s and not self._stopping():
                self.counters.keepalives_withheld += 1
                self._trouble("keepalive", f"no round was completed for {idle_s:.1f} s: the lease is not renewed")
                continue
            self._cleared("keepalive")
            sent_at = lease.now()
            try:
                ttl_s = await self._etcd.lease_keepalive(lease.lease, timeout_s=self.ttl_s / 3)
            except EtcdError as error:
                self.counters.keepalives_failed += 1
                log.debug("keepalive: %s", error)
                continue
            self.counters.keepalives += 1
            was_valid = lease.valid()
            if not lease.answered(sent_at, ttl_s) or not was_valid:
                self.wake()  # lost; or late, and what etcd still has under this lease may be granted again

    # -- one round

    async def _reconcile(self, lease: LeaseClock) -> float | None:
        """Read, then do what is missing. When to look again without a change in etcd; None: not foreseen."""
        read_at = self._clock()
        seen = Membership.parse(self.keys, await self._etcd.get_prefix(self.keys.prefix, timeout_s=self.ttl_s / 3))
        self._seen = seen
        if not await self._show_card(seen, lease):
            return read_at + 0.25  # nothing is decided from a reading without us; written just now, it wakes us at once
        for p, quarantine in list(self._to_quarantine.items()):
            if p not in seen.quarantined:
                await self._etcd.put(self.keys.quarantine(p), quarantine.encode())
        me = Me(self.id, lease.lease, lease.valid())
        assignment, again_at = seen.assignment, None
        if assignment is None:
            if self._unassigned_since is None:
                self._unassigned_since = read_at
            again_at = self._unassigned_since + min(0.5, self.ttl_s / 4)
        else:
            self._unassigned_since = None
        wanted = lead(seen, me, self.partitions, settled=again_at is None or again_at <= read_at)
        if wanted is not None and await self._write_assignment(seen, wanted):
            assignment, again_at = wanted, None
        holding = self._stays.holding(self._to_quarantine)
        todo = steps(seen, assignment, me, holding, read_at, self.ttl_s, self.partitions)
        await self._carry_out(todo, seen, lease, read_at)
        for p in [p for p in self._to_quarantine if p in seen.quarantined]:
            del self._to_quarantine[p]
        return min((t for t in (again_at, todo.again_at) if t is not None), default=None)

    async def _show_card(self, seen: Membership, lease: LeaseClock) -> bool:
        """See to it that members/ID stands there as we are. True: it did."""
        card = self._card = replace(self._card, fit=self._is_fit())
        key, mine = self.keys.member(self.id), seen.members.get(self.id)
        there: Compare = Absent(key) if mine is None else CreatedAt(key, mine.create_revision)
        if mine is not None and mine.lease != lease.lease:
            # Of an earlier life of ours, or of another process with our id: it goes with its lease, or it does not.
            now = self._clock()
            self._stranger_since = now if self._stranger_since is None else self._stranger_since
            if now - self._stranger_since > 2 * self.ttl_s:
                words = f"the id {self.id!r} is used by another living process: give each engine an id of its own"
                self._trouble("id", words)
            return False
        self._stranger_since = None
        self._cleared("id")
        if mine is not None and mine.card == card:
            return True
        await self._etcd.txn([there], [Put(key, card.encode(), lease.lease)])
        self.wake()
        return False

    async def _write_assignment(self, seen: Membership, wanted: Mapping[int, str]) -> bool:
        """Write it if we are still the member that this reading showed, and nobody has written since."""
        compare = [
            CreatedAt(self.keys.member(self.id), seen.members[self.id].create_revision),
            ModifiedAt(self.keys.assign, seen.assign_revision),
        ]
        written = await self._etcd.txn(compare, [Put(self.keys.assign, encode_assignment(wanted))])
        self.counters.assignments_written += written
        if not written:
            self.wake()
        return written

    async def _carry_out(self, todo: Steps, seen: Membership, lease: LeaseClock, read_at: float) -> None:
        bad = seen.quarantined.keys() | self._to_quarantine.keys()
        self._stays.end(todo.revoke & bad, Ending.QUARANTINED)
        self._stays.end(todo.revoke, Ending.MOVED)
        if not lease.valid() or self._stopping():
            return
        for p in todo.take:
            self._stays.begin(p, read_at)
        for p, way in todo.grant.items():
            self._stays.grant(p, way)
        gate = asyncio.Semaphore(_CLAIMS_AT_ONCE)
        work: list[Coroutine[Any, Any, None]] = [self._claim(p, lease, gate) for p in todo.claim]
        work += [self._release(p, lease, gate) for p in todo.release]
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _claim(self, p: int, lease: LeaseClock, gate: asyncio.Semaphore) -> None:
        key = self.keys.owner(p)
        async with gate:
            if await self._etcd.txn([Absent(key)], [Put(key, self.id.encode(), lease.lease)]):
                if lease.valid():
                    self._stays.grant(p, Granted.KEY)
            else:
                self.wake()

    async def _release(self, p: int, lease: LeaseClock, gate: asyncio.Semaphore) -> None:
        key = self.keys.owner(p)
        async with gate:
            if p not in self._stays:
                await self._etcd.txn([HeldUnder(key, lease.lease)], [Delete(key)])

    # -- for the stays

    def _step_down(self, why: str) -> None:
        gone = self._stays.end(list(self._stays.held()), Ending.UNPROVEN)
        if gone:
            self.counters.step_downs += 1
            log.warning("%s stands down by its own clock, %s: gives up partitions %s", self.id, why, gone)

    async def _delete_key(self, p: int) -> None:
        lease = self._lease
        if lease is not None and lease.valid():
            key = self.keys.owner(p)
            await self._etcd.txn([HeldUnder(key, lease.lease)], [Delete(key)], timeout_s=1.0)

    def _changed(self) -> None:
        self._tell()
        self.wake()

    def _tell(self) -> None:
        """Wake whoever waits for news (a drain)."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    # -- words

    def _is_fit(self) -> bool:
        try:
            fit = self._fit()
        except Exception as error:  # noqa: BLE001 - the engine's fault is told, and counts as an answer
            self._trouble("fit", f"fit() failed ({type(error).__name__}: {error}): counted as not fit")
            return False
        self._cleared("fit")
        return fit

    def _trouble(self, kind: str, words: str) -> None:
        """Say it once, until it has ended."""
        level = logging.DEBUG if kind in self._troubles else logging.WARNING
        self._troubles.add(kind)
        log.log(level, "%s: %s", self.id, words)

    def _cleared(self, kind: str) -> None:
        if kind in self._troubles:
            self._troubles.remove(kind)
            log.info("%s: %s is in order again", self.id, kind)
