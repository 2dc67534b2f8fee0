"""When a partition's log is written again, and from where a recovery may then begin.

A takeover reads the log from `recover_from`, which every frame carries. When more than max(`engine.snapshot_records`, 4
times what is live) events stand behind it, the core writes what is live once more, between its other events (engine's
snapshot.py): at most one such event for each ordinary one, more only when the partition is idle. `recover_from` then
moves to the first frame of that, but not before

- the frame that ends the snapshot is acknowledged, so that it is whole, and
- all progress up to that frame is acknowledged, since nobody will make it again: not that of the frames before the
  first, which will not be read, and not that of a run which ended before its turn in the snapshot came, since whoever
  begins to read there never knows that run.

The offset is the one at which the broker put the first frame, never the expected one: a recovery that began a record
too early would meet a seq that does not follow, and void the epoch.

Retention (retention.py) shortens the log below that. It may only do so once a frame that says it is in the log
(`logged`): until then a takeover would begin where nothing is left. It also asks for a snapshot (`nudge`) where the
newest is old, else a quiet partition would keep its inputs for ever.
"""

from __future__ import annotations

import logging

from indegree.engine.core import PartitionCore
from indegree.engine.snapshot import Cursor
from indegree.v1.event_pb2 import Frame, RecoverFrom

log = logging.getLogger(__name__)

_IDLE = 500  # events of a snapshot in a step without inputs
_WEIGHT = 4


class Snapshots:
    """Of one ownership. `begin`: where a recovery begins as of now; `events`: how many stand behind that.

    `logged`: offset of the newest `begin` that a frame in force carries; `say`: write a frame although there is nothing
    else to say, so that what stands waiting can move.
    """

    def __init__(
        self, number: int, core: PartitionCore, epoch: int, begin: RecoverFrom, events: int, least: int
    ) -> None:
        self.begin = begin
        self.logged = begin.offset  # the announcement says it
        self.say = False
        self.events = events
        self._number, self._core, self._epoch, self._least = number, core, epoch, least
        self._cursor: Cursor | None = None
        self._first: RecoverFrom | None = None  # of the snapshot under way, once its first frame is acknowledged
        self._first_events = 0  # `events` before its first frame
        self._produced = -1  # progress of the frames up to its last, once that is acknowledged
        self._wanted = False  # begin one soon, however few events there are

    def nudge(self, old: bool) -> None:
        """Called now and then, by retention. `old`: the frame where a recovery begins is; write what is live again."""
        cursor = self._cursor
        self._wanted = old and cursor is None
        self.say = self._wanted or self.logged != self.begin.offset or (cursor is not None and cursor.done)

    def write(self, inputs: int) -> bool:
        """In a step that had so many inputs: begins a snapshot, or writes more of one. True: an idle step may go on."""
        if self._cursor is None:
            if not self._wanted and self.events < max(self._least, _WEIGHT * self._core.live_records()):
                return False
            self._wanted = False
            self._cursor = self._core.begin_snapshot()
        if self._cursor.done:
            return False
        return self._core.snapshot(self._cursor, inputs or _IDLE) and not inputs

    def cut(self, frame: Frame) -> None:
        """A frame goes to the log."""
        self.say = False
        cursor = self._cursor
        if cursor is not None and frame.seq == cursor.seq:
            self._first_events = self.events
        self.events += len(frame.events)

    def settled(self, frame: Frame, offset: int, produced: int) -> None:
        """A frame is in force at this offset, and its progress is put next. `produced`: how often it was before."""
        if self.logged != self.begin.offset:
            self.logged = frame.recover_from.offset
        cursor = self._cursor
        if cursor is None:
            return
        if frame.seq == cursor.seq:
            self._first = RecoverFrom(offset=offset, epoch=self._epoch, seq=frame.seq - 1)
        if frame.seq == cursor.last:
            self._produced = produced + 1

    def acknowledged(self, produced: int) -> None:
        """The progress of so many frames is acknowledged: `begin` moves if it may. Asked before each frame."""
        if self._first is None or self._produced < 0 or produced < self._produced:
            return
        log.debug(
            "partition %d: recovery begins at offset %d from now on (was %d)",
            self._number,
            self._first.offset,
            self.begin.offset,
        )
        self.begin, self._first = self._first, None
        self.events -= self._first_events
        self._cursor, self._produced = None, -1
