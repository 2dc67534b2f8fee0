"""Which member should own which partition: balanced, sticky, the same answer for everybody who asks.

The leader alone calls this, but any member that is given the same arguments gets the same answer, so a change of leader
moves nothing. The way: each usable member gets a quota (the whole part of partitions / members, one more for as many as
the remainder asks for, first for those that already hold the most). What a member holds within its quota stays; the
rest is dealt to the members that are furthest below theirs.

It must never move a partition without need: a move costs its runs a pause. While no member is usable nothing moves at
all, since a partition with an owner that is ill is better off than one without.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def assign(
    members: Collection[str], partitions: int, before: Mapping[int, str], avoid: Collection[str] = ()
) -> dict[int, str]:
    """Say who owns each of the partitions ``0 .. partitions-1`` from now on.

    ``members`` are the ids of all members that are alive, ``avoid`` those of them that get nothing: not fit, or
    draining. ``before`` is the assignment as it stands; ids of members that are gone and numbers out of range are
    allowed in it.

    Promises, each with a property test: usable members differ by at most one partition; no more partitions move than
    balance demands; the answer does not depend on the order of the arguments; with no usable member the answer is
    ``before`` (within range).

    Raises ValueError for a negative ``partitions``. Takes O(partitions + members log members) time.
    """
    if partitions < 0:
        raise ValueError(
            f"partitions is {partitions}, and must be at least 0: pass the partition count of the cluster's settings"
        )
    stays = {p: m for p, m in before.items() if 0 <= p < partitions}
    usable = sorted(set(members).difference(avoid))
    if not usable:
        return dict(sorted(stays.items()))

    holds: dict[str, list[int]] = {m: [] for m in usable}
    for p in sorted(stays):
        if stays[p] in holds:
            holds[stays[p]].append(p)

    fair, extra = divmod(partitions, len(usable))
    by_holding = sorted(usable, key=lambda m: (-len(holds[m]), m))
    quota = {m: fair + (1 if place < extra else 0) for place, m in enumerate(by_holding)}

    answer = {p: m for m in usable for p in holds[m][: quota[m]]}
    room = {m: quota[m] - min(quota[m], len(holds[m])) for m in usable}
    takers = iter(_deal(usable, room))
    for p in range(partitions):
        if p not in answer:
            answer[p] = next(takers)
    return dict(sorted(answer.items()))


def _deal(usable: list[str], room: Mapping[str, int]) -> list[str]:
    """The members in the order in which they take the free partitions: always the one with the most room.

    One round of dealing takes one from every member that is at the present level of room, so neighbouring partitions,
    which tend to be busy together, go to different members.
    """
    seats = sorted((-level, m) for m in usable for level in range(1, room[m] + 1))
    return [m for _, m in seats]
