"""Both forms of a progress record say what its message says, and both are made from the same events."""

import json
from typing import Any

from indegree.engine.core import PartitionCore
from indegree.engine.progress_forms import JsonForm, ProtobufForm
from indegree.events.codec import decode_progress, to_json
from indegree.events.definition import Definition
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Origin, Start
from indegree.v1.value_pb2 import Error, Value

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
ODD = 'w"\\ü\n'  # what JSON has to escape


def frames() -> list[tuple[list[Progress], list[Progress]]]:
    """(from protobuf, from JSON) of each frame of a run with every kind of end."""
    core = PartitionCore(0, 1)
    core.announced(300, 1_764_000_000_000)
    found = []
    definition = Definition.from_normal(
        {
            "id": "flow",
            "params": {"n": {"default": [1, ODD]}},
            "tasks": [
                {"id": "a", "python": "m:a"},
                {"id": "b", "python": "m:b", "depends_on": ["a"], "retry": {"max_attempts": 1}},
                {"id": "c", "python": "m:c", "depends_on": ["b"]},
            ],
        }
    )

    task = Task()

    def cut() -> None:
        while (frame := core.cut()) is not None:
            effects = frame[1]
            found.append(
                (
                    [decode_progress(data) for *_, data in effects.projection.encoded(ProtobufForm())],
                    [decode_progress(data) for *_, data in effects.projection.encoded(JsonForm())],
                )
            )
            assert [record.log.index for record in effects.progress] == list(range(len(effects.progress)))
            core.release(effects)

    core.trigger(Start(workflow="flow", actor=ODD, request_id="q"), Origin(traceparent=TRACE), definition)
    cut()
    results: tuple[dict[str, Any], ...] = (
        {"kind": Result.STARTED},
        {"kind": Result.SUCCEEDED, "output": Value(json=b'{"x":\n[1, "\xc3\xbc"]}')},
        {"kind": Result.FAILED, "reason": "error", "error": Error(type="E", message=ODD)},
    )
    for offset, fields in enumerate(results):
        task = core.take("default", ODD) or task
        about: dict[str, Any] = {"run_id": task.run_id, "task": task.task, "attempt": 1, "worker": ODD}
        core.result(Result(**about, started_ms=5, finished_ms=7, **fields), offset)
        cut()
    assert not core.state.runs
    return found


def test_both_forms_say_the_same() -> None:
    types = []
    for from_protobuf, from_json in frames():
        plain = [to_json(record) for record in from_protobuf]
        assert plain == [to_json(record) for record in from_json]
        types += [record.type for record in from_protobuf]
    assert types == [
        "run.accepted", "run.running", "task.queued", "task.running", "task.success", "task.queued", "task.failed",
        "task.skipped", "run.failed",
    ]  # fmt: skip


def test_a_record_in_json_is_one_line_with_the_output_as_it_is() -> None:
    (success,) = [record for _, records in frames() for record in records if record.type == "task.success"]
    assert json.loads(success.output.json) == {"x": [1, "ü"]}
    assert b"\n" not in success.output.json
    assert (success.worker, success.started_ms, success.finished_ms) == (ODD, 5, 7)


def test_the_end_of_a_run_says_its_parameters() -> None:
    ends = [record for both in frames() for records in both for record in records if record.type == "run.failed"]
    assert [json.loads(end.params.json) for end in ends] == [{"n": [1, ODD]}] * 2


def test_a_record_names_its_workflow_kind_and_place() -> None:
    records = [record for records, _ in frames() for record in records]
    (success,) = [record for record in records if record.type == "task.success"]
    assert (success.workflow, len(success.version), success.state, success.task_id) == ("flow", 64, "SUCCESS", "a")
    assert (success.log.epoch, success.position, success.id) == (300, 5, f"{success.run_id}/5")
    assert success.traceparent == TRACE
