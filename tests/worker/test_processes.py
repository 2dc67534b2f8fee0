"""Commands and isolated functions: real processes, and that none is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from indegree.v1.task_pb2 import Result
from indegree.worker.functions import Functions
from tests.worker.harness import Bench, argv, bench, call, key_of, output, shell


def alive(marker: str) -> list[int]:
    """Processes whose command line holds the marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if marker in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def until_file(b: Bench, path: Path) -> None:
    """Waits until a process has said, by a file, that it is there."""
    await b.until(path.exists)


async def test_a_command_without_output_is_null() -> None:
    async with bench() as b:
        result = await b.run(argv("echo", "hello  world"))
        assert output(result) is None
        assert result.log == "hello  world\n"


@pytest.mark.parametrize(
    ("script", "mode", "value"),
    [
        ("printf 'a\\nb\\n'", "text", "a\nb"),
        ("printf 'noise\\n{\"n\": 1}\\n\\n'", "json", {"n": 1}),
        ("echo 7; echo '[1]' > $INDEGREE_OUTPUT", "json", [1]),
        ("echo null", "json", None),
        ("printf '\\377'", "text", "\ufffd"),
        ("printf 'ü€'", "text", "ü€"),
        ("true", "text", ""),
    ],
)
async def test_output_becomes_the_value(script: str, mode: str, value: Any) -> None:
    async with bench() as b:
        assert output(await b.run(shell(script, output=mode))) == value


@pytest.mark.parametrize(
    ("script", "mode", "words"),
    [
        ("echo hello", "json", "not JSON"),
        ("true", "json", "neither the file $INDEGREE_OUTPUT nor a line"),
        ("head -c 5000 /dev/zero | tr '\\0' x", "text", "5000 bytes > limit 4096"),
        ("head -c 5000 /dev/zero | tr '\\0' x", "json", "5000 bytes > limit 4096"),
        ("head -c 5000 /dev/zero > $INDEGREE_OUTPUT", "json", "5000 bytes > limit 4096"),
        ("mkfifo $INDEGREE_OUTPUT", "json", "not a regular file"),
    ],
)
async def test_output_that_is_no_value_fails_for_good(script: str, mode: str, words: str) -> None:
    async with bench(payload_bytes=4096) as b:
        result = await b.run(shell(script, output=mode))
        assert (result.kind, result.error.permanent) == (Result.FAILED, True)
        assert words in result.error.message


async def test_input_goes_to_stdin_and_env_is_set_and_settings_are_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INDEGREE_KAFKA__SASL_PASSWORD", "hidden")
    monkeypatch.setenv("INDEGREE_SECRET_KEY", "open-sesame")
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with bench() as b:
        task = argv(
            "sh",
            "-c",
            'cat; echo; env; echo "key: $KEY"',
            input=b'{"a": 1}',
            env={"REASON": "because"},
            secrets=["KEY"],
            traceparent=parent,
            attempt=2,
        )
        log = (await b.run(task)).log
        assert log.startswith('{"a": 1}\n')
        for line in (
            "REASON=because",
            "KEY=***",
            "key: ***",
            f"TRACEPARENT={parent}",
            "INDEGREE_ATTEMPT=2",
            "PYTHONUTF8=1",
        ):
            assert line in log.splitlines()
        assert "hidden" not in log
        assert "sesame" not in log
        assert "SASL" not in log


@pytest.mark.parametrize(
    ("script", "mode", "value"),
    [
        ('echo "with $KEY"', "text", "with ***"),
        ("""printf '{"%s": ["%s!", 7]}' "$KEY" "$KEY\"""", "json", {"***": ["***!", 7]}),
        ("""printf '"%s"' "$KEY" >"$INDEGREE_OUTPUT\"""", "json", "***"),
        ("""printf '{"pin": %s, "n": 1, "yes": true}' "$PIN\"""", "json", {"pin": "***", "n": 1, "yes": True}),
    ],
)
async def test_a_secret_is_masked_in_the_value_that_a_command_prints(
    monkeypatch: pytest.MonkeyPatch, script: str, mode: str, value: Any
) -> None:
    monkeypatch.setenv("INDEGREE_SECRET_KEY", "open-sesame")
    monkeypatch.setenv("INDEGREE_SECRET_PIN", "20417766")
    async with bench() as b:
        result = await b.run(shell(script, output=mode, secrets=["KEY", "PIN"]))
        assert output(result) == value
        assert b"sesame" not in result.SerializeToString()


