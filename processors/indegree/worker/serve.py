"""A worker as a process: modules loaded, signals understood, started anew when its code changes.

First SIGTERM or SIGINT: takes no more, hands back what has not begun, finishes what runs within the grace time. Second
one: ends at once what runs. The exit code is 0 after both.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from indegree.events import telemetry
from indegree.events.settings import Settings
from indegree.worker.loading import CannotLoad, Loaded, load
from indegree.worker.reloading import SourceFiles
from indegree.worker.web import Page
from indegree.worker.worker import Worker

if TYPE_CHECKING:
    from indegree.sdk import Workflow

log = logging.getLogger(__name__)

_DEPLOY_AGAIN_S = 2.0
_SUM_UP_S = 10.0
# With several threads of pure Python code, the loop waits this long for the interpreter's lock (CPython's default is
# 5 ms, a noticeable part of a hop).
_SWITCH_S = 0.001
# Each task makes some small objects that live until it ends: Python's default looks at them 30 times as often.
_COLLECT = (20_000, 20, 20)


def run_worker(
    settings: Settings,
    modules: Sequence[str] = (),
    queues: Sequence[str] = ("default",),
    slots: int | None = None,
    commands: bool = False,
    allow_import: Sequence[str] = (),
    deploy: bool = False,
    reload: bool = False,
    ready: Callable[[Worker], None] | None = None,
) -> int:
    """Runs a worker until the process is told to stop; gives the exit code. Blocks.

    `modules`: "module" or "module:object"; `ready` is called once it may be sent tasks. Raises CannotLoad,
    KafkaUnreachable, TopicFault, PortInUse. With `reload` the process is replaced when a source file
    changes.
    """
    sys.setswitchinterval(_SWITCH_S)
    loaded = _load(modules, reload)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: no collection looks at it again
    gc.set_threshold(*_COLLECT)
    process = _Process(settings, modules, loaded, tuple(queues), slots, commands, tuple(allow_import))
    again = asyncio.run(process.run(deploy=deploy, reload=reload, ready=ready))
    telemetry.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if again:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return 0


def _load(modules: Sequence[str], reload: bool) -> Loaded:
    if not reload:
        return load(modules)
    try:
        return load(modules)
    except CannotLoad as error:
        # The next change may mend it: that is what somebody who works on it expects.
        log.error("%s; waits for a change", error)
        asyncio.run(SourceFiles(modules).changed())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def summary(before: dict[str, int], now: dict[str, int]) -> str:
    """`120 tasks in 10 s: 118 ok, 2 failed`; empty where none ended. What was handed back did not run."""
    ended = {kind: count - before.get(kind, 0) for kind, count in now.items()}
    counts = {
        "ok": ended["succeeded"],
        "failed": ended["error"] + ended["timeout"] + ended["worker_lost"],
        "stopped": ended["stopped"],
        "rejected": ended["rejected"],
    }
    total = sum(counts.values())
    if not total:
        return ""
    parts = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word in ("ok", "failed"))
    return f"{total} task{'' if total == 1 else 's'} in {_SUM_UP_S:g} s: {parts}"


class _Process:
    def __init__(
        self,
        settings: Settings,
        modules: Sequence[str],
        loaded: Loaded,
        queues: tuple[str, ...],
        slots: int | None,
        commands: bool,
        allow_import: tuple[str, ...],
    ) -> None:
        self._settings = settings
        self._names = modules
        self._workflows = loaded.workflows
        self._worker = Worker(
            settings,
            functions=loaded.functions,
            modules=loaded.modules,
            allow_import=allow_import,
            queues=queues,
            slots=slots,
            commands=commands,
        )
        self._stop = asyncio.Event()

    async def run(self, *, deploy: bool, reload: bool, ready: Callable[[Worker], None] | None) -> bool:
        """True: start the process anew."""
        worker = self._worker
        telemetry.configure("indegree-worker", worker.instance)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told)
        at = self._settings.worker
        page = Page(worker, at.port, at.host) if at.port >= 0 else None
        changed = asyncio.create_task(self._changed(reload))
        tasks: list[asyncio.Task[object]] = [changed, asyncio.create_task(self._stop.wait())]
        try:
            if page is not None:
                worker.address = await page.start()
            # Told to stop while Kafka is awaited: do not wait for it.
            start = asyncio.create_task(worker.start())
            await asyncio.wait({start, tasks[1]}, return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                start.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await start
                return False
            await start
            if ready is not None:
                ready(worker)
            tasks.append(asyncio.create_task(worker.wait()))
            tasks.append(asyncio.create_task(self._sum_up()))
            if deploy and self._workflows:
                tasks.append(asyncio.create_task(self._deploy(self._workflows)))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what ended the worker
            return changed in done
        finally:
            for task in tasks:
                task.cancel()
            await worker.stop()
            if page is not None:
                await page.stop()

    async def _sum_up(self) -> None:
        """One line for the tasks of every ten seconds in which there were any."""
        before = dict(self._worker.runner.tally.by_kind)
        while True:
            await asyncio.sleep(_SUM_UP_S)
            now = dict(self._worker.runner.tally.by_kind)
            words = summary(before, now)
            if words:
                log.info("ran %s", words)
            before = now

    def _told(self) -> None:
        if self._stop.is_set():
            log.warning("told again to stop: what runs is ended now")
            self._worker.drain_at_once()
            return
        log.info("told to stop: takes no more, finishes what runs within %g s", self._worker.grace_s)
        self._stop.set()

    async def _changed(self, reload: bool) -> None:
        if not reload:
            await asyncio.Event().wait()
        path = await SourceFiles(self._names).changed()
        log.info("%s has changed: drains, then starts anew", path)

    async def _deploy(self, workflows: Sequence[Workflow]) -> None:
        """Makes the given modules' workflows known; an engine may come later than the worker."""
        from indegree.sdk import AsyncClient

        async with AsyncClient(self._settings) as client:
            for workflow in workflows:
                while True:
                    try:
                        deployed = await client.deploy(workflow)
                        break
                    except TimeoutError as error:
                        log.warning("workflow %s is not deployed yet (%s); tries again", workflow.id, error)
                        await asyncio.sleep(_DEPLOY_AGAIN_S)
                log.info(
                    "workflow %s: version %s is %s",
                    workflow.id,
                    deployed.version[:12],
                    "active" if deployed.active else "known",
                )
        await asyncio.Event().wait()
