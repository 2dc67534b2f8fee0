"""PartitionCore: one partition of the scheduler, without IO. The shell's only way into the engine.

Why: what a partition decides must depend on its log and its inputs alone, so that it can be replayed, tested by
millions of steps, and taken over by another engine in the middle of anything.

How: the shell replays the frames in force, says which epoch is its own, and then feeds inputs: `begin`, inputs,
`fire_timers`, `proceed`, `cut`. Each `cut` gives a frame to append and what it causes; after the acknowledgement the
shell carries that out and calls `release`, which makes the frame's attempts takeable. An input decides at once what
follows from it, up to the frame's bound; what is left over is for `proceed`.

An exception out of any method means a fault of the engine, never of an input: the state may be half changed, so the
core refuses all further work (`Broken`), and gives no frame that could hold the half. The shell drops it and recovers
from the log. (`take` of a task whose inputs cannot be made is no fault: it fails that task by events.)

It must never read a clock, draw a random number, or call anything that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from indegree.engine import decide, features, intake, results  # noqa: F401 - features registers itself
from indegree.engine import snapshot as snapshots
from indegree.engine.apply import apply
from indegree.engine.bounds import text
from indegree.engine.commands import decide_command, out_of_order
from indegree.engine.dispatch import BOUND, NEW, SENT, Dispatch, Worth
from indegree.engine.draft import Draft
from indegree.engine.effects import Effects
from indegree.engine.failing import attempt_failed
from indegree.engine.intake import Route, Taken
from indegree.engine.kinds import Kind
from indegree.engine.limits import Limits
from indegree.engine.past import Reopened
from indegree.engine.progress import Projection
from indegree.engine.records import Builder, Unbuildable
from indegree.engine.snapshot import Cursor
from indegree.engine.starts import decide_start
from indegree.engine.state import DEAD_LETTER, WORKFLOWS, Attempt, OutboxEntry, Ref, Run, State
from indegree.engine.states import QUEUED, RUNNING
from indegree.engine.switches import is_queue_paused
from indegree.engine.turns import Turns
from indegree.engine.values import Needs
from indegree.engine.waiting import Observed, observe
from indegree.engine.windows import Windows
from indegree.events.definition import Definition
from indegree.events.topics import COMMANDS, RESULTS, TIMER, TRIGGERS
from indegree.v1.event_pb2 import Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command, Origin, Start
from indegree.v1.value_pb2 import Error, Reference
from indegree.v1.workflow_pb2 import DeadLetter

__all__ = ["DEAD_LETTER", "WORKFLOWS", "Broken", "Cursor", "Effects", "OutboxEntry", "PartitionCore"]

_TOPICS = ("triggers", "commands", "results")


class Broken(RuntimeError):
    """A fault left this core half changed. Drop it and recover the partition from its log."""


class PartitionCore:
    """One partition. Not thread-safe; no method blocks.

    number:     of the partition; partitions: the cluster's count
    state:      changed only through events (state.py)
    counters:   what has no event: results that were stale or unknown, inputs that were passed over, attempts that
                were given back because their worker did not begin them
    turns:      volatile: how workflows take turns in queues; shared by all partitions of an engine
    """

    def __init__(self, number: int, partitions: int, limits: Limits | None = None, turns: Turns | None = None) -> None:
        self.number = number
        self.partitions = partitions
        self.limits = limits if limits is not None else Limits()
        self.state = State(Windows(self.limits.history_ms, self.limits.finished_max))
        self.counters = {"stale": 0, "unknown": 0, "passed_over": 0, "tombstones": 0, "repeated_messages": 0}
        self.counters["unstarted"] = 0
        self._dispatch = Dispatch(self.limits.heartbeat_timeout_ms, self.limits.start_timeout_ms, turns)
        self._draft = Draft(self.state, self._dispatch, self.limits, number, partitions)
        self._builder = Builder(number, self.limits)
        self._fault: BaseException | None = None
        self._silent = 0  # inputs since the last frame
        self._stops_at = 0  # owner's time of the last frame that held nothing but stops
        self._found: list[tuple[Attempt, int]] = []  # at the announcement: queued, without a start
        self._found_outbox: list[OutboxEntry] = []
        self._unbuilt: dict[str, list[tuple[Attempt, int]]] = {}  # run id -> taken, and waiting for a value

    # -- replay ------------------------------------------------------------------------------------------------------

    def replay(self, frame: Frame, progress: list[Progress] | None = None) -> None:
        """Applies a frame in force, in the order of the log. `progress`: where its progress records are put."""
        self._check()
        try:
            state = self.state
            if frame.seq == 0:
                state.epoch = frame.epoch
                state.seq = 0
                state.time_ms = max(state.time_ms, frame.time_ms)
                return
            state.time_ms = frame.time_ms
            state.epoch = frame.epoch
            state.seq = frame.seq
            run_id = ""
            if progress is None:
                for event in frame.events:
                    own = event.run_id
                    if own:
                        run_id = own
                    apply(state, event, run_id)
            else:
                projection = Projection(self.number, frame.epoch, frame.seq, frame.time_ms)
                for event in frame.events:
                    run_id = event.run_id or run_id
                    projection.add(event, event.kind, run_id, apply(state, event, run_id))
                progress.extend(projection.records())
            state.next[:] = frame.next
        except BaseException as fault:
            self._fault = fault
            raise

    def announced(self, epoch: int, time_ms: int, steady_ms: int | None = None) -> None:
        """Our announcement is in force: frames are numbered from 1 in this epoch, and time goes on from there."""
        self._check()
        state = self.state
        state.epoch = epoch
        state.seq = 0
        state.time_ms = max(state.time_ms, time_ms)
        self._draft.begin(state.time_ms, steady_ms)
        self._found = []
        for run in state.runs.values():
            for attempt in run.attempts.values():
                task_state = run.states[attempt.task]
                if task_state == QUEUED:
                    self._found.append((attempt, attempt.number))
                elif task_state == RUNNING:
                    self._dispatch.bind(attempt)
        self._found_outbox = [entry for entries in state.outbox.values() for entry in entries.values()]

    def outstanding(self) -> Effects:
        """What the log leaves to be done: queued attempts without a start, and outbox entries.

        To be called once, when all inputs up to their end as of the takeover have been read and their frames are
        acknowledged; then `release` it like the effects of a frame. Deadlines of heartbeats begin anew here.
        """
        self._check()
        effects = Effects(seq=0)
        state = self.state
        for attempt, number in self._found:
            if attempt.number == number and self._is_queued(attempt) and attempt.place == NEW:
                effects.ready.append((attempt, number))
        for entry in self._found_outbox:
            if entry.number in state.outbox.get(entry.target, ()):
                effects.outbox.append(entry)
        self._dispatch.hear_anew(self._dispatch.now_ms)
        self._found = []
        self._found_outbox = []
        return effects

    # -- inputs ------------------------------------------------------------------------------------------------------

    def begin(self, now_ms: int, steady_ms: int | None = None) -> None:
        """Before a batch: the owner's time in milliseconds. It never goes back, and stands while a frame is open.

        `steady_ms`: a time of which no clock but this machine's own decides, for what is volatile: how long workers
        have been silent. Without it the owner's time is taken.
        """
        self._check()
        self._draft.begin(now_ms, steady_ms)

    def hear_anew(self, steady_ms: int) -> None:
        """Nobody could be heard until then: how long workers are silent is counted from there."""
        self._dispatch.hear_anew(steady_ms)

    def trigger(self, start: Start, origin: Origin, definition: Definition | None) -> None:
        """A start from the triggers topic. `definition`: the catalog's for its version, label or active version."""
        start.ClearField("parent")  # only partitions say that
        self._input(
            TRIGGERS,
            origin.offset,
            lambda: decide_start(self._draft, self._builder, start, origin, definition),
        )

    def needs_run(self, command: Command) -> str:
        """The id of a run that has ended here, and that this command would have begin again; "" where there is none.
        Cut, have all frames acknowledged, read it back from the log (past.py) and hand it to `command`."""
        if command.WhichOneof("command") == "message":
            if command.message.number <= self.state.received.get(command.message.source, 0):
                return ""
            command = command.message.command
        kind = command.WhichOneof("command")
        if kind not in ("rerun", "mark_success"):
            return ""
        run_id = command.rerun.run_id if kind == "rerun" else command.mark_success.run_id
        if run_id in self.state.runs or self.state.windows.ended_run(run_id, self.state.time_ms) is None:
            return ""
        return run_id

    def command(
        self,
        command: Command,
        origin: Origin,
        definition: Definition | None = None,
        reopened: Reopened | None = None,
    ) -> None:
        """A command. `definition`: for what it deploys or activates, or for the start that it forwards. `reopened`: the
        run that `needs_run` named."""

        def decide_it() -> None:
            self._builder.reopened = reopened
            if forged := out_of_order(self.state, command, self.partitions, self.limits):
                self._refuse(COMMANDS, origin.offset, forged)
            elif not decide_command(self._draft, self._builder, command, origin, definition):
                self.counters["repeated_messages"] += 1

        self._input(COMMANDS, origin.offset, decide_it)

    def result(self, result: Result, offset: int) -> None:
        """A result or a heartbeat of a worker."""
        draft = self._draft
        state = self.state
        if self._fault is not None:
            self._check()
        if offset < state.next[RESULTS]:
            self.counters["passed_over"] += 1
            return
        draft.caused_by(RESULTS, offset)
        try:
            outcome = results.decide_result(draft, self._builder, result)
        except BaseException as fault:
            self._fault = fault
            raise
        if outcome != "counted":
            self.counters[outcome] += 1
        state.next[RESULTS] = offset + 1
        self._silent += 1

    def skip(self, topic: int, offset: int) -> None:
        """A record with nothing to decide (a tombstone): only the position moves. `topic`: 0, 1 or 2."""

        def count() -> None:
            self.counters["tombstones"] += 1

        self._input(topic, offset, count)

    def poison(self, topic: int, offset: int, reason: str) -> None:
        """A record that cannot be read, or that the shell found to be the culprit of a fault: refused for good.

        The outbox entry says where it lies; whoever sends it to dead-letter reads its bytes again.
        """

        self._input(topic, offset, lambda: self._refuse(topic, offset, reason))

    def _refuse(self, topic: int, offset: int, reason: str) -> None:
        draft = self._draft
        why = text(reason)[: self.limits.reason_chars]
        number = self.state.outbox_numbers.get(DEAD_LETTER, 0) + 1
        draft.emit(Kind.INPUT_REFUSED, None, reason=why, topic=_TOPICS[topic], number=number, target=DEAD_LETTER)
        letter = DeadLetter(
            topic=_TOPICS[topic], partition=self.number, offset=offset, reason=why, time_ms=self.state.time_ms
        )
        draft.send(DEAD_LETTER, "dead-letter", letter.SerializeToString())

    def _input(self, topic: int, offset: int, decide_it: Callable[[], object]) -> None:
        if self._fault is not None:
            self._check()
        position = self.state.next
        if offset < position[topic]:
            self.counters["passed_over"] += 1
            return
        self._draft.caused_by(topic, offset)
        self._guard(decide_it)
        position[topic] = offset + 1
        self._silent += 1

    def awaited(self) -> dict[tuple[str, str], int]:
        """(kind, label) -> since when (owner's time): what `observe` is to be told of. kind: kafka (label: a topic) or
        run (label: a workflow)."""
        return {name: min(wait.since_ms for wait in waits) for name, waits in self.state.awaited.items()}

    def observe(self, seen: Observed) -> bool:
        """A record that a task may wait for. False: a value has to be fetched first (`wants`); tell it again then.

        It may be told any number of times; what has ended is not ended again.
        """
        self._check()
        self._draft.caused_by(TIMER)
        done: list[bool] = []
        self._guard(lambda: done.append(self._observe(seen)))
        return done[0]

    def _observe(self, seen: Observed) -> bool:
        try:
            for run in observe(self._draft, self._builder, seen):
                if self._draft.full():
                    self._draft.seal()
                decide.advance(self._draft, self._builder, run)
        except Needs:
            return False
        return True

    # -- records of users' topics ------------------------------------------------------------------------------------

    def intake_began(self, topic: str, partition: int, begins: Mapping[str, int]) -> None:
        """These workflows take records of a user's topic from these offsets on. See intake.py."""
        self._of_intake(lambda: intake.begin(self._draft, topic, partition, begins))

    def intake_ended(self, topic: str, partition: int, workflows: Iterable[str]) -> None:
        """These workflows take no more of it."""
        self._of_intake(lambda: intake.end(self._draft, topic, partition, workflows))

    def intake_lost(self, topic: str, partition: int, offset: int) -> None:
        """Kafka has nothing at its position any more: it goes on at `offset`."""
        self._of_intake(lambda: intake.lost(self._draft, topic, partition, offset))

    def intake(
        self, topic: str, partition: int, records: Sequence[Taken], routes: Sequence[Route], at_least: int = 1
    ) -> int:
        """Decides records of a user's topic, in order; returns how many, see intake.decide."""
        found: list[int] = []
        self._of_intake(
            lambda: found.append(intake.decide(self._draft, self._builder, topic, partition, records, routes, at_least))
        )
        if at_least == 1:  # of a topic of the cluster's own those without a value are passed over by their header
            self.counters["tombstones"] += sum(1 for r in records[: found[0]] if r.data is None and not r.error)
        return found[0]

    def _of_intake(self, work: Callable[[], Any]) -> None:
        self._check()
        self._draft.caused_by(TIMER)
        self._guard(work)

    def worker_lost(self, instance: str) -> None:
        """A worker left or is silent: its bound attempts failed, what it had not begun is ready for others."""
        self._check()
        self._draft.caused_by(TIMER)
        self._guard(lambda: results.worker_lost(self._draft, self._builder, instance))

    def sent(self, target: int, number: int) -> None:
        """The outbox entries of `target` up to `number` are acknowledged."""
        self._check()
        entries = self.state.outbox.get(target)
        if not entries or number < next(iter(entries)):
            return
        self._draft.caused_by(TIMER)
        self._guard(lambda: self._draft.emit(Kind.OUTBOX_SENT, None, target=target, number=number))

    def fire_timers(
        self, heard: tuple[int, int] | None = None, answers: Callable[[str], bool] = lambda instance: True
    ) -> bool:
        """Decides what is due at the frame's time: timeouts, ends of retry delays, silent workers; up to a step's share
        or the frame's bound. What is left stays due: `next_due_ms` is in the past then.

        `heard`: (owner's time, steady time) when all lay on `results` that has been read by now. A result that lies
        unread beats its own timeout, so no timeout after that is decided. True: one waits for that; find out how far
        `results` reaches, read it, and call again. None: all is read.
        `answers`: whether a worker has announced itself lately, so that what it has not begun is lost and not late.
        """
        self._check()
        waits: list[bool] = []
        self._guard(lambda: waits.append(self._fire(heard, answers)))
        return waits[0]

    def _fire(self, heard: tuple[int, int] | None, answers: Callable[[str], bool]) -> bool:
        draft, timers, dispatch, now = self._draft, self.state.timers, self._dispatch, self.state.time_ms
        heard_ms, heard_steady_ms = heard if heard is not None else (now, dispatch.now_ms)
        end = draft.count + self.limits.step_tasks
        waits = False
        while draft.count < end and not draft.full():
            due = timers.next_due_ms()
            if due is None or due > now:
                break
            owner = timers.peek()
            if due > heard_ms and decide.is_timeout(owner):
                waits = True
                break
            draft.caused_by(TIMER)
            decide.due(draft, self._builder, timers.pop())
        dispatch.unhold(now)
        overdue, more = dispatch.overdue(heard_steady_ms)
        for attempt in overdue:
            if draft.count >= end or draft.full():
                break
            if attempt.place == SENT:
                self._unstarted(attempt, answers)
            if attempt.place != BOUND:  # it may have ended with the one before it
                continue
            draft.caused_by(TIMER)
            timeout = self.limits.heartbeat_timeout_ms
            message = f"nothing was heard of worker {attempt.worker} for {timeout} ms (engine.heartbeat_timeout_s)"
            results.lost(draft, self._builder, attempt, message)
        return waits or more

    def _unstarted(self, attempt: Attempt, answers: Callable[[str], bool]) -> None:
        """Its record, or what the worker said of it, is lost: it is sent again. The first `started` binds it."""
        if answers(attempt.holder):
            self.counters["unstarted"] += 1
            self._dispatch.give_back(attempt)
        else:  # the worker may be lost, which is found out elsewhere, or too busy to say anything
            self._dispatch.heard(attempt)

    def proceed(self) -> bool:
        """Decides what is left over from earlier steps, run by run in turn, up to a step's share or the frame's bound.

        True: more is left; cut, let others have their turn, and call it again.
        """
        self._check()
        decidable, asleep = self.state.decidable, self._builder.values.asleep
        if decidable and self._is_awake():
            self._guard(self._proceed)
        return bool(decidable) and (not asleep or self._is_awake())

    def _is_awake(self) -> bool:
        """Whether any decidable run does not wait for a value."""
        asleep = self._builder.values.asleep
        return not asleep or any(run_id not in asleep for run_id in self.state.decidable)

    def _proceed(self) -> None:
        draft, decidable = self._draft, self.state.decidable
        draft.caused_by(None)  # by inputs of earlier frames
        end = draft.count + self.limits.step_tasks
        asleep = self._builder.values.asleep
        turns = len(decidable) + self.limits.step_tasks
        while decidable and draft.count < end and not draft.full() and turns > 0:
            turns -= 1
            run = next(iter(decidable.values()))
            if run.run_id not in asleep:
                decide.advance(draft, self._builder, run)
            if decidable.pop(run.run_id, None) is not None:
                decidable[run.run_id] = run  # not done yet: to the end of the line

    # -- values that lie elsewhere -------------------------------------------------------------------------------------

    def wants(self) -> list[Reference]:
        """Values in the payloads topic that a decision waits for: fetch each and call `supply`. Each is named once in
        an ownership."""
        return self._builder.values.wants()

    def supply(self, reference: Reference, data: bytes | None, error: str = "") -> None:
        """The JSON text of a value, or None and why it cannot be had. What waited for it is decided by `proceed`."""
        self._check()
        self._woken(self._builder.values.supply(reference, data, error))

    def to_store(self) -> list[tuple[str, bytes]]:
        """What the core made and wants to have in the payloads topic: (token, content). Store it and call `stored`."""
        return self._builder.values.to_store()

    def stored(self, token: str, reference: Reference | None, error: str = "") -> None:
        """Where it lies now, or None and why it cannot be stored."""
        self._check()
        self._woken(self._builder.values.stored_as(token, reference, error))

    def _woken(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            for attempt, number in self._unbuilt.pop(run_id, ()):
                if attempt.number == number and attempt.place == SENT and self._is_queued(attempt):
                    self._dispatch.give_back(attempt)

    def oldest_payload(self) -> int | None:
        """The smallest offset of this partition's payloads that a live run refers to; None: none does."""
        found: int | None = None
        for run in self.state.runs.values():
            if run.references:
                for output in run.outputs.values():
                    if isinstance(output, Ref):
                        reference = output.reference
                        if reference.partition == self.number and (found is None or reference.offset < found):
                            found = reference.offset
        return found

    # -- frames ------------------------------------------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """Of the frame that holds the last event decided, which may be open."""
        return self.state.seq + bool(self._draft.count)

    def full(self) -> bool:
        """The open frame has reached its bound: cut now."""
        return self._draft.full() or bool(self._draft.sealed)

    def cut(self, force: bool = False) -> tuple[Frame, Effects] | None:
        """The next frame to append, and what it causes once it is acknowledged; None: there is nothing worth a frame.

        Call it until it gives None: one input with a large definition may take several frames. A frame without events
        is made when forced, after `silent_inputs` inputs, and for stops, not more often than their interval.
        """
        self._check()
        draft = self._draft
        if draft.sealed:
            return draft.sealed.popleft()
        if not draft.count and not force and self._silent < self.limits.silent_inputs:
            if not draft.stops:
                return None
            if not draft.urgent and self.state.time_ms < self._stops_at + self.limits.stops_interval_ms:
                return None
        if draft.stops and not draft.count:
            self._stops_at = self.state.time_ms
        self._silent = 0
        return draft.close()

    def next_due_ms(self) -> int | None:
        """The owner's time of the next timer, or None. It may be in the past: then call `fire_timers`."""
        self._check()
        volatile = self._dispatch.next_due_ms(self.state.time_ms)
        due = [at for at in (self.state.timers.next_due_ms(), volatile) if at is not None]
        if self._draft.stops:
            due.append(self._stops_at + self.limits.stops_interval_ms)
        return min(due) if due else None

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def live_records(self) -> int:
        """About how many events a snapshot would take now: to weigh it against the length of the log."""
        windows = self.state.windows
        slices = (len(windows.keys) + len(windows.ended)) // snapshots.SLICE + 2
        return 1 + len(self.state.runs) + len(self.state.versions) + slices

    def begin_snapshot(self) -> Cursor:
        """Begins a snapshot (snapshot.py). `cursor.seq` is the frame of this epoch that recovery may begin at, with
        seq - 1 as the last in force before it, once the frame that ends the snapshot is acknowledged, and everything
        before that frame on the progress topic."""
        self._check()
        self._draft.caused_by(None)
        try:
            return snapshots.begin(self._draft)
        except BaseException as fault:
            self._fault = fault
            raise

    def snapshot(self, cursor: Cursor, budget: int) -> bool:
        """Writes up to `budget` more events of a snapshot into the open frame, up to its bound. True: more is left."""
        self._check()
        self._draft.caused_by(None)
        self._guard(lambda: snapshots.write(self._draft, cursor, budget))
        return not cursor.done

    # -- dispatch ----------------------------------------------------------------------------------------------------

    def release(self, effects: Effects) -> None:
        """The frame of these effects is acknowledged: its attempts may be taken from now on."""
        self._check()
        dispatch, seq, now = self._dispatch, effects.seq, self.state.time_ms
        for attempt, number in effects.ready:
            if attempt.number == number and attempt.place == NEW and self._is_queued(attempt):
                attempt.seq = seq
                if attempt.due_ms > now:
                    dispatch.hold(attempt, attempt.due_ms)
                else:
                    dispatch.push(attempt)

    def _is_queued(self, attempt: Attempt) -> bool:
        return attempt.run.attempts.get(attempt.task) is attempt and attempt.run.states[attempt.task] == QUEUED

    def queues(self) -> Iterable[str]:
        """Queues with a ready attempt, but for those that are paused."""
        counts = self._dispatch.counts
        if not self.state.switches:
            return tuple(counts)
        return tuple(queue for queue in counts if not is_queue_paused(self.state, queue))

    def ready(self, queue: str) -> int:
        """Number of ready attempts in a queue."""
        return self._dispatch.counts.get(queue, 0)

    def best(self, queue: str) -> Worth | None:
        """What orders the best ready attempt of a queue, to compare partitions: smaller goes first. None: none is."""
        if is_queue_paused(self.state, queue):
            return None
        return self._dispatch.best(queue)

    def refusers(self, queue: str) -> Collection[str]:
        """The workers that have rejected what `take` would give: they lack its code."""
        return self._dispatch.refusers(queue)

    def postpone(self, queue: str) -> None:
        """Leaves what `take` would give for a second: somebody may have its code, and has no room now."""
        self._dispatch.postpone(queue, self.state.time_ms + self.limits.rejected_delay_ms)

    def recall(self, may_run: Callable[[str, Collection[str]], bool]) -> bool:
        """A worker has come: what waits after a rejection is ready where `may_run(queue, who rejected it)`."""
        return self._dispatch.recall(may_run)

    def take(self, queue: str, worker: str) -> Task | None:
        """The best ready attempt of a queue by (priority, turn of its workflow, depth, age), as a record addressed to
        `worker`.

        None if there is none. A task whose inputs cannot be made fails by events of the open frame, and the next best
        is given.
        """
        self._check()
        if is_queue_paused(self.state, queue):
            return None
        while (attempt := self._dispatch.take(queue, worker)) is not None:
            try:
                return self._builder.build(attempt, worker, self.state.epoch, self.state.time_ms)
            except Needs:  # its value has to be fetched again: the next best is given
                self._unbuilt.setdefault(attempt.run.run_id, []).append((attempt, attempt.number))
            except Unbuildable as error:
                self._guard(lambda a=attempt, why=str(error): self._unbuildable(a, why))  # type: ignore[misc]
            except BaseException as fault:
                self._fault = fault
                raise
        return None

    def _unbuildable(self, attempt: Attempt, why: str) -> None:
        reason = text(why)[: self.limits.reason_chars]
        if self._draft.full():
            self._draft.seal()
        self._draft.caused_by(TIMER)
        attempt_failed(self._draft, attempt, "error", Error(type="input", message=reason), final=reason)
        decide.advance(self._draft, self._builder, attempt.run)

    def held(self, worker: str) -> int:
        """How many attempts that are not over a worker was sent or is bound to."""
        return self._dispatch.held_count(worker)

    def holders(self) -> Iterable[str]:
        """Worker instances that hold an attempt."""
        return self._dispatch.holders()

    # -- views -------------------------------------------------------------------------------------------------------

    def runs(self) -> Iterator[Run]:
        """The runs that have not ended. To be read, not kept: they change with the next event."""
        return iter(self.state.runs.values())

    def run(self, run_id: str) -> Run | None:
        """One run that has not ended."""
        return self.state.runs.get(run_id)

    # -- faults ------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._fault is not None:
            raise Broken(f"an earlier fault left this partition half changed: {self._fault!r}") from self._fault

    def _guard(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as fault:
            self._fault = fault
            raise
