"""The proof of a lease by our own clock."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from indegree.ownership.lease import LeaseClock, boot_clock


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_is_proven_from_the_moment_before_it_was_asked_for() -> None:
    hand = Hand()
    sent_at = hand.now
    hand.now += 1.5  # the answer took its time

    lease = LeaseClock(7, sent_at, 5, hand)

    assert lease.remaining_s() == 3.5
    hand.now = 104.999
    assert lease.valid()
    hand.now = 105.0
    assert not lease.valid()
    assert not lease.lost
    assert lease.remaining_s() == 0.0


def test_an_answer_that_comes_late_does_not_shorten_the_proof() -> None:
    hand = Hand()
    lease = LeaseClock(7, 100, 5, hand)
    lease.answered(103, 5)

    lease.answered(101, 5)

    assert lease.deadline == 108


def test_a_lease_that_was_late_is_proven_again_by_an_answer_with_a_ttl() -> None:
    hand = Hand()
    lease = LeaseClock(7, 100, 5, hand)
    hand.now = 107.0
    assert not lease.valid()

    assert lease.answered(106.9, 5)

    assert lease.valid()


def test_a_ttl_of_zero_or_none_is_final() -> None:
    for ttl_s in (0.0, -1.0, None):
        lease = LeaseClock(7, 100, 5, Hand())

        assert not lease.answered(101, ttl_s)

        assert lease.lost
        assert not lease.answered(102, 5), "no later answer brings it back"
        assert not lease.valid()
        assert lease.remaining_s() == 0.0


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.sampled_from([0.0, 2.0, 5.0])), max_size=30))
def test_our_clock_never_trusts_a_lease_longer_than_etcd_does(steps: list[tuple[float, float, float]]) -> None:
    # Given an etcd that counts the TTL from when the request arrives, and answers that take their time,
    hand = Hand()
    lease = LeaseClock(7, hand.now, 5, hand)
    ends_in_etcd = hand.now + 5
    for there, back, ttl_s in steps:
        sent_at = lease.now()
        hand.now += there
        if hand.now >= ends_in_etcd or ttl_s == 0.0:
            ttl_s, ends_in_etcd = 0.0, min(ends_in_etcd, hand.now)
        else:
            ends_in_etcd = hand.now + ttl_s
        before = lease.deadline
        hand.now += back

        # when the answer is counted,
        lease.answered(sent_at, ttl_s)

        # then what we hold for proven is over before etcd lets go (a shorter TTL than before is etcd's own doing).
        if ttl_s == 5.0:
            assert lease.deadline <= ends_in_etcd
        assert lease.deadline >= before


def test_the_clock_counts_seconds_and_does_not_go_back() -> None:
    first = boot_clock()
    time.sleep(0.01)
    assert 0.009 < boot_clock() - first < 5
