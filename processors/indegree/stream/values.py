"""The payloads topic for one owned partition: fetches what the core waits for, stores what it made.

Why: the core does no IO, and a decision that needs a large value must not hold up the others.

How: after each step `ask` takes what the core wants to have fetched or stored; it is done beside the stream, some at a
time, and the stream is woken. At the beginning of its next step it calls `answer`, which hands the answers to the core;
runs that waited for them go on in that step. Storing needs no frame before it: a value that nothing refers to is only
some bytes until retention comes.

Memory: `_AT_A_TIME` values of `limits.payload_bytes` at most are under way or waiting to be handed over, beside those
that the core keeps (engine/values.py).

A value that cannot be had is an answer, with the reason; Kafka that does not answer ends the ownership, as everywhere.
It must never change the core outside of a step.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from indegree.events.payloads import PayloadLost, Payloads, PayloadTooLarge
from indegree.v1.value_pb2 import Reference

_AT_A_TIME = 2
_WITHIN_S = 60.0  # of one value, after which Kafka counts as away


class Core(Protocol):
    """What is asked of the partition's core."""

    def wants(self) -> list[Reference]: ...

    def supply(self, reference: Reference, data: bytes | None, error: str = "") -> None: ...

    def to_store(self) -> list[tuple[str, bytes]]: ...

    def stored(self, token: str, reference: Reference | None, error: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Fetch:
    """A value that the core waits for."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class Store:
    """Something that the core made: a `ValueList`, or the JSON text of a value."""

    token: str
    data: bytes


_Answer: TypeAlias = Callable[[], None]


class Values:
    """Of one ownership. `wake()` has the stream take a step, `failed(error)` ends the ownership."""

    def __init__(
        self,
        number: int,
        core: Core,
        payloads: Payloads,
        wake: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._number, self._core, self._payloads, self._wake, self._failed = number, core, payloads, wake, failed
        self._waiting: deque[Fetch | Store] = deque()
        self._open: set[asyncio.Task[None]] = set()
        self._answers: list[_Answer] = []

    def ask(self) -> None:
        """Begins with what the core wants now. Never blocks."""
        self._waiting.extend(Fetch(reference) for reference in self._core.wants())
        self._waiting.extend(Store(token, data) for token, data in self._core.to_store())
        self._go()

    def answer(self) -> None:
        """Hands what has come to the core. To be called in a step, after `core.begin`."""
        if not self._answers:
            return
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()
        self._go()

    def stop(self) -> None:
        """The ownership is over: nothing of it is answered any more."""
        self._waiting.clear()
        self._answers.clear()
        for task in self._open:
            task.cancel()

    def _go(self) -> None:
        while self._waiting and len(self._open) + len(self._answers) < _AT_A_TIME:
            task = asyncio.ensure_future(self._do(self._waiting.popleft()))
            self._open.add(task)
            task.add_done_callback(self._done)

    async def _do(self, what: Fetch | Store) -> None:
        async with asyncio.timeout(_WITHIN_S):
            match what:
                case Fetch(reference):
                    answer = await self._fetched(reference)
                case Store(token, data):
                    answer = await self._stored(token, data)
        self._answers.append(answer)

    async def _fetched(self, reference: Reference) -> _Answer:
        try:
            data = await self._payloads.fetch(reference)
        except (PayloadLost, PayloadTooLarge) as error:
            why = str(error)
            return lambda: self._core.supply(reference, None, why)
        return lambda: self._core.supply(reference, data)

    async def _stored(self, token: str, data: bytes) -> _Answer:
        try:
            reference = await self._payloads.store(self._number, data)
        except PayloadTooLarge as error:
            why = str(error)
            return lambda: self._core.stored(token, None, why)
        return lambda: self._core.stored(token, reference)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._failed(error)
        else:
            self._wake()
