"""Sizes that a scheduler must bear: a chain of 10,000, and a root with a wide middle and a join."""

from __future__ import annotations

from typing import Any

import pytest

from indegree import Workflow
from indegree.engine.core import PartitionCore
from indegree.engine.invariants import check
from indegree.events import json_values
from indegree.events.definition import Definition
from indegree.testing import simulate
from indegree.v1.event_pb2 import Frame
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Origin, Start
from tests.engine.road import workflow


def finish(definition: Definition) -> tuple[list[bytes], int]:
    """Runs a definition to its end; the frames, and how many tasks were given to workers."""
    core = PartitionCore(0, 1)
    core.announced(1, 1)
    core.begin(1)
    core.trigger(Start(workflow="w"), Origin(), definition)
    frames, count, offset = [], 0, 0
    while core.state.runs:
        more = core.proceed()
        while (cut := core.cut()) is not None:
            frames.append(cut[0].SerializeToString())
            core.release(cut[1])
        tasks = []
        while len(tasks) < 1_000 and (task := core.take("default", "w")) is not None:
            tasks.append(task)
        core.begin(1 + offset)
        for task in tasks:
            result = Result(kind=3, run_id=task.run_id, task=task.task, attempt=task.attempt, worker="w")
            core.result(result, offset)
            offset += 1
        count += len(tasks)
        assert tasks or more or not core.state.runs
    while (cut := core.cut()) is not None:
        frames.append(cut[0].SerializeToString())
    check(core.state)
    return frames, count


@pytest.mark.parametrize(
    "tasks",
    [
        [{"id": f"t{i}", "depends_on": [f"t{i - 1}"] if i else []} for i in range(10_000)],
        [
            {"id": "root"},
            *[{"id": f"t{i}", "depends_on": ["root"]} for i in range(20_000)],
            {"id": "last", "depends_on": [f"t{i}" for i in range(20_000)]},
        ],
    ],
    ids=["chain", "wide"],
)
def test_a_large_run_ends_with_every_task_run_once_and_replays(tasks: list[dict[str, object]]) -> None:
    frames, count = finish(workflow(*tasks))
    assert count == len(tasks)
    assert max(map(len, frames)) < 1_100_000
    core = PartitionCore(0, 1)
    for data in frames:
        core.replay(Frame.FromString(data))
    assert not core.state.runs
    assert len(core.state.windows.ended) == 1


def test_a_failed_root_skips_a_chain_of_10000_without_recursion() -> None:
    chain = [{"id": f"t{i}", "depends_on": [f"t{i - 1}"] if i else []} for i in range(10_000)]
    chain[0]["when"] = "false"
    _, count = finish(workflow(*chain))
    assert count == 0


def test_what_every_instance_of_a_map_reads_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a map over n elements of a parameter or an output would cost n times their size."""
    decoded = 0
    plain = json_values.loads

    def counted(data: bytes | str, **options: Any) -> Any:
        nonlocal decoded
        decoded += len(data)
        return plain(data, **options)

    child = Workflow("child", params={"number": int})
    child.join("end")
    flow = Workflow("flow", params={"numbers": list[int], "names": list[str]})
    flow.command("first", "true", output="json")
    flow.subworkflow("each", child, foreach="params.numbers", params={"number": "${{ item }}"}, depends_on=["first"])
    flow.command("named", ["echo", "${{ first.name }}", "${{ item }}"], foreach="params.numbers")
    params = {"numbers": list(range(500)), "names": ["x" * 100] * 50}
    monkeypatch.setattr(json_values, "loads", counted)
    outputs = {"first": {"name": "y" * 3_000}}
    assert simulate(flow, params, workflows=[child], outputs=outputs).state == "SUCCESS"
    assert decoded < 50 * len(json_values.dumps(params))
