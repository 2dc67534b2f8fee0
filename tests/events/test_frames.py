"""The reading rule: which frames of a log count."""

import random

import pytest

from indegree.events.frames import InForce, NewerFormat, Verdict, in_force
from indegree.v1.event_pb2 import Frame


def announcement(epoch: int, owner: str = "a") -> Frame:
    return Frame(format=1, epoch=epoch, owner=owner, takeover_id=b"t")


def frame(epoch: int, seq: int) -> Frame:
    return Frame(format=1, epoch=epoch, seq=seq)


def counted(*frames: Frame) -> list[tuple[int, int]]:
    return [(f.epoch, f.seq) for f in in_force(frames)]


def test_frames_of_one_owner_count_in_order() -> None:
    assert counted(announcement(1), frame(1, 1), frame(1, 2)) == [(1, 1), (1, 2)]


def test_frame_without_an_announcement_is_void() -> None:
    assert counted(frame(1, 1), announcement(2), frame(2, 1)) == [(2, 1)]


def test_late_frame_of_an_older_epoch_is_void_and_stops_nothing() -> None:
    assert counted(announcement(1), frame(1, 1), announcement(2), frame(1, 2), frame(2, 1)) == [(1, 1), (2, 1)]


def test_announcement_that_is_not_above_all_before_it_is_void() -> None:
    assert counted(announcement(3), announcement(3, "b"), frame(3, 1), announcement(2), frame(2, 1)) == [(3, 1)]


def test_gap_in_seq_voids_the_rest_of_that_epoch_only() -> None:
    log = [announcement(1), frame(1, 1), frame(1, 3), frame(1, 2), frame(1, 4), announcement(2), frame(2, 1)]
    assert counted(*log) == [(1, 1), (2, 1)]


def test_repeated_frame_is_void() -> None:
    assert counted(announcement(1), frame(1, 1), frame(1, 1)) == [(1, 1)]


def test_newer_format_is_refused_with_the_way_out() -> None:
    with pytest.raises(NewerFormat, match=r"format 2.*upgrade"):
        InForce().judge(Frame(format=2, epoch=1, seq=1))


def test_reading_in_two_parts_gives_the_same_as_reading_at_once() -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(200):
        log = []
        for _ in range(30):
            epoch = rng.randint(1, 4)
            log.append(announcement(epoch) if rng.random() < 0.3 else frame(epoch, rng.randint(1, 4)))
        cut = rng.randint(0, 30)
        rule = InForce()
        parts = [*in_force(log[:cut], rule), *in_force(log[cut:], rule)]
        assert parts == list(in_force(log))
        seen = [(f.epoch, f.seq) for f in parts]
        assert seen == sorted(set(seen)), "in force: epochs never go back, seq has no repeats"


def test_void_frames_are_counted() -> None:
    rule = InForce()
    verdicts = [rule.judge(f) for f in (announcement(1), frame(2, 1), frame(1, 1))]
    assert (verdicts, rule.void) == ([Verdict.ANNOUNCEMENT, Verdict.VOID, Verdict.IN_FORCE], 1)
