"""Bytes to records: protobuf and JSON, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indegree.events import codec
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command, Start, Trigger
from indegree.v1.value_pb2 import Value


def test_json_trigger_is_the_protobuf_trigger() -> None:
    got = codec.decode_trigger(b'{"start":{"workflow":"orders","params":{"region":"eu","n":9007199254740993}}}')
    assert got.start.workflow == "orders"
    assert json.loads(got.start.params) == {"region": "eu", "n": 2**53 + 1}
    assert codec.decode_trigger(got.SerializeToString()) == got


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\xff\x7b", "neither protobuf nor JSON"),
        (b'{"start":{"workflow":"a","parms":{}}}', "did you mean 'params'"),
        (b'{"start":{"workflow":1}}', "Trigger.start.workflow must be text"),
        (b'{"start":{"workflow":"a","workflow":"b"}}', "twice"),
        (b'{"start":{"workflow":"a","params":{"x":NaN}}}', "NaN is not JSON"),
        (b"{}", "must hold a start"),
        (b"", "must hold a start"),
        (b'{"start":', "not JSON"),
        (b'{"start":{"workflow":"\\ud800"}}', "lone surrogate"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply|unknown field"),
    ],
)
def test_trigger_that_cannot_be_read_says_why(data: bytes, words: str) -> None:
    with pytest.raises(codec.Undecodable, match=words):
        codec.decode_trigger(data)


def test_protobuf_that_looks_like_white_space_and_a_brace_is_protobuf() -> None:
    for size in range(100, 140):  # at one of these the inner message's length is ord("{"), after tag 0x0a
        trigger = Trigger(start=Start(workflow="w", request_id="x" * size))
        assert codec.decode_trigger(trigger.SerializeToString()) == trigger


def test_command_holds_exactly_one_command() -> None:
    got = codec.decode_command(b'{"actor":"me","cancel":{"run_id":"r","reason":"no need"}}')
    assert got.cancel.reason == "no need"
    with pytest.raises(codec.Undecodable, match="cannot stand together"):
        codec.decode_command(b'{"cancel":{"run_id":"r"},"deploy":{"workflow":"w"}}')
    with pytest.raises(codec.Undecodable, match="must hold one of"):
        codec.decode_command(b"{}")


RUN = "20261125T101530.123Z-0123456789AB-0007"


@pytest.mark.parametrize(
    ("said", "field", "value"),
    [
        ({"pause": {"workflow": "orders", "reason": "wrong"}}, "workflow", "orders"),
        ({"resume": {"queue": "heavy"}}, "queue", "heavy"),
        ({"signal": {"run_id": RUN, "name": "approve", "payload": {"ok": True}}}, "payload", b'{"ok":true}'),
        ({"signal": {"run_id": RUN, "name": "go", "payload": None}}, "payload", b""),
        ({"signal": {"run_id": RUN, "name": "go", "payload": [1, "x", None]}}, "payload", b'[1,"x",null]'),
        ({"rerun": {"run_id": RUN, "task_ids": ["a", "b[3]"]}}, "task_ids", ["a", "b[3]"]),
        ({"skip": {"run_id": RUN, "task_id": "a", "reason": "done by hand"}}, "task_id", "a"),
        ({"mark_success": {"run_id": RUN, "task_id": "a", "output": 7}}, "output", b"7"),
        ({"backfill": {"workflow": "n", "start_ms": 1, "end_ms": 2, "concurrency": 3}}, "concurrency", 3),
        ({"backfill": {"workflow": "n", "start": "2026-11-25T00:00:00+01:00"}}, "start_ms", 1795561200000),
        ({"set_pool": {"name": "gpu", "limit": 4}}, "limit", 4),
        ({"activate": {"workflow": "w", "rollback": True}}, "rollback", True),
    ],
)
def test_every_command_has_a_json_form(said: dict[str, dict[str, object]], field: str, value: object) -> None:
    got = codec.decode_command(json.dumps(said).encode())
    [kind] = said
    assert got.WhichOneof("command") == kind
    assert getattr(getattr(got, kind), field) == value
    assert codec.from_json(Command, codec.to_json(got)) == got


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('{"signal":{"run_id":"r","nam":"x"}}', r"Command\.signal: unknown field 'nam'; did you mean 'name'"),
        ('{"rerun":{"run_id":"r","task_ids":"a"}}', "task_ids must be a JSON array"),
        ('{"set_pool":{"name":"p","limit":-1}}', "Command.set_pool.limit = -1 is out of range"),
        ('{"set_pool":{"name":"p","limit":1.5}}', "must be a whole number"),
        ('{"backfill":{"start":"2026-11-25T00:00:00"}}', "start: .* has no offset from UTC"),
        ('{"backfill":{"start":1795561200000}}', "start: .* is no time; write it as text"),
        ('{"backfill":{"end":"2026-11-25T00:00Z","end_ms":1}}', "'end' and 'end_ms' cannot stand together"),
        ('{"backfill":{"strat":1}}', "did you mean 'start'"),
        ('{"message":{"source":1,"number":1}}', "unknown field 'message'"),
        ('{"pause":{"run_id":"r"},"resume":{"run_id":"r"}}', "cannot stand together"),
        ("{}", "must hold one of cancel, deploy, activate, pause, .*, set_pool: "),
    ],
)
def test_a_command_that_cannot_be_read_says_why(said: str, words: str) -> None:
    with pytest.raises(codec.Undecodable, match=words):
        codec.decode_command(said.encode())


@pytest.mark.parametrize("said", ['"not_before":"2026-11-25T10:15:30.123Z"', '"not_before_ms":1795601730123'])
def test_a_delayed_start_names_its_time_as_text_or_in_milliseconds(said: str) -> None:
    got = codec.decode_trigger(f'{{"start":{{"workflow":"w",{said}}}}}'.encode())
    assert got.start.not_before_ms == 1795601730123


def test_what_partitions_tell_each_other_has_no_json_form() -> None:
    with pytest.raises(codec.Undecodable, match="unknown field 'parent'"):
        codec.decode_trigger(b'{"start":{"workflow":"w","parent":{"run_id":"r"}}}')
    with pytest.raises(codec.Undecodable) as caught:
        codec.decode_command(b'{"nonsense":1}')
    assert "message" not in str(caught.value)


def test_json_form_goes_both_ways() -> None:
    result = Result(kind=Result.SUCCEEDED, run_id="r", attempt=1, output=Value(json=b'{"a":[1,null]}'), started_ms=5)
    assert codec.to_json(result) == {
        "kind": "SUCCEEDED", "run_id": "r", "attempt": 1, "output": {"a": [1, None]}, "started_ms": 5,
    }  # fmt: skip
    assert codec.from_json(Result, codec.to_json(result)) == result
    task = Task(run_id="r", args=b'{"x":1}', env={"A": "b"}, command=["a", "b"])
    assert codec.from_json(Task, codec.to_json(task)) == task


def test_progress_in_json_reads_like_a_record_and_comes_back() -> None:
    progress = Progress(
        id="i", type="task.success", run_id="r", position=3, time_ms=1795601730123, output=Value(json=b"1")
    )
    data = codec.progress_json(progress)
    assert json.loads(data)["time"] == "2026-11-25T10:15:30.123Z"
    assert codec.decode_progress(data) == progress
    assert codec.decode_progress(progress.SerializeToString()) == progress


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for decode in (codec.decode_trigger, codec.decode_command, codec.decode_result, codec.decode_progress):
        try:
            decode(data)
        except codec.Undecodable:
            continue


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(_JSON)
def test_json_of_any_shape_decodes_or_is_refused(value: object) -> None:
    data = json.dumps({"start": value}).encode()
    try:
        codec.decode_trigger(data)
    except codec.Undecodable:
        return


@given(_JSON)
def test_json_values_come_back_equal(value: object) -> None:
    data = codec.dumps(value)
    assert codec.loads(data) == value
    start = Start(workflow="w", params=codec.dumps({"v": value}))
    again = codec.from_json(Trigger, codec.to_json(Trigger(start=start)))
    assert json.loads(again.start.params) == {"v": value}


def test_no_protobuf_record_of_ours_begins_like_json() -> None:
    for kind in (Trigger, Command, Result, Task, Progress):
        for field in kind.DESCRIPTOR.fields:
            tags = [field.number << 3 | wire for wire in (0, 1, 2, 5)]  # of the wire types that proto3 writes
            assert ord("{") not in tags, f"{kind.DESCRIPTOR.name}.{field.name}"
