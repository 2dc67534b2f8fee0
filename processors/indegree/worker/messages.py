"""Messages on the pipe from an isolated function's process: a letter, a length, the bytes.

`P`: progress, JSON [share, text]. `R`: the serialized `Result`; the last one counts.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

_HEAD = struct.Struct(">cI")


def send(fd: int, kind: bytes, data: bytes) -> None:
    """Writes one message; blocks while the pipe is full."""
    whole = memoryview(_HEAD.pack(kind, len(data)) + data)
    while whole:
        whole = whole[os.write(fd, whole) :]


class Messages:
    """Takes bytes as they come and calls `heard` for each whole message. One longer than `limit` ends the reading: what
    writes it is not our code."""

    def __init__(self, heard: Callable[[bytes, bytes], None], limit: int) -> None:
        self._heard = heard
        self._limit = limit
        self._buffer = bytearray()
        self._broken = False

    def write(self, data: bytes) -> None:
        """Adds a chunk."""
        if self._broken:
            return
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(buffer)
            if size > self._limit:
                self._broken = True
                buffer.clear()
                return
            if len(buffer) < _HEAD.size + size:
                return
            body = bytes(buffer[_HEAD.size : _HEAD.size + size])
            del buffer[: _HEAD.size + size]
            self._heard(kind, body)
