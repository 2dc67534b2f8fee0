"""Which frames of an event log count: the one way in which anybody reads the events topic.

Two engines may believe that they own a partition: one was frozen, cut off, or slow. Both can append. The log itself
says who was right, and every reader must come to the same answer from the log alone:

- An **announcement** (seq 0, an owner) begins an epoch. It is in force if its epoch is above that of every
  announcement before it; else it is void.
- A **frame** is in force if its epoch is that of the announcement in force before it, and its seq is one more than that
  of the last frame in force. The first frame of an epoch that breaks this makes the rest of that epoch void: of two
  appends in flight the second may have been accepted although the first was refused, and nobody may act on it.

Void frames are counted and stop nothing. A frame of a newer format than ours raises: to guess at it could lose work.

This module never does IO, and never decides what a frame means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from indegree.v1.event_pb2 import Frame

FORMAT = 1


class NewerFormat(Exception):
    """A frame of a format that this release does not know; the partition must be given back."""


class Verdict(Enum):
    """What a reader does with a frame."""

    ANNOUNCEMENT = "in force: a new epoch begins"
    IN_FORCE = "in force: its events count"
    VOID = "void: it changes nothing"


@dataclass(slots=True)
class InForce:
    """The reading rule as a value: feed frames in the order of their offsets.

    `epoch`, `seq`: of the last frame in force; (0, 0) at the start of a log, or what `Frame.recover_from` says.
    `broken`: this epoch has a gap, so that the rest of it is void.
    `owner`, `takeover_id`: of the announcement in force.
    `void`: frames that did not count so far.
    """

    epoch: int = 0
    seq: int = 0
    broken: bool = False
    owner: str = ""
    takeover_id: bytes = b""
    void: int = 0

    def judge(self, frame: Frame) -> Verdict:
        """Judges the next frame and moves on. Raises NewerFormat."""
        if frame.format > FORMAT:
            raise NewerFormat(
                f"a frame of format {frame.format} was met; this release reads up to {FORMAT}: "
                "upgrade this process before it may read or own this partition"
            )
        if frame.seq == 0 and frame.owner:
            if frame.epoch > self.epoch:
                self.epoch, self.seq, self.broken = frame.epoch, 0, False
                self.owner, self.takeover_id = frame.owner, frame.takeover_id
                return Verdict.ANNOUNCEMENT
        elif frame.epoch == self.epoch and not self.broken:
            if frame.seq == self.seq + 1:
                self.seq = frame.seq
                return Verdict.IN_FORCE
            self.broken = True
        self.void += 1
        return Verdict.VOID


def in_force(frames: Iterable[Frame], start: InForce | None = None) -> Iterator[Frame]:
    """The frames that count, in order, announcements left out. `start`: the state where reading begins."""
    rule = start if start is not None else InForce()
    for frame in frames:
        if rule.judge(frame) is Verdict.IN_FORCE:
            yield frame
