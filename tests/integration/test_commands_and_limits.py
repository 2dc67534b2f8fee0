"""What tasks do and what is done to them, end to end: rows of CASES that need a real worker.

Row 47 and 48 (bytes, tombstones) and the large result of row 50 stand in test_bad_input.py, row 63 (closed pipes) in
test_cli.py, row 65 (one trace) in test_trace.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indegree.v1.event_pb2 import Event
from tests.conftest import SharedStack
from tests.integration.stream_road import wait_until
from tests.integration.whole_road import Whole, whole

pytestmark = pytest.mark.integration

FLOWS = r"""
import asyncio
import os
import time

from indegree import Permanent, Retry, Workflow

def append(path: str, line: str) -> None:
    with open(path, "a") as out:
        out.write(line + "\n")

async def until(path: str) -> None:
    for _ in range(1_200):
        if os.path.exists(path):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(path)

spins = Workflow("spins", params={"pid": str})

@spins.task(isolate=True)
def spin(pid: str) -> None:
    append(pid, str(os.getpid()))
    while True:
        pass

stepwise = Workflow("stepwise", params={"folder": str})

async def step(folder: str, context) -> None:
    append(f"{folder}/began", context.task_id)
    await asyncio.sleep(0.5)

for number in range(1, 6):
    stepwise.add(step, id=f"t{number}", depends_on=[f"t{number - 1}"] if number > 1 else [])

texts = Workflow("texts", params={"what": str})

@texts.task
def say(what: str) -> str:
    match what:
        case "NUL in the output":
            return "a\x00b"
        case "NUL in the error":
            raise Permanent("no \x00 here")
        case "NUL on stdout":
            print("a\x00b")
            return "printed"
        case "a lone surrogate in the output":
            return "a\ud800b"
        case "a lone surrogate in the error":
            raise Permanent("no \ud800 here")
        case "a line of 2 MiB":
            print("x" * 2_097_152)
            return "logged"

@texts.task
def heard(say: str) -> list:
    return [say, len(say)]
"""

LATE = """
import os
import time

from indegree import Retry, Workflow

late = Workflow("late", params={"folder": str})

@late.task(timeout="1500ms", retry=Retry(max_attempts=2, delay="50ms", jitter=0.0))
def work(folder: str, context) -> str:
    with open(f"{folder}/ran", "a") as out:
        out.write(f"{context.attempt}\\n")
    if context.attempt == 1:
        time.sleep(3)
        return "old"
    return "new"

@late.task
def child(work: str, folder: str) -> str:
    with open(f"{folder}/child", "a") as out:
        out.write(work + "\\n")
    return work
