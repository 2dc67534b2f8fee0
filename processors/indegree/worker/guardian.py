"""Ends the processes of tasks when their worker has died without doing so.

Why: a worker that is killed (kill -9, out of memory) cannot end what it started. The engine sends its attempts to
others after the worker's timeout; a command that lives on would then run twice at the same time.

How: one small process per worker, started with the first process of a task. The worker writes `+PID` and `-PID` of each
process group to its standard input. When that ends, so has the worker, and the guardian ends the groups that are left.
Run as a script, so that it needs nothing but the standard library: it takes a few megabytes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys


class Guardian:
    """The worker's side. Every method is cheap and never raises: the guardian is a second net, not a part of the
    way."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """To be called before a process is started: the guardian's own start takes longer than many a command."""
        if self._process is None:
            with contextlib.suppress(OSError):
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )

    def watch(self, pid: int) -> None:
        """From now on the group of `pid` must not outlive this process."""
        self._say(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """The group of `pid` is gone."""
        self._say(f"-{pid}\n")

    def close(self) -> None:
        """Ends the guardian."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self._process = None

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()


def main() -> None:
    """The guardian's side."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        with contextlib.suppress(ValueError):
            pid = int(line[1:])
            if line[0] == "+" and pid > 1:
                groups.add(pid)
            else:
                groups.discard(pid)
    for pid in groups:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
