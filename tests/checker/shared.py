"""What spans runs: queues of concurrency keys, pools, triggers, schedules. Event by event, from one partition's log.

Holders of a pool and active runs of a key are kept as sets here, and no set may be larger than its limit, unless
the limit was lowered meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indegree.v1.event_pb2 import Event

if TYPE_CHECKING:
    from tests.checker.log import Log
    from tests.checker.runs import Run


class Shared:
    """Of one partition's log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.holders: dict[str, set[bytes]] = {}
        self.pools: dict[str, int] = {}
        self.lowered: set[str] = set()
        self.active: dict[tuple[str, str], set[str]] = {}
        self.intakes: dict[tuple[str, int], int] = {}
        self.schedules: dict[tuple[str, int], int] = {}

    def started(self, event: Event, run: Run | None) -> None:
        """RUN_STARTED."""
        if run is None:
            return
        run.gate = event.label
        if event.label and not run.waiting:
            self.enters(run)

    def enters(self, run: Run) -> None:
        limit = run.graph.runs_at_a_time
        active = self.active.setdefault((run.run_id and run.version, run.gate), set())
        active.add(run.run_id)
        if limit and len(active) > limit:
            self.log.bad(
                "more runs of a key than allowed", f"{run.run_id}: {len(active)} of {run.gate!r}, limit {limit}"
            )

    def ended(self, run: Run) -> None:
        """RUN_FINISHED."""
        if run.gate:
            self.active.get((run.version, run.gate), set()).discard(run.run_id)

    def event(self, event: Event, run_id: str, runs: dict[str, Run]) -> None:
        """Whatever belongs to no run."""
        match event.kind:
            case Event.POOL_SET:
                if event.number < self.pools.get(event.label, 0):
                    self.lowered.add(event.label)
                self.pools[event.label] = event.number
            case Event.LIMIT_GRANTED:
                self.log.v.counts["limits granted"] += 1
                if event.label.startswith("pool/"):
                    holders = self.holders.setdefault(event.label, set())
                    holders.add(event.data)
                    most = self.pools.get(event.label, 1)
                    if len(holders) > most and event.label not in self.lowered:
                        self.log.bad(
                            "more holders than the pool has places", f"{event.label}: {len(holders)} of {most}"
                        )
            case Event.LIMIT_RELEASED:
                self.holders.get(event.label, set()).discard(event.data)
            case Event.INTAKE_DECIDED:
                self.log.v.counts["intake decisions"] += 1
                place = (event.topic, event.target)
                if event.number < self.intakes.get(place, 0):
                    self.log.bad("an intake goes back", f"{place}: {self.intakes[place]} -> {event.number}")
                self.intakes[place] = event.number
            case Event.SCHEDULE_SET:
                name = (event.workflow, event.part)
                if event.due_ms and event.due_ms <= event.started_ms:
                    self.log.bad("a schedule goes back", f"{name}: {event.started_ms} -> {event.due_ms}")
                self.schedules[name] = event.due_ms
            case _:
                pass
