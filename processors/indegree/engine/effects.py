"""What a frame causes outside, once it is acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field

from indegree.engine.progress import Projection
from indegree.engine.state import Attempt, OutboxEntry
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Control


@dataclass(slots=True)
class Effects:
    """Carried out by the shell after the frame's acknowledgement, never before.

    seq:      of the frame; 0 for what a takeover finds outstanding
    ready:    attempts queued by this frame, with their numbers; `PartitionCore.release` makes them takeable
    projection: the frame's progress records in order, to be encoded; `progress`: the same as messages
    outbox:   entries to be produced: to partition `target`, or DEAD_LETTER, or WORKFLOWS
    stops:    control records for workers: attempts that are not to go on
    """

    seq: int = 0
    ready: list[tuple[Attempt, int]] = field(default_factory=list)
    projection: Projection = field(default_factory=lambda: Projection(0, 0, 0, 0))
    outbox: list[OutboxEntry] = field(default_factory=list)
    stops: list[Control] = field(default_factory=list)

    @property
    def progress(self) -> list[Progress]:
        """Made anew at each call: for traces, tests and tools."""
        return self.projection.records()
