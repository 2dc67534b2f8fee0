"""How a download looks to a person: a bar on a terminal, plain lines elsewhere.

Why: the first start fetches 38 MB, and a silent minute looks like a hang. In a log file a bar is noise, so there a line
says what begins, every quarter, and the end.

It must never write to stdout, which belongs to addresses.
"""

from __future__ import annotations

import sys
import threading
import time

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from .jars import Jar


class Downloads:
    """A `jars.Progress` on stderr; called from several threads."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        self._total_bytes = 0
        self._got_bytes = 0
        self._quarter = 0
        self._begin = 0.0

    def begin(self, jars: int, total_bytes: int) -> None:
        self._total_bytes, self._got_bytes, self._quarter = total_bytes, 0, 0
        self._begin = time.monotonic()
        text = f"Kafka: {jars} jars, {total_bytes / 1e6:.1f} MB, once"
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(text, total=total_bytes)
            self._bar.start()
        else:
            self._line(f"downloading {text}")

    def advance(self, count_bytes: int) -> None:
        with self._lock:
            self._got_bytes += count_bytes
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=self._got_bytes)
                return
            quarter = 4 * self._got_bytes // max(self._total_bytes, 1)
            if self._quarter < quarter < 4:
                self._quarter = quarter
                self._line(f"  {self._got_bytes / 1e6:.1f} of {self._total_bytes / 1e6:.1f} MB")

    def done(self, jar: Jar) -> None:
        return

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._got_bytes == self._total_bytes:
            self._line(
                f"downloaded and verified {self._total_bytes / 1e6:.1f} MB in {time.monotonic() - self._begin:.1f} s"
            )

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
