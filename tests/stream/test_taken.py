"""Records of users' topics, and of the cluster's own progress, as the core takes them."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from indegree.engine.intake import Route, is_of_run
from indegree.events.codec import progress_headers, progress_json
from indegree.events.definition import Definition
from indegree.events.trace import root_of
from indegree.stream.decoders import Decoders
from indegree.stream.taken import Taker, types_of
from indegree.stream.transport import Unreadable
from indegree.v1.progress_pb2 import Progress

TP = TopicPartition("orders", 1)
PROGRESS = TopicPartition("c.progress", 1)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(value: bytes | None, offset: int = 7, headers: Any = (), key: bytes | None = None) -> Any:
    return SimpleNamespace(value=value, offset=offset, headers=headers, key=key, timestamp=5, topic="", partition=0)


def take(*records: Any, tp: TopicPartition = TP, routes: Any = ()) -> Any:
    return asyncio.run(Taker(Decoders({}), PROGRESS.topic).take(tp, records, routes))


def of_runs(workflow: str, state: str, task: str | None = None) -> Route:
    """The route of a run trigger."""
    trigger = {"workflow": workflow, "state": state, **({"task": task} if task else {})}
    normal = {"id": "after", "tasks": [{"id": "a"}], "triggers": [{"run": trigger}]}
    return Route.of(Definition.from_normal(normal), [0])


def told(json_form: bool, headers: bool = True, **fields: Any) -> Any:
    progress = Progress(time_ms=5, **fields)
    data = progress_json(progress) if json_form else progress.SerializeToString()
    return record(data, headers=progress_headers(progress, "c", json_form) if headers else ())


def test_key_headers_and_trace_of_a_record() -> None:
    [taken] = take(record(b"1", headers=[("h", b"x"), ("traceparent", TRACE.encode()), ("h", b"y")], key=b"k"))
    assert (taken.data, taken.key, taken.headers["h"], taken.traceparent) == (b"1", b"k", "y", TRACE)


def test_a_record_without_a_trace_gets_the_same_one_each_time() -> None:
    [taken] = take(record(b"1"))
    assert taken.traceparent == root_of("orders", 1, 7)


def test_what_cannot_be_taken_apart_comes_with_the_reason() -> None:
    [taken] = take(Unreadable(7, "a header's name is not UTF-8"))
    assert (taken.data, taken.error) == (None, "a header's name is not UTF-8")


def test_ends_of_runs_are_decoded_in_either_form_and_all_else_is_passed_over() -> None:
    routes = [of_runs("w", "SUCCESS")]
    for json_form in (True, False):
        for headers in (True, False):
            end = told(json_form, headers, type="run.success", workflow="w", run_id="r", state="SUCCESS")
            other = told(json_form, headers, type="run.running", workflow="w", run_id="r")
            taken, passed = take(end, other, tp=PROGRESS, routes=routes)
            assert json.loads(taken.data)["run_id"] == "r"
            assert (passed.data, passed.error) == (None, "")


def test_the_types_that_run_triggers_ask_for() -> None:
    routes = [of_runs("w", "SUCCESS"), of_runs("w", "FAILED", task="load")]
    assert types_of(routes) == {b"indegree.run.success", b"indegree.task.failed"}


def test_a_run_trigger_takes_the_end_of_its_workflow_or_task() -> None:
    run: Any = of_runs("w", "SUCCESS").definition.triggers[0]
    task: Any = of_runs("w", "FAILED", "load").definition.triggers[0]
    assert is_of_run(run, {"type": "run.success", "workflow": "w"})
    assert not is_of_run(run, {"type": "run.success", "workflow": "v"})
    assert not is_of_run(run, {"type": "run.failed", "workflow": "w"})
    assert is_of_run(task, {"type": "task.failed", "workflow": "w", "task_id": "load"})
    assert not is_of_run(task, {"type": "task.failed", "workflow": "w", "task_id": "a"})
    assert not is_of_run(run, [1])
