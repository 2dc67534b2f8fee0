"""What a partition knows of schedules and backfills: their state, what events do to it, and how snapshots hold it.

Why: events, snapshots and what is decided (schedules.py, backfills.py) speak of the same two things, and the first two
must not know the third.

How: a schedule is a cron trigger of an active version with its next time; a backfill is a range that is gone through.
Both hold the plan of their version, like a run, and have a timer: whatever event makes something to do arms it.

It must never compute a time of a schedule: what a replay needs stands in the event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from indegree.engine.kinds import Kind
from indegree.engine.plan import Plan
from indegree.engine.state import Run, State
from indegree.events import cron
from indegree.events.definition_model import CronTrigger
from indegree.v1.event_pb2 import WindowSnapshot

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event


class Schedule:
    """A cron trigger of an active version.

    plan:        of the version; place: of the trigger among the workflow's triggers
    due_ms:      the next time to be dealt with, which may have passed; never 0
    previous_ms: the time before it
    timer:       number of its armed timer, 0 for none: it has fired while the workflow was paused
    """

    __slots__ = ("due_ms", "place", "plan", "previous_ms", "timer")

    def __init__(self, plan: Plan, place: int, due_ms: int, previous_ms: int) -> None:
        self.plan = plan
        self.place = place
        self.due_ms = due_ms
        self.previous_ms = previous_ms
        self.timer = 0

    def __repr__(self) -> str:
        return f"Schedule({self.plan.workflow!r}, {self.place}, due_ms={self.due_ms})"

    @property
    def trigger(self) -> CronTrigger:
        """As the definition has it."""
        found = self.plan.definition.triggers[self.place]
        assert isinstance(found, CronTrigger), "a schedule is set for a cron trigger"
        return found

    @property
    def times(self) -> cron.Schedule:
        """The instants that it names."""
        trigger = self.trigger
        return cron.schedule_of(trigger.schedule, trigger.timezone)


class Backfilling:
    """A backfill that is under way.

    plan, place: the version, and which of its triggers; actor: who asked for it
    next_ms:     no time below it is looked at again; end_ms: the end of the range, not in it
    active:      times whose runs have not ended, in the order of their start
    timer:       number of its armed timer: there may be something to do; 0: it waits for a run to end, or a pause
    """

    __slots__ = ("active", "actor", "concurrency", "end_ms", "next_ms", "number", "place", "plan", "timer")

    def __init__(self, number: int, plan: Plan, place: int, next_ms: int, end_ms: int, concurrency: int) -> None:
        self.number = number
        self.plan = plan
        self.place = place
        self.next_ms = next_ms
        self.end_ms = end_ms
        self.concurrency = concurrency
        self.active: dict[int, None] = {}
        self.actor = ""
        self.timer = 0

    @property
    def times(self) -> cron.Schedule:
        """The instants of its trigger."""
        trigger = self.plan.definition.triggers[self.place]
        assert isinstance(trigger, CronTrigger), "a backfill is of a cron trigger"
        return cron.schedule_of(trigger.schedule, trigger.timezone)


# -- apply -------------------------------------------------------------------------------------------------------------


def _schedule_set(state: State, _run: Run | None, event: Event) -> None:
    key = (event.workflow, event.part)
    found: Schedule | None = state.schedules.get(key)
    if not event.due_ms:
        if found is not None:
            found.timer = 0
            del state.schedules[key]
        return
    plan = state.versions[event.version]
    if found is None:
        found = state.schedules[key] = Schedule(plan, event.part, 0, 0)
    found.plan, found.due_ms, found.previous_ms = plan, event.due_ms, event.started_ms
    state.timers.arm(found, found.due_ms)


def _schedule_skipped(_state: State, _run: Run | None, _event: Event) -> None:
    """For the history: the SCHEDULE_SET behind it says what comes next."""


def _backfill_changed(state: State, _run: Run | None, event: Event) -> None:
    if event.state == "begun":
        plan = state.versions[event.version]
        found = Backfilling(event.number, plan, event.part, event.started_ms, event.finished_ms, event.total)
        found.actor = event.actor
        state.backfills[event.number] = found
        state.backfill_number = max(state.backfill_number, event.number)
        state.timers.arm(found, state.time_ms)
    elif (known := state.backfills.pop(event.number, None)) is not None:
        known.timer = 0


def _backfill_step(state: State, _run: Run | None, event: Event) -> None:
    found: Backfilling | None = state.backfills.get(event.number)
    if found is None:
        return
    if event.state == "ended":
        found.active.pop(event.due_ms, None)
    else:
        found.next_ms = event.due_ms + 1
        if event.state == "started":
            found.active[event.due_ms] = None
    _arm(state, found)


def _arm(state: State, found: Backfilling) -> None:
    if len(found.active) < found.concurrency:
        state.timers.arm(found, state.time_ms)
    else:
        found.timer = 0


def resumed(state: State, workflow: str) -> None:
    """The pause of a workflow has ended: what came due meanwhile is dealt with now."""
    for (of, _), schedule in state.schedules.items():
        if of == workflow:
            state.timers.arm(schedule, schedule.due_ms)
    for found in state.backfills.values():
        if found.plan.workflow == workflow:
            _arm(state, found)


def plans(state: State) -> list[Plan]:
    """The versions that these need on the log."""
    found = [*state.schedules.values(), *state.backfills.values()]
    return list({each.plan.version: each.plan for each in found}.values())


# -- snapshots ---------------------------------------------------------------------------------------------------------


def schedules_now(state: State) -> Iterator[WindowSnapshot.Schedule]:
    """All schedules, each as it is when it is asked for. Their versions must stand on the log behind the mark."""
    for key in list(state.schedules):
        found: Schedule | None = state.schedules.get(key)
        if found is not None:
            yield WindowSnapshot.Schedule(
                workflow=key[0],
                version=found.plan.version,
                trigger=found.place,
                due_ms=found.due_ms,
                previous_ms=found.previous_ms,
            )


def restore_schedule(state: State, data: WindowSnapshot.Schedule) -> None:
    """Puts a schedule in, unless it is known."""
    key = (data.workflow, data.trigger)
    if key not in state.schedules:
        found = Schedule(state.versions[data.version], data.trigger, data.due_ms, data.previous_ms)
        state.schedules[key] = found
        state.timers.arm(found, found.due_ms)


def backfills_now(state: State) -> Iterator[WindowSnapshot.Backfilling]:
    """All backfills, each as it is when it is asked for. Their versions must stand on the log behind the mark."""
    for number in list(state.backfills):
        found: Backfilling | None = state.backfills.get(number)
        if found is not None:
            yield WindowSnapshot.Backfilling(
                number=number,
                workflow=found.plan.workflow,
                version=found.plan.version,
                trigger=found.place,
                next_ms=found.next_ms,
                end_ms=found.end_ms,
                concurrency=found.concurrency,
                active=list(found.active),
                actor=found.actor,
            )


def restore_backfill(state: State, data: WindowSnapshot.Backfilling) -> None:
    """Puts a backfill in, unless it is known."""
    if data.number in state.backfills:
        return
    plan = state.versions[data.version]
    found = Backfilling(data.number, plan, data.trigger, data.next_ms, data.end_ms, data.concurrency)
    found.active = dict.fromkeys(data.active)
    found.actor = data.actor
    state.backfills[data.number] = found
    state.backfill_number = max(state.backfill_number, data.number)
    _arm(state, found)


def image(state: State) -> dict[str, Any]:
    """All of both as plain data."""
    return {
        "schedules": {
            f"{workflow}/{place}": (found.plan.version, found.due_ms, found.previous_ms)
            for (workflow, place), found in sorted(state.schedules.items())
        },
        "backfills": {
            number: (
                found.plan.version,
                found.place,
                (found.next_ms, found.end_ms),
                found.concurrency,
                list(found.active),
                found.actor,
            )
            for number, found in sorted(state.backfills.items())
        },
        "backfill_number": state.backfill_number,
    }


def check(state: State) -> None:
    """What must hold of both; for tests. Raises AssertionError."""
    alive = state.timers.alive()
    for (workflow, place), schedule in state.schedules.items():
        assert (schedule.plan.workflow, schedule.place) == (workflow, place), schedule
        assert schedule.due_ms > 0, schedule
        if schedule.timer:
            assert alive[id(schedule)] == schedule.due_ms, schedule
        else:
            assert ("workflow", workflow) in state.switches, f"{schedule} waits for nothing"
    for number, found in state.backfills.items():
        assert found.number == number <= state.backfill_number, number
        assert len(found.active) <= found.concurrency, f"backfill {number} runs {len(found.active)} at a time"
        assert all(at < found.next_ms for at in found.active), f"backfill {number} goes back"


APPLIERS: Final[dict[int, Callable[[State, Run | None, Event], None]]] = {
    Kind.SCHEDULE_SET: _schedule_set,
    Kind.SCHEDULE_SKIPPED: _schedule_skipped,
    Kind.BACKFILL_CHANGED: _backfill_changed,
    Kind.BACKFILL_STEP: _backfill_step,
}
