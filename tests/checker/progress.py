"""The progress topic of one partition against its events: positions 1..n of each run, each at its place in the log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from indegree.v1.progress_pb2 import Progress
from tests.checker.log import Log
from tests.checker.reading import Record
from tests.checker.runs import UNREADABLE, Run
from tests.checker.verdict import Verdict


def prove_progress(log: Log, runs: Iterable[Run], records: list[Record], verdict: Verdict, *, running_ok: bool) -> None:
    """Adds faults to `verdict`. `runs`: those of this partition; `running_ok`: the last records may be missing yet."""
    proof = _Proof(log, {run.run_id: run for run in runs}, verdict)
    for record in records:
        proof.take(record)
    proof.frames()
    if not running_ok:
        proof.ends()


class _Proof:
    def __init__(self, log: Log, runs: dict[str, Run], verdict: Verdict) -> None:
        self.log, self.runs, self.v = log, runs, verdict
        self.positions: Counter[str] = Counter()  # run id -> the last position
        self.ids: dict[str, bytes] = {}
        self.places: set[tuple[int, int, int]] = set()
        self.told = log.told.copy()  # answers that have no record yet

    def take(self, record: Record) -> None:
        value = record.value or b""
        try:
            said = _fields(value)
        except UNREADABLE:
            self.v.bad("unreadable progress", f"partition {self.log.p} offset {record.offset}")
            return
        if said["type"] == "marker":  # of a takeover: it fences, and says nothing
            return
        self.v.counts["progress records"] += 1
        place = said.get("log", {})
        at = (place.get("epoch", 0), place.get("seq", 0), place.get("index", 0))
        where = f"partition {self.log.p} offset {record.offset}"
        what = f"{said.get('run_id', '')} position {said.get('position', 0)} ({said['type']}), {where}"
        first = self.ids.get(said.get("id", ""))
        if first is not None:
            self.v.counts["progress repeated"] += 1
            if first != value:
                self.v.bad("progress repeated with other content", what)
            return
        self.ids[said.get("id", "")] = value
        if at in self.places:
            self.v.bad("two progress records at one place", f"{what}: {at}")
        elif said.get("position", 0):
            self.transition(said, at, what)
        else:
            answer = (at[0], at[1], said["type"], said.get("request_id", ""))
            self.told[answer] -= 1
            if self.told[answer] < 0:
                self.v.bad("progress without an event", what)
        self.places.add(at)

    def transition(self, said: dict[str, Any], at: tuple[int, int, int], what: str) -> None:
        run_id, position = said.get("run_id", ""), said["position"]
        if position != self.positions[run_id] + 1:
            self.v.bad("gap in progress", f"{what}: follows {self.positions[run_id]}")
        self.positions[run_id] = max(position, self.positions[run_id])
        run = self.runs.get(run_id)
        if run is None or position > len(run.said):
            self.v.bad("progress without a transition", what)
            return
        state, task, attempt, epoch, seq = run.said[position - 1]
        right = (state, task, attempt, epoch, seq)
        told = (said.get("state", ""), said.get("task_id", ""), said.get("attempt", 0), at[0], at[1])
        if told != right:
            self.v.bad("progress differs from the log", f"{what}: {told}, must be {right}")

    def frames(self) -> None:
        """The records of a frame are numbered from 0 without a gap."""
        highest: dict[tuple[int, int], int] = {}
        count: Counter[tuple[int, int]] = Counter()
        for epoch, seq, index in self.places:
            count[epoch, seq] += 1
            highest[epoch, seq] = max(index, highest.get((epoch, seq), 0))
        for (epoch, seq), index in highest.items():
            if count[epoch, seq] != index + 1:
                self.v.bad("gap in progress", f"partition {self.log.p} epoch {epoch} seq {seq}: up to index {index}")

    def ends(self) -> None:
        """Nothing is missing, and what the log says is acknowledged is there."""
        for run in self.runs.values():
            reached = self.positions[run.run_id]
            if reached < len(run.said):
                state, task, *_ = run.said[reached]
                name = task or "the run"
                missing = f"{run.run_id}: {len(run.said) - reached} missing, the first: {name} {state}"
                self.v.bad("transition without progress", missing)
        for (epoch, seq, word, request_id), count in self.told.items():
            if count > 0:
                text = f"partition {self.log.p} epoch {epoch} seq {seq}: {word} for request {request_id!r}"
                self.v.bad("answer without progress", text)
        for claim in self.log.claims:
            if claim not in self.places:
                self.v.bad("progress that was never written", f"partition {self.log.p} says {claim} is acknowledged")


def _fields(value: bytes) -> dict[str, Any]:
    """A record's fields as a dict, from either form (JSON is the frequent one, so no detour over protobuf)."""
    if value[:1] == b"{":
        said = json.loads(value)
        if isinstance(said, dict) and isinstance(said.get("type"), str):
            return said
        raise ValueError("no progress record")
    record = Progress.FromString(value)
    place = {"epoch": record.log.epoch, "seq": record.log.seq, "index": record.log.index}
    names = ("id", "type", "run_id", "task_id", "attempt", "state", "position", "request_id")
    return {"log": place, **{name: getattr(record, name) for name in names}}
