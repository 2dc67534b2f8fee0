"""A process with all that it starts: begun in a session of its own, ended as a whole.

Why: killing a shell leaves its children running, and a child that ignores SIGTERM or leaves the group would go on
working for an attempt that is over.

How: the process leads a new session, so that it and its children are one process group; SIGTERM to the group, a grace
time, SIGKILL to the group. A child that called setsid has left the group; it is found by a mark in its environment
(`INDEGREE_PROCESS`, unique for each start), which children inherit, and is ended in the same way. Not found: a process
that removed the mark, or that runs as another user. When an attempt ends by itself, what is left of its group is ended
too; what called setsid is left running then (that is how a command starts a daemon on purpose).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import Iterable, Sequence

import psutil

MARK = "INDEGREE_PROCESS"


class ProcessGroup:
    """The processes of one attempt. `pid` is the leader's, and the group's id."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self.process = process
        self.pid = process.pid
        self._mark = mark

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: dict[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
        pass_fds: Sequence[int] = (),
    ) -> ProcessGroup:
        """Starts `argv` on open file descriptors. Raises OSError (not found, not executable, no more processes).

        No pipes of asyncio's own: a child that holds one open would delay the news that the leader has ended.
        """
        mark = uuid.uuid4().hex
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**env, MARK: mark},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
        return cls(process, mark)

    async def end(self, grace_s: float) -> None:
        """Ends every process of the attempt: SIGTERM, up to `grace_s` seconds, SIGKILL. Returns when they are gone."""
        outside = await asyncio.to_thread(self._outside)
        self._signal(signal.SIGTERM, outside)
        if not await self._gone(grace_s, outside):
            outside = [*outside, *await asyncio.to_thread(self._outside)]
            self._signal(signal.SIGKILL, outside)
            await self._gone(2.0, outside)

    async def clear(self, grace_s: float) -> None:
        """Ends what the leader left behind in its group. Cheap when there is nothing."""
        if self._group_lives():
            self._signal(signal.SIGTERM, ())
            if not await self._gone(grace_s, ()):
                self._signal(signal.SIGKILL, ())
                await self._gone(2.0, ())

    def _signal(self, number: signal.Signals, outside: Iterable[psutil.Process]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for process in outside:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)  # psutil checks that the pid is still the same process

    async def _gone(self, within_s: float, outside: Iterable[psutil.Process]) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        pause = 0.002
        while self._group_lives() or any(_alive(process) for process in outside):
            if loop.time() >= until:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
        return True

    def _group_lives(self) -> bool:
        """True while the group has a process that is not a zombie."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        if self.process.returncode is None:
            return True
        # A zombie counts for killpg until its parent has waited for it; an orphan's parent may be slow or absent.
        for pid in psutil.pids():
            try:
                if os.getpgid(pid) == self.pid and _alive(psutil.Process(pid)):
                    return True
            except (ProcessLookupError, psutil.Error):
                continue
        return False

    def _outside(self) -> list[psutil.Process]:
        """Processes with our mark that have left the group. Looks at every process of this user: for ends only."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) != self.pid and process.environ().get(MARK) == self._mark:
                    found.append(process)
            except (ProcessLookupError, psutil.Error, OSError):
                continue
        return found


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
