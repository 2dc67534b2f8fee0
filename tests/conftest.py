"""The real parts that tests share: one Kafka and one etcd for a whole session.

Why: a mock of Kafka proves nothing about a log. A broker takes 2 to 6 s to come up, so one is shared by all tests of a
session, also by the workers of pytest-xdist, and tests keep apart by the name of their cluster.

How: `INDEGREE_TEST_STACK=kafka_host:port,etcd_host:port` names a stack that runs already. Without it, the first test
that asks starts `python -m indegree.stack up --ephemeral --while PID` in a folder of this session; a file lock makes
the other workers wait for it and use it. It ends with the session (and, at the latest, with the session's process), and
its data goes with it. A test that stops or kills a part takes `own_stack`, which nobody else sees.

A test must never rely on another test's topics, and never stop the shared stack.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from indegree.stack import Stack, read_addresses
from indegree.stack.process import Identity

GIVEN = "INDEGREE_TEST_STACK"
SESSION = "INDEGREE_TEST_SESSION"  # the session's folder, handed from the first pytest process to xdist's workers
START_WAIT_S = 150.0  # the first start on a machine downloads the broker
_holders: list[subprocess.Popen[bytes]] = []  # at most one: the process that holds the session's stack


@dataclass(frozen=True)
class SharedStack:
    """Addresses of the stack that all tests of the session share, each as `127.0.0.1:port`."""

    kafka: str
    etcd: str

    def restart_kafka(self, *, kill: bool = False) -> NoReturn:
        """Refused: it would disturb every other test. The fixture `own_stack` has it."""
        raise AssertionError("this stack is shared by the session; take the fixture `own_stack` to restart its parts")


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a folder; xdist's workers inherit its name."""
    if not hasattr(config, "workerinput"):
        os.environ[SESSION] = tempfile.mkdtemp(prefix="indegree-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the session's stack, if one was started, and wait until its process is gone."""
    if hasattr(config, "workerinput") or SESSION not in os.environ:
        return
    folder = Path(os.environ.pop(SESSION))
    holder = Identity.read(folder / "holder.pid")
    if holder is not None:
        holder.send(signal.SIGTERM)
        _until_gone(holder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack() -> SharedStack:
    """A real Kafka and a real etcd, shared by the session."""
    if given := os.environ.get(GIVEN):
        kafka, _, etcd = given.partition(",")
        return SharedStack(kafka=kafka, etcd=etcd)
    folder = Path(os.environ[SESSION])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        addresses = read_addresses(folder / "stack")
        if addresses is None:
            _hold(folder)
            addresses = read_addresses(folder / "stack")
    assert addresses is not None
    return SharedStack(kafka=addresses.kafka, etcd=addresses.etcd)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of this test alone, for tests that restart, kill or stop a part; its data goes with it."""
    with Stack(tmp_path / "stack", ephemeral=True) as stack:
        yield stack


@pytest.fixture
def cluster_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A cluster name that no other test has; the topics of that name are deleted afterwards."""
    name = f"t{uuid.uuid4().hex[:10]}"
    yield name
    if "stack" in request.fixturenames:
        shared: SharedStack = request.getfixturevalue("stack")
        _delete_topics(shared.kafka, f"{name}.")


def _delete_topics(bootstrap: str, prefix: str) -> None:
    """Free what a test made: a broker with thousands of abandoned partitions slows down all later tests."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
    if not topics:
        return
    for future in admin.delete_topics(topics, operation_timeout=10).values():
        try:
            future.result(timeout=15)
        except KafkaException as error:  # the verdict on a test is not about its rubbish; but say so
            print(f"could not delete a topic of {prefix}: {error}", file=sys.stderr)


def _hold(folder: Path) -> None:
    """Start the process that holds the session's stack and wait until both parts answer."""
    owner = _first_pytest()
    command = [sys.executable, "-m", "indegree.stack", "up", "--ephemeral", "--folder", str(folder / "stack")]
    log = folder / "holder.log"
    with log.open("wb") as out:
        holder = subprocess.Popen(
            [*command, "--while", str(owner)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    _holders.append(holder)
    identity = Identity.of(holder.pid)
    if identity is not None:
        identity.write(folder / "holder.pid")
    deadline = time.monotonic() + START_WAIT_S
    while read_addresses(folder / "stack") is None:
        if holder.poll() is not None or time.monotonic() > deadline:
            holder.kill()
            pytest.fail(f"the tests' stack did not come up:\n{log.read_text(errors='replace')}", pytrace=False)
        time.sleep(0.05)


def _first_pytest() -> int:
    """The process that outlives all tests: xdist's controller for a worker, else this one."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def _until_gone(holder: Identity) -> None:
    """Wait for it to stop its stack; a zombie counts as gone, and is reaped when it is our own child."""
    deadline = time.monotonic() + 30
    while holder.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    for child in _holders:
        child.wait(timeout=5)
