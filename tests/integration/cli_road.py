"""What the tests of client and CLI share: a cluster with an engine and a worker, started as commands.

The worker is given the module `client_flows`, written into a folder of the test, and may run commands.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from indegree.events import admin
from indegree.events.settings import LOCAL, Settings
from indegree.stack.process import Child, spawn

FLOWS = """
import time
from indegree import Permanent, Retry, Workflow

diamond = Workflow("diamond", params={"n": 1})

@diamond.task
def a(n: int) -> int:
    return n

@diamond.task
def b(a: int) -> int:
    return a + 1

@diamond.task
def c(a: int) -> int:
    return a * 10

@diamond.task
def d(b: int, c: int) -> int:
    return b + c

flaky = Workflow("flaky")
tries = []

@flaky.task(retry=Retry(max_attempts=2, delay="100ms"))
def once() -> str:
    print("trying")
    if not tries:
        tries.append(1)
        raise OSError("down")
    return "up"

failing = Workflow("failing")

@failing.task
def broken() -> None:
    print("about to break")
    raise Permanent("no such bucket")

@failing.task
def after(broken: None) -> None: ...

slow = Workflow("slow", params={"seconds": 60.0})

@slow.task(isolate=True)
def nap(seconds: float) -> None:
    time.sleep(seconds)

@slow.task
def next_one(nap: None) -> None: ...

elsewhere = Workflow("elsewhere")

@elsewhere.task(queue="nobody")
def never() -> None: ...
"""

STATES = ("SUCCESS", "FAILED", "CANCELLED")


@dataclass
class Road:
    """A running cluster. `settings` are those of its clients, `folder` the working folder of commands."""

    settings: Settings
    folder: Path
    children: list[Child] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("INDEGREE_")}
        path = os.pathsep.join([str(self.folder), *filter(None, [plain.get("PYTHONPATH")])])
        return {**plain, **self.settings.environment(), "PYTHONPATH": path}

    def serve(self, *arguments: str) -> Child:
        """Starts `indegree ARGUMENTS` in the background."""
        child = spawn(
            arguments[0],
            [sys.executable, "-m", "indegree.cli", *arguments],
            log=self.folder / f"{arguments[0]}-{len(self.children)}.log",
            environment=self.environment,
            die_with_parent=True,
        )
        self.children.append(child)
        return child

    def command(self, *arguments: str, timeout: float = 60, given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs `indegree ARGUMENTS` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "indegree.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def shell(self, line: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a bash line in which `indegree` stands for this interpreter's command; a pipe's first failure counts."""
        function = f'indegree() {{ "{sys.executable}" -m indegree.cli "$@"; }}; '
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", function + line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@contextmanager
def road(kafka: str, etcd: str, folder: Path, worker: Sequence[str] = ("client_flows", "--commands")) -> Iterator[Road]:
    """An engine and a worker in a cluster of their own, with 4 partitions; its topics go at the end."""
    local = {name.replace(".", "__"): value for name, value in LOCAL.items()}
    settings = Settings().with_values(
        **local,
        cluster=f"c{uuid.uuid4().hex[:10]}",
        kafka__bootstrap_servers=kafka,
        etcd__endpoints=(etcd,),
        topics__partitions=4,
        topics__task_partitions=2,
        engine__lease_ttl_s=2.0,
    )
    (folder / "client_flows.py").write_text(FLOWS)
    found = Road(settings, folder)
    asyncio.run(admin.ensure_topics(settings))
    try:
        found.serve("engine", "--id", f"{settings.cluster}-e1")
        if worker:
            found.serve("worker", *worker, "--slots", "8")
        yield found
    finally:
        for child in reversed(found.children):
            child.stop(timeout_s=10)
        asyncio.run(admin.delete_cluster(settings))
