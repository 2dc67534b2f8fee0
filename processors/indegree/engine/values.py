"""Values that lie in the payloads topic, as the core meets them: what a decision waits for, and what is to be stored.

Why: the core does no IO, and most large values only pass it by. Only an expression that reads one, a `foreach` over
one, and the list that a mapped task gathered need its content here.

How: whoever needs a content asks `get`, which raises `Needs` where it is not at hand. The decision is left as it was
(nothing was emitted), the shell fetches what `wants` names and calls `supply`, and the decision is made again. In the
other direction `stored` gives the reference of something that the core made, or raises `Needs` until the shell has
stored it. All of it is volatile: after a takeover the same decisions ask again.

It must never be part of what an event means: only decisions look here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from indegree.engine.state import Ref, Run
from indegree.v1.value_pb2 import Reference

KEPT_BYTES = 64 * 1024 * 1024
"""Contents kept for one partition; one value alone may be as large."""
_DECODED_BYTES = 16 * 1024 * 1024
"""Of JSON text whose decoded values are kept; decoded they take several times as much."""
_WORTH_BYTES = 256
"""Below, to decode again costs as much as to look."""
_DECODED = 8
"""Values: what the instances of the maps that are being expanded read."""


class Needs(Exception):
    """A decision has to wait for a value's content, or for a value to be stored."""


class Missing(Exception):
    """The content of a value cannot be had, or a value cannot be stored; the message says why."""


class Values:
    """Of one partition.

    asleep: ids of runs whose next decision waits for something that is asked for here (or that are paused)
    reading: what the decision that is being made has read so far: reference -> bytes (scope.py begins it anew)
    lists:  elements of mapped tasks that are being expanded, by (run id, task)
    _decoded: values that were decoded last, newest at the end: (text, what decoded it) -> value. The text is kept with
             it, and found by identity: to compare or hash it would take as long as to decode it
    """

    __slots__ = ("_asks", "_contents", "_decoded", "_done", "_errors", "_size", "_sleepers", "_wanted", "asleep",
                 "lists", "reading")  # fmt: skip

    def __init__(self) -> None:
        self.asleep: set[str] = set()
        self.reading: dict[bytes, int] = {}
        self.lists: dict[tuple[str, int], list[Any]] = {}
        self._contents: OrderedDict[bytes, bytes] = OrderedDict()
        self._errors: dict[bytes, str] = {}
        self._size = 0
        self._wanted: dict[bytes, Ref] = {}  # asked for, and not handed out by `wants` yet
        self._sleepers: dict[bytes | str, set[str]] = {}  # reference or token -> runs that wait for it
        self._asks: dict[str, bytes] = {}  # to be stored, and not handed out yet
        self._done: dict[str, Reference | str] = {}
        self._decoded: list[tuple[bytes, Callable[[bytes], Any], Any]] = []

    # -- for decisions

    def get(self, run: Run, ref: Ref) -> bytes:
        """The JSON text. Raises Needs, and Missing also where one decision reads more in sum than is kept: what was
        fetched first would be gone when the last has come."""
        self.reading[ref.data] = ref.size
        if len(self.reading) > 1 and (size := sum(self.reading.values())) > KEPT_BYTES:
            raise Missing(
                f"what it reads of other tasks' outputs is {size} bytes in sum, and an engine reads {KEPT_BYTES} bytes "
                "at a time: let a task take them as its arguments instead"
            )
        found = self._contents.get(ref.data)
        if found is not None:
            self._contents.move_to_end(ref.data)
            return found
        problem = self._errors.pop(ref.data, None)
        if problem is not None:
            raise Missing(problem)
        sleepers = self._sleepers.setdefault(ref.data, set())
        if not sleepers:
            self._wanted[ref.data] = ref
        sleepers.add(run.run_id)
        raise Needs

    def decoded(self, text: bytes, decode: Callable[[bytes], Any]) -> Any:
        """`decode(text)`, kept for the next decision: the instances of a map read the same values one after the other.
        Nobody may change what this returns."""
        if not _WORTH_BYTES <= len(text) <= _DECODED_BYTES:
            return decode(text)
        kept = self._decoded
        for place, (known, how, value) in enumerate(kept):
            if known is text and how is decode:
                if place + 1 < len(kept):
                    kept.append(kept.pop(place))
                return value
        value = decode(text)
        kept.append((text, decode, value))
        while len(kept) > _DECODED or sum(len(known) for known, _, _ in kept) > _DECODED_BYTES:
            del kept[0]
        return value

    def stored(self, run: Run, token: str, make: Callable[[], bytes]) -> Reference:
        """The reference of what `make` gives, once it is stored. Raises Needs or Missing."""
        done = self._done.pop(token, None)
        if isinstance(done, str):
            raise Missing(done)
        if done is not None:
            return done
        sleepers = self._sleepers.setdefault(token, set())
        if not sleepers:
            self._asks[token] = make()
        sleepers.add(run.run_id)
        raise Needs

    # -- for the shell

    def wants(self) -> list[Reference]:
        """What is to be fetched; each is named once."""
        found = [ref.reference for ref in self._wanted.values()]
        self._wanted.clear()
        return found

    def supply(self, reference: Reference, data: bytes | None, error: str) -> set[str]:
        """The content, or why it cannot be had. Returns the ids of the runs that waited for it."""
        key = Ref.of(reference).data
        if data is None:
            self._errors[key] = error or "it cannot be read"
        elif key not in self._contents:
            self._contents[key] = data
            self._size += len(data)
            while self._size > KEPT_BYTES and len(self._contents) > 1:
                self._size -= len(self._contents.popitem(last=False)[1])
        return self._woken(key)

    def to_store(self) -> list[tuple[str, bytes]]:
        """What is to be stored; each is named once."""
        found = list(self._asks.items())
        self._asks.clear()
        return found

    def stored_as(self, token: str, reference: Reference | None, error: str) -> set[str]:
        """Where it is stored now, or why not. Returns the ids of the runs that waited for it."""
        self._done[token] = reference if reference is not None else error or "it cannot be stored"
        return self._woken(token)

    def _woken(self, key: bytes | str) -> set[str]:
        woken = self._sleepers.pop(key, set())
        self.asleep -= woken
        return woken
