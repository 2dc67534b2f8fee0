"""up, status, env, down: the stack's commands as functions that take a folder and print.

Why: `indegree stack ...` wraps them, and `python -m indegree.stack ...` runs them where the CLI is not wanted (the
tests' own stack). They read no arguments themselves, except `main`, which is the smallest reader that does.

How: each returns an exit code: 0 done, 1 the stack is not up (status, env), 2 it could not be done, with the reason on
stderr. Addresses and settings go to stdout, the rest to stderr, so that `eval "$(indegree stack env)"` works.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from .errors import StackError
from .local import Addresses, Stack, read_addresses
from .process import Identity
from .show import Downloads

FOLDER = Path(".indegree")
USAGE = """\
usage: python -m indegree.stack up|status|env|down [--folder FOLDER] [--kafka-port N] [--etcd-port N]
                                                  [--ephemeral [--while PID]] [--purge]"""


def up(folder: Path = FOLDER, *, kafka_port: int | None = None, etcd_port: int | None = None) -> int:
    """Bring the stack up in the background; its data stays in `folder`. What runs already is left alone."""
    try:
        begin = time.monotonic()
        was_up = read_addresses(folder.absolute()) is not None
        stack = Stack(folder, background=True, kafka_port=kafka_port, etcd_port=etcd_port, progress=Downloads())
        addresses = stack.start()
    except StackError as error:
        return _failed(error)
    word = "was up already" if was_up else f"is up after {time.monotonic() - begin:.1f} s"
    _say(f"The stack {word}; data and logs in {stack.folder}. One broker, one replica: it survives kill -9, not a loss")
    _say("of power. Stop it with `indegree stack down`; the data stays.")
    _print(addresses)
    return 0


def up_ephemeral(
    folder: Path | None = None,
    *,
    kafka_port: int | None = None,
    etcd_port: int | None = None,
    while_pid: int | None = None,
) -> int:
    """Run a stack until SIGINT or SIGTERM (or until the process `while_pid` is gone), then remove it and its data."""
    watched = Identity.of(while_pid) if while_pid is not None else None
    if while_pid is not None and watched is None:
        return _failed(StackError(f"--while {while_pid}: no process has this pid; name one that runs"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    stack: Stack | None = None
    try:
        stack = Stack(folder, ephemeral=True, kafka_port=kafka_port, etcd_port=etcd_port, progress=Downloads())
        _print(stack.start())
        sys.stdout.flush()
        while watched is None or watched.alive():
            time.sleep(0.2)
    except _Ended:
        pass
    except StackError as error:
        return _failed(error)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the end is under way already
        if stack is not None:
            stack.stop()
    return 0


class _Ended(BaseException):
    """A signal asked for the end; raised wherever the main thread is, also in the middle of a start."""


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _Ended


def status(folder: Path = FOLDER) -> int:
    """Say what runs and where."""
    found = Stack(folder).status()
    for name, pid in (("kafka", found.kafka_pid), ("etcd", found.etcd_pid)):
        _say(f"{name:6} {'down' if pid is None else f'up, pid {pid}'}")
    if found.addresses is None:
        if found.kafka_pid is None and found.etcd_pid is None:
            _say(f"No stack is up in {found.folder}; start one with `indegree stack up`.")
        else:
            missing = "Kafka" if found.kafka_pid is None else "etcd"
            _say(f"The stack in {found.folder} is up in part: {missing} is down; `indegree stack up` starts it again.")
        return 1
    _print(found.addresses)
    return 0


def env(folder: Path = FOLDER) -> int:
    """Print shell lines that point indegree at this stack: eval "$(indegree stack env)"."""
    addresses = read_addresses(folder.absolute())
    if addresses is None:
        _say(f"No stack is up in {folder.absolute()}; start one with `indegree stack up`.")
        return 1
    print(f"export INDEGREE_KAFKA__BOOTSTRAP_SERVERS={addresses.kafka}")
    print(f"export INDEGREE_ETCD__ENDPOINTS={addresses.etcd}")
    print("export INDEGREE_TOPICS__REPLICATION=1")  # one broker: what commands assume that find the stack by themselves
    print("export INDEGREE_TOPICS__MIN_INSYNC_REPLICAS=1")
    print("export INDEGREE_TOPICS__ALLOW_WEAKER=true")
    return 0


def down(folder: Path = FOLDER, *, purge: bool = False) -> int:
    """Stop the stack of this folder, whoever started it. Nothing happens when it is down.

    The data stays, unless `purge`: then what a stack keeps in its folder is deleted, and nothing else.
    """
    try:
        stack = Stack(folder)
        running = stack.status()
        stack.stop()
    except StackError as error:
        return _failed(error)
    any_ran = running.kafka_pid is not None or running.etcd_pid is not None
    words = f"The stack in {stack.folder} is down" if any_ran else f"No stack was up in {stack.folder}"
    if purge:
        there = delete_data(stack.folder)
        _say(f"{words}; its data is deleted." if there else f"{words}; there was no data to delete.")
    elif (stack.folder / "kafka").exists():
        _say(f"{words}; its data stays (`indegree stack down --purge` deletes it).")
    else:
        _say(f"{words}.")
    return 0


def delete_data(folder: Path) -> bool:
    """Delete what a stack that is down keeps in its folder; False: it is no stack's folder, nothing is touched."""
    if not (folder / "ports.json").exists():
        return False
    for name in ("kafka", "etcd"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.glob("run-*"):  # logs of `indegree run`
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
    for name in ("ports.json", "stack.json", "kafka.pid", "etcd.pid", "runs.json", "run.lock", "lock"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody keeps other things there
        folder.rmdir()
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Read `up|status|env|down` and the options in USAGE; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    options: dict[str, str] = {}
    flags: set[str] = set()
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("--folder", "--kafka-port", "--etcd-port", "--while") and words:
            options[word] = words.pop(0)
        elif word in ("--ephemeral", "--purge", "--help", "-h"):
            flags.add(word)
        else:
            rest.append(word)
    if flags & {"--help", "-h"}:
        print(USAGE)
        return 0
    numbers = {name: int(text) for name, text in options.items() if name != "--folder" and text.isdigit()}
    if len(rest) != 1 or len(numbers) != len(options.keys() - {"--folder"}):
        _say(f"cannot read {' '.join(sys.argv[1:] if argv is None else argv)!r}\n{USAGE}")
        return 2
    folder = Path(options.get("--folder", FOLDER))
    kafka_port, etcd_port = numbers.get("--kafka-port"), numbers.get("--etcd-port")
    match rest[0]:
        case "up" if "--ephemeral" in flags:
            given = folder if "--folder" in options else None
            return up_ephemeral(given, kafka_port=kafka_port, etcd_port=etcd_port, while_pid=numbers.get("--while"))
        case "up":
            return up(folder, kafka_port=kafka_port, etcd_port=etcd_port)
        case "status":
            return status(folder)
        case "env":
            return env(folder)
        case "down":
            return down(folder, purge="--purge" in flags)
        case other:
            _say(f"{other!r} is not a command\n{USAGE}")
            return 2


def _print(addresses: Addresses) -> None:
    print(f"kafka  {addresses.kafka}")
    print(f"etcd   {addresses.etcd}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _failed(error: StackError) -> int:
    _say(f"error: {error}")
    return 2
