"""From what stands in etcd and what we hold, to the next steps. Pure: no clock, no IO, no memory.

Level-triggered: every round starts from a fresh reading and would come to the same steps if the last round had never
been. That is what makes lost wake-ups, transactions of unknown outcome and an emptied etcd harmless: whatever happened,
the next reading shows it, and the steps that are still missing are taken.

Rules that the two functions keep:

* Only the oldest fit member assigns. Where no assignment stands (a new cluster, an emptied etcd) it waits a little
  (``settled``), so that members and owners can put their keys back first, and then starts from the owners' keys: an
  emptied etcd moves nothing.
* Without an assignment nothing is taken and nothing given up: nobody has said anything.
* A lease that is not proven gives things up and takes nothing.
* A key under our present lease is ours, however it came about (a step-down while the lease was late, a transaction
  whose answer was lost): granted. A key that is missing is claimed, the first time and whenever it goes missing again.
* Somebody else's key is waited for, but for one TTL only; then the partition is granted all the same, since the log is
  the judge and a key can be stuck.
* A partition that moves to a living member stays with its owner until that member has read the log (``warm_s`` at
  most): then the move costs the log's tail only.
* A partition that is still being given up is left alone until that is over: two streams of one partition never meet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from indegree.ownership.assign import assign
from indegree.ownership.membership import Membership


class Granted(Enum):
    """On what a grant rests."""

    KEY = "key"
    """owners/P is ours."""
    WAITED = "waited"
    """The key was somebody else's for a whole TTL; the log will judge."""


@dataclass(frozen=True, slots=True)
class Me:
    id: str
    lease: int
    proven: bool
    """The lease is valid by our own clock as of this reading."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Where things stand with us, beside the reading. Times are by the session's clock."""

    since: Mapping[int, float]
    """Partitions that are taken (granted or not), and when they were."""
    keyless: Collection[int] = frozenset()
    """Those of them that are granted because a TTL was waited (Granted.WAITED)."""
    warm: Collection[int] = frozenset()
    """Those of them that have read their log and do not hold their key yet."""
    moving: Mapping[int, float] = field(default_factory=dict)
    """Those of them that linger for a new owner to be warm, and since when."""
    leaving: Collection[int] = frozenset()
    """Partitions that are being given up and may still have a running stream."""
    barred: Mapping[int, float] = field(default_factory=dict)
    """Partitions that the log took from us, and the time from which a reading may give them back."""
    quarantined: Collection[int] = frozenset()
    """Partitions put in quarantine by us, whether or not etcd knows it yet."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do now. The sets do not overlap, but for grant/claim, which are subsets of what is held or taken."""

    revoke: frozenset[int] = frozenset()
    """Held, and not ours any more."""
    linger: frozenset[int] = frozenset()
    """Held, assigned to somebody else, and kept until he is warm."""
    take: tuple[int, ...] = ()
    """Assigned to us and not held: start it warm."""
    claim: tuple[int, ...] = ()
    """Write owners/P if it is absent."""
    grant: Mapping[int, Granted] = field(default_factory=dict)
    warm: tuple[int, ...] = ()
    """Write warm/P: we are ready, and its owner has not let go."""
    cool: tuple[int, ...] = ()
    """Delete our warm/P: it has done its work."""
    release: tuple[int, ...] = ()
    """Our key, but neither held nor assigned nor being given up: delete it."""
    again_at: float | None = None
    """When a step falls due without any change in etcd; None: not foreseen."""


def lead(seen: Membership, me: Me, partitions: int, settled: bool) -> dict[int, str] | None:
    """The assignment that we, as the leader, have to write; None when we do not lead, or all is well as it is.

    ``settled``: the assignment has been missing for long enough that everybody has put its keys back.
    """
    if seen.leader != me.id or not me.proven:
        return None
    if seen.assignment is None and not settled:
        return None
    before = {p: o.id for p, o in seen.owners.items()} if seen.assignment is None else seen.assignment
    wanted = assign(seen.members.keys(), partitions, before, seen.avoid)
    return None if wanted == seen.assignment else wanted


def steps(
    seen: Membership,
    assignment: Mapping[int, str] | None,
    me: Me,
    holding: Holding,
    read_at: float,
    ttl_s: float,
    partitions: int,
    warm_s: float = 0.0,
) -> Steps:
    """Our own next steps. ``assignment`` is the reading's, or the one that we have just written as the leader.

    ``read_at`` is when the reading was asked for, by the session's clock.
    """
    quarantined = {*seen.quarantined, *holding.quarantined}
    if assignment is None:
        mine = set(holding.since)
    else:
        mine = {p for p, m in assignment.items() if m == me.id and 0 <= p < partitions}
    mine -= quarantined
    gone = frozenset(holding.since.keys() - mine)
    if not me.proven:
        return Steps(revoke=gone)
    linger = _linger(seen, assignment or {}, me, gone - quarantined, holding.moving, read_at, warm_s)

    take: list[int] = []
    claim: list[int] = []
    grant: dict[int, Granted] = {}
    due = list(linger.values())
    for p in sorted(mine):
        if p not in holding.since:
            if p in holding.leaving:
                continue
            if holding.barred.get(p, read_at) > read_at:
                due.append(holding.barred[p])
                continue
            take.append(p)
        owner = seen.owners.get(p)
        until = holding.since.get(p, read_at) + ttl_s
        if owner is None:
            claim.append(p)
        elif owner.id == me.id and owner.lease == me.lease:
            grant[p] = Granted.KEY
        elif p not in holding.keyless:
            if until <= read_at:
                grant[p] = Granted.WAITED
            else:
                due.append(until)
    left = {p for p, o in seen.owners.items() if o.id == me.id and o.lease == me.lease}
    release = left - mine - holding.since.keys() - set(holding.leaving)
    told = {p for p, o in seen.warm.items() if o.id == me.id and o.lease == me.lease}
    warm = {p for p in holding.warm if p in mine and p in seen.owners and p not in grant and p not in told}
    cool = told - set(holding.warm)
    return Steps(
        revoke=gone - linger.keys(),
        linger=frozenset(linger),
        take=tuple(take),
        claim=tuple(claim),
        grant=grant,
        warm=tuple(sorted(warm)),
        cool=tuple(sorted(cool)),
        release=tuple(sorted(release)),
        again_at=min(due, default=None),
    )


def _linger(
    seen: Membership,
    assignment: Mapping[int, str],
    me: Me,
    gone: Collection[int],
    moving: Mapping[int, float],
    read_at: float,
    warm_s: float,
) -> dict[int, float]:
    """Those of the partitions that moved away which we still serve, and until when at the latest."""
    kept: dict[int, float] = {}
    for p in gone:
        heir, owner, warm = assignment.get(p), seen.owners.get(p), seen.warm.get(p)
        until = moving.get(p, read_at) + warm_s
        ours = owner is not None and owner.id == me.id and owner.lease == me.lease
        if ours and heir in seen.members and (warm is None or warm.id != heir) and read_at < until:
            kept[p] = until
    return kept
