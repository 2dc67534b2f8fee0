"""Up to which moment everything that workers said has been read: before that, silence proves nothing.

Why: a result that lies unread beats its own timeout. While Kafka stands still, or while we are behind, every worker is
silent and every timeout comes due, though nothing is wrong with any of them.

How: whoever wants to decide against a worker asks (`ask`). One question at a time, for all that is due: where does
`results` end, as of now? Once the records before that end have been read (`look`), that moment is `heard`, and what was
due by then may be decided. In normal times that takes as long as one fetch.

An absence of Kafka is noticed by what costs nothing: it answers the fetches of `results` all the time, so `Absence`
only looks now and then whether it has. After an absence the silence of all workers begins anew, and nobody is judged
for a second: what they could not send meanwhile may come now.

It must never end an ownership because Kafka is away, and never say that a moment was heard before its records were
read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from indegree.events.kafka import KafkaUnreachable

_ANSWER_S = 2.0
_SLOW_S = 0.5  # an answer that took longer came out of a standstill: what others had to say is on its way too
_GRACE_S = 1.0
AWAY_SHARE = 4
"""Kafka was away when it did not answer for this part of the timeout that is judged by its answers."""
_AWAY_AT_LEAST_S = 1.0


class Absence:
    """Of Kafka, as its answers to the fetches of one topic-partition show it. Times are monotonic seconds.

    `stamp` in `look` is anything that changes with every answer.
    """

    def __init__(self, timeout_s: float, now: float) -> None:
        self.after_s = max(_AWAY_AT_LEAST_S, timeout_s / AWAY_SHARE)
        self._stamp: object = None
        self._answered_at = now

    def look(self, stamp: object, now: float) -> bool:
        """True: it has answered again since the last look, after an absence."""
        if stamp == self._stamp:
            return False
        was_away = self.away(now)
        self._stamp, self._answered_at = stamp, now
        return was_away

    def away(self, now: float) -> bool:
        """Whether it has not answered for so long that silence proves nothing."""
        return now - self._answered_at > self.after_s


class Consumer(Protocol):
    """What is needed of transport.OwnedConsumer."""

    def highwaters(self, *tps: TP) -> Awaitable[Any]: ...

    def read_up_to(self, tp: TP) -> Awaitable[int]: ...

    def answered(self, tp: TP) -> object: ...


class Hearing:
    """Of one ownership. `now()`: (owner's time, steady time) in milliseconds; `wake()`: a step is to be taken;
    `anew(steady_ms)`: Kafka is back, and all silences begin there; `failed(error)`: a fault that is not Kafka's.
    """

    def __init__(
        self,
        consumer: Callable[[], Consumer],
        tp: TP,
        timeout_s: float,
        now: Callable[[], tuple[int, int]],
        wake: Callable[[], None],
        anew: Callable[[int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._consumer, self._tp, self._now = consumer, tp, now
        self._wake, self._anew, self._failed = wake, anew, failed
        self.heard = (0, 0)
        """(Owner's time, steady time): all that lay on `results` then has been read. Nothing is known at first."""
        self._absence = Absence(timeout_s, self._seconds())
        self._asking: asyncio.Task[None] | None = None
        self._end: tuple[tuple[int, int], int] | None = None  # as of when, and the end that it had
        self._slow = False  # the last answer was slow: the next one counts, however long it takes
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begins to look out for Kafka, and goes on until `close`."""
        self.notice()
        self._timer = asyncio.get_running_loop().call_later(min(1.0, self._absence.after_s / 4), self.begin)

    def close(self) -> None:
        for handle in (self._timer, self._asking):
            if handle is not None:
                handle.cancel()

    def _seconds(self) -> float:
        return self._now()[1] / 1000

    def notice(self) -> None:
        """Looks whether Kafka is there, and whether it has come back."""
        now = self._seconds()
        if self._absence.look(self._consumer().answered(self._tp), now):
            self._not_before = now + _GRACE_S
            self._end = None  # the end that somebody told before counts no more
            self._anew(self._now()[1])

    def ask(self) -> None:
        """Asks for the end as of now, unless a question is open or Kafka is away: then call it again later."""
        self.notice()
        now = self._seconds()
        if self._asking is None and self._end is None and now >= self._not_before and not self._absence.away(now):
            self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        moment, since = self._now(), self._seconds()
        try:
            async with asyncio.timeout(_ANSWER_S):
                end = int((await self._consumer().highwaters(self._tp))[self._tp])
        except (KafkaError, KafkaUnreachable, OSError, TimeoutError):
            self._not_before = self._seconds() + _GRACE_S
            return
        except Exception as error:  # noqa: BLE001 - it ends this ownership: the next one reads it all anew
            self._failed(error)
            return
        finally:
            self._asking = None
        now = self._seconds()
        if since < self._not_before:  # Kafka went and came back meanwhile
            return
        if now - since > _SLOW_S and not self._slow:
            self._slow, self._not_before = True, now + _GRACE_S
            return
        self._slow = False
        self._end = moment, end
        self._wake()

    async def look(self) -> None:
        """Moves `heard`, if all that lay before the end that was told has been read."""
        if self._end is not None:
            moment, end = self._end
            if await self._consumer().read_up_to(self._tp) >= end and self._end is not None:
                self.heard, self._end = moment, None
