"""The local stack as its users meet it: real processes, real records."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from indegree.stack import NotReady, PortInUse, Stack, read_addresses
from indegree.stack.kafka import Broker
from indegree.stack.process import Identity, spawn

pytestmark = pytest.mark.integration


def write(bootstrap: str, topic: str, *values: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if topic not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=15)
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(20) == 0
    assert failed == []


def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            found.append(message.value())
    consumer.close()
    return found


def until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_restart_keeps_data_and_ports(tmp_path):
    stack = Stack(tmp_path / "kept")
    with stack:
        before = stack.addresses
        write(stack.kafka, "orders", b"one")
    assert read_addresses(stack.folder) is None

    with Stack(tmp_path / "kept") as again:
        assert again.addresses == before
        write(again.kafka, "orders", b"two")
        assert read(again.kafka, "orders", 2) == [b"one", b"two"]


def test_the_broker_survives_kill_9_with_what_it_acknowledged(own_stack):
    write(own_stack.kafka, "orders", b"one")
    address = own_stack.kafka

    own_stack.restart_kafka(kill=True)

    assert own_stack.kafka == address
    assert read(own_stack.kafka, "orders", 1) == [b"one"]


def test_two_stacks_stand_beside_each_other(own_stack, tmp_path):
    with Stack(ephemeral=True) as other:
        write(own_stack.kafka, "orders", b"mine")
        write(other.kafka, "orders", b"theirs")

        assert len({own_stack.kafka, own_stack.etcd, other.kafka, other.etcd}) == 4
        assert read(own_stack.kafka, "orders", 1) == [b"mine"]
        folder = other.folder
    assert not folder.exists()


def test_starting_twice_starts_once(own_stack):
    before = own_stack.status()

    own_stack.start()

    assert own_stack.status() == before


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortInUse, match=f"port {port} for kafka is in use"):
            Stack(tmp_path / "kept", kafka_port=port).start()

    assert Stack(tmp_path / "kept").status().kafka_pid is None


def test_an_owner_killed_with_9_leaves_no_child(tmp_path):
    # given a process that owns a stack, started from a thread that is gone already
    code = (
        "import sys, threading, time\n"
        "from indegree.stack import Stack\n"
        "stack = Stack(sys.argv[1])\n"
        "thread = threading.Thread(target=stack.start)\n"
        "thread.start(); thread.join()\n"
        "print(stack.status().kafka_pid, stack.status().etcd_pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout as out:
        children = [Identity.of(int(pid)) for pid in out.readline().split()]
    assert len(children) == 2
    assert all(child is not None and child.alive() for child in children)

    owner.kill()
    owner.wait(10)

    assert until(lambda: not any(child is not None and child.alive() for child in children), 10)


def test_up_leaves_the_stack_running_and_down_stops_it(tmp_path):
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "indegree.stack", *words, "--folder", str(tmp_path / ".indegree")]
        return subprocess.run(line, capture_output=True, text=True, timeout=120)

    up = command("up")
    try:
        assert up.returncode == 0, up.stderr
        found = read_addresses(tmp_path / ".indegree")
        assert found is not None
        assert up.stdout.split() == ["kafka", found.kafka, "etcd", found.etcd]
        assert json.loads((tmp_path / ".indegree" / "stack.json").read_text())["kafka"] == found.kafka
        assert command("status").returncode == 0
        assert f"export INDEGREE_KAFKA__BOOTSTRAP_SERVERS={found.kafka}" in command("env").stdout
        write(found.kafka, "orders", b"one")
    finally:
        down = command("down")
    assert down.returncode == 0
    assert "is down" in down.stderr
    assert command("status").returncode == 1
    assert command("env").returncode == 1
    assert command("down").returncode == 0


def test_a_pid_file_of_another_process_kills_nobody(tmp_path):
    # given a pid file whose number now belongs to a stranger (this test), as after a reboot
    me = Identity.of(os.getpid())
    assert me is not None
    folder = tmp_path / "kept"
    folder.mkdir()
    Identity(me.pid, "1", me.boot).write(folder / "kafka.pid")

    stack = Stack(folder)
    stack.stop()

    assert stack.status().kafka_pid is None
    assert me.alive()


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(tmp_path):
    # given a data folder that belongs to another node
    folder = tmp_path / "kept" / "kafka"
    Broker(folder, 7, 1, 2, "7@127.0.0.1:2").prepare()

    with pytest.raises(NotReady, match=r"Kafka ended while it was starting(.|\n)*node.id"):
        Stack(tmp_path / "kept").start()

    assert Stack(tmp_path / "kept").status().etcd_pid is None


def test_a_child_that_ignores_sigterm_is_killed(tmp_path):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    command = [sys.executable, "-c", code]
    child = spawn("deaf", command, log=log, environment=os.environ, die_with_parent=True)
    child.wait_ready(lambda: "deaf" in log.read_text(), 20)

    child.stop(timeout_s=0.3)

    assert not child.alive()


def test_a_process_that_does_not_answer_in_time_is_reported_with_its_log(tmp_path):
    command = [sys.executable, "-c", "import time; print('thinking', flush=True); time.sleep(60)"]
    log = tmp_path / "log"
    child = spawn("slow", command, log=log, environment=os.environ, die_with_parent=True)
    child.wait_ready(lambda: "thinking" in log.read_text(), 20)

    with pytest.raises(NotReady, match=r"did not answer within 0 s(.|\n)*thinking"):
        child.wait_ready(lambda: False, 0.2)

    child.stop(kill=True)


def test_an_ephemeral_stack_ends_on_sigterm_and_takes_its_data_along(tmp_path):
    folder = tmp_path / "gone"
    line = [sys.executable, "-m", "indegree.stack", "up", "--ephemeral", "--folder", str(folder)]
    holder = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert until(lambda: read_addresses(folder) is not None, 60)
    children = [Identity.read(Path(folder) / f"{part}.pid") for part in ("kafka", "etcd")]

    holder.send_signal(signal.SIGTERM)

    assert holder.wait(20) == 0
    assert not folder.exists()
    assert not any(child is not None and child.alive() for child in children)


def test_sigterm_in_the_middle_of_a_start_leaves_nothing(tmp_path):
    folder = tmp_path / "gone"
    line = [sys.executable, "-m", "indegree.stack", "up", "--ephemeral", "--folder", str(folder)]
    holder = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert until(lambda: Identity.read(folder / "kafka.pid") is not None, 60)
    broker = Identity.read(folder / "kafka.pid")
    assert broker is not None

    holder.send_signal(signal.SIGTERM)

    assert holder.wait(20) == 0
    assert not broker.alive()
    assert not folder.exists()


def test_two_starts_of_one_folder_at_once_make_one_stack(tmp_path):
    line = [sys.executable, "-m", "indegree.stack", "up", "--folder", str(tmp_path / "one")]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    try:
        said = [each.communicate(timeout=120)[0] for each in both]
        assert said[0] == said[1]
        assert [each.returncode for each in both] == [0, 0]
    finally:
        Stack(tmp_path / "one").stop()


def test_addresses_stay_known_while_a_part_is_halted(own_stack):
    before = own_stack.addresses

    own_stack.halt("etcd", kill=True)

    assert own_stack.addresses == before
    own_stack.resume("etcd")
    assert own_stack.addresses == before
