"""What user code prints and logs, kept per attempt, with a bound.

Why: several attempts print in one process, and a task may print a line of 2 MiB or print for ever.

How: `sys.stdout` and `sys.stderr` are replaced by streams that look up, at each write, whose code is running (a context
variable); output of nobody goes to the real stream. A handler on the root logger does the same for log records. A
`Capture` keeps the last bytes only, and says where it was cut. Masking happens before cutting, on more than is kept, so
that a secret at the cut does not show its end.

Threads started by user code belong to it too, since they run in a copy of its context (`inheriting`). What they print
after its end goes to the worker's own output.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from indegree.worker.current import CURRENT
from indegree.worker.plain_text import CUT_MARK, carriable
from indegree.worker.secret_values import NOTHING, Masking

if TYPE_CHECKING:
    from indegree.worker.attempt import Attempt


def _whose() -> Attempt | None:
    """The attempt whose code runs here; None for a thread that has outlived it."""
    attempt = CURRENT.get()
    return None if attempt is None or attempt.over else attempt


class Capture:
    """The last `limit` bytes of an attempt's output. Writing is safe from any thread."""

    __slots__ = ("_chunks", "_keep", "_limit", "_lock", "_mask", "_size", "lost")

    def __init__(self, limit: int, mask: Masking = NOTHING) -> None:
        self._limit = limit
        self._mask = mask
        self._keep = limit + mask.longest
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        # True once something was dropped.
        self.lost = False

    def write(self, data: str | bytes) -> None:
        """Adds output; drops the oldest beyond the bound."""
        if isinstance(data, str):
            data = data.encode("utf-8", "backslashreplace")
        if not data:
            return
        with self._lock:
            if len(data) > self._keep:
                data = data[-self._keep :]
                self._chunks.clear()
                self._size = 0
                self.lost = True
            self._chunks.append(data)
            self._size += len(data)
            if self._size > 2 * self._keep or len(self._chunks) > 1024:
                self._trim()

    def _trim(self) -> None:
        whole = b"".join(self._chunks)
        if len(whole) > self._keep:
            whole = whole[-self._keep :]
            self.lost = True
        self._chunks.clear()
        self._chunks.append(whole)
        self._size = len(whole)

    def tail(self) -> str:
        """What is kept, as text, masked; with a mark at its beginning where output was dropped."""
        with self._lock:
            self._trim()
            data, lost = b"".join(self._chunks), self.lost
        text = data.decode("utf-8", "replace")
        if self._mask:
            text = self._mask(text)
            if lost:
                text = text[self._mask.longest :]
        encoded = carriable(text).encode()
        if len(encoded) > self._limit:
            encoded, lost = encoded[-self._limit :], True
        return (CUT_MARK.lstrip("\n") if lost else "") + encoded.decode("utf-8", "ignore")


class AttributedStream(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr: writes to the running attempt's capture, else to the real stream."""

    def __init__(self, real: TextIO) -> None:
        self.real = real

    def write(self, text: str) -> int:
        attempt = _whose()
        if attempt is None:
            return self.real.write(text)
        attempt.capture.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        self.write("".join(lines))

    def flush(self) -> None:
        if _whose() is None:
            self.real.flush()

    @property
    def buffer(self) -> Any:
        """Bytes written by user code are captured too."""
        return _AttributedBytes(self.real)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def fileno(self) -> int:
        return self.real.fileno()

    def isatty(self) -> bool:
        return _whose() is None and self.real.isatty()

    def writable(self) -> bool:
        return True


class _AttributedBytes(io.RawIOBase):
    def __init__(self, real: TextIO) -> None:
        self._real = real

    def write(self, data: Any) -> int:
        attempt = _whose()
        if attempt is None:
            return int(self._real.buffer.write(data))
        attempt.capture.write(bytes(data))
        return len(data)

    def writable(self) -> bool:
        return True


class AttributedLog(logging.Handler):
    """On the root logger: log records of user code go to its attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        attempt = _whose()
        if attempt is None or _prints_already():
            return
        try:
            attempt.capture.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a broken log call of user code is not a reason to fail its task
            attempt.capture.write(f"(a log record of {record.name} could not be formatted)\n")


def _prints_already() -> bool:
    """True if user code has set up logging to sys.stderr as it is now: then the record comes by that way."""
    return any(
        isinstance(getattr(handler, "stream", None), AttributedStream) for handler in logging.getLogger().handlers
    )


_installed = 0
_guard = threading.Lock()
_log = AttributedLog()


def install() -> None:
    """Begins to attribute output. Counted: each call needs one `uninstall`."""
    global _installed
    with _guard:
        _installed += 1
        if _installed == 1:
            logging.getLogger().addHandler(_log)
            tasks = logging.getLogger("indegree.task")  # `context.logger`: kept also where the root shows warnings only
            if tasks.level == logging.NOTSET:
                tasks.setLevel(logging.INFO)
    attribute_streams()


def attribute_streams() -> None:
    """Puts the streams in place (again): others, such as a test runner, replace sys.stdout at any time."""
    if not isinstance(sys.stdout, AttributedStream) and sys.stdout is not None:
        sys.stdout = AttributedStream(sys.stdout)
    if not isinstance(sys.stderr, AttributedStream) and sys.stderr is not None:
        sys.stderr = AttributedStream(sys.stderr)


def uninstall() -> None:
    """Ends what `install` began."""
    global _installed
    with _guard:
        _installed -= 1
        if _installed:
            return
        logging.getLogger().removeHandler(_log)
        if isinstance(sys.stdout, AttributedStream):
            sys.stdout = sys.stdout.real
        if isinstance(sys.stderr, AttributedStream):
            sys.stderr = sys.stderr.real
