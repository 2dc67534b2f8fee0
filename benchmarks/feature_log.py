"""The event log of a whole cluster as one list of facts, for questions that the checker does not ask.

In what order did the runs of a customer begin, and were two under way at once? How many tokens of a rate were given in
any second? Both are answered from the frames in force alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indegree.events.frames import in_force
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.trigger_pb2 import Holder
from tests.checker import Records


@dataclass(frozen=True, slots=True)
class Fact:
    """An event with what it inherits: its run, its partition, the owner's time and epoch of its frame."""

    partition: int
    epoch: int
    time_ms: int
    run_id: str
    event: Event


def facts_of(records: Records) -> list[Fact]:
    """All events in force, partition by partition, in the order of each log."""
    return [
        fact
        for partition, found in sorted(records.events.items())
        for fact in _facts(partition, in_force(Frame.FromString(record.value or b"") for record in found))
    ]


def _facts(partition: int, frames: Iterator[Frame]) -> Iterator[Fact]:
    for frame in frames:
        run_id = ""
        for event in frame.events:
            run_id = event.run_id or run_id
            yield Fact(partition, frame.epoch, frame.time_ms, run_id, event)


def begun_per_key(facts: Sequence[Fact], topic: str) -> dict[str, list[int]]:
    """Key to the source offsets of the runs that records of a topic started, in the order in which they began.

    Raises AssertionError where two runs of a key were under way at once.
    """
    begun: dict[str, list[int]] = defaultdict(list)
    known: dict[str, tuple[str, int]] = {}
    active: dict[str, str] = {}
    for fact in facts:
        event = fact.event
        if event.kind == Event.RUN_STARTED and event.origin.topic == topic:
            known[fact.run_id] = event.label, event.origin.offset
            begins = event.state != "PENDING"
        else:
            begins = event.kind == Event.RUN_RELEASED
        if fact.run_id not in known:
            continue
        key, offset = known[fact.run_id]
        if begins:
            assert key not in active, f"{fact.run_id} and {active[key]} of {key!r} at once"
            active[key] = fact.run_id
            begun[key].append(offset)
        elif event.kind == Event.RUN_FINISHED:
            del active[key]
    return begun


def granted(facts: Sequence[Fact], kind: str) -> dict[str, list[int]]:
    """Name of a limit that begins with `kind` to the owner's times of its grants, in milliseconds."""
    found: dict[str, list[int]] = defaultdict(list)
    for fact in facts:
        if fact.event.kind == Event.LIMIT_GRANTED and fact.event.label.startswith(kind):
            assert Holder.FromString(fact.event.data).run_id
            found[fact.event.label].append(fact.time_ms)
    return found


def most_at_once(spans: Sequence[Sequence[int]]) -> int:
    """How many of these [begin, end] overlap at most; one that ends when another begins does not."""
    edges = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def most_above_rate(times_ms: Sequence[int], limit: int, per_ms: int) -> float:
    """By how many tokens any stretch of these times exceeds `limit` at once and then `limit` each `per_ms`.

    Not above 0: the rate holds.
    """
    worst = float("-inf")
    for first, begin in enumerate(times_ms):
        for last in range(first, len(times_ms)):
            allowed = limit + (times_ms[last] - begin) * limit / per_ms
            worst = max(worst, last - first + 1 - allowed)
    return worst
