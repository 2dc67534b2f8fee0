"""Epochs: how a take-over learns from the log whether it won.

etcd says who should own a partition; only the event log says who does. An ownership has a number, the epoch, and begins
with an **announcement** that its owner appends to the partition's log. Everybody who reads the log, owner or not,
comes to the same conclusion from the order in which the records stand.

Invariant
    An announcement is in force if its epoch is above that of every announcement in force before it; else it is void. At
    every offset exactly one announcement in force is the newest: its writer is the owner there, and frames of any other
    epoch behind it are void.

Lifetime of an ``Announcement``
    Made by the writer for one append, with a random id of its own (``takeover_id``), never used for a second one: so an
    announcement that is read back is known to be this one, not one of an earlier life of the same engine. When the
    outcome of the append is unknown, the take-over starts again from the log's end with a new id, whether the first
    was written or not: a second announcement of one's own with a higher epoch harms nothing.

Why it is safe
    Two engines that take over at once have both read the same end and chosen the same epoch. The broker puts one of the
    two announcements first; that one is in force, the second is void for everybody, its writer included. A writer that
    reads its announcement back with none newer behind it may act until the log shows a higher one; one that comes later
    is met by the offset of the next append, which is then not the expected one (see ``intruder``).

Nothing here does IO or knows a frame's bytes: the caller reads by the one rule (``indegree.events.frames``), and asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Announcement:
    """The first record of an ownership, as it stands in the log."""

    epoch: int
    takeover_id: str
    """Random, one for each append."""
    owner: str
    """The member's id: for people; no judgement depends on it."""
    offset: int
    """Where it stands in the partition's log."""


class Verdict(Enum):
    """What a take-over does after it has read the log beyond its own announcement."""

    WON = "won"
    """Own the partition."""
    LOST = "lost"
    """A newer owner stands behind us: leave the partition; only etcd may give it back."""
    AGAIN = "again"
    """Ours is void (the epoch was taken before it): announce again at once, with ``next_epoch``, while the lease
    holds."""


class Intruder(Enum):
    """What a record of somebody else means that stands where our own append was expected."""

    FENCED = "fenced"
    HARMLESS = "harmless"


def next_epoch(seen: int) -> int:
    """The epoch to announce after reading the log, where ``seen`` is the highest epoch met in it, in force or void.

    The void ones count too: an epoch is never used twice, so that a late frame cannot be taken for one of ours.
    An empty log has seen 0.
    """
    if seen < 0:
        raise ValueError(f"the highest epoch seen is {seen}, and epochs count from 1: pass 0 for an empty log")
    return seen + 1


def verdict(mine: Announcement, newest: Announcement | None) -> Verdict:
    """Judge a take-over. ``newest`` is the newest announcement in force after reading at least up to ``mine``.

    Raises ValueError when ``newest`` cannot be the outcome of reading that far: the caller has not read its
    announcement back, and must, before it asks.
    """
    if newest is not None:
        if newest.takeover_id == mine.takeover_id:
            return Verdict.WON
        if newest.offset > mine.offset:
            return Verdict.LOST
        if newest.epoch >= mine.epoch:
            return Verdict.AGAIN
    seen = "none" if newest is None else f"epoch {newest.epoch} at offset {newest.offset}"
    raise ValueError(
        f"the announcement of epoch {mine.epoch} at offset {mine.offset} has not been read back "
        f"(newest in force: {seen}): read the log to its end before asking for the verdict"
    )


def intruder(mine: int, epoch: int, announces: bool) -> Intruder:
    """Judge one record that stands in a gap before our append; ``mine`` is the epoch of our ownership.

    A higher announcement has fenced us. Anything else is void for every reader: a late frame of an older owner, an
    announcement that came too late. It has only moved the offsets.
    """
    return Intruder.FENCED if announces and epoch > mine else Intruder.HARMLESS
