"""The service that lives on one etcd lease: it says which partitions are ours, and takes and gives them.

How it works. Four loops, none of which waits for another:

* ``_run``     gets a lease, then reconciles in rounds (``rounds.py``). Woken by the watch, at least every third of the
  TTL, and when a step falls due.
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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from mode import Service

from indegree.ownership.errors import BadEtcdSetting, EtcdError, LeaseNotFound, OutcomeUnknown
from indegree.ownership.grant import Ending, Grant
from indegree.ownership.lease import Clock, LeaseClock, boot_clock
from indegree.ownership.membership import Card, Keys, Membership, Quarantine, check_member_id
from indegree.ownership.operations import Connection
from indegree.ownership.rounds import Rounds, Troubles
from indegree.ownership.stays import Counters, Stays

log = logging.getLogger(__name__)

DEFAULT_TTL_S = 5
SMALLEST_TTL_S = 2
"""etcd grants no shorter lease with its usual election timeout."""
_RETRY_S = (0.1, 1.0)
"""First and longest pause after a failed round, watch or lease; doubles in between."""


class Session(Service):
    """This member's part in the ownership of a cluster's partitions. Owned and run by Faust, or by ``async with``.

    ``take(partition)`` starts the partition's stream and returns; the stream looks up its token by
    ``grant(partition)``, warms up, waits for it to be granted, announces itself. ``give(partition)`` ends the stream
    and returns when it has drained; what it may still send depends on the grant's ``ending``. It is cancelled after
    ``give_up_s``, upon which it must drop the partition's producer at once. It is also called after a ``take`` that
    raised. Calls for one partition never overlap. ``fit()`` says, without blocking, whether this member can do its
    work; it is asked in every round.

    With ``warm_s`` above 0 a partition that moves to a living member stays with its owner until that member's stream
    has called ``warm(partition)``, at most ``warm_s`` long (half the TTL at most, since the heir waits for one TTL
    only).

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
        warm_s: float = 0.0,
        clock: Clock = boot_clock,
        wall: Callable[[], float] = time.time,
        **service: Any,
    ) -> None:
        super().__init__(**service)
        if ttl_s < SMALLEST_TTL_S or ttl_s != int(ttl_s):
            raise BadEtcdSetting(f"etcd.ttl_s is {ttl_s}: it must be whole seconds, at least {SMALLEST_TTL_S}")
        if not 0 <= warm_s <= ttl_s / 2:
            raise BadEtcdSetting(
                f"warm_s is {warm_s}: it must be 0 to half the TTL of {ttl_s} s, or heirs lose patience"
            )
        if partitions < 1:
            raise BadEtcdSetting(f"the partition count is {partitions}: it must be at least 1")
        self.id = check_member_id(id)
        self.partitions = partitions
        keys = Keys(cluster)
        self.ttl_s = int(ttl_s)
        self._give_up_s = give_up_s
        self._limit_s = self.ttl_s / 3  # of one call: two that hang leave time for a third before the deadline
        self.counters = Counters()
        self._etcd, self._clock, self._wall = etcd, clock, wall
        self._stays = Stays(
            take=take,
            give=give,
            delete_key=self._delete_key,
            changed=self._changed,
            give_up_s=give_up_s,
            clock=clock,
            counters=self.counters,
        )
        self._troubles = Troubles(self.id)
        self._rounds = Rounds(
            id=self.id,
            keys=keys,
            partitions=partitions,
            etcd=etcd,
            stays=self._stays,
            card=Card(address=address, metadata=dict(metadata)),
            fit=fit,
            wake=self.wake,
            stopping=self._stopping,
            ttl_s=self.ttl_s,
            warm_s=warm_s,
            limit_s=self._limit_s,
            clock=clock,
            counters=self.counters,
            troubles=self._troubles,
        )
        self._prefix = keys.prefix
        self._lease: LeaseClock | None = None  # the present lease; a lost one stays until the next is granted
        self._wake = asyncio.Event()
        self._news = asyncio.Event()  # of this moment: set and replaced after each round and each end of a stay
        self._round_done_at = -math.inf
        self._beating: asyncio.Task[None] | None = None

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
        return self.valid() and self._rounds.seen.leader == self.id

    def members(self) -> Membership:
        """What etcd said in the last completed round; empty before the first. No IO; may be old while etcd is away."""
        return self._rounds.seen

    def fenced(self, partition: int) -> None:
        """The log has a newer owner: ends the stay (``give`` is called). May be called from the stream itself.

        The partition comes back only when etcd, read again after a pause that doubles from 0.2 s to 30 s, still says
        that it is ours.
        """
        self.counters.fenced += 1
        self._stays.refuse(partition, Ending.FENCED)

    def warm(self, partition: int) -> None:
        """The partition's stream has read its log to the end, and goes on reading: its present owner may let go."""
        grant = self._stays.get(partition)
        if grant is not None and not grant.warm:
            grant.warm = True
            self.wake()

    def quarantine(self, partition: int, reason: str) -> None:
        """No engine takes the partition until ``membership.lift_quarantine``; ends the stay.

        etcd is told in the next round, again and again until it knows. Advisory: an emptied etcd forgets it, and the
        partition is tried again.
        """
        log.error("partition %d goes into quarantine: %s", partition, reason)
        self._rounds.to_quarantine[partition] = Quarantine(reason, self.id, self._wall())
        self._stays.end([partition], Ending.QUARANTINED)
        self.wake()

    async def drain(self, timeout_s: float = 10.0) -> bool:
        """Mark this member as draining and wait until the leader has moved all its partitions and they are given up.

        True: nothing is left here. False: somebody else has not taken over within ``timeout_s``, or there is nobody who
        could (returns as soon as that is known). Either way the session goes on until it is stopped.
        """
        self._rounds.card = replace(self._rounds.card, draining=True)
        self.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.should_stop:
                    seen = self._rounds.seen
                    me = seen.members.get(self.id)
                    told = me is not None and me.card.draining
                    if told and not self._stays and self.id not in (seen.assignment or {}).values():
                        return True
                    if told and not seen.members.keys() - seen.avoid:
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
                self._troubles.tell("lease", f"no lease: {error}")
            except Exception:
                log.exception("a session of %s ended by a fault of our own; a new one is begun", self.id)
            if self._stopping():
                return
            pause = _RETRY_S[0] if self.counters.rounds > rounds else min(2 * pause, _RETRY_S[1])
            await self.sleep(pause)

    @Service.task
    async def _watch(self) -> None:
        pause = _RETRY_S[0]
        while not self._stopping():
            try:
                async with contextlib.aclosing(self._etcd.watch_prefix(self._prefix)) as changes:
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
                self._step_down("its lease is lost" if lease.lost else "by our own clock its lease is over")
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
        granted = await self._etcd.lease_grant(self.ttl_s, timeout_s=self._limit_s)
        self._lease = lease = LeaseClock(granted.id, sent_at, granted.ttl_s, self._clock)
        self.counters.leases += 1
        self._troubles.over("lease")
        self._round_done_at = self._clock()
        if self._stopping():
            return
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
                await self._lose(lease, beating)

    async def _lose(self, lease: LeaseClock, beating: asyncio.Task[None]) -> None:
        """The end of a lease, whatever ended it. All is given up before anything is awaited."""
        lease.lose()
        beating.cancel()
        self.counters.leases_lost += 1
        self._step_down("its lease is lost")
        log.warning("%s has lost its lease and begins a new one", self.id)
        with contextlib.suppress(EtcdError):  # whatever etcd still has of that lease is to go
            await self._etcd.lease_revoke(lease.lease, timeout_s=1.0)
        outcome = (await asyncio.gather(beating, return_exceptions=True))[0]
        if isinstance(outcome, Exception):
            log.error("keeping the lease of %s alive failed by a fault of our own", self.id, exc_info=outcome)

    async def _round(self, lease: LeaseClock) -> float | None:
        """Reconcile once, within the TTL. In how many seconds to do so again at the latest; None: it failed."""
        try:
            async with asyncio.timeout(self.ttl_s):
                again_at = await self._rounds.reconcile(lease)
        except LeaseNotFound:
            lease.lose()
            return None
        except (EtcdError, TimeoutError) as error:
            self.counters.failed_rounds += 1
            self.counters.outcomes_unknown += isinstance(error, OutcomeUnknown)
            self._troubles.tell("round", str(error) or f"a round took longer than the TTL of {self.ttl_s} s")
            return None
        self._troubles.over("round")
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
            # While we stop there are no rounds, and the streams need the lease for as long as they may take to end.
            if idle_s > self.ttl_s + (self._give_up_s if self._stopping() else 0.0):
                self.counters.keepalives_withheld += 1
                self._troubles.tell("keepalive", f"no round was completed for {idle_s:.1f} s: the lease is not renewed")
                continue
            self._troubles.over("keepalive")
            sent_at = lease.now()
            try:
                ttl_s = await self._etcd.lease_keepalive(lease.lease, timeout_s=self._limit_s)
            except EtcdError as error:
                self.counters.keepalives_failed += 1
                log.debug("keepalive: %s", error)
                continue
            self.counters.keepalives += 1
            was_valid = lease.valid()
            if not lease.answered(sent_at, ttl_s) or not was_valid:
                self.wake()  # lost; or late, and what etcd still has under this lease may be granted again

    # -- for the stays

    def _step_down(self, why: str) -> None:
        gone = self._stays.end(list(self._stays.held()), Ending.UNPROVEN)
        if gone:
            self.counters.step_downs += 1
            log.warning("%s stands down (%s): gives up partitions %s", self.id, why, gone)

    async def _delete_key(self, p: int) -> None:
        lease = self._lease
        if lease is not None and lease.valid():
            await self._rounds.delete_owner_key(p, lease)

    def _changed(self) -> None:
        self._tell()
        self.wake()

    def _tell(self) -> None:
        """Wake whoever waits for news (a drain)."""
        news, self._news = self._news, asyncio.Event()
        news.set()
