"""The command against a real engine, worker, Kafka and etcd, as a person and as a script would use it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import TopicPartition
from confluent_kafka import Producer

from indegree.events import admin, kafka
from indegree.events.definition import Definition
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.sdk.client_catalog import definition_records
from indegree.v1.workflow_pb2 import VersionPointer
from tests.conftest import SharedStack
from tests.integration.cli_road import Road, road

pytestmark = pytest.mark.integration

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "hello.yaml"


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    with road(stack.kafka, stack.etcd, tmp_path_factory.mktemp("cli")) as found:
        deployed = found.command("workflow", "deploy", "client_flows", "--json")
        assert deployed.returncode == 0, deployed.stderr
        yield found


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def started(place: Road, *arguments: str) -> str:
    done = place.command("trigger", *arguments, "--wait")
    return done.stdout.strip()


def test_trigger_waits_and_its_exit_code_is_that_of_the_run(place: Road) -> None:
    good = place.command("trigger", "diamond", "-p", "n=3", "--wait", "--json")
    assert good.returncode == 0, good.stderr
    assert lines(good)[0]["state"] == "SUCCESS"
    bad = place.command("trigger", "failing", "--wait")
    assert bad.returncode == 1
    late = place.command("trigger", "slow", "-p", "seconds=3", "--wait", "--timeout", "0.5")
    assert late.returncode == 5
    assert "goes on" in late.stderr


def test_follow_prints_each_transition_and_ends_with_the_run(place: Road) -> None:
    done = place.command("trigger", "diamond", "--follow", "--json")
    found = lines(done)
    assert [line["position"] for line in found] == list(range(1, len(found) + 1))
    assert found[-1]["type"] == "run.success"
    again = lines(place.command("follow", found[0]["run_id"], "--from", "6", "--json"))
    assert again == found[6:]
    plain = place.command("follow", found[0]["run_id"])
    assert "d#1" in plain.stdout
    assert "SUCCESS in" in plain.stdout


def test_show_has_tasks_outputs_history_and_its_source(place: Road) -> None:
    run_id = started(place, "diamond", "-p", "n=5")
    done = place.command("show", run_id, "--history")
    assert done.returncode == 0
    assert re.search(r"^d +SUCCESS .* 1 +56 ", done.stdout, re.MULTILINE)
    assert "run                               SUCCESS" in done.stdout
    assert "source:" in done.stderr
    [found] = lines(place.command("show", run_id, "--json"))
    assert {task["id"]: task["output"] for task in found["tasks"]} == {"a": 5, "b": 6, "c": 50, "d": 56}


def test_a_failed_task_shows_its_error_and_logs_show_what_it_said(place: Road) -> None:
    run_id = started(place, "failing")
    assert "no such bucket" in place.command("show", run_id).stdout
    logs = place.command("logs", run_id)
    assert "about to break" in logs.stdout
    assert "no such bucket" in logs.stdout
    assert place.command("logs", run_id, "brokn").returncode == 2


def test_runs_lists_the_newest_first_and_filters(place: Road) -> None:
    run_id = started(place, "failing")
    found = lines(place.command("runs", "--workflow", "failing", "--state", "FAILED", "--json"))
    assert found[0]["run_id"] == run_id
    assert {line["workflow"] for line in found} == {"failing"}
    assert [line["run_id"] for line in found] == sorted((line["run_id"] for line in found), reverse=True)
    assert len(lines(place.command("runs", "--limit", "1", "--json"))) == 1


def test_replay_rebuilds_every_position_from_the_log_alone(place: Road) -> None:
    run_id = started(place, "diamond")
    story = lines(place.command("follow", run_id, "--json"))
    [whole] = lines(place.command("replay", run_id, "--history", "--json"))
    assert [(line["position"], line["type"], line.get("task_id")) for line in whole["history"]] == [
        (line["position"], line["type"], line.get("task_id")) for line in story
    ]
    for at in (2, 4, len(story)):
        [found] = lines(place.command("replay", run_id, "--at", str(at), "--json"))
        expected: dict[str, str] = {}
        for line in story[:at]:
            if "task_id" in line:
                expected[line["task_id"]] = line["state"]
        assert found["position"] == at
        assert {task["id"]: task["state"] for task in found["tasks"] if task["state"] != "PENDING"} == expected
    partition = str(int(run_id.rsplit("-", 1)[1]))
    [state] = lines(place.command("replay", "--partition", partition, "--json"))
    assert state["void_frames"] == 0
    assert state["epoch"] >= 1


def test_a_copy_of_the_event_log_alone_is_enough_to_show_and_replay_a_run(place: Road) -> None:
    run_id = started(place, "diamond", "-p", "n=6")
    copy = f"{place.settings.cluster}-copy"
    asyncio.run(copy_events(place, copy))
    try:
        shown = place.command("show", run_id, "--cluster", copy)
        assert shown.returncode == 0, shown.stderr
        assert "diamond" in shown.stdout
        assert "SUCCESS at position" in shown.stdout
        assert "the event log alone" in shown.stderr
        [found] = lines(place.command("replay", run_id, "--json", "--cluster", copy))
        assert {task["id"]: task["output"] for task in found["tasks"]} == {"a": 6, "b": 7, "c": 60, "d": 67}
        assert "trying" not in place.command("logs", run_id, "--cluster", copy).stdout
    finally:
        asyncio.run(admin.delete_cluster(place.settings.with_values(cluster=copy)))


def test_a_run_is_found_by_the_beginning_of_its_id(place: Road) -> None:
    run_id = started(place, "diamond")
    [found] = lines(place.command("show", run_id[:19], "--json"))
    assert found["run_id"] == run_id
    none = place.command("show", "20251125T1015")
    assert none.returncode == 2
    assert "no run's id begins with '20251125T1015'" in none.stderr
    at = place.command("replay", run_id, "--at", "0")
    assert at.returncode == 2
    assert re.search(r"positions of run \S+ are 1 to \d+", at.stderr)


def test_a_command_that_failed_shows_its_last_lines_where_it_is_said_that_it_failed(place: Road) -> None:
    script = "for i in 1 2 3 4 5 6 7; do echo line $i; done; exit 7"
    (place.folder / "lines.yaml").write_text(f"id: lines\ntasks:\n  - {{id: a, command: '{script}'}}\n")
    assert place.command("workflow", "deploy", "lines.yaml").returncode == 0
    done = place.command("trigger", "lines", "--follow")
    assert "  | line 7\n" in done.stdout
    assert "  | line 2\n" not in done.stdout
    shown = place.command("show", done.stdout.splitlines()[0])
    assert "  | line 7\n" in shown.stdout


def test_without_an_engine_the_run_id_comes_at_once_and_the_timeout_holds(place: Road) -> None:
    other = place.settings.with_values(cluster=f"{place.settings.cluster}-idle")
    asyncio.run(admin.ensure_topics(other))
    try:
        asyncio.run(publish(other))
        begun = time.monotonic()
        done = place.command("trigger", "idle", "--follow", "--timeout", "3", "--cluster", other.cluster)
        assert done.returncode == 5, done.stderr
        assert time.monotonic() - begun < 15
        assert done.stdout.strip().endswith(tuple("0123"))
        assert "no engine has taken it yet (2 s)" in done.stderr
        assert f"as {done.stdout.strip()} lies on Kafka" in done.stderr
    finally:
        asyncio.run(admin.delete_cluster(other))


def test_a_refused_start_is_listed_and_doctor_names_it(place: Road) -> None:
    producer = Producer({"bootstrap.servers": place.settings.kafka.bootstrap_servers})
    start = {"start": {"workflow": "diamond", "run_id": "no run id"}}
    producer.produce(f"{place.settings.cluster}.triggers", value=json.dumps(start), partition=2)
    producer.flush(20)
    deadline = time.monotonic() + 30
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < deadline:
        found = lines(place.command("runs", "--state", "REFUSED", "--json"))
    assert (found[0]["run_id"], found[0]["workflow"]) == ("no run id", "diamond")
    assert "is not of the form" in found[0]["reason"]
    assert "no run id of diamond was refused" in place.command("doctor").stdout


def test_cancel_ends_a_run_and_says_so_when_it_has_ended(place: Road) -> None:
    run_id = place.command("trigger", "slow").stdout.strip()
    done = place.command("cancel", run_id, "--reason", "enough")
    assert (done.returncode, done.stdout.strip()) == (0, f"{run_id} CANCELLED")
    assert place.command("follow", run_id, "--json").returncode == 4
    again = place.command("cancel", run_id)
    assert again.returncode == 2
    assert "already ended" in again.stderr


def test_a_closed_pipe_ends_quietly(place: Road) -> None:
    run_id = started(place, "diamond")
    done = place.shell(f"indegree follow {run_id} --json | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["position"] == 1


def test_follow_all_into_a_closed_pipe_ends_quietly(place: Road) -> None:
    watching = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", f'"{sys.executable}" -m indegree.cli follow --all --json | head -1'],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while watching.poll() is None and time.monotonic() < deadline:
        started(place, "diamond")
    out, err = watching.communicate(timeout=20)
    assert (watching.returncode, err) == (0, "")
    assert json.loads(out)["run_id"]


def test_parameters_come_from_a_file_or_stdin(place: Road) -> None:
    done = place.command("trigger", "diamond", "--params", "-", "-p", "n=2", "--wait", given='{"n": 1}')
    assert done.returncode == 0
    assert lines(place.command("show", done.stdout.strip(), "--json"))[0]["tasks"][0]["output"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trigger", "dimond"], "did you mean 'diamond'"),
        (["trigger", "diamond", "-p", "n=x"], "its type is integer"),
        (["trigger", "diamond", "-p", "m=1"], "unknown parameter 'm'"),
        (["show", "20261125T101530.123Z-0123456789AB-0001"], "is not on the event log"),
        (["replay", "20261125T101530.123Z-0123456789AB-0001"], "is not on the event log"),
        (["workflow", "show", "dimond"], "did you mean 'diamond'"),
        (["workflow", "activate", "diamond", "abcdef0"], "has no version"),
        (["dead-letters", "show", "999"], "no dead letter at offset 999"),
    ],
)
def test_a_mistake_is_exit_2_with_the_way_out(place: Road, arguments: list[str], words: str) -> None:
    done = place.command(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_versions_are_deployed_compared_activated_and_rolled_back(place: Road) -> None:
    for number in (1, 2):
        (place.folder / f"v{number}.yaml").write_text(
            f"id: versions\ntasks:\n  - {{id: a, command: 'echo {number}', output: json}}\n"
        )
    [one] = lines(place.command("workflow", "deploy", "v1.yaml", "--label", "v1", "--json"))
    [two] = lines(place.command("workflow", "deploy", "v2.yaml", "--json"))
    listed = {line["workflow"]: line for line in lines(place.command("workflow", "list", "--json"))}
    assert (listed["versions"]["active"], listed["versions"]["versions"]) == (two["version"], 2)
    difference = place.command("workflow", "diff", "versions@v1", "versions").stdout
    assert "echo 1" in difference
    assert "echo 2" in difference
    back = place.command("workflow", "rollback", "versions", "--json")
    assert lines(back)[0]["version"] == one["version"]
    history = lines(place.command("workflow", "history", "versions", "--json"))
    assert [(line["what"], line["version"] == one["version"], line["active"]) for line in history] == [
        ("deployed", True, True),
        ("activated", True, True),
        ("deployed", False, False),
        ("activated", False, False),
        ("rolled_back", True, True),
    ]
    clash = place.command("workflow", "deploy", "v2.yaml", "--label", "v1")
    assert clash.returncode == 2
    assert "v1" in clash.stderr


def test_a_record_that_is_nothing_of_ours_shows_among_dead_letters(place: Road) -> None:
    producer = Producer({"bootstrap.servers": place.settings.kafka.bootstrap_servers})
    producer.produce(f"{place.settings.cluster}.triggers", value=b"\x00\xff{", key=b"k", partition=1)
    producer.flush(20)
    deadline = time.monotonic() + 30
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < deadline:
        found = lines(place.command("dead-letters", "list", "--json"))
    assert found[0]["topic"].endswith("triggers")
    assert found[0]["partition"] == "1"
    shown = place.command("dead-letters", "show", str(found[0]["offset"])).stdout
    assert "reason" in shown
    assert started(place, "diamond"), "others go on"


def test_doctor_names_a_queue_without_a_worker_and_a_healthy_cluster(place: Road) -> None:
    healthy = {(line["check"], line["grade"]) for line in lines(place.command("doctor", "--json"))}
    assert {("kafka", "ok"), ("topics", "ok"), ("etcd", "ok"), ("engines", "ok"), ("workers", "ok")} <= healthy
    assert not {check for check, grade in healthy if grade == "bad"}
    run_id = place.command("trigger", "elsewhere").stdout.strip()
    deadline = time.monotonic() + 40
    text = ""
    while "queue nobody" not in text and time.monotonic() < deadline:
        done = place.command("doctor")
        text = done.stdout
    assert "no worker serves it" in text
    assert "--queue nobody" in text
    assert done.returncode == 3
    place.command("cancel", run_id)


def test_a_task_whose_code_no_worker_has_shows_in_the_run_and_in_doctor(place: Road) -> None:
    (place.folder / "lacking.yaml").write_text("id: lacking\ntasks:\n  - {id: a, python: 'not.there:f'}\n")
    assert place.command("workflow", "deploy", "lacking.yaml").returncode == 0
    run_id = place.command("trigger", "lacking").stdout.strip()
    deadline = time.monotonic() + 40
    text = ""
    while "rejected" not in text and time.monotonic() < deadline:
        text = place.command("doctor").stdout
    assert "was not given the module 'not.there'" in text
    assert "start a worker with that module" in text
    shown = lines(place.command("show", run_id, "--json"))[0]["tasks"][0]
    assert (shown["state"], shown["attempts"]) == ("QUEUED", 1)
    assert "not.there" in shown["error"]["message"]
    place.command("cancel", run_id)


def test_a_terminal_gets_a_live_picture(place: Road) -> None:
    run_id = started(place, "diamond", "-p", "n=5")
    picture = on_a_terminal(place, "follow", run_id)
    assert re.search(r"✓ d .*SUCCESS", picture)
    assert "4/4 tasks" in picture
    assert f"diamond {run_id} SUCCESS" in picture


def test_topics_lists_every_topic_with_who_writes_and_reads(place: Road) -> None:
    done = place.command("topics")
    assert done.returncode == 0, done.stderr
    for name in ("triggers", "events", "progress", "tasks.default"):
        assert f"{place.settings.cluster}.{name}" in done.stdout


def test_run_is_all_in_one_in_a_cluster_of_its_own(place: Road) -> None:
    done = place.command("run", str(HELLO), "-p", "name=Ada", "--json", timeout=120)
    assert done.returncode == 0, done.stderr
    found = lines(done)
    outputs: dict[str, Any] = {
        line["task_id"]: line.get("output") for line in found if line.get("state") == "SUCCESS" and "task_id" in line
    }
    assert outputs["letters"] == 3
    assert outputs["report"].startswith("hello, Ada (3 letters")
    assert found[0]["run_id"] not in place.command("runs", "--limit", "1000").stdout


def test_run_gives_the_exit_code_of_the_run_and_leaves_no_process(place: Road) -> None:
    (place.folder / "bad.yaml").write_text("id: bad\ntasks:\n  - {id: a, command: 'echo oops >&2; exit 7'}\n")
    done = place.command("run", "bad.yaml", timeout=120)
    assert done.returncode == 1
    assert "exit code 7" in done.stdout
    assert not _left(place)


def test_an_interrupted_run_is_cancelled_and_leaves_no_process(place: Road) -> None:
    (place.folder / "long.yaml").write_text("id: long\ntasks:\n  - {id: a, command: 'sleep 300.25'}\n")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "indegree.cli", "run", "long.yaml"],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "RUNNING" in line and "a#1" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 4
    assert not _left(place)


async def publish(settings: Settings) -> None:
    """Makes a workflow known and active in a cluster without an engine."""
    definition = Definition.from_normal({"id": "idle", "tasks": [{"id": "a", "command": "true"}]})
    pointer = VersionPointer(workflow="idle", version=definition.hash, time_ms=1, actor="test")
    producer = kafka.producer(settings)
    await kafka.start(producer, settings)
    try:
        rows = [*definition_records(definition), (b"active/idle", pointer.SerializeToString(), [])]
        await kafka.append_wait(producer, Topics(settings.cluster).workflows, 0, rows)
    finally:
        await producer.stop()


async def copy_events(place: Road, cluster: str) -> None:
    """Makes the topics of another cluster and copies the event log there, record by record, and nothing else."""
    await admin.ensure_topics(place.settings.with_values(cluster=cluster))
    source, target = Topics(place.settings.cluster).events, Topics(cluster).events
    producer = kafka.producer(place.settings)
    await kafka.start(producer, place.settings)
    tps = {TopicPartition(source, number): 0 for number in range(place.settings.topics.partitions)}
    try:
        async with kafka.reading(place.settings, tps) as reader:
            async for tp, records in kafka.read_range(reader, await reader.end_offsets(list(tps))):
                rows = [(record.key, record.value, list(record.headers)) for record in records]
                await kafka.append_wait(producer, target, tp.partition, rows)
    finally:
        await producer.stop()


def on_a_terminal(place: Road, *arguments: str) -> str:
    """What a person sees of `indegree ARGUMENTS` on a terminal of 100 columns, without control sequences."""
    command = [sys.executable, "-m", "indegree.cli", *arguments]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {**place.environment, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        command, cwd=place.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    seen = bytearray()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # EIO: the other side has closed it
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(20) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8", "replace"))


def _left(place: Road) -> list[str]:
    """Processes that an `indegree run` of this folder left behind, a moment after it ended."""
    served = {child.identity.pid for child in place.children}
    deadline = time.monotonic() + 15
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                family = {process.pid, *(parent.pid for parent in process.parents())}
                if process.cwd() == str(place.folder) and not family & served:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:  # gone, or somebody else's
                continue
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
