"""Epochs: whoever reads the log comes to the same verdict on who owns it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indegree.events import frames
from indegree.events.frames import InForce
from indegree.ownership.fencing import Announcement, Intruder, Verdict, intruder, next_epoch, verdict
from indegree.v1.event_pb2 import Frame


def announcement(epoch: int, offset: int, id: str = "x") -> Announcement:
    return Announcement(epoch, f"{id}-{offset}", id, offset)


def newest_in_force(log: list[Announcement]) -> Announcement | None:
    newest, rule = None, InForce()
    for a in log:
        frame = Frame(format=1, epoch=a.epoch, owner=a.owner, takeover_id=a.takeover_id.encode())
        if rule.judge(frame) is frames.Verdict.ANNOUNCEMENT:
            newest = a
    return newest


def test_the_first_epoch_is_one() -> None:
    assert next_epoch(0) == 1
    with pytest.raises(ValueError, match="epochs count from 1"):
        next_epoch(-1)


def test_an_announcement_read_back_with_none_newer_behind_it_has_won() -> None:
    mine = announcement(3, 10)
    assert verdict(mine, newest_in_force([announcement(2, 4), mine])) is Verdict.WON


def test_of_two_with_one_epoch_the_first_in_the_log_wins_and_the_second_announces_again() -> None:
    first, second = announcement(3, 10, "a"), announcement(3, 11, "b")
    newest = newest_in_force([first, second])

    assert verdict(first, newest) is Verdict.WON
    assert verdict(second, newest) is Verdict.AGAIN

    third = announcement(next_epoch(3), 12, "b")
    newest = newest_in_force([first, second, third])
    assert verdict(third, newest) is Verdict.WON
    assert verdict(first, newest) is Verdict.LOST


def test_one_below_an_older_one_is_void() -> None:
    old, mine = announcement(5, 3), announcement(4, 9)
    assert verdict(mine, newest_in_force([old, mine])) is Verdict.AGAIN


def test_an_earlier_life_of_the_same_engine_is_somebody_else() -> None:
    earlier, mine = announcement(3, 4, "a"), announcement(3, 9, "a")
    assert verdict(mine, newest_in_force([earlier, mine])) is Verdict.AGAIN


def test_a_verdict_before_the_announcement_was_read_back_is_refused() -> None:
    mine = announcement(3, 10)
    with pytest.raises(ValueError, match=r"epoch 3 at offset 10 has not been read back .*epoch 2 at offset 4"):
        verdict(mine, announcement(2, 4))
    with pytest.raises(ValueError, match="newest in force: none"):
        verdict(mine, None)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12))
def test_exactly_one_writer_of_any_log_has_won(epochs: list[int]) -> None:
    log = [announcement(epoch, offset, f"e{offset}") for offset, epoch in enumerate(epochs)]
    newest = newest_in_force(log)

    verdicts = [verdict(a, newest) for a in log]

    assert verdicts.count(Verdict.WON) == 1
    assert newest is not None
    assert log[verdicts.index(Verdict.WON)] == newest
    assert newest.epoch == max(epochs), "and it has the highest epoch"


def test_only_a_higher_announcement_in_a_gap_fences() -> None:
    assert intruder(4, 5, announces=True) is Intruder.FENCED
    assert intruder(4, 4, announces=True) is Intruder.HARMLESS
    assert intruder(4, 3, announces=True) is Intruder.HARMLESS
    assert intruder(4, 3, announces=False) is Intruder.HARMLESS
