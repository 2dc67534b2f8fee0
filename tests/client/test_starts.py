"""Start records as a client makes them: ids, partitions, and everything that is refused before it is sent."""

from __future__ import annotations

import dataclasses
import json

import pytest

from indegree.events import run_ids
from indegree.events.definition import Definition
from indegree.sdk.client_errors import InvalidStart
from indegree.sdk.client_starts import Wanted, fresh_run_id
from indegree.v1.trigger_pb2 import Trigger

ORDERS = Definition.from_normal(
    {"id": "orders", "params": {"n": {"type": "integer", "default": 1}}, "tasks": [{"id": "a", "command": "true"}]}
)
WANTED = Wanted(ORDERS, "orders", "", "", "me", partitions=8, max_params_bytes=1_000)
RUN = run_ids.make_run_id(1_795_000_000_000, "ABCDEF012345", 3)


def test_a_start_with_a_run_id_goes_to_the_partition_in_it() -> None:
    planned = WANTED.plan({"n": 3}, place="params", request_id="r1", run_id=RUN)
    start = Trigger.FromString(planned.value).start
    assert (planned.partition, planned.key) == (3, RUN.encode())
    assert (start.workflow, start.run_id, start.request_id, start.actor) == ("orders", RUN, "r1", "me")
    assert json.loads(start.params) == {"n": 3}


def test_a_start_with_a_key_goes_to_the_key_s_partition_and_has_no_run_id() -> None:
    planned = WANTED.plan({}, place="params", request_id="r1", run_id=RUN, idempotency_key="batch-7")
    start = Trigger.FromString(planned.value).start
    assert (start.run_id, start.idempotency_key, planned.key) == ("", "batch-7", b"batch-7")
    assert planned.partition == run_ids.partition_of_key("idempotency", "orders", "batch-7", 8)


def test_a_fresh_run_id_has_its_time_and_its_partition() -> None:
    made = fresh_run_id(1_795_000_000_123, lambda n: "ab" * n, lambda n: n - 1, 8)
    assert (run_ids.time_of_run(made), run_ids.partition_of_run(made)) == (1_795_000_000_123, 7)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"m": 1}, "unknown parameter 'm'"),
        ({"n": "x"}, "its type is integer"),
        ({"n": float("nan")}, "params of 'orders'"),
        ({1: 2}, "params of 'orders'"),
        ({"n": 1, "m": "x" * 2_000}, "params of 'orders'"),
        ([1], "must be a mapping"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params: object, words: str) -> None:
    with pytest.raises(InvalidStart, match=words):
        WANTED.plan(params, place="params", request_id="r1", run_id=RUN)  # type: ignore[arg-type]


def test_parameters_over_the_limit_name_the_setting() -> None:
    unknown = dataclasses.replace(WANTED, definition=None)
    with pytest.raises(InvalidStart, match=r"more than limits\.value_bytes = 1000"):
        unknown.plan({"x": "y" * 1_000}, place="params", request_id="r1", run_id=RUN)


@pytest.mark.parametrize("key", ["", "k" * 1_025])
def test_an_empty_or_long_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidStart, match="1 to 1024 bytes"):
        WANTED.plan({}, place="params", request_id="r1", idempotency_key=key)


def test_text_that_utf_8_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidStart, match="lone surrogate"):
        WANTED.plan({}, place="params", request_id="r1", idempotency_key="\ud800")
    with pytest.raises(InvalidStart):
        WANTED.plan({"n": "\ud800"}, place="params", request_id="r1", run_id=RUN)


def test_a_run_id_of_a_partition_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidStart, match="names partition 99; the cluster has 8"):
        WANTED.plan({}, place="params", request_id="r1", run_id=run_ids.make_run_id(1, "ABCDEF012345", 99))
