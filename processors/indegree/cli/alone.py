"""Engine and worker as child processes of one `indegree run`, on the local stack, in a cluster of its own.

Why: for a first minute nobody wants to start four things in four terminals; and nothing of that minute may touch a
cluster that somebody else uses.

How: the stack of this folder (`.indegree`) if it is up, else one in a folder of the user, which ends with us. The
cluster's name is drawn, so no engine of ours ever serves a cluster that it did not start. The topics and logs of the
last run stay, so that it can be looked at and replayed; the next `run` removes them.

It must never leave a process behind: children die with us, and are stopped in order where we can.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from indegree.events import admin
from indegree.events.settings import LOCAL, Settings
from indegree.stack import NotReady, Stack, commands, read_addresses
from indegree.stack.process import Child, spawn
from indegree.stack.show import Downloads

from .output import Output

_STOP_S = 8.0
_PLAIN = Settings()


def user_folder() -> Path:
    """Where the stack of `run` lives when the working folder has none."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "indegree" / "stack"


def has_addresses(settings: Settings) -> bool:
    """Whether somebody has said where Kafka is (a setting, or the stack of this folder)."""
    return bool(settings.notes) or settings.kafka != _PLAIN.kafka or settings.etcd != _PLAIN.etcd


@dataclass(slots=True)
class Alone:
    """What `run` stands on. `settings` are those of its own cluster."""

    settings: Settings
    folder: Path  # logs, and the list of earlier clusters
    stays: bool  # the stack is up after us
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str], path: Sequence[Path]) -> None:
        """Starts `indegree ARGUMENTS` in the working folder, with `path` in front of Python's."""
        environment = {key: value for key, value in os.environ.items() if not _is_setting(key)}
        environment.update(self.settings.environment())
        environment["INDEGREE_KAFKA__BOOTSTRAP_SERVERS"] = self.settings.kafka.bootstrap_servers
        environment["INDEGREE_ETCD__ENDPOINTS"] = ",".join(self.settings.etcd.endpoints)
        environment["PYTHONPATH"] = os.pathsep.join([*map(str, path), *filter(None, [environment.get("PYTHONPATH")])])
        # `spawn` starts its programs in the folder of their log; ours belong where the user stands.
        command = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(Path.cwd())]
        command += [sys.executable, "-m", "indegree.cli", *arguments]
        self.children.append(spawn(name, command, log=self.log(name), environment=environment, die_with_parent=True))

    @property
    def logs(self) -> Path:
        """Where its engine and its worker write."""
        return self.folder / self.settings.cluster

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def check(self) -> None:
        """Raises NotReady, with the end of its log, if a child has ended."""
        for child in self.children:
            if not child.alive():
                raise NotReady(f"the {child.name} of this run has ended.\n{child.last_lines()}")

    def stop(self) -> None:
        """Ends the children, worker first. Blocks for a few seconds at most."""
        for child in reversed(self.children):
            with contextlib.suppress(NotReady):
                child.stop(timeout_s=_STOP_S)
        self.children.clear()


def _is_setting(name: str) -> bool:
    return name == "INDEGREE_CLUSTER" or (name.startswith("INDEGREE_") and "__" in name)


@contextlib.contextmanager
def alone(base: Settings, out: Output) -> Iterator[Alone]:
    """Brings the stack up where none is, and everything down at the end. Blocks for seconds. Raises StackError."""
    cluster = f"run-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    small = {
        "cluster": cluster,
        "topics__partitions": 1,
        "topics__task_partitions": 1,
        "engine__lease_ttl_s": 2.0,
        "engine__progress_format": "json",
    }
    if has_addresses(base):
        folder = commands.FOLDER.absolute() if base.notes else user_folder()
        with _children(Alone(base.with_values(**small), folder, stays=True)) as found:
            yield found
        return
    with _own_stack(out) as stack:
        local: dict[str, Any] = {name.replace(".", "__"): value for name, value in LOCAL.items()}
        addresses = {"kafka__bootstrap_servers": stack.kafka, "etcd__endpoints": (stack.etcd,)}
        settings = base.with_values(**{**local, **addresses, **small})
        with _children(Alone(settings, stack.folder, stays=False)) as found:
            yield found


@contextlib.contextmanager
def _children(found: Alone) -> Iterator[Alone]:
    found.log("engine").parent.mkdir(parents=True, exist_ok=True)
    try:
        yield found
    finally:
        found.stop()


@contextlib.contextmanager
def _own_stack(out: Output) -> Iterator[Stack]:
    folder = user_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack = Stack(folder, progress=Downloads())
        except BlockingIOError:  # another `run` stands on it, and takes it down when it ends
            stack = Stack(ephemeral=True, progress=Downloads())
        was_up = read_addresses(folder) is not None
        if not was_up:
            out.note("starting a Kafka and an etcd for this run (`indegree stack up` keeps one running, and is faster)")
        with stack:
            yield stack


async def tidy(found: Alone, *, keep: bool = False) -> None:
    """Removes topics and logs of earlier runs whose process is gone. `keep`: those of this one are never removed."""
    path = found.folder / "runs.json"
    try:
        known: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        known = []
    old = [entry for entry in known if not entry.get("keep") and not psutil.pid_exists(int(entry["pid"]))]
    gone = []
    for entry in old:
        with contextlib.suppress(Exception):  # somebody was faster, or Kafka is slow: the next run tries again
            await admin.delete_cluster(found.settings.with_values(cluster=entry["cluster"]))
            shutil.rmtree(found.folder / str(entry["cluster"]), ignore_errors=True)  # its logs
            gone.append(entry)
    now = {"cluster": found.settings.cluster, "pid": os.getpid(), **({"keep": True} if keep else {})}
    path.write_text(json.dumps([*(entry for entry in known if entry not in gone), now]), "utf-8")