async def test_no_part_of_a_secret_is_in_the_error_about_what_is_not_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEGREE_SECRET_KEY", "open-sesame")
    script = """printf '%s %s' "$(head -c 70 /dev/zero | tr '\\0' x)" "$KEY" """
    async with bench() as b:
        result = await b.run(shell(script, output="json", secrets=["KEY"]))
        assert "is not JSON" in result.error.message
        assert "open" not in result.error.message


async def test_exit_codes_and_signals_are_told_apart() -> None:
    async with bench() as b:
        result = await b.run(shell("echo why >&2; exit 75"))
        assert (result.reason, result.error.type, result.error.exit_code) == ("error", "exit_code", 75)
        assert result.log == "why\n"
        result = await b.run(shell("kill -9 $$"))
        assert (result.reason, result.error.type, result.error.exit_code) == ("worker_lost", "signal", -9)
        assert "SIGKILL" in result.error.message


async def test_a_command_that_cannot_be_started_says_which() -> None:
    async with bench() as b:
        result = await b.run(argv("no-such-command-here"))
        assert (result.kind, result.error.type) == (Result.FAILED, "FileNotFoundError")
        assert "no-such-command-here" in result.error.message


async def test_a_worker_without_commands_rejects_them() -> None:
    async with bench(commands=False) as b:
        result = await b.run(shell("true"))
        assert result.kind == Result.REJECTED
        assert "--commands" in result.error.message


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600.{mark} & touch {ready}; sleep 600.{mark}",
        "trap '' TERM; sleep 600.{mark} & touch {ready}; while :; do sleep 600.{mark}; done",
        "setsid sleep 600.{mark} & touch {ready}; sleep 600.{mark}",
    ],
    ids=["children", "ignores-SIGTERM", "setsid"],
)
async def test_a_timeout_leaves_no_process(script: str, tmp_path: Path) -> None:
    mark = f"{os.getpid()}{time.monotonic_ns() % 1_000_000}"
    ready = tmp_path / "ready"
    async with bench(kill_after_s=0.3) as b:
        task = shell(script.format(mark=mark, ready=ready), timeout_ms=700)
        b.runner.submit([task])
        await until_file(b, ready)
        result = await b.final(task)
        assert (result.kind, result.reason) == (Result.FAILED, "timeout")
        assert alive(f"600.{mark}") == []
        assert b.runner.used == 0


async def test_what_a_command_leaves_in_its_group_is_ended_with_it() -> None:
    mark = f"{os.getpid()}{time.monotonic_ns() % 1_000_000}"
    async with bench(kill_after_s=0.3) as b:
        result = await b.run(shell(f"sleep 600.{mark} & echo done"), within_s=5)
        assert result.kind == Result.SUCCEEDED
        assert alive(f"600.{mark}") == []


