"""`simulate` shows what the real engine does with a user's workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from indegree.events.definition import Definition
from indegree.sdk.errors import Permanent
from indegree.sdk.options import Defaults, Retry
from indegree.sdk.workflow import Workflow
from indegree.testing import StartRefused, simulate


def orders(**options: Any) -> Workflow:
    flow = Workflow("orders", params={"region": str, "rows": 2}, **options)

    @flow.task
    def extract(region: str, rows: int) -> list[str]:
        return [f"{region}-{i}" for i in range(rows)]

    @flow.task
    def check(extract: list[str]) -> dict[str, Any]:
        return {"ok": len(extract) > 1, "reason": "too few"}

    @flow.task(when="check.ok")
    def load(extract: list[str]) -> int:
        return len(extract)

    flow.command("quarantine", './quarantine.sh "$REASON"', when="not check.ok", env={"REASON": "${{ check.reason }}"})

    @flow.task(trigger_rule="none_failed_min_one_success", depends_on=["quarantine"])
    def report(load: int | None) -> str:
        return f"loaded {load}"

    return flow


def test_functions_are_called_with_their_parents_outputs() -> None:
    result = simulate(orders(), {"region": "eu"})

    assert result.state == "SUCCESS"
    assert result["extract"].output == ["eu-0", "eu-1"]
    assert (result["load"].state, result["load"].output) == ("SUCCESS", 2)
    assert (result["quarantine"].state, result["quarantine"].reason) == ("SKIPPED", "condition")
    assert result["report"].output == "loaded 2"


def test_the_other_branch_runs_when_the_condition_is_false() -> None:
    result = simulate(orders(), {"region": "eu", "rows": 1})

    assert (result["load"].state, result["quarantine"].state) == ("SKIPPED", "SUCCESS")
    assert result["report"].output == "loaded None"


def test_a_failed_attempt_is_tried_again_and_time_jumps_over_the_delay() -> None:
    flow = orders(defaults=Defaults(retry=Retry(max_attempts=3, delay="1h", backoff=2)))

    result = simulate(flow, {"region": "eu"}, fail={"extract": [OSError("down"), OSError("down"), None]})

    assert (result.state, result["extract"].attempts) == ("SUCCESS", 3)
    assert result.elapsed_ms >= 3 * 3_600_000


def test_a_task_without_attempts_left_fails_the_run_at_once() -> None:  # CASES row 23
    flow = orders(defaults=Defaults(retry=Retry(max_attempts=2, delay="60s")))

    result = simulate(flow, {"region": "eu"}, fail={"extract": OSError("down")})

    assert (result.state, result["extract"].state, result["extract"].attempts) == ("FAILED", "FAILED", 2)
    assert result["extract"].error is not None
    assert (result["extract"].error.type, result["extract"].error.message) == ("OSError", "down")
    assert result.elapsed_ms == 60_000, "one delay between two attempts, none after the last"
    assert (result["check"].state, result["check"].reason) == ("SKIPPED", "upstream_failed")


def test_permanent_is_not_retried() -> None:
    flow = orders(defaults=Defaults(retry=Retry(max_attempts=5)))

    result = simulate(flow, {"region": "eu"}, fail={"extract": Permanent("no such region")})

    assert result["extract"].attempts == 1


@pytest.mark.parametrize("word", ["timeout", "worker_lost"])
def test_a_timeout_and_a_lost_worker_can_be_played(word: str) -> None:
    flow = orders(defaults=Defaults(retry=Retry(max_attempts=2)))

    result = simulate(flow, {"region": "eu"}, fail={"extract": [word]})

    assert (result.state, result["extract"].attempts) == ("SUCCESS", 2)
    assert f"attempt 1 failed at simulated: {word}" in result.history("extract")


def test_given_outputs_stand_in_for_functions_and_commands() -> None:
    result = simulate(orders(), {"region": "eu"}, outputs={"check": {"ok": False, "reason": "x"}, "quarantine": 7})

    assert (result["load"].state, result["quarantine"].output) == ("SKIPPED", 7)
    assert ("check", 1) in result.calls


def test_every_order_of_ready_tasks_gives_the_same_end() -> None:
    ends = set()
    for seed in range(10):
        result = simulate(orders(), {"region": "eu"}, seed=seed)
        ends.add(tuple((t.id, t.state, repr(t.output)) for t in result))
    assert len(ends) == 1


@dataclass
class Order:
    name: str
    at: datetime


def test_values_are_converted_by_the_annotations() -> None:
    flow = Workflow("typed")

    @flow.task
    def make() -> Order:
        return Order("x", datetime(2026, 1, 1, tzinfo=UTC))

    @flow.task
    def use(make: Order) -> str:
        return f"{make.name} {make.at.year}"

    result = simulate(flow)

    assert result["use"].output == "x 2026"


def test_an_output_that_is_not_json_fails_its_task_at_once_with_the_path() -> None:
    flow = Workflow("bad", defaults=Defaults(retry=Retry(max_attempts=5)))

    @flow.task
    def make() -> Any:
        return {"rows": [1.0, float("nan")]}

    result = simulate(flow)

    assert (result["make"].state, result["make"].attempts) == ("FAILED", 1)
    assert result["make"].error is not None
    assert "rows[1]" in result["make"].error.message


def test_async_functions_and_the_context_work() -> None:
    flow = Workflow("ctx")

    @flow.task
    async def first(context: Any) -> int:
        context.progress(0.5, "half")
        return int(context.attempt)

    @flow.task
    def second(first: int, context: Any) -> str:
        return str(context.state("first"))

    result = simulate(flow)

    assert (result["first"].output, result["second"].output) == (1, "SUCCESS")


def test_a_start_that_the_engine_refuses_raises_its_reason() -> None:
    with pytest.raises(StartRefused, match=r"'region'.*required"):
        simulate(orders())


def test_a_misspelt_task_in_fail_is_named() -> None:
    with pytest.raises(KeyError, match="extrct"):
        simulate(orders(), {"region": "eu"}, fail={"extrct": OSError()})


def test_a_cancelled_run_starts_nothing_more() -> None:  # CASES row 34
    flow = Workflow("chain")
    for i in range(5):
        flow.command(f"t{i}", "sleep 1", depends_on=[f"t{i - 1}"] if i else [])

    result = simulate(flow, cancel_after=2)

    assert result.state == "CANCELLED"
    assert [t.state for t in result] == ["SUCCESS", "SUCCESS", "CANCELLED", "CANCELLED", "CANCELLED"]
    assert len(result.calls) == 2


def test_a_definition_of_a_file_runs_with_imported_functions() -> None:
    definition = Definition.from_normal({"id": "w", "tasks": [{"id": "a", "python": "math:sqrt", "args": {}}]})

    result = simulate(definition, outputs={"a": 3})

    assert result["a"].output == 3


def test_the_history_is_text_from_the_log() -> None:
    result = simulate(orders(), {"region": "eu"})

    lines = result.history().splitlines()
    assert "started: orders" in lines[1]
    assert any("load" in line and "SUCCESS, attempt 1 at simulated, 0 ms, output 2" in line for line in lines)
    assert "SUCCESS" in lines[-1]
    assert "run  " in lines[-1]


def test_the_context_is_what_a_worker_would_give() -> None:
    made = Workflow("w", params={"n": [5]})

    @made.task(foreach="params.n")
    def each(item: int, context: Any) -> list[Any]:
        return [context.index, context.trigger and context.trigger["key"]]

    @made.task(depends_on=["each"])
    def after(context: Any) -> str:
        return str(context.state("each"))

    @made.task
    def stranger(context: Any) -> str:
        return str(context.state("each"))

    result = simulate(made, trigger={"key": "k", "value": None})
    assert result["each"].output == [[0, "k"]]
    assert (result["after"].output, result["stranger"].state) == ("SUCCESS", "FAILED")
    assert "add 'each' to depends_on" in result["stranger"].error.message  # type: ignore[union-attr]
    assert simulate(made)["each"].output == [[0, None]]
