"""`Stack`: a real Kafka and a real etcd, up and down as one thing.

Why: whoever develops, tries or tests indegree needs both, at addresses that are free, with data where they say.

How: one folder holds everything:

    FOLDER/stack.json               the addresses, there only while the stack is up
    FOLDER/ports.json               the ports of last time, used again when they are free
    FOLDER/kafka.pid, etcd.pid      who runs (pid, start time, boot)
    FOLDER/kafka/, etcd/            configuration, log and data of each

`start` is idempotent: what runs already is left as it is, what is missing is started, in parallel, and both are waited
for. A file lock makes two starts of the same folder one after the other. Three kinds of stack differ in two flags:

    Stack(folder)                   dies with this process, data stays
    Stack(folder, background=True)  outlives this process (`indegree stack up`), data stays
    Stack(ephemeral=True)           dies with this process, data goes; the folder is a temporary one unless given

It must never signal a process that is not its own, and never delete a folder that is not ephemeral.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from . import jars, ports
from .errors import NotReady, StackError
from .etcd import Etcd
from .kafka import HEAP_MB, Broker
from .process import Child, Identity

Part = Literal["kafka", "etcd"]
PARTS: tuple[Part, ...] = ("kafka", "etcd")
PORT_NAMES = ("kafka", "controller", "etcd", "peer")
TIMEOUT = "INDEGREE_STACK_TIMEOUT_S"
TIMEOUT_S = 90.0  # the broker needs 3 to 6 s; this is for a machine that does ten other things
PORT_ATTEMPTS = 3  # a free port may be taken by somebody else before the broker binds it
EPHEMERAL_PREFIX = "indegree-stack-"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts listen, as `host:port`."""

    kafka: str
    etcd: str


@dataclass(frozen=True, slots=True)
class Status:
    """What runs: `addresses` is None unless both do. Pids are None for what does not run."""

    folder: Path
    addresses: Addresses | None
    kafka_pid: int | None
    etcd_pid: int | None

    @property
    def running(self) -> bool:
        return self.addresses is not None


