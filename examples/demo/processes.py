"""The demo's engines and workers: child processes that end with the demo, each with a log file of its own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from indegree.events.settings import Settings
from indegree.stack.process import Child, spawn

ROOT = Path(__file__).parents[2]


class Processes:
    """Starts `indegree` commands against one cluster and ends them by pid."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self.settings, self.logs = settings, logs
        self.running: dict[str, Child] = {}

    def start(self, name: str, *arguments: str, **environment: str) -> None:
        """Starts `indegree ARGUMENTS`; its log is `logs/NAME.log`."""
        self.running[name] = spawn(
            name,
            [sys.executable, "-m", "indegree.cli", *arguments],
            log=self.logs / f"{name}.log",
            environment={**os.environ, "PYTHONPATH": str(ROOT), **self.settings.environment(), **environment},
            die_with_parent=True,
        )

    def kill(self, name: str) -> float:
        """kill -9; gives the moment (seconds since the epoch)."""
        moment = time.time()
        self.running.pop(name).stop(kill=True)
        return moment

    def stop(self, *names: str) -> None:
        """SIGTERM to these (to all, if none is named) one after the other, SIGKILL where that does not help."""
        for name in names or tuple(self.running):
            self.running.pop(name).stop()

    def check(self) -> None:
        """Raises with the end of the log if one has ended by itself."""
        for name, child in self.running.items():
            if not child.alive():
                raise RuntimeError(f"{name} has ended by itself. {child.last_lines()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
