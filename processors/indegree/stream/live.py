"""A partition that is owned: inputs to the core, frames to the log, effects to the world.

Only the stream's task changes what the core decides (`step`); acknowledgements come in callbacks (appends.py) and
change only what is volatile: which attempts are released, who was sent what.

The rules, each of which costs work when it is broken:

- nothing of a frame is visible before it is acknowledged at the expected offset (`_settled` is the only way out);
- the lease is proven before every dispatch;
- until all inputs are read up to their end as of the takeover, no timer is decided and nothing is dispatched: an
  attempt whose `started` lies unread is not sent again;
- a result that lies unread beats its own timeout, the silence of its worker, and the loss of it (hearing.py);
- a failed output ends the ownership, so that recovery sends it again;
- only triggers may be paused for back-pressure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from indegree.engine.core import Effects, OutboxEntry
from indegree.engine.intake import Undecidable
from indegree.engine.past import Reopened
from indegree.events.kafka import KafkaUnreachable
from indegree.events.topics import RESULTS, TRIGGERS
from indegree.stream.appends import Appends, AppendUnknown
from indegree.stream.catalog import CatalogUnreachable
from indegree.stream.control import send_stops
from indegree.stream.hearing import Hearing
from indegree.stream.inputs import Decoded, InputReader
from indegree.stream.log import YIELD_S, LogReader
from indegree.stream.offers import Offers
from indegree.stream.outbound import Ticket
from indegree.stream.outbox import Outbox
from indegree.stream.progress import NOWHERE, ProgressLog
from indegree.stream.reopening import read_back
from indegree.stream.restarts import Restarts
from indegree.stream.services import Services
from indegree.stream.snapshots import Snapshots
from indegree.stream.takeover import Fenced, LogShortened, Owned
from indegree.stream.transport import Batch, InputsSkipped
from indegree.stream.values import Values
from indegree.v1.event_pb2 import Frame

log = logging.getLogger(__name__)

EXTERNAL = (KafkaError, KafkaUnreachable, CatalogUnreachable, AppendUnknown, LogShortened, OSError, TimeoutError)
"""Failures of the surroundings: nothing that we read or decided is to blame for them."""

_CATCH_UP_S = 0.02  # how often it is asked whether the inputs of the takeover have been read
_HEAR_S = 0.05  # how often, whether the results have been read up to what is to be decided
_STARTED_S = 0.075  # within which a worker has reported what it began, with some room
_CHECK_EVERY = 16  # records between two looks at the clock
_HOLD_AT, _GO_ON_AT = 50_000, 20_000  # records that wait for Kafka, at which triggers are paused and resumed
_LOOK_AGAIN_S = 0.1  # while they are paused
_LONGEST_TIMER_S = 3600.0
_NEVER_MS = 1 << 62
_WORDS = ("triggers", "commands", "results")  # in the order of Frame.next


class Live:
    """See the module. Made when the partition is owned; `failed(error)` ends the stream that runs it."""

    def __init__(
        self,
        number: int,
        services: Services,
        owned: Owned,
        progress: ProgressLog,
        restarts: Restarts,
        ends: list[int],
        channel: Any,
    ) -> None:
        self.number, self.core = number, owned.recovery.core
        self._services, self._owned, self._progress, self._restarts = services, owned, progress, restarts
        self._clock, self._channel = owned.clock, channel
        self._inputs = services.topics.inputs
        self._tps = [TP(topic, number) for topic in self._inputs]
        self.ticket = Ticket(self.failed)
        settings, topics, outbound = services.settings, services.topics, services.outbound
        label, metrics = str(number), services.metrics
        self._appends = Appends(
            owned.log,
            owned.epoch,
            owned.tail,
            lambda at: LogReader(settings, topics.events, number, at),
            self._settled,
            self.failed,
            metrics.gaps.labels(label).inc,
            settings.engine.append_timeout_s,
        )
        self._spans = services.spans.of(self.core) if services.spans is not None else None
        self._snapshots = Snapshots(
            number,
            self.core,
            owned.epoch,
            owned.recovery.begin,
            owned.recovery.events,
            settings.engine.snapshot_records,
        )
        self._outbox = Outbox(settings, topics, outbound, self.ticket, self.wake)
        self._values = Values(number, self.core, services.payloads, self.wake, self.failed)
        self.offers = Offers(self.core, self.wake, restarts.strangers)
        """What was read of users' topics for this partition."""
        self._reader = InputReader(
            topics, number, services.catalog, lambda workflow: self.core.state.windows.previous.get(workflow, "")
        )
        self._error: BaseException | None = None
        self._suspect: tuple[int, int] | None = None  # the input that is being decided
        self._ends: list[int] | None = ends  # of the inputs as of the takeover, until they are read
        self._early: list[OutboxEntry] = []  # outbox entries of frames before that
        self._hearing = Hearing(
            services.consumer,
            self._tps[RESULTS],
            settings.engine.heartbeat_timeout_s,
            self._clock.both_ms,
            self.wake,
            self.core.hear_anew,
            self.failed,
        )
        self._lost_workers: dict[str, int] = {}  # instance -> steady time when we were told
        self._waits = False  # a timeout is due, and is decided once all results of before have been read
        self._woken = False  # a wake-up is in the stream and was not taken yet
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = _NEVER_MS  # what it is set for, in the owner's time
        self._held = False  # triggers are paused
        self.sent_total = 0  # task records sent by this ownership
        self._dispatched_at = float("-inf")
        self._count_inputs = [metrics.inputs.labels(label, word) for word in _WORDS]
        self._count_intake = metrics.inputs.labels(label, "intake")
        self._count_tombstones, self._count_refused = metrics.tombstones.labels(label), metrics.refused.labels(label)
        self._count_frames, self._count_events = metrics.frames.labels(label), metrics.events.labels(label)
        self._count_tasks, self._judged = metrics.tasks.labels(label), metrics.judged(number)
        self._count_unstarted = metrics.unstarted.labels(label)

    @property
    def serving(self) -> bool:
        """All inputs of the takeover are read, and nothing has failed."""
        return self._ends is None and self._error is None

    @property
    def snapshots(self) -> Snapshots:
        """For retention."""
        return self._snapshots

    def now_ms(self) -> int:
        """The owner's time."""
        return self._clock.now_ms()

    def failed(self, error: BaseException) -> None:
        """An output, an append or an acknowledgement failed: this ownership is over."""
        if self._error is None:
            self._error = error
            self._channel._throw(error)

    # -- one step

    async def step(self, batch: Batch) -> None:
        """Decides what a batch holds, and what has fallen due. Raises what ended the ownership."""
        if self._error is not None:
            raise self._error
        if not batch.records:
            self._woken = False
        index = self._inputs.index(batch.topic)
        self._reader.received_at = time.monotonic()
        records = batch.take()
        before = tuple(self.core.state.next)
        try:
            if records and batch.begin > before[index]:
                raise InputsSkipped(
                    f"{batch.topic} partition {self.number}: inputs from {before[index]} to {batch.begin - 1} were not "
                    "handed over; the partition reads again from there"
                )
            self.core.begin(*self._clock.both_ms())
            self._news()
            if self._restarts.careful:
                await self._carefully(index, records)
            else:
                await self._decide(index, records)
            if (self._lost_workers or self._waits) and self.serving:
                await self._hearing.look()
            if self._lost_workers and self.serving:
                await self._lose()
            await self._take_in()
            await self._finish(len(records))
            self._values.ask()
            if self._ends is not None:
                await self._catch_up(self._ends)
        except BaseException as error:
            ours = isinstance(error, Exception) and not isinstance(error, (Fenced, *EXTERNAL))
            if ours and error is not self._error:
                suspect = error.record if isinstance(error, Undecidable) else self._suspect
                self._restarts.failed_at(suspect, before, f"{type(error).__name__}: {error}")
            if self._error is None:
                self._error = error
            raise
        if self._restarts.failures or self._restarts.culprits:
            self._restarts.passed(tuple(self.core.state.next))
            self._restarts.lived(time.monotonic())
        self._set_timer()
        self._throttle()

    async def _decide(self, index: int, records: list[Any]) -> None:
        core, at = self.core, self.core.state.next
        tombstones = refused = 0
        culprits, kinds = self._restarts.culprits, self._judged.kinds
        until = time.monotonic() + YIELD_S
        for place, record in enumerate(records):
            offset: int = record.offset
            if offset < at[index]:
                continue
            self._suspect = (index, offset)
            if index == RESULTS and (result := self._reader.result(record)) is not None and not culprits:
                core.result(result, offset)
                kinds[result.kind] = kinds.get(result.kind, 0) + 1
            else:
                decoded = self._culprit(index, offset) or await self._reader.read(index, record)
                tombstones += decoded.tombstone
                refused += decoded.reason is not None
                if decoded.command is not None and (run_id := core.needs_run(decoded.command)):
                    decoded.reopened = await self._read_back(run_id)
                self._input(index, offset, decoded)
            self._suspect = None
            if core.full():
                await self._cut()
            if place % _CHECK_EVERY == _CHECK_EVERY - 1 and time.monotonic() > until:
                # long work gives way to the lease and the other partitions; what is decided goes on its way if it can
                if self._appends.room:
                    await self._cut()
                await asyncio.sleep(0)
                core.begin(*self._clock.both_ms())
                until = time.monotonic() + YIELD_S
        if records:
            self._count_inputs[index].inc(len(records))
            if index == RESULTS:
                self._judged.results(core.counters)
            if tombstones:
                self._count_tombstones.inc(tombstones)
            if refused:
                self._count_refused.inc(refused)

    async def _read_back(self, run_id: str) -> Reopened:
        """A run that has ended here. What ended it is on the log by then."""
        await self._cut()
        await self._appends.join()
        settings, ended = self._services.settings, self.core.state.windows.ended[run_id]
        found = await read_back(settings, self._services.topics.events, self.number, run_id, ended.time_ms)
        self.core.begin(*self._clock.both_ms())
        return found

    def _culprit(self, index: int, offset: int) -> Decoded | None:
        culprits = self._restarts.culprits
        if not culprits or (index, offset) not in culprits:
            return None
        reason = culprits[index, offset]
        log.error("%s partition %d offset %d is refused: %s", self._inputs[index], self.number, offset, reason)
        return Decoded(reason=reason)

    def _input(self, index: int, offset: int, decoded: Decoded) -> None:
        core = self.core
        if decoded.result is not None:
            core.result(decoded.result, offset)
        elif decoded.start is not None:
            core.trigger(decoded.start, decoded.origin, decoded.definition)
        elif decoded.command is not None:
            core.command(decoded.command, decoded.origin, decoded.definition, decoded.reopened)
        elif decoded.reason is not None:
            core.poison(index, offset, decoded.reason)
        else:
            core.skip(index, offset)

    async def _carefully(self, index: int, records: list[Any]) -> None:
        """One input a frame, with all that follows from it, each acknowledged before the next.

        So the one to blame is known, and nothing of it is in the log yet.
        """
        for record in records:
            self.core.proceed()  # what fails without the input is not to be laid on it
            await self._decide(index, [record])
            self._suspect = (index, record.offset)
            self.core.proceed()
            await self._cut(force=True)
            await self._appends.join()
            self._suspect = None

    def _news(self) -> None:
        """What no input brings: acknowledged outbox entries, values that were fetched or stored."""
        self._values.answer()
        self.offers.again()
        for target, number in self._outbox.take_sent().items():
            self.core.sent(target, number)

    async def _lose(self) -> None:
        """Lost workers, once all is read that they may have said before: a result that lies unread beats the loss."""
        heard_ms = self._hearing.heard[1]
        for instance in [instance for instance, told_ms in self._lost_workers.items() if told_ms < heard_ms]:
            if self.core.full():
                await self._cut()
            del self._lost_workers[instance]
            self.core.worker_lost(instance)
        if self._lost_workers:
            self._hearing.ask()

    async def _take_in(self) -> None:
        """What was read of users' topics, for a while; what is left is for the next step."""
        offers = self.offers
        if offers.is_empty() or not self.serving or self._held:
            return
        until = time.monotonic() + YIELD_S
        before, tombstones = offers.decided, self.core.counters["tombstones"]
        while not offers.is_empty() and time.monotonic() < until:
            offers.decide()
            if self.core.full():
                await self._cut()
        self._count_intake.inc(offers.decided - before)
        self._count_tombstones.inc(self.core.counters["tombstones"] - tombstones)
        if not offers.is_empty():
            self.wake()

    async def _finish(self, inputs: int) -> None:
        """Timers that are due, then what is decidable, then the last frame of this step.

        What is left over, of a wide fan-out for instance, is for the next step, so that inputs come in between.
        """
        core = self.core
        if self.serving:
            due = core.next_due_ms()
            self._waits = False
            if due is not None and due <= self._clock.now_ms():
                if core.full():
                    await self._cut()
                core.begin(*self._clock.both_ms())
                self._fire()
        if core.proceed() or (self.serving and self._snapshots.write(inputs)):
            self.wake()
        await self._cut(self._snapshots.say)
        if self.serving and core.queues():  # what no frame releases: handed back, or a delay that has ended
            self._dispatch()

    def _fire(self) -> None:
        unstarted = self.core.counters["unstarted"]
        self._waits = self.core.fire_timers(self._hearing.heard, self._services.workers.answers)
        if self._waits:
            self._hearing.ask()
        if self.core.counters["unstarted"] > unstarted:
            self._count_unstarted.inc(self.core.counters["unstarted"] - unstarted)

    async def _cut(self, force: bool = False) -> None:
        """Hands over what the core has for the log: the open frame, and those that one large input has filled."""
        while (cut := self.core.cut(force)) is not None:
            frame, effects = cut
            self._complete(frame)
            await self._appends.send(frame, effects)
            force = False

    def _complete(self, frame: Frame) -> None:
        """What only the shell knows: how far progress is acknowledged, and where a recovery begins."""
        if self._progress.position != NOWHERE:
            frame.progress.epoch, frame.progress.seq, frame.progress.index = self._progress.position
        self._snapshots.acknowledged(self._progress.acknowledged_count)
        frame.recover_from.CopyFrom(self._snapshots.begin)
        self._snapshots.cut(frame)

    # -- after the acknowledgement

    def _settled(self, frame: Frame, effects: Effects, offset: int, timestamp_ms: int, seconds: float) -> None:
        """A frame is in force: what it says may be done now, and not before."""
        self._clock.acknowledged(timestamp_ms)
        if not self._services.valid():
            raise Fenced("the lease is not proven")
        self.core.release(effects)
        if self._ends is None:
            self._dispatch()
            self._outbox.put(effects.outbox)
        else:
            self._early.extend(effects.outbox)  # behind what the takeover finds outstanding
        self._snapshots.settled(frame, offset, self._progress.put_count)
        self.offers.settled = frame.seq
        self._progress.put(effects.projection)
        if effects.stops:
            send_stops(self._services.outbound, self._services.topics.control, effects.stops, self.ticket)
        if self._spans is not None:
            self._spans.settled(effects)
        self._services.metrics.append_seconds.observe(seconds)
        if effects.outbox:
            self._judged.outbox(effects.outbox)
        self._count_frames.inc()
        self._count_events.inc(len(frame.events))

    def _dispatch(self) -> None:
        if not self._services.valid():
            raise Fenced("the lease is not proven")
        self._services.dispatcher.run()

    def sent(self, count: int, decided: bool) -> None:
        """So many of our attempts were sent, or some were put off: there may be an earlier deadline now.

        `decided`: one could not be sent, and the core made events of that.
        """
        if count:
            self._dispatched_at = time.monotonic()
            self._count_tasks.inc(count)
            self.sent_total += count
        if decided:
            self.wake()
        elif self._error is None and not self._woken and (self.core.next_due_ms() or _NEVER_MS) < self._timer_ms:
            self._set_timer()  # nobody's step may come soon: this is also called from without

    async def _catch_up(self, ends: list[int]) -> None:
        """Once the inputs of the takeover are read, and all of it is in the log, the partition begins to act."""
        consumer = self._services.consumer()
        for tp, end in zip(self._tps, ends, strict=True):
            if await consumer.read_up_to(tp) < end:
                asyncio.get_running_loop().call_later(_CATCH_UP_S, self.wake)
                return
        await self._cut()
        await self._appends.join()
        self._ends = None
        self._hearing.begin()
        self._services.dispatcher.join(self)
        outstanding = self.core.outstanding()
        self.core.release(outstanding)
        self._outbox.put([*outstanding.outbox, *self._early])
        self._early = []
        self._dispatch()
        log.debug(
            "partition %d serves: %d attempts had no start, %d sent again, %d messages sent again",
            self.number,
            len(outstanding.ready),
            self.sent_total,
            len(outstanding.outbox),
        )
        self.wake()

    # -- wake-ups

    def wake(self) -> None:
        """Has the stream take a step soon although no input came. Never blocks."""
        if not self._woken and self._error is None:
            self._woken = True
            self._services.consumer().wake(self._channel, self._tps[0])

    def worker_lost(self, instance: str) -> None:
        """A worker is gone for good: its attempts end once its last results are read."""
        # It left after its last result was acknowledged; but `workers` may be read faster than `results`.
        if instance not in self._lost_workers:
            self._lost_workers[instance] = self._clock.both_ms()[1]
            self.wake()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.core.next_due_ms() if self.serving else None
        if self.serving and (self._waits or self._lost_workers):
            self._timer_ms, delay_s = 0, _HEAR_S
        elif due is not None:
            self._timer_ms = due
            delay_s = min(max(0.001, self._clock.seconds_until(due)), _LONGEST_TIMER_S)
        else:
            self._timer_ms = _NEVER_MS
            return
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.wake)

    def _throttle(self) -> None:
        """Pauses triggers while too much waits for Kafka. No other input: what ends the wait may come there."""
        backlog = self._progress.backlog + self._services.outbound.backlog
        inline, most = self.core.state.inline_bytes, self._services.settings.limits.partition_bytes
        held = backlog > (_GO_ON_AT if self._held else _HOLD_AT) or inline > (most * 3 // 4 if self._held else most)
        if held != self._held:
            self._held = held
            self._services.consumer().hold(self._tps[TRIGGERS], held)
            if held:
                log.warning(
                    "partition %d: %d records wait for Kafka, and the outputs of its runs have %d bytes "
                    "(limits.partition_bytes is %d); triggers are paused",
                    self.number,
                    backlog,
                    inline,
                    most,
                )
        if held:
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self.wake)

    # -- the end

    async def close(self) -> None:
        """All frames settled, all outputs acknowledged, then the frame that says so."""
        # a worker says `started` within 50 ms; the next owner reads that before it sends an attempt again
        await asyncio.sleep(max(0.0, self._dispatched_at + _STARTED_S - time.monotonic()))
        await self._appends.join()
        await self.ticket.idle()
        await self._progress.idle()
        self.core.begin(*self._clock.both_ms())
        self._news()
        cut = self.core.cut(True)
        if cut is None or self.ticket.error is not None or self._error is not None:
            return
        frame, effects = cut
        frame.closed = not (effects.ready or effects.projection or effects.outbox)
        self._complete(frame)
        await self._appends.send(frame, effects)
        await self._appends.join()

    async def abandon(self) -> None:
        """Nothing more is written or sent; what is unsent is dropped. Raises nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._error = self._error or Fenced("given up")
        self.ticket.end(self._error)
        self._services.dispatcher.leave(self)
        self._hearing.close()
        self._appends.stop()
        self._outbox.stop()
        self.offers.close()
        self._values.stop()
        await asyncio.gather(self._progress.abandon(), self._owned.log.abandon(), return_exceptions=True)