async def test_a_stop_ends_a_command_and_a_stop_may_come_first(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    async with bench() as b:
        task = shell(f"touch {ready}; sleep 600")
        b.runner.submit([task])
        await until_file(b, ready)
        b.runner.stop(key_of(task), "cancelled")
        result = await b.final(task)
        assert (result.kind, result.reason) == (Result.STOPPED, "cancelled")
        # and: control is faster than tasks
        early = shell("sleep 600")
        b.runner.stop(key_of(early), "cancelled")
        assert (await b.run(early)).kind == Result.STOPPED


async def test_endless_output_is_bounded() -> None:
    async with bench(log_bytes=2000) as b:
        result = await b.run(shell("yes", timeout_ms=300))
        assert result.reason == "timeout"
        assert len(result.log) < 2100
        assert result.log.startswith("[... cut ...]")


# Isolated functions ------------------------------------------------------------------------------------------------

MODULE = """
import asyncio, os, sys, time
from pathlib import Path
from indegree.sdk.errors import Permanent

def add(a: int, b: int) -> int:
    print("adding", flush=True)
    os.write(2, b"from below\\n")
    return a + b

def die():
    os.kill(os.getpid(), 9)

def leave():
    os._exit(4)

def spin(ready):
    Path(ready).touch()
    while True:
        pass

def bad():
    raise Permanent("no")

async def slow(context):
    context.progress(0.25, "quarter")
    await asyncio.sleep(0.2)
    return [context.attempt, os.environ["TRACEPARENT"], os.getpid()]

def outer():
    def inner():
        return 1
    return inner

inner = outer()
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Functions:
    """Functions of a module in a file, imported here as the worker does."""
    (tmp_path / "isolated_flow.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("isolated_flow", None)
    import isolated_flow  # type: ignore[import-not-found]

    return Functions({"elsewhere:hidden": isolated_flow.inner}, [isolated_flow])


async def test_an_isolated_function_returns_and_its_output_is_captured(registry: Functions) -> None:
    async with bench(registry=registry) as b:
        result = await b.run(call("isolated_flow:add", {"a": 1, "b": 2}, isolate=True))
        assert output(result) == 3
        assert "adding\n" in result.log
        assert "from below\n" in result.log


async def test_an_isolated_async_function_has_context_and_trace(registry: Functions) -> None:
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with bench(registry=registry, progress_every_s=0.01) as b:
        task = call("isolated_flow:slow", isolate=True, attempt=3, traceparent=parent)
        b.runner.submit([task])
        result = await b.final(task)
        attempt, trace, pid = output(result)
        assert (attempt, trace) == (3, parent)
        assert pid != os.getpid()
        assert [r.message for r in b.of(task) if r.kind == Result.HEARTBEAT] == ["quarter"]


async def test_an_isolated_function_that_dies_is_a_lost_worker(registry: Functions) -> None:
    async with bench(registry=registry) as b:
        result = await b.run(call("isolated_flow:die", isolate=True))
        assert (result.reason, result.error.type, result.error.exit_code) == ("worker_lost", "signal", -9)
        result = await b.run(call("isolated_flow:leave", isolate=True))
        assert (result.reason, result.error.exit_code) == ("error", 4)
        result = await b.run(call("isolated_flow:bad", isolate=True))
        assert (result.error.type, result.error.permanent) == ("indegree.sdk.errors.Permanent", True)


async def test_an_isolated_endless_loop_can_be_stopped(registry: Functions, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    async with bench(registry=registry) as b:
        task = call("isolated_flow:spin", {"ready": str(ready)}, isolate=True)
        b.runner.submit([task])
        await until_file(b, ready)
        b.runner.stop(key_of(task), "cancelled")
        assert (await b.final(task, within_s=5)).kind == Result.STOPPED
        assert b.runner.used == 0


async def test_a_function_inside_another_cannot_be_isolated(registry: Functions) -> None:
    async with bench(registry=registry) as b:
        result = await b.run(call("elsewhere:hidden", isolate=True))
        assert result.error.permanent
        assert "process of its own" in result.error.message


# The worker's death ------------------------------------------------------------------------------------------------

DYING = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from tests.worker.harness import bench, shell

async def main():
    async with bench() as b:
        b.runner.submit([shell(sys.argv[2])])
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_processes_do_not_outlive_a_killed_worker(tmp_path: Path) -> None:
    mark = f"{os.getpid()}{time.monotonic_ns() % 1_000_000}"
    ready = tmp_path / "ready"
    root = str(Path(__file__).parents[2])
    command = f"sleep 600.{mark} & touch {ready}; sleep 600.{mark}"
    worker = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", DYING, root, command], cwd=root)
    try:
        async with bench() as b:
            await until_file(b, ready)
            worker.send_signal(signal.SIGKILL)
            await b.until(lambda: not alive(f"600.{mark}"), within_s=10)
    finally:
        worker.kill()
        await asyncio.to_thread(worker.wait)
