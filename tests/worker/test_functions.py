"""Functions: how they are called, what they return, how they fail."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import os
import sys
import threading
import time
import types
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from indegree.v1.task_pb2 import Result
from indegree.worker.context import Context
from indegree.worker.functions import Functions
from tests.worker.harness import bench, call, key_of, output


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Order:
    number: int
    at: datetime
    colour: Colour


async def test_a_function_gets_only_the_arguments_that_it_takes() -> None:
    # given
    def add(a: int, b: int = 5) -> int:
        return a + b

    async with bench({"add": add}) as b:
        # when, then
        assert output(await b.run(call("add", {"a": 1, "b": 2, "other": [1]}))) == 3
        assert output(await b.run(call("add", {"a": 1}))) == 6


async def test_annotations_convert_arguments_and_outputs() -> None:
    def ship(order: Order) -> Order:
        assert isinstance(order, Order)
        assert isinstance(order.colour, Enum)
        return dataclasses.replace(order, number=order.number + 1)

    async with bench({"ship": ship}) as b:
        at = datetime(2026, 11, 25, tzinfo=UTC).isoformat()
        result = await b.run(call("ship", {"order": {"number": 2**53, "at": at, "colour": "red"}}))
        assert output(result) == {"number": 2**53 + 1, "at": at, "colour": "red"}


async def test_an_argument_that_does_not_fit_fails_at_once_with_its_path() -> None:
    def total(rows: list[int]) -> int:
        return sum(rows)

    async with bench({"total": total}) as b:
        result = await b.run(call("total", {"rows": [1, "x"]}))
        assert result.kind == Result.FAILED
        assert result.error.permanent
        assert "rows" in result.error.message
        assert "$[1]" in result.error.message


async def test_a_missing_argument_is_named() -> None:
    def total(rows: list[int]) -> int:
        return sum(rows)

    async with bench({"total": total}) as b:
        result = await b.run(call("total", {"row": []}))
        assert result.error.permanent
        assert "'rows'" in result.error.message
        assert "'row'" in result.error.message


async def test_an_async_function_runs_and_is_cancelled_at_its_timeout() -> None:
    cleaned = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    async def quick(x: int) -> int:
        await asyncio.sleep(0)
        return x

    async with bench({"wait": wait, "quick": quick}) as b:
        assert output(await b.run(call("quick", {"x": 4}))) == 4
        result = await b.run(call("wait", timeout_ms=100))
        assert (result.kind, result.reason, result.error.type) == (Result.FAILED, "timeout", "timeout")
        assert cleaned.is_set()
        assert b.runner.used == 0


async def test_a_blocking_coroutine_does_not_stop_the_worker() -> None:
    async def block() -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - that is the fault under test

    async with bench({"block": block}) as b:
        task = call("block")
        b.runner.submit([task])
        started = await b.heard(task, Result.STARTED)
        assert started.started_ms > 0
        assert not [r for r in b.of(task) if r.kind == Result.SUCCEEDED]
        await b.final(task)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "NaN"),
        ({"a": [1, {2, 3}]}, "$.a[1]"),
        ({1: "x"}, "key"),
        ("\ud800", "surrogate"),
        (datetime(2026, 1, 1), "naive"),
        (object(), "object"),
    ],
    ids=["nan", "set", "key", "surrogate", "naive", "object"],
)
async def test_an_output_that_is_not_json_fails_at_once_with_the_path(value: Any, words: str) -> None:
    async with bench({"give": lambda: value}) as b:
        result = await b.run(call("give"))
        assert (result.kind, result.error.permanent) == (Result.FAILED, True)
        assert words in result.error.message


async def test_a_deep_output_fails_and_does_not_kill_the_worker() -> None:
    def deep() -> Any:
        value: Any = []
        for _ in range(2000):
            value = [value]
        return value

    def endless() -> Any:
        value: list[Any] = []
        value.append(value)
        return value

    async with bench({"deep": deep, "endless": endless, "fine": lambda: 1}) as b:
        for name in ("deep", "endless"):
            result = await b.run(call(name))
            assert result.kind == Result.FAILED
            assert "nested deeper" in result.error.message
        assert output(await b.run(call("fine"))) == 1


async def test_a_result_over_the_limit_is_refused_with_both_numbers() -> None:
    async with bench({"big": lambda: "x" * 2_097_152}, payload_bytes=4096) as b:
        result = await b.run(call("big"))
        assert result.kind == Result.FAILED
        assert result.error.permanent
        assert "result too large: 2097154 bytes > limit 4096" in result.error.message
        assert "limits.payload_bytes" in result.error.message


@pytest.mark.parametrize("value", ["a\x00b", "ü€😀", 2**53 + 1, [None, True, 1.5], {"": {}}, ""])
async def test_a_value_comes_back_equal(value: Any) -> None:
    async with bench({"same": lambda v: v}) as b:
        assert output(await b.run(call("same", {"v": value}))) == value


async def test_nul_and_surrogates_in_an_error_and_in_output_are_recorded() -> None:
    def bad() -> None:
        print("\x00 \ud800")
        raise ValueError("\x00 \ud800")

    async with bench({"bad": bad}) as b:
        result = await b.run(call("bad"))
        assert result.kind == Result.FAILED
        assert result.error.message == "\x00 \\ud800"
        assert "\x00" in result.log


async def test_an_error_whose_text_cannot_be_made_is_recorded() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def bad() -> None:
        raise Odd

    async with bench({"bad": bad}) as b:
        result = await b.run(call("bad"))
        assert "could not be made" in result.error.message


async def test_an_error_carries_its_type_its_bases_and_where_it_was_raised() -> None:
    def bad() -> None:
        os.stat("/no/such/file")

    async with bench({"bad": bad}) as b:
        error = (await b.run(call("bad"))).error
        assert error.type == "FileNotFoundError"
        assert list(error.bases) == ["OSError", "Exception", "BaseException"]
        assert "in bad" in error.traceback
        assert "indegree/worker" not in error.traceback
        assert not error.permanent


async def test_permanent_is_recognised() -> None:
    from indegree.sdk.errors import Permanent

    def bad() -> None:
        raise Permanent("never")

    async with bench({"bad": bad}) as b:
        assert (await b.run(call("bad"))).error.permanent


async def test_cause_cycles_and_long_chains_end_with_a_mark() -> None:  # CASES row 53
    def itself() -> None:
        e = ValueError("me")
        raise e from e

    def two() -> None:
        a, b = ValueError("a"), ValueError("b")
        a.__cause__, b.__cause__ = b, a
        raise a

    def long() -> None:
        e: BaseException = ValueError("0")
        for number in range(1, 5000):
            following = ValueError(str(number))
            following.__cause__ = e
            e = following
        raise e

    async with bench({"itself": itself, "two": two, "long": long}) as b:
        for name, causes in (("itself", 0), ("two", 1), ("long", 10)):
            error = (await b.run(call(name))).error
            assert (error.cut, len(error.causes)) == (True, causes)


async def test_a_message_of_two_mebibytes_is_cut_with_a_mark() -> None:
    def bad() -> None:
        raise ValueError("x" * 2_097_152)

    async with bench({"bad": bad}) as b:
        result = await b.run(call("bad"))
        assert result.error.cut
        assert "[... cut ...]" in result.error.message
        assert result.ByteSize() < 100_000


async def test_sys_exit_fails_the_task_and_not_the_worker() -> None:
    async with bench({"leave": lambda: sys.exit(3), "fine": lambda: 1}) as b:
        error = (await b.run(call("leave"))).error
        assert (error.type, error.exit_code) == ("SystemExit", 3)
        assert output(await b.run(call("fine"))) == 1


async def test_output_of_tasks_that_run_together_is_kept_apart() -> None:
    gate = threading.Barrier(2)

    def speak(word: str) -> None:
        gate.wait(10)
        for _ in range(5):
            print(word)
            print(word, file=sys.stderr)
            logging.getLogger("user").warning("log %s", word)
        sys.stdout.buffer.write(word.encode())

    async with bench({"speak": speak}) as b:
        tasks = [call("speak", {"word": word}) for word in ("alpha", "beta")]
        b.runner.submit(tasks)
        one, two = [(await b.final(task)).log for task in tasks]
        assert one.count("alpha") == 16
        assert two.count("beta") == 16
        assert "beta" not in one
        assert "alpha" not in two


async def test_an_async_function_and_to_thread_have_their_output_captured() -> None:
    async def speak() -> None:
        print("from the loop")
        await asyncio.to_thread(print, "from a thread")

    async with bench({"speak": speak}) as b:
        log = (await b.run(call("speak"))).log
        assert "from the loop" in log
        assert "from a thread" in log


async def test_a_line_of_two_mebibytes_is_cut_with_a_mark() -> None:
    async with bench({"speak": lambda: print("x" * 2_097_152 + "end")}, log_bytes=1000) as b:
        log = (await b.run(call("speak"))).log
        assert log.startswith("[... cut ...]")
        assert log.endswith("end\n")
        assert len(log.encode()) < 1100


async def test_a_secret_is_given_and_masked_in_output_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEGREE_SECRET_TOKEN", "s3cr3t-value")

    def use(context: Context) -> None:
        print("token:", context.secrets["TOKEN"])
        raise ValueError(context.secrets["TOKEN"])

    async with bench({"use": use}) as b:
        result = await b.run(call("use", secrets=["TOKEN"]))
        assert "s3cr3t" not in str(result)
        assert "token: ***" in result.log
        assert result.error.message == "***"
        missing = await b.run(call("use", secrets=["NOBODY"]))
        assert missing.kind == Result.REJECTED
        assert "INDEGREE_SECRET_NOBODY" in missing.error.message


async def test_no_part_of_a_secret_is_left_where_the_text_of_progress_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEGREE_SECRET_TOKEN", "s3cr3t-value")
    go = threading.Event()

    def tell(context: Context) -> None:
        context.progress(0.5, "x" * 493 + context.secrets["TOKEN"])
        go.wait(10)

    async with bench({"tell": tell}, progress_every_s=0.01) as b:
        task = call("tell", secrets=["TOKEN"])
        b.runner.submit([task])
        beat = await b.heard(task, Result.HEARTBEAT)
        go.set()
        assert beat.message == "x" * 493 + "***"
        await b.final(task)


async def test_a_secret_is_masked_in_what_a_function_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEGREE_SECRET_TOKEN", 's3cr3t "value"')

    def give(context: Context) -> dict[str, Any]:
        return {"url": f"https://x/?t={context.secrets['TOKEN']}", "n": [1, context.secrets["TOKEN"]]}

    async with bench({"give": give}) as b:
        result = await b.run(call("give", secrets=["TOKEN"]))
        assert json.loads(result.output.json) == {"url": "https://x/?t=***", "n": [1, "***"]}


async def test_context_tells_who_runs_and_reports_progress() -> None:
    go = threading.Event()

    def work(context: Context) -> dict[str, Any]:
        context.progress(0.5, "half")
        context.logger.info("hello")
        go.wait(10)
        assert Context.current().run_id == context.run_id
        return {"task": context.task_id, "attempt": context.attempt, "workflow": context.workflow}

    async with bench({"work": work}, progress_every_s=0.01) as b:
        task = call("work", attempt=2)
        b.runner.submit([task])
        beat = await b.heard(task, Result.HEARTBEAT)
        assert (beat.progress, beat.message) == (0.5, "half")
        go.set()
        result = await b.final(task)
        assert output(result) == {"task": "t", "attempt": 2, "workflow": "orders"}
        assert "INFO indegree.task: hello" in result.log


async def test_a_thread_over_its_time_limit_ends_for_the_engine_and_keeps_its_slot() -> None:
    go = threading.Event()
    seen: list[bool] = []

    def stubborn(context: Context) -> None:
        go.wait(20)
        seen.append(context.cancelled)

    async with bench({"stubborn": stubborn}, slots=2) as b:
        result = await b.run(call("stubborn", timeout_ms=80))
        assert (result.kind, result.reason) == (Result.FAILED, "timeout")
        assert (b.runner.used, b.runner.abandoned) == (1, 1)
        # when its function returns
        go.set()
        await b.until(lambda: b.runner.abandoned == 0)
        # then the slot is free, and nothing more was said
        assert b.runner.used == 0
        assert seen == [True]
        assert len([r for r in b.results if r.kind != Result.STARTED]) == 1


async def test_many_blocking_functions_run_at_the_same_time() -> None:
    gate = threading.Barrier(32)

    def meet() -> None:
        gate.wait(10)

    async with bench({"meet": meet}, slots=32) as b:
        tasks = [call("meet") for _ in range(32)]
        b.runner.submit(tasks)
        for task in tasks:
            assert (await b.final(task)).kind == Result.SUCCEEDED


async def test_only_given_and_allowed_functions_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a module that imports another one
    module = types.ModuleType("shop.orders")
    exec("import os\nfrom os import system\ndef ok():\n    return 1\nclass Thing: pass\n", module.__dict__)
    (tmp_path / "allowed_later").mkdir()
    (tmp_path / "allowed_later" / "flow.py").write_text("def two():\n    return 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Functions(modules=[module], allow=["allowed_later.*"])
    async with bench(registry=registry) as b:
        assert output(await b.run(call("shop.orders:ok"))) == 1
        for name, words in (
            ("shop.orders:os.system", "not given"),
            ("shop.orders:system", "not given"),
            ("os:system", "was not given the module 'os'"),
            ("shop.orders:missing", "has no 'missing'"),
            ("shop.orders:Thing", "not a function"),
        ):
            result = await b.run(call(name))
            assert result.kind == Result.REJECTED, name
            assert words in result.error.message
        # and a module that is allowed is imported when it is first named
        assert output(await b.run(call("allowed_later.flow:two"))) == 2
        missing = await b.run(call("allowed_later.nothing:x"))
        assert missing.error.message.startswith("module 'allowed_later.nothing' cannot be imported")


async def test_the_trace_context_is_current_in_user_code() -> None:
    from opentelemetry import trace

    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"

    def see(context: Context) -> list[str]:
        span = trace.get_current_span().get_span_context()
        return [f"{span.trace_id:032x}", context.traceparent]

    async with bench({"see": see}) as b:
        result = await b.run(call("see", traceparent=parent))
        assert output(result) == ["a" * 32, parent]
        assert result.traceparent == parent


async def test_a_stop_ends_an_async_function_and_says_so() -> None:
    async def wait() -> None:
        await asyncio.sleep(60)

    async with bench({"wait": wait}) as b:
        task = call("wait")
        b.runner.submit([task])
        await b.heard(task, Result.STARTED)
        b.runner.stop(key_of(task), "cancelled")
        result = await b.final(task)
        assert (result.kind, result.reason) == (Result.STOPPED, "cancelled")


async def test_the_context_knows_the_trigger_the_index_and_states_of_parents() -> None:
    def look(context: Context) -> list[Any]:
        trigger = context.trigger or {}
        return [trigger.get("date"), context.index, context.state("load"), context.state("check")]

    async with bench({"look": look}) as b:
        trigger = json.dumps({"date": "2026-11-25", "value": {"a": 1}}).encode()
        told = call("look", trigger=trigger, index=0, states={"load": "SKIPPED"})
        assert output(await b.run(told)) == ["2026-11-25", 0, "SKIPPED", "SUCCESS"]
        assert output(await b.run(call("look"))) == [None, None, "SUCCESS", "SUCCESS"]


async def test_a_state_that_was_cut_off_is_not_guessed() -> None:
    def look(context: Context) -> str:
        return context.state("a") + context.state("b")

    async with bench({"look": look}) as b:
        result = await b.run(call("look", states={"a": "FAILED"}, states_cut=True))
        assert "NotAvailable" in result.error.type
        assert 'tasks["b"].state' in result.error.message