"""


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("limits")
    worker = ["limit_flows", "--commands", "--slots", "8", "--set", "worker.kill_after_s=0.5"]
    with whole(stack, folder, modules={"limit_flows": FLOWS, "late_flows": LATE}, worker=worker) as found:
        yield found


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def processes(mark: str) -> list[str]:
    """Command lines of the processes that carry this mark, zombies left out."""
    listed = subprocess.run(["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if mark in line and not line.startswith("Z")]


def deploy(place: Whole, name: str, text: str) -> None:
    (place.folder / f"{name}.yaml").write_text(text)
    done = place.commands.command("workflow", "deploy", f"{name}.yaml")
    assert done.returncode == 0, done.stderr


def slots_used(place: Whole) -> int:
    return sum(worker.used for worker in place.workers().values())


@pytest.mark.parametrize(
    "script",
    [
        "sleep MARK & sleep MARK",
        "trap '' TERM; sleep MARK & while :; do sleep MARK; done",
        "setsid sleep MARK & sleep MARK",
    ],
    ids=["children", "ignores SIGTERM", "setsid"],
)
def test_a_timed_out_command_leaves_no_process_and_no_slot(place: Whole, script: str) -> None:  # CASES row 31
    mark = f"600.{uuid.uuid4().int % 10**12:012d}"
    name = f"sleeps-{uuid.uuid4().hex[:6]}"
    command = script.replace("MARK", mark)
    deploy(place, name, f"id: {name}\ntasks:\n  - id: a\n    timeout: 1s\n    command: |\n      {command}\n")
    run = place.start(name)
    wait_until(lambda: processes(mark), "the command runs")
    assert place.ended(run) == "FAILED"
    failed = place.wait_for(run, "task.failed", "a")
    assert failed["reason"] == "timeout"
    assert "took longer than its timeout of 1" in failed["error"]["message"]
    wait_until(lambda: not processes(mark), "no process of it is left", 5)
    wait_until(lambda: slots_used(place) == 0, "its slot is free")


def test_a_cancelled_endless_loop_is_gone_and_its_slot_free(place: Whole) -> None:  # CASES row 33
    pid = place.folder / f"pid-{uuid.uuid4().hex}"
    run = place.start("spins", {"pid": str(pid)}, 1)
    (number,) = wait_until(lambda: lines(pid), "the loop runs")
    begun = time.monotonic()
    done = place.commands.command("cancel", run, "--reason", "enough")
    assert (done.returncode, done.stdout.strip()) == (0, f"{run} CANCELLED")
    wait_until(lambda: not Path(f"/proc/{number}").exists(), "its process is gone", 5)
    wait_until(lambda: slots_used(place) == 0, "its slot is free", 5)
    assert time.monotonic() - begun < 8
    assert place.wait_for(run, "task.cancelled", "spin")["attempt"] == 1


def test_a_cancelled_run_starts_no_further_task(place: Whole) -> None:  # CASES row 34
    folder = place.folder / uuid.uuid4().hex
    folder.mkdir()
    run = place.start("stepwise", {"folder": str(folder)}, 1)
    wait_until(lambda: "t2" in lines(folder / "began"), "the second one runs")
    cancel = json.dumps({"request_id": run, "cancel": {"run_id": run, "reason": "enough"}})
    place.kafka.produce("commands", [(1, None, cancel.encode())])
    assert place.ended(run) == "CANCELLED"
    assert lines(folder / "began") == ["t1", "t2"]
    story = place.story(run)
    cancelled = [task for type_, task, _ in story if type_ == "task.cancelled"]
    assert cancelled == ["t2", "t3", "t4", "t5"]
    first = [type_ for type_, _, _ in story].index("task.cancelled")
    assert {type_ for type_, _, _ in story[first:]} == {"task.cancelled", "run.cancelled"}


def test_a_run_keeps_the_version_of_its_first_event_whatever_is_deployed_meanwhile(place: Whole) -> None:  # row 44
    gate, name = place.folder / uuid.uuid4().hex, f"changes-{uuid.uuid4().hex[:6]}"
    wait = f"while ! test -e {gate}; do sleep 0.05; done"
    a = f"  - {{id: a, command: '{wait}'}}\n"
    deploy(place, name, f"id: {name}\ntasks:\n{a}  - {{id: b, depends_on: [a], command: 'true'}}\n")
    old = place.start(name)
    place.wait_for(old, "task.running", "a")
    deploy(place, name, f"id: {name}\ntasks:\n{a}  - {{id: c, depends_on: [a], command: 'true'}}\n")
    new = place.start(name)
    gate.touch()
    assert (place.ended(old), place.ended(new)) == ("SUCCESS", "SUCCESS")
    assert {task for _, task, _ in place.story(old) if task} == {"a", "b"}
    assert {task for _, task, _ in place.story(new) if task} == {"a", "c"}
    versions = [place.progress(run, "run.accepted")[0]["version"] for run in (old, new)]
    assert len(set(versions)) == 2
    shown = place.lines("show", old)[0]
    assert (shown["version"], [task["id"] for task in shown["tasks"]]) == (versions[0], ["a", "b"])


def test_nul_surrogates_and_a_line_of_2_mib_never_leave_a_run_hanging(place: Whole) -> None:  # CASES rows 50, 55
    whats = ["NUL in the output", "NUL in the error", "NUL on stdout", "a lone surrogate in the output"]
    whats += ["a lone surrogate in the error", "a line of 2 MiB"]
    runs = {what: place.start("texts", {"what": what}, number % 2) for number, what in enumerate(whats)}
    states = {what: place.ended(run) for what, run in runs.items()}

    def output(what: str, task: str) -> Any:
        return place.wait_for(runs[what], "task.success", task)["output"]

    def error(what: str) -> str:
        return str(place.wait_for(runs[what], "task.failed", "say")["error"]["message"])

    assert (states["NUL in the output"], output("NUL in the output", "heard")) == ("SUCCESS", ["a\x00b", 3])
    assert (states["NUL on stdout"], output("NUL on stdout", "say")) == ("SUCCESS", "printed")
    assert states["NUL in the error"] == states["a lone surrogate in the error"] == "FAILED"
    assert (error("NUL in the error"), error("a lone surrogate in the error")) == ("no \x00 here", "no \\ud800 here")
    assert states["a lone surrogate in the output"] == "FAILED"
    assert "surrogate" in error("a lone surrogate in the output")
    assert states["a line of 2 MiB"] == "SUCCESS"
    log = place.commands.command("logs", runs["a line of 2 MiB"]).stdout
    assert "x" * 1_000 in log
    assert len(log) < 40_000
    assert "[... cut ...]" in log


def test_a_late_completion_of_a_timed_out_attempt_is_stale_and_drives_nothing(place: Whole) -> None:  # CASES row 29
    place.commands.command("workflow", "deploy", "late_flows")
    folder = place.folder / uuid.uuid4().hex
    folder.mkdir()
    frozen = place.worker("late_flows", "--slots", "1")  # the only one with the code
    run = place.start("late", {"folder": str(folder)}, 1)
    bound = place.wait_for(run, "task.running", "work")["worker"]
    os.kill(frozen.identity.pid, signal.SIGSTOP)
    try:
        place.worker("late_flows", "--slots", "1")
        assert place.ended(run) == "SUCCESS"
        assert place.wait_for(run, "task.success", "child")["output"] == "new"
    finally:
        os.kill(frozen.identity.pid, signal.SIGCONT)

    def stale() -> list[Event]:
        found, last = [], ""
        for _, frame, _ in place.kafka.frames().get(1, []):
            for event in frame.events:
                last = event.run_id or last
                if last == run and event.kind == Event.RESULT_STALE:
                    found.append(event)
        return found

    late = wait_until(stale, "the late completion is recorded")
    assert {(event.attempt, event.worker) for event in late} >= {(1, bound)}
    assert place.wait_for(run, "task.retrying", "work")["reason"] in ("timeout", "worker_lost")
    assert lines(folder / "child") == ["new"]
    assert [step for step in place.story(run) if step[:2] == ("task.success", "child")] == [
        ("task.success", "child", 1)
    ]
