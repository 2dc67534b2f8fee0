"""Bytes of a user's topic to JSON: as they are, or by a function that the cluster's people name (triggers.decoders).

Why: topics hold protobuf or Avro as well, and what is in them is not ours to know. A decoder is a function of
`value: bytes, headers: dict[str, str], topic: str` that gives a JSON value; it may look up schemas, and may fail.

How: the setting maps a topic, or a pattern such as `orders.*`, to `module:function`; a name without a pattern counts
first, then the first pattern that fits, in the order in which they are written. Decoders run in a thread, so one that
waits for a schema registry does not hold up the lease.

It must never let an exception of a decoder out: the record is refused, with the exception's words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from indegree.events import json_values

Decoder = Callable[[bytes, dict[str, str], str], Any]

_MESSAGE_CHARS = 300


class DecoderUnusable(Exception):
    """A decoder that is named in the settings cannot be imported or called."""


class Decoders:
    """`named`: the setting triggers.decoders."""

    def __init__(self, named: Mapping[str, str]) -> None:
        self._named = dict(named)
        self._functions: dict[str, Decoder] = {}
        self._thread: ThreadPoolExecutor | None = None

    def name_of(self, topic: str) -> str:
        """`module:function`, or "" for a topic that holds JSON."""
        if topic in self._named:
            return self._named[topic]
        return next((name for pattern, name in self._named.items() if fnmatchcase(topic, pattern)), "")

    async def decode(self, topic: str, values: Sequence[tuple[bytes, dict[str, str]]]) -> list[tuple[bytes, str]]:
        """For each value its JSON text and "", or what stands for it and why there is none.

        Raises DecoderUnusable: no record is to blame for that.
        """
        name = self.name_of(topic)
        if not name:
            return [(value, "") for value, _ in values]
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = load(name)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "decoders")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _decode_all, function, name, topic, values)

    def close(self) -> None:
        """Waits for nothing."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None


def load(name: str) -> Decoder:
    """The function that `module:function` names. Raises DecoderUnusable."""
    module, _, function = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise DecoderUnusable(
            f"the decoder {name!r} (triggers.decoders) cannot be loaded: {type(error).__name__}: {error}; install its "
            "module where engines run"
        ) from error
    if not callable(found):
        raise DecoderUnusable(f"the decoder {name!r} (triggers.decoders) is no function")
    decoder: Decoder = found
    return decoder


def _decode_all(
    function: Decoder, name: str, topic: str, values: Sequence[tuple[bytes, dict[str, str]]]
) -> list[tuple[bytes, str]]:
    return [_decode(function, name, topic, value, headers) for value, headers in values]


def _decode(function: Decoder, name: str, topic: str, value: bytes, headers: dict[str, str]) -> tuple[bytes, str]:
    try:
        return json_values.dumps(function(value, headers, topic)), ""
    except Exception as error:  # noqa: BLE001 - whatever a function of the users' raises
        return b"", f"decoder {name}: {type(error).__name__}: {str(error)[:_MESSAGE_CHARS]}"
