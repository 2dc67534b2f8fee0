"""What an engine owns, as one line for a burst of takeovers."""

from __future__ import annotations

from indegree.stream.holdings import Holdings, ranges


def test_what_was_taken_is_one_line_with_epochs() -> None:
    assert Holdings.of((n, 3) for n in range(8)).since(Holdings()) == "owns partitions 0-7 (epoch 3)"
    assert Holdings.of([(5, 1), (2, 4)]).since(Holdings()) == "owns partitions 2, 5 (epochs 1 to 4)"
    assert Holdings.of([(5, 1)]).since(Holdings()) == "owns partition 5 (epoch 1)"


def test_what_was_given_is_named() -> None:
    before = Holdings.of((n, 1) for n in range(4))
    assert Holdings.of([(0, 1), (1, 1)]).since(before) == "owns partitions 0-1 (epoch 1); gave 2-3"
    assert Holdings().since(before) == "owns no partition any more; gave 0-3"


def test_ranges_are_short() -> None:
    assert ranges([0, 1, 2, 3, 5, 7, 8]) == "0-3, 5, 7-8"
