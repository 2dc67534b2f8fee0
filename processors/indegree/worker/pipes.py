"""Reads what a process writes, without ever holding it up and without keeping more than is wanted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK = 65_536


class Pipe:
    """The reading end of a pipe whose writing end (`write_fd`) a process gets. Each chunk goes to `sink`."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._ended = asyncio.Event()
        self._open = True
        self._loop.add_reader(self._read_fd, self._read)

    def started(self) -> None:
        """The process has its own copy of the writing end: close ours, or the end would never be seen."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._read_fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._sink(data)
        else:
            self.close()

    async def ended(self, within_s: float) -> None:
        """Waits until every writer has closed it, at most `within_s` seconds (a daemon may hold it), then closes it."""
        try:
            await asyncio.wait_for(self._ended.wait(), within_s)
        except TimeoutError:
            pass
        self.close()

    def close(self) -> None:
        """Stops reading."""
        self.started()
        if self._open:
            self._open = False
            self._loop.remove_reader(self._read_fd)
            os.close(self._read_fd)
            self._ended.set()


class TextOutput:
    """Standard output as a whole, up to `limit` bytes; `size` counts all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Adds a chunk."""
        self.size += len(data)
        room = self._limit + 2 - len(self._kept)
        if room > 0:
            self._kept += data[:room]

    def text(self) -> str:
        """Without its last newline; what is not UTF-8 is replaced."""
        return self._kept.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")


class LastLine:
    """The last line of standard output that is not blank, up to `limit` bytes; `size` is its whole length."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = bytearray()
        self._open_size = 0
        self._last = b""
        self._last_size = 0

    def write(self, data: bytes) -> None:
        """Adds a chunk."""
        head, newline, rest = data.partition(b"\n")
        self._extend(head)
        if not newline:
            return
        self._close()
        whole, newline, tail = rest.rpartition(b"\n")
        if newline:
            for line in reversed(whole.split(b"\n")):
                if line.strip():
                    self._last, self._last_size = line[: self._limit + 1], len(line)
                    break
        self._extend(tail)

    def _extend(self, data: bytes) -> None:
        self._open_size += len(data)
        room = self._limit + 1 - len(self._open)
        if room > 0:
            self._open += data[:room]

    def _close(self) -> None:
        if self._open.strip():
            self._last, self._last_size = bytes(self._open), self._open_size
        self._open.clear()
        self._open_size = 0

    def line(self) -> tuple[bytes, int]:
        """The line (cut beyond the limit) and its whole length; empty and 0 if there was none."""
        if self._open.strip():
            return bytes(self._open), self._open_size
        return self._last, self._last_size
