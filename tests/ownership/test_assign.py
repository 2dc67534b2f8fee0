"""The assignment: balanced, sticky, deterministic, and still while nobody is usable."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indegree.ownership.assign import assign

IDS = st.text("abc", min_size=1, max_size=3)
MEMBERS = st.sets(IDS, max_size=7)
COUNTS = st.integers(0, 24)
BEFORE = st.dictionaries(st.integers(-2, 30), IDS)


def loads(assignment: dict[int, str], usable: set[str]) -> list[int]:
    counts = Counter(assignment.values())
    return [counts[m] for m in usable]


@given(MEMBERS, COUNTS, BEFORE, MEMBERS)
def test_every_partition_has_a_usable_owner_and_shares_differ_by_one_at_most(
    members: set[str], partitions: int, before: dict[int, str], avoid: set[str]
) -> None:
    usable = members - avoid

    got = assign(members, partitions, before, avoid)

    if usable:
        assert got.keys() == set(range(partitions))
        assert set(got.values()) <= usable
        assert max(loads(got, usable)) - min(loads(got, usable)) <= 1


@given(MEMBERS, COUNTS, BEFORE, MEMBERS)
def test_no_more_moves_than_balance_demands(
    members: set[str], partitions: int, before: dict[int, str], avoid: set[str]
) -> None:
    usable = members - avoid
    if not usable:
        return

    got = assign(members, partitions, before, avoid)

    # Independent of the way of assign: whatever gives each member q or q+1 keeps at most min(held, share) of each, and
    # the most is kept when the members that hold more than q get the larger shares.
    held = Counter(m for p, m in before.items() if m in usable and 0 <= p < partitions)
    q, extra = divmod(partitions, len(usable))
    most = sum(min(n, q) for n in held.values()) + min(extra, sum(n > q for n in held.values()))
    assert sum(before.get(p) == m for p, m in got.items()) == most


@given(MEMBERS, COUNTS, BEFORE, MEMBERS)
def test_an_assignment_is_left_alone_by_the_next_one(
    members: set[str], partitions: int, before: dict[int, str], avoid: set[str]
) -> None:
    once = assign(members, partitions, before, avoid)

    assert assign(members, partitions, once, avoid) == once


@given(st.lists(IDS, unique=True, max_size=7), COUNTS, BEFORE, st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_does_not_matter(
    members: list[str], partitions: int, before: dict[int, str], random: object
) -> None:
    shuffled, items = members[:], list(before.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(items)  # type: ignore[attr-defined]

    assert assign(members, partitions, before) == assign(shuffled, partitions, dict(items))


@given(MEMBERS, COUNTS, BEFORE)
def test_nothing_moves_while_nobody_is_usable(members: set[str], partitions: int, before: dict[int, str]) -> None:
    got = assign(members, partitions, before, avoid=members)

    assert got == {p: m for p, m in before.items() if 0 <= p < partitions}


def test_neighbouring_partitions_are_dealt_to_different_members() -> None:
    assert assign({"a", "b"}, 4, {}) == {0: "a", 1: "b", 2: "a", 3: "b"}


def test_a_member_that_leaves_moves_only_what_it_had() -> None:
    before = assign({"a", "b", "c"}, 9, {})

    after = assign({"a", "b"}, 9, before)

    assert {p for p in before if before[p] != after[p]} == {p for p, m in before.items() if m == "c"}


def test_a_negative_count_is_refused_with_the_rule() -> None:
    with pytest.raises(ValueError, match="partitions is -1, and must be at least 0"):
        assign({"a"}, -1, {})
