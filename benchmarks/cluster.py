"""A cluster of its own for one benchmark: stack, engines and workers as processes, all gone at the end.

Their logs lie in a temporary folder, and the end of one is shown when something does not come up.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from indegree.events.admin import delete_cluster
from indegree.events.settings import LOCAL, Settings
from indegree.stack import Stack

_ROOT = Path(__file__).resolve().parent.parent
_READY_S = 60.0
_COMMAND = [sys.executable, "-c", "from indegree.cli.main import main; main()"]


class Cluster:
    """Use it with `with`. `stack`: KAFKA,ETCD of a stack that runs; empty: an ephemeral one is started."""

    def __init__(self, stack: str, partitions: int, **settings: Any) -> None:
        self._given = stack
        self._stack: Stack | None = None
        self._values = {**LOCAL, "topics.partitions": partitions, "engine.progress_format": "protobuf", **settings}
        self.settings = Settings()
        self.engines: dict[str, subprocess.Popen[bytes]] = {}
        self.workers: list[subprocess.Popen[bytes]] = []
        self._number = 0

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="indegree-bench-"))
        kafka, _, etcd = self._given.partition(",")
        if not self._given:
            self._stack = Stack(ephemeral=True)
            addresses = self._stack.start()
            kafka, etcd = addresses.kafka, addresses.etcd
        name = f"bench-{uuid.uuid4().hex[:8]}"
        addresses_of = {"kafka.bootstrap_servers": kafka, "etcd.endpoints": [etcd], "cluster": name}
        self.settings = Settings.load({**self._values, **addresses_of}, folder=self.folder, environ={})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes = [*self.engines.values(), *self.workers]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        if error is not None:
            print(self.log_ends(), file=sys.stderr)
        if self._stack is not None:
            self._stack.stop()
        else:
            asyncio.run(delete_cluster(self.settings))
        shutil.rmtree(self.folder, ignore_errors=True)

    def engine(self) -> str:
        """Starts an engine and waits until it says that it is ready; gives its id. Raises RuntimeError."""
        self._number += 1
        name = f"e{self._number}"
        process = self._spawn(name, "engine", "--id", name, "--json")
        self.engines[name] = process
        self._until_ready(name, process)
        return name

    def worker(
        self,
        slots: int,
        *arguments: str,
        module: str = "benchmarks.workflows",
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a worker of the benchmarks' functions. Tasks wait until it is there. `environ`: what it has more."""
        name = f"w{len(self.workers) + 1}"
        process = self._spawn(name, "worker", module, "--slots", str(slots), *arguments, environ=environ or {})
        self.workers.append(process)
        return process

    def kill(self, engine: str) -> None:
        """kill -9, and waits until it is gone."""
        process = self.engines.pop(engine)
        process.kill()
        process.wait(10)

    def log_ends(self, lines: int = 15) -> str:
        """The last lines of the log of each process that was not killed."""
        out = []
        names = [*self.engines, *(f"w{i + 1}" for i in range(len(self.workers)))]
        for path in (self.folder / f"{name}.log" for name in names):
            text = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            out.append(f"--- {path.stem}\n" + "\n".join(text))
        return "\n".join(out)

    def _spawn(self, name: str, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, paths))
        environ = {**os.environ, **self.settings.environment(), "PYTHONPATH": path, **(environ or {})}
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*_COMMAND, *arguments], cwd=_ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _until_ready(self, name: str, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _READY_S
        while b'"ready"' not in (self.folder / f"{name}.log").read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"engine {name} did not become ready:\n{self.log_ends()}")
            time.sleep(0.05)
