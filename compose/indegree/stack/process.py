"""A child process with a log file, an identity, and an end that is certain.

Why: the stack runs programs that are not ours. Each must be stoppable by exactly who started it, in this process or in
a later one, and must not outlive an owner that dies without a word.

How: a process is started in a session of its own (a Ctrl-C at the terminal reaches its owner, which stops it in order).
Its identity is its pid together with its start time and the boot of the machine, so a pid file never kills a stranger
that got the same number. With `die_with_parent` the kernel sends a signal when the starting *thread* ends (Linux'
PR_SET_PDEATHSIG is tied to the thread), so children are started by one keeper thread that lives as long as this
process. Where the kernel lacks this (macOS), only an orderly end stops the children.

It must never signal a process whose identity it has not just compared.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from .errors import NotReady

TERM_WAIT_S = 15.0  # the broker ends 0.7 s after SIGTERM on a quiet machine; then SIGKILL
LOG_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that was seen alive: the number, and what tells it from a later process with the same number."""

    pid: int
    started: str
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of the process that has this pid now; None when there is none, or when it is a zombie."""
        return _from_proc(pid) if sys.platform == "linux" else _from_psutil(pid)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal this very process; does nothing when it is gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def write(self, path: Path) -> None:
        """Write the pid file, by rename, so that a reader sees all of it or none."""
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self)), encoding="utf-8")
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> Identity | None:
        """The process that this pid file names, if it is still that one; a stale or broken file counts as none."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.alive() else None


def _from_proc(pid: int) -> Identity | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold spaces; the state comes after it
    return None if fields[0] in "ZX" else Identity(pid, fields[19], boot)


def _from_psutil(pid: int) -> Identity | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Identity(pid, repr(process.create_time()), repr(psutil.boot_time()))
    except psutil.Error:
        return None


class Child:
    """A running process, started here or found by its pid file. `stop` may be called twice."""

    def __init__(self, name: str, identity: Identity, log: Path, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.name = name
        self.identity = identity
        self.log = log
        self._popen = popen  # reaped through this when it is our own child

    def alive(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is None  # our own child keeps its number until this call reaps it
        return self.identity.alive()

    def stop(self, *, kill: bool = False, timeout_s: float = TERM_WAIT_S) -> None:
        """End it by SIGTERM, after `timeout_s` (or at once, with `kill`) by SIGKILL. Blocks until it is gone."""
        self.identity.send(signal.SIGKILL if kill else signal.SIGTERM)
        if not self._gone(timeout_s):
            self.identity.send(signal.SIGKILL)
            if not self._gone(timeout_s):
                raise NotReady(f"{self.name} (pid {self.identity.pid}) is still there {timeout_s:.0f} s after SIGKILL")

    def _gone(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Block until `ready()`. Raises NotReady, with the end of its log, when it ends or `timeout_s` have passed."""
        begin = time.monotonic()
        while not ready():
            if not self.alive():
                raise NotReady(f"{self.name} ended while it was starting.\n{self.last_lines()}")
            if time.monotonic() - begin > timeout_s:
                raise NotReady(
                    f"{self.name} (pid {self.identity.pid}) did not answer within {timeout_s:.0f} s; on a slow machine "
                    f"set INDEGREE_STACK_TIMEOUT_S to more seconds.\n{self.last_lines()}"
                )
            time.sleep(0.05)

    def last_lines(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError:
            lines = []
        return "\n".join([f"The last lines of {self.log}:", *(f"  {line}" for line in lines or ["(it is empty)"])])


def spawn(
    name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], die_with_parent: bool
) -> Child:
    """Start a program with stdout and stderr in `log`; the log of the start before is kept beside it as `*.1`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))

    def start() -> Child:
        with log.open("wb") as out:
            popen = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=log.parent,
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid()) if die_with_parent else None,  # noqa: PLW1509 - see _dies_with
            )
        identity = Identity.of(popen.pid)
        if identity is None:
            popen.wait()
            child = Child(name, Identity(popen.pid, "", ""), log, popen)
            raise NotReady(
                f"{name} ended as soon as it was started (exit code {popen.returncode}).\n{child.last_lines()}"
            )
        return Child(name, identity, log, popen)

    return _keeper.run(start) if die_with_parent else start()


def _dies_with(parent: int) -> Callable[[], None] | None:
    """What the child does between fork and exec: no allocation to speak of, no lock, only two system calls."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return ask


class _Keeper:
    """One thread that starts children and then stays, since the kernel ties a child's death to its starting thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Child], Callable[[], Child]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def run(self, start: Callable[[], Child]) -> Child:
        with self._lock:
            if self._thread is None or self._pid != os.getpid():  # a forked process has no threads of its parent
                self._jobs = queue.SimpleQueue()
                self._thread = threading.Thread(target=self._loop, name="stack-keeper", daemon=True)
                self._pid = os.getpid()
                self._thread.start()
        future: Future[Child] = Future()
        self._jobs.put((future, start))
        return future.result()

    def _loop(self) -> None:
        while True:
            future, start = self._jobs.get()
            try:
                future.set_result(start())
            except BaseException as error:  # noqa: BLE001 - handed to the caller that waits for this future
                future.set_exception(error)


_keeper = _Keeper()
