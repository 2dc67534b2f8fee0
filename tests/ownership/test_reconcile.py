"""From a reading and what is held to the next steps; and whole clusters of members on an etcd of a few lines.

The simulated etcd has keys with leases and revisions, and no network: each member reads, is interrupted by others at
will, and writes what it decided from what may be an old reading. Members die, freeze, forget; etcd is emptied.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from indegree.ownership.membership import Card, Keys, Member, Membership, Owner, Quarantine, encode_assignment
from indegree.ownership.operations import KeyValue, Snapshot
from indegree.ownership.reconcile import Granted, Holding, Me, lead, steps

KEYS = Keys("sim")


def member(id: str, revision: int = 1, lease: int = 1, **card: bool) -> Member:
    return Member(id, Card(**card), revision, revision, lease)


def seen(
    members: list[Member],
    assignment: Mapping[int, str] | None = None,
    owners: Mapping[int, Owner] | None = None,
    quarantined: Mapping[int, Quarantine] | None = None,
) -> Membership:
    by_id = {m.id: m for m in members}
    return Membership(9, by_id, assignment, 0 if assignment is None else 8, owners or {}, quarantined or {})


A = Me("a", 1, True)


# -- who leads, and what it writes


def test_the_oldest_fit_member_leads() -> None:
    reading = seen([member("a", 5), member("b", 3), member("c", 1, fit=False)])

    assert lead(reading, Me("b", 1, True), 2, settled=True) == {0: "a", 1: "b"}
    assert lead(reading, A, 2, settled=True) is None
    assert lead(reading, Me("c", 1, True), 2, settled=True) is None


def test_a_leader_whose_lease_is_not_proven_writes_nothing() -> None:
    assert lead(seen([member("a")]), Me("a", 1, False), 2, settled=True) is None


def test_an_assignment_that_is_right_is_not_written_again() -> None:
    assert lead(seen([member("a")], {0: "a", 1: "a"}), A, 2, settled=True) is None


def test_a_missing_assignment_is_written_only_once_things_have_settled_and_starts_from_the_owners() -> None:
    owners = {0: Owner("b", 2, 7), 1: Owner("b", 2, 7), 2: Owner("a", 1, 7), 3: Owner("a", 1, 7)}
    reading = seen([member("a", 1), member("b", 2, 2)], None, owners)

    assert lead(reading, A, 4, settled=False) is None
    assert lead(reading, A, 4, settled=True) == {0: "b", 1: "b", 2: "a", 3: "a"}


def test_a_draining_member_leads_on_but_gives_its_partitions_away() -> None:
    reading = seen([member("a", 1, draining=True), member("b", 2, 2)], {0: "a", 1: "b"})

    assert lead(reading, A, 2, settled=True) == {0: "b", 1: "b"}


# -- a member's own steps


def test_without_an_assignment_nothing_is_taken_nothing_given_up_and_lost_keys_are_put_back() -> None:
    got = steps(seen([member("a")]), None, A, Holding(since={3: 0.0}), 10.0, 5, 8)

    assert (got.revoke, got.take, got.claim) == (frozenset(), (), (3,))


def test_a_key_under_the_present_lease_is_granted_and_one_under_another_lease_is_not() -> None:
    owners = {0: Owner("a", 1, 7), 1: Owner("a", 99, 7)}

    got = steps(seen([member("a")], {0: "a", 1: "a"}, owners), {0: "a", 1: "a"}, A, Holding(since={}), 10.0, 5, 2)

    assert got.take == (0, 1)
    assert got.grant == {0: Granted.KEY}
    assert got.again_at == 15.0


def test_somebody_elses_key_is_waited_for_one_ttl() -> None:
    reading = seen([member("a")], {0: "a"}, {0: Owner("b", 2, 7)})

    early = steps(reading, {0: "a"}, A, Holding(since={0: 6.0}), 10.0, 5, 1)
    late = steps(reading, {0: "a"}, A, Holding(since={0: 5.0}), 10.0, 5, 1)

    assert (early.grant, early.again_at) == ({}, 11.0)
    assert late.grant == {0: Granted.WAITED}


def test_an_unproven_lease_gives_up_what_moved_and_takes_nothing() -> None:
    reading = seen([member("a")], {0: "a", 1: "b", 2: "a"}, {0: Owner("a", 1, 7)})

    got = steps(reading, reading.assignment, Me("a", 1, False), Holding(since={1: 0.0}), 10.0, 5, 3)

    assert got.revoke == {1}
    assert not got.take
    assert not got.claim
    assert not got.grant


def test_a_barred_partition_is_not_taken_by_a_reading_from_before_the_bar_is_over() -> None:
    reading = seen([member("a")], {0: "a"})

    early = steps(reading, {0: "a"}, A, Holding(since={}, barred={0: 10.5}), 10.0, 5, 1)
    late = steps(reading, {0: "a"}, A, Holding(since={}, barred={0: 10.5}), 10.5, 5, 1)

    assert (early.take, early.claim, early.again_at) == ((), (), 10.5)
    assert (late.take, late.claim) == ((0,), (0,))


def test_a_partition_that_is_still_leaving_is_left_alone() -> None:
    reading = seen([member("a")], {0: "a"}, {0: Owner("a", 1, 7)})

    got = steps(reading, {0: "a"}, A, Holding(since={}, leaving={0}), 10.0, 5, 1)

    assert (got.take, got.grant, got.release) == ((), {}, ())


def test_a_key_of_ours_that_belongs_to_no_stay_is_released() -> None:
    reading = seen([member("a")], {0: "b"}, {0: Owner("a", 1, 7)})

    assert steps(reading, {0: "b"}, A, Holding(since={}), 10.0, 5, 1).release == (0,)


def test_a_partition_in_quarantine_is_given_up_and_its_key_with_it() -> None:
    reading = seen([member("a")], {0: "a", 1: "a"}, {0: Owner("a", 1, 7)}, {0: Quarantine("ill", "b", 0.0)})

    held = steps(reading, reading.assignment, A, Holding(since={0: 1.0, 1: 1.0}, quarantined={1}), 10.0, 5, 2)
    gone = steps(reading, reading.assignment, A, Holding(since={}), 10.0, 5, 2)

    assert held.revoke == {0, 1}
    assert gone.take == (1,)
    assert gone.release == (0,)


# -- warm moves

B_TAKES_0 = {0: "b"}
MINE = {0: Owner("a", 1, 7)}
BOTH = [member("a"), member("b", 2, 2)]


def test_a_partition_that_moves_stays_until_its_heir_is_warm_but_not_longer_than_told() -> None:
    cold = seen(BOTH, B_TAKES_0, MINE)
    warm = Membership(9, cold.members, B_TAKES_0, 8, MINE, warm={0: Owner("b", 2, 8)})

    first = steps(cold, B_TAKES_0, A, Holding(since={0: 1.0}), 10.0, 5, 1, warm_s=2)
    later = steps(cold, B_TAKES_0, A, Holding(since={0: 1.0}, moving={0: 10.0}), 11.9, 5, 1, warm_s=2)
    over = steps(cold, B_TAKES_0, A, Holding(since={0: 1.0}, moving={0: 10.0}), 12.0, 5, 1, warm_s=2)
    ready = steps(warm, B_TAKES_0, A, Holding(since={0: 1.0}, moving={0: 10.0}), 10.1, 5, 1, warm_s=2)

    assert (first.linger, first.revoke, first.again_at) == ({0}, frozenset(), 12.0)
    assert (later.linger, later.revoke) == ({0}, frozenset())
    assert (over.linger, over.revoke) == (frozenset(), {0})
    assert (ready.linger, ready.revoke) == (frozenset(), {0})


def test_nobody_lingers_for_an_heir_that_is_gone_or_without_holding_the_key() -> None:
    gone = steps(seen([member("a")], B_TAKES_0, MINE), B_TAKES_0, A, Holding(since={0: 1.0}), 10.0, 5, 1, warm_s=2)
    keyless = steps(seen(BOTH, B_TAKES_0, {}), B_TAKES_0, A, Holding(since={0: 1.0}), 10.0, 5, 1, warm_s=2)

    assert gone.revoke == {0}
    assert keyless.revoke == {0}


def test_an_heir_says_that_it_is_warm_once_and_takes_its_word_back_when_it_owns() -> None:
    mine, theirs = {0: "a"}, {0: Owner("b", 2, 7)}
    reading = seen(BOTH, mine, theirs)
    told = Membership(9, reading.members, mine, 8, theirs, warm={0: Owner("a", 1, 8)})
    owned = Membership(9, reading.members, mine, 8, MINE, warm={0: Owner("a", 1, 8)})

    assert steps(reading, mine, A, Holding(since={0: 9.0}, warm={0}), 10.0, 5, 1).warm == (0,)
    assert steps(told, mine, A, Holding(since={0: 9.0}, warm={0}), 10.0, 5, 1).warm == ()
    assert steps(owned, mine, A, Holding(since={0: 9.0}), 10.0, 5, 1).cool == (0,)


# -- whole clusters


class SimulatedEtcd:
    def __init__(self) -> None:
        self.revision, self.keys = 1, dict[str, KeyValue]()

    def snapshot(self) -> Snapshot:
        return Snapshot(self.revision, tuple(self.keys[k] for k in sorted(self.keys)))

    def put(self, key: str, value: bytes, lease: int = 0) -> None:
        self.revision += 1
        old = self.keys.get(key)
        self.keys[key] = KeyValue(key, value, old.create_revision if old else self.revision, self.revision, lease)

    def delete(self, key: str) -> None:
        self.revision += 1
        self.keys.pop(key, None)

    def expire(self, lease: int) -> None:
        for key in [k for k, kv in self.keys.items() if kv.lease == lease]:
            self.delete(key)


class SimulatedMember:
    """Does with the steps what a session does, one reading or one writing at a time."""

    def __init__(self, id: str, lease: int, etcd: SimulatedEtcd) -> None:
        self.id, self.lease, self.etcd = id, lease, etcd
        self.since: dict[int, float] = {}
        self.granted: set[int] = set()
        self.reading: tuple[float, Membership] | None = None
        self.missing_since: float | None = None

    def read(self, now: float) -> None:
        self.reading = now, Membership.parse(KEYS, self.etcd.snapshot())

    def write(self, partitions: int) -> None:
        if self.reading is None:
            return
        (now, seen), self.reading = self.reading, None
        mine = seen.members.get(self.id)
        if mine is None:
            if KEYS.member(self.id) not in self.etcd.keys:
                self.etcd.put(KEYS.member(self.id), Card().encode(), self.lease)
            return
        me = Me(self.id, self.lease, True)
        self.missing_since = None if seen.assignment is not None else self.missing_since or now
        settled = self.missing_since is None or now - self.missing_since >= 1.0
        assignment, wanted = seen.assignment, lead(seen, me, partitions, settled)
        if wanted is not None:
            there, own = self.etcd.keys.get(KEYS.assign), self.etcd.keys.get(KEYS.member(self.id))
            if (there.mod_revision if there else 0) == seen.assign_revision and (
                own is not None and own.create_revision == mine.create_revision
            ):
                self.etcd.put(KEYS.assign, encode_assignment(wanted))
                assignment = wanted
        todo = steps(seen, assignment, me, Holding(since=self.since), now, 5.0, partitions)
        for p in todo.revoke:
            del self.since[p]
            self.granted.discard(p)
            self.release(p)
        self.since.update(dict.fromkeys(todo.take, now))
        self.granted |= todo.grant.keys()
        for p in todo.claim:
            if KEYS.owner(p) not in self.etcd.keys:
                self.etcd.put(KEYS.owner(p), self.id.encode(), self.lease)
                self.granted.add(p)
        for p in todo.release:
            self.release(p)

    def release(self, p: int) -> None:
        there = self.etcd.keys.get(KEYS.owner(p))
        if there is not None and there.lease == self.lease:
            self.etcd.delete(KEYS.owner(p))


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_the_members_that_live_end_up_with_everything_once_and_evenly(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    partitions, etcd, now, leases = chance.randint(1, 9), SimulatedEtcd(), 0.0, 0
    members: list[SimulatedMember] = []

    # Given members that read and write in any order while others come, die, and etcd loses keys or all of them,
    for _ in range(300):
        now += chance.random() * 0.3
        happening = chance.random()
        if not members or (happening < 0.03 and len(members) < 5):
            leases += 1
            members.append(SimulatedMember(f"m{leases}", leases, etcd))
        elif happening < 0.05:
            etcd.expire(members.pop(chance.randrange(len(members))).lease)
        elif happening < 0.06:
            for key in list(etcd.keys):
                etcd.delete(key)
        elif happening < 0.08 and etcd.keys:
            etcd.delete(chance.choice(sorted(etcd.keys)))
        if members:
            someone = chance.choice(members)
            someone.read(now) if chance.random() < 0.5 else someone.write(partitions)
    if not members:
        members.append(SimulatedMember("last", 10_000, etcd))

    # when peace comes,
    for _ in range(40):
        for someone in members:
            now += 0.2
            someone.read(now)
            someone.write(partitions)

    # then each partition has one owner, in etcd and at heart, and the shares are even,
    shares = [m.granted for m in members]
    assert sorted(p for share in shares for p in share) == list(range(partitions))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    final = Membership.parse(KEYS, etcd.snapshot())
    assert {p: o.id for p, o in final.owners.items()} == final.assignment
    for m in members:
        assert {p for p, o in final.owners.items() if o.id == m.id} == m.granted == m.since.keys()

    # and an etcd emptied now moves nothing.
    before = [set(m.granted) for m in members]
    for key in list(etcd.keys):
        etcd.delete(key)
    for _ in range(40):
        for someone in members:
            now += 0.2
            someone.read(now)
            someone.write(partitions)
            assert someone.granted == before[members.index(someone)]
    assert {p: o.id for p, o in Membership.parse(KEYS, etcd.snapshot()).owners.items()} == final.assignment