class Stack:
    """A local Kafka and etcd. All methods block; none may be called from two threads at once."""

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        ephemeral: bool = False,
        background: bool = False,
        kafka_port: int | None = None,
        etcd_port: int | None = None,
        heap_mb: int = HEAP_MB,
        progress: jars.Progress | None = None,
        cache: Path | None = None,
    ) -> None:
        if folder is None and not ephemeral:
            raise StackError("a stack that is not ephemeral needs a folder for its data")
        if ephemeral and background:
            raise StackError("an ephemeral stack ends with its owner, so it cannot run in the background")
        self.ephemeral = ephemeral
        self.background = background
        self._folder = None if folder is None else Path(folder).absolute()
        self._asked = {name: port for name, port in (("kafka", kafka_port), ("etcd", etcd_port)) if port is not None}
        self._heap_mb = heap_mb
        self._progress = progress
        self._cache = cache
        self._children: dict[Part, Child] = {}
        self._addresses: Addresses | None = None  # set by start(), so that they stay known while a part is halted

    @property
    def folder(self) -> Path:
        """The stack's folder; an ephemeral stack without a given one makes it at the first use."""
        if self._folder is None:
            sweep()
            self._folder = Path(tempfile.mkdtemp(prefix=EPHEMERAL_PREFIX))
        return self._folder

    # -- the life of a stack ------------------------------------------------------------------------------------------

    def start(self) -> Addresses:
        """Bring up what does not run, wait until both answer, return the addresses.

        Blocks for 2 to 6 s, the first time longer (38 MB are downloaded). Raises StackError: JarError when a jar cannot
        be had, PortInUse, NotReady with the end of the log of what did not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if self.ephemeral:
                owner = Identity.of(os.getpid())
                assert owner is not None
                owner.write(self.folder / "owner.pid")
            if not self.background:
                atexit.register(self.stop)  # an orderly end, where the owner forgets; the kernel sees to the others
            files = jars.ensure(
                jars.read_lock(jars.lock_text()), self._cache or jars.cache_folder(), progress=self._progress
            )
            for attempt in range(1, PORT_ATTEMPTS + 1):
                try:
                    return self._start(files)
                except NotReady as error:
                    self._stop_parts(PARTS, kill=True)
                    if self._asked or attempt == PORT_ATTEMPTS or "address already in use" not in str(error).lower():
                        raise
                    (self.folder / "ports.json").unlink(missing_ok=True)
                except BaseException:
                    self._stop_parts(PARTS, kill=True)
                    raise
        raise AssertionError("the loop above returns or raises")

    def stop(self) -> None:
        """Stop both in order (SIGTERM); of an ephemeral stack the folder goes too. Nothing happens when it is down."""
        if self._folder is None or not self._folder.exists():
            return
        with self._locked():
            (self.folder / "stack.json").unlink(missing_ok=True)
            self._addresses = None
            self._stop_parts(PARTS, kill=self.ephemeral)
        atexit.unregister(self.stop)
        if self.ephemeral:
            shutil.rmtree(self.folder, ignore_errors=True)

    def status(self) -> Status:
        """What runs now, whoever started it."""
        pids: dict[Part, int | None] = {}
        for part in PARTS:
            identity = Identity.read(self._pid_file(part))
            pids[part] = identity.pid if identity else None
        return Status(self.folder, read_addresses(self.folder), pids["kafka"], pids["etcd"])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- one part, for tests of outages -------------------------------------------------------------------------------

    def halt(self, part: Part, *, kill: bool = False) -> None:
        """Stop one part, by SIGTERM or (`kill`) by SIGKILL; its port and its data stay. `resume` brings it back."""
        with self._locked():
            self._stop_parts((part,), kill=kill)

    def resume(self, part: Part) -> None:
        """Start one part again on its port and its data, and wait until it answers."""
        del part  # start() brings up whatever is missing, on the ports of last time
        before = self._last_ports()
        self.start()
        if before != self._last_ports():
            raise NotReady(f"a port of {before} was taken while it was free; the stack now listens elsewhere")

    def restart_kafka(self, *, kill: bool = False) -> None:
        """The broker goes (with `kill` as after a crash) and comes back on the same port with its data."""
        self.halt("kafka", kill=kill)
        self.resume("kafka")

    def restart_etcd(self, *, kill: bool = False) -> None:
        """etcd goes (with `kill` as after a crash) and comes back on the same port with its data."""
        self.halt("etcd", kill=kill)
        self.resume("etcd")

    @property
    def addresses(self) -> Addresses:
        """The addresses of a stack that was started (also while a part of it is halted); else StackError."""
        found = self._addresses or read_addresses(self.folder)
        if found is None:
            raise StackError(f"the stack in {self.folder} is not up; start it first (`indegree stack up`)")
        return found

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap address, `host:port`."""
        return self.addresses.kafka

    @property
    def etcd(self) -> str:
        """etcd's endpoint, `host:port`."""
        return self.addresses.etcd

    # -- inside -------------------------------------------------------------------------------------------------------

    def _start(self, files: list[Path]) -> Addresses:
        running = {part: self._child(part) for part in PARTS}
        chosen = self._ports({part for part in PARTS if running[part] is None})
        voters = f"1@{ports.HOST}:{chosen['controller']}"
        kafka = Broker(self.folder / "kafka", 1, chosen["kafka"], chosen["controller"], voters, heap_mb=self._heap_mb)
        etcd = Etcd(self.folder / "etcd", chosen["etcd"], chosen["peer"], fsync=not self.ephemeral)
        _write(self.folder / "ports.json", chosen)
        dies = not self.background
        if running["kafka"] is None:
            kafka.prepare()
            self._started("kafka", kafka.start(files, environment=os.environ, die_with_parent=dies))
        if running["etcd"] is None:
            self._started("etcd", etcd.start(environment=os.environ, die_with_parent=dies))
        limit_s = _timeout_s()
        self._children["etcd"].wait_ready(etcd.answers, limit_s)
        self._children["kafka"].wait_ready(kafka.answers, limit_s)
        addresses = Addresses(kafka=kafka.bootstrap, etcd=etcd.endpoint)
        _write(self.folder / "stack.json", {**asdict(addresses), "ephemeral": self.ephemeral})
        self._addresses = addresses
        return addresses

    def _ports(self, missing: set[Part]) -> dict[str, int]:
        """Ports for all; those of a part that runs stay what they are, since they are in use by itself."""
        last = self._last_ports()
        owned: dict[Part, tuple[str, str]] = {"kafka": ("kafka", "controller"), "etcd": ("etcd", "peer")}
        kept = {name: last[name] for part in PARTS if part not in missing for name in owned[part]}
        wanted = [name for name in PORT_NAMES if name not in kept]
        return kept | ports.choose(wanted, asked=self._asked, last=last)

    def _last_ports(self) -> dict[str, int]:
        try:
            found = json.loads((self.folder / "ports.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(name): int(port) for name, port in found.items()} if isinstance(found, dict) else {}

    def _started(self, part: Part, child: Child) -> None:
        self._children[part] = child
        child.identity.write(self._pid_file(part))

    def _child(self, part: Part) -> Child | None:
        """The running process of this part, if it runs; one that another process started is found by its pid file."""
        mine = self._children.get(part)
        if mine is not None and mine.alive():
            return mine
        identity = Identity.read(self._pid_file(part))
        if identity is None:
            self._children.pop(part, None)
            return None
        found = Child("Kafka" if part == "kafka" else "etcd", identity, self.folder / part / f"{part}.log")
        self._children[part] = found
        return found

    def _stop_parts(self, parts: tuple[Part, ...], *, kill: bool) -> None:
        children = {part: child for part in parts if (child := self._child(part)) is not None}
        # The broker first: it is the slow one, and what works on the stack stops at once without it.
        for part, child in children.items():
            child.stop(kill=kill)
            self._children.pop(part, None)
        for part in parts:
            self._pid_file(part).unlink(missing_ok=True)

    def _pid_file(self, part: Part) -> Path:
        return self.folder / f"{part}.pid"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def read_addresses(folder: Path) -> Addresses | None:
    """The addresses of the stack in this folder, or None unless it is up (both processes are alive)."""
    try:
        found = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
        addresses = Addresses(kafka=str(found["kafka"]), etcd=str(found["etcd"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return addresses if all(Identity.read(folder / f"{part}.pid") for part in PARTS) else None


def sweep() -> None:
    """Remove temporary folders of ephemeral stacks whose owner died without removing them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{EPHEMERAL_PREFIX}*"):
        if (folder / "owner.pid").exists() and Identity.read(folder / "owner.pid") is None:
            shutil.rmtree(folder, ignore_errors=True)


def _timeout_s() -> float:
    text = os.environ.get(TIMEOUT, "")
    try:
        return float(text) if text else TIMEOUT_S
    except ValueError as error:
        raise StackError(f"{TIMEOUT}={text!r} is not a number of seconds") from error


def _write(path: Path, value: dict[str, object] | dict[str, int]) -> None:
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    scratch.replace(path)
