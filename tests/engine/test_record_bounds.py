"""Nothing that the core hands out is larger than a record may be: frames, tasks, progress, messages and stops.

A record over the topic's limit cannot be written, and what made it comes again after each restart: the partition would
never get on. So every part of every record has a bound, and what users send is refused, cut or split where it is met.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from indegree.engine.core import Cursor, PartitionCore
from indegree.engine.effects import Effects
from indegree.engine.limits import Limits
from indegree.engine.progress_forms import JsonForm, ProtobufForm
from indegree.events.definition import Definition
from indegree.events.settings import MAX_INPUTS_BYTES, LimitSettings, Settings
from indegree.events.topics import MAX_RECORD_BYTES
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Cancel, Command, Deploy, ForwardedStart, Origin, PartitionMessage, Start
from indegree.v1.value_pb2 import Error, Value
from tests.engine.road import EPOCH_MS, TRACE, Road, workflow

ROOM = 16_384
"""Of a record, for its key and the headers that the shell adds."""
MOST = MAX_RECORD_BYTES - ROOM
VALUE = 262_144
TEXTS = {"plain": "x", "control": "\x01", "wide": "\U0001f600", "quote": '"'}


def unknown(size: int) -> bytes:
    """A field that this release does not know, as a later one may send it."""
    number, out = size, bytearray(b"\xa2\x7d")  # field 2004, with a length
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number]) + b"u" * size


class Bare:
    """A core whose every record is measured. Without the second core of Road, which would make it slow."""

    def __init__(self, partitions: int = 1, limits: Limits | None = None) -> None:
        self.core = PartitionCore(0, partitions, limits)
        self.core.announced(1, EPOCH_MS)
        self.core.begin(EPOCH_MS)
        self.offsets = [0, 0, 0]
        self.log: list[bytes] = []
        self.largest: dict[str, int] = {}
        self.tasks: list[Task] = []

    def measure(self, what: str, size: int) -> None:
        self.largest[what] = max(size, self.largest.get(what, 0))

    def cut(self) -> None:
        while (cut := self.core.cut()) is not None:
            frame, effects = cut
            self.log.append(frame.SerializeToString())
            self.measure("frame", len(self.log[-1]))
            self.carry_out(effects)

    def carry_out(self, effects: Effects) -> None:
        for form in (ProtobufForm(), JsonForm()):
            for *head, data in effects.projection.encoded(form):
                self.measure("progress", len(data) + sum(map(len, map(str, head))))
        for entry in effects.outbox:
            self.measure("message", len(entry.data))
        for stop in effects.stops:
            self.measure("stop", stop.ByteSize() + len(stop.worker))
        self.core.release(effects)

    def settle(self) -> None:
        while True:
            more = self.core.proceed()
            self.cut()
            if not more:
                return

    def start(self, definition: Definition | None, start: Start, origin: Origin | None = None) -> None:
        self.core.begin(EPOCH_MS)
        at = origin or Origin(topic="indegree.triggers", timestamp_ms=EPOCH_MS, traceparent=TRACE)
        at.offset = self.offsets[0]
        self.core.trigger(start, at, definition)
        self.offsets[0] += 1
        if self.core.full():
            self.cut()

    def command(self, command: Command, definition: Definition | None = None) -> None:
        self.core.command(command, Origin(topic="indegree.commands", offset=self.offsets[1]), definition)
        self.offsets[1] += 1
        if self.core.full():
            self.cut()

    def result(self, result: Result) -> None:
        self.core.result(result, self.offsets[2])
        self.offsets[2] += 1
        if self.core.full():
            self.cut()

    def take(self, worker: str = "w1", most: int = 10**9) -> list[Task]:
        found: list[Task] = []
        while len(found) < most and (task := self.core.take("default", worker)) is not None:
            self.measure("task", task.ByteSize())
            found.append(task)
        self.tasks += found
        return found

    def answer(self, task: Task, kind: int, **fields: Any) -> None:
        self.result(
            Result(
                kind=kind,  # type: ignore[arg-type]
                run_id=task.run_id,
                task=task.task,
                attempt=task.attempt,
                worker=task.worker,
                **fields,
            )
        )

    def snapshot(self, budget: int = 500) -> Cursor:
        self.core.begin(EPOCH_MS)
        cursor = self.core.begin_snapshot()
        while self.core.snapshot(cursor, budget):
            self.cut()
        self.cut()
        return cursor

    def check(self) -> None:
        assert all(size <= MOST for size in self.largest.values()), self.largest
        core = PartitionCore(0, self.core.partitions)
        for data in self.log:
            core.replay(Frame.FromString(data))


def random_task(rng: random.Random, place: int) -> dict[str, Any]:
    """One task, perhaps with a large constant, with outputs of its parents or parameters, with a condition on them."""
    size = rng.choice([0, 0, 0, 10, 20_000, 300_000, 700_000, 1_100_000, 2_300_000])
    constant = rng.choice(list(TEXTS.values())) * (size // 4)
    task: dict[str, Any] = {"id": f"t{place}"}
    parents = [f"t{i}" for i in range(place) if rng.random() < 0.5]
    value = rng.choice(["${{ params.p }}", *(f"${{{{ {parent} }}}}" for parent in parents)])
    match rng.randrange(5):
        case 0:
            task |= {"command": ["cat"], "input": rng.choice([constant, {"c": constant, "v": value}])}
        case 1:
            task |= {"command": ["echo", constant.replace("\x01", "x"), value]}
        case 2:
            task |= {"command": "env", "env": {"A": constant.replace("\x01", "x"), "B": value}}
        case 3:
            task |= {"args": {"c": constant, **{f"a{i}": value for i in range(rng.choice([1, 3, 8]))}}}
        case 4:
            task |= {"args": {"n": value}, "secrets": [f"S{i}" for i in range(rng.choice([1, 60_000]))]}
    task["depends_on"] = parents
    if rng.random() < 0.4:
        task["when"] = "params.q != 'no'"
    if rng.random() < 0.3:
        task["trigger_rule"] = "one_success"
    if rng.random() < 0.5:
        task["retry"] = {"max_attempts": 2}
    return task


def random_start(rng: random.Random) -> Start:
    text = rng.choice(list(TEXTS.values()))
    size = rng.choice([0, 100, 7_000, 100_000, VALUE - 100, VALUE + 100])
    params = {"p": text * (size // max(1, len(json.dumps(text)) - 2)), "q": text * rng.choice([1, 600])}
    start = Start(
        workflow="w",
        params=json.dumps(params).encode(),
        idempotency_key=rng.choice(["", f"{rng.random()}", f"{rng.random()}" + "k" * 1_000]),
        actor=text * rng.choice([1, 200, 201]),
        request_id=text * rng.choice([1, 200, 201]),
    )
    if rng.random() < 0.1:
        start.MergeFromString(unknown(2_500_000))
    return start


def random_result(rng: random.Random, task: Task) -> Result:
    text = rng.choice(list(TEXTS.values()))
    output = json.dumps(text * (rng.choice([1, 100_000, 260_000]) // len(text.encode())), ensure_ascii=False).encode()
    value = Value(json=output)
    error = Error(type=text * 300, message=text * 70_000, traceback=text * 70_000, bases=[text * 500] * 50)
    if rng.random() < 0.1:
        value.MergeFromString(unknown(2_500_000))
        error.MergeFromString(unknown(2_500_000))
    return Result(
        kind=rng.choice([Result.STARTED, Result.SUCCEEDED, Result.SUCCEEDED, Result.FAILED, Result.REJECTED]),
        run_id=rng.choice([task.run_id] * 9 + ["r" * 2_500_000]),
        task=task.task,
        attempt=task.attempt,
        worker=task.worker,
        output=value,
        error=error,
        reason="error",
        log=text * rng.choice([0, 20_000, 300_000]),
    )


@settings(max_examples=25, deadline=None, print_blob=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_record_is_larger_than_a_topic_takes(seed: int) -> None:
    note(f"seed {seed}")
    rng = random.Random(seed)
    bare = Bare(partitions=2)
    params = {"p": {"type": "string"}, "q": {"type": "string"}}
    definition = workflow(*[random_task(rng, i) for i in range(rng.randint(1, 6))], params=params)
    for _ in range(30):
        match rng.randrange(8):
            case 0 | 1 | 2:
                bare.start(definition, random_start(rng))
            case 3 | 4:
                bare.take(f"w{rng.randint(1, 2)}", most=rng.choice([1, 100]))
            case 5:
                rng.shuffle(bare.tasks)
                for task in [bare.tasks.pop() for _ in range(min(len(bare.tasks), rng.choice([1, 5])))]:
                    bare.result(random_result(rng, task))
            case 6:
                bare.snapshot(rng.choice([1, 500]))
            case 7:
                bare.core.worker_lost(f"w{rng.randint(1, 2)}")
        if rng.random() < 0.5:
            bare.settle()
    bare.settle()
    bare.check()


# -- tasks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        {"command": ["cat"], "input": "x" * 1_100_000},
        {"command": ["echo", "x" * 1_100_000]},
        {"command": "env", "env": {"A": "x" * 1_100_000}},
        {"command": "echo " + "x" * 1_100_000},
        {"args": {"x": "x" * 1_100_000}},
        {"command": ["echo", *["x" * 100_000] * 11]},
    ],
    ids=["input", "argv", "env", "shell", "args", "words"],
)
def test_a_constant_over_the_limit_fails_its_task_with_the_name_of_the_setting(task: dict[str, Any]) -> None:
    definition = workflow({"id": "a", **task}, {"id": "b", "depends_on": ["a"], "trigger_rule": "all_done"})
    road = Road()
    run = road.start(definition)
    assert road.states(run)["a"] == "FAILED"
    assert "limits.inputs_bytes" in road.reasons(run)["a"]
    assert [t.task_id for t in road.take()] == ["b"]


def test_a_deploy_of_a_task_that_can_never_be_sent_is_refused() -> None:
    road = Road()
    definition = workflow({"id": "big", "command": ["cat"], "input": "x" * 1_100_000})
    road.command(Command(request_id="q", deploy=Deploy(workflow="w", version=definition.hash)), definition)
    assert (road.progress[-1].type, road.progress[-1].request_id) == ("workflow.refused", "q")
    assert "inputs of task 'big' are 1100007 bytes in sum" in road.progress[-1].reason
    assert "limits.inputs_bytes" in road.progress[-1].reason


def test_words_that_are_empty_count_with_what_they_take_in_a_record() -> None:
    definition = workflow(
        {"id": "a", "command": ["echo", "${{ params.x }}", *[""] * 600_000]}, params={"x": {"type": "string"}}
    )
    road = Road()
    run = road.start(definition, {"x": "v"})
    assert road.states(run)["a"] == "FAILED"
    assert "1200" in road.reasons(run)["a"]


def test_the_largest_inputs_that_may_be_set_fit_into_a_record() -> None:
    bare = Bare(limits=Limits(inputs_bytes=MAX_INPUTS_BYTES))
    fits = MAX_INPUTS_BYTES - 1_000
    bare.start(workflow({"id": "a", "command": ["cat"], "input": "x" * fits}), Start(workflow="w"))
    bare.settle()
    assert len(bare.take("w" * 200)) == 1
    bare.check()
    with pytest.raises(ValueError, match=r"limits\.inputs_bytes"):
        Settings(limits=LimitSettings(inputs_bytes=MAX_INPUTS_BYTES + 1))


def test_many_tasks_whose_inputs_grew_after_they_were_queued_fail_in_several_frames() -> None:
    """one_success: queued when the first parent is there, and too large once the other is."""
    n = 3_000
    children = [
        {
            "id": f"c{i}",
            "trigger_rule": "one_success",
            "depends_on": ["a", "b"],
            "args": {"x": "${{ b }}" + "\U0001f600" * 300, "y": "${{ b }}"},
        }
        for i in range(n)
    ]
    bare = Bare(limits=Limits(inputs_bytes=200_000))
    bare.start(workflow({"id": "a"}, {"id": "b"}, *children), Start(workflow="w"))
    bare.settle()
    one, two = bare.take()
    bare.answer(one, Result.SUCCEEDED)
    bare.settle()
    bare.answer(two, Result.SUCCEEDED, output=Value(json=json.dumps("x" * 190_000).encode()))
    bare.settle()
    assert bare.take() == []
    bare.settle()
    assert bare.largest["frame"] < 600_000
    bare.check()
    assert not bare.core.state.runs


# -- frames ------------------------------------------------------------------------------------------------------------


def test_the_operands_of_conditions_count_in_the_size_of_a_frame() -> None:
    names = [f"p{i}" for i in range(20)]
    condition = " and ".join(f"params.{name} != ''" for name in names)
    tasks = [{"id": f"t{i}", "when": condition} for i in range(400)]
    bare = Bare()
    params = json.dumps(dict.fromkeys(names, "v" * 240)).encode()
    bare.start(workflow(*tasks, params={name: {} for name in names}), Start(workflow="w", params=params))
    bare.settle()
    assert bare.largest["frame"] < 600_000
    bare.check()


def test_a_lost_worker_ends_any_number_of_attempts_in_frames_of_the_usual_size() -> None:
    bare = Bare()
    bare.start(workflow(*[{"id": f"t{i}"} for i in range(8_000)]), Start(workflow="w"))
    bare.settle()
    for task in bare.take("host-1234-0123456789abcdef"):
        bare.answer(task, Result.STARTED)
    bare.settle()
    before = len(bare.log)
    bare.core.worker_lost("host-1234-0123456789abcdef")
    bare.settle()
    assert max(map(len, bare.log[before:])) < 600_000
    bare.check()
    assert not bare.core.state.runs


# -- messages and stops ------------------------------------------------------------------------------------------------


def test_a_forwarded_start_carries_parameters_up_to_the_limit_and_nothing_unbounded() -> None:
    bare = Bare(partitions=2)
    params = json.dumps({"x": "v" * (VALUE - 20)}).encode()
    for i in range(20):
        start = Start(workflow="w", params=params, idempotency_key=f"{i}" + "k" * 1_000, actor="\U0001f600" * 200)
        start.MergeFromString(unknown(2_500_000))
        bare.start(None, start, Origin(topic="t" * 5_000_000, key=b"k" * 3_000_000, tracestate="s" * 3_000_000))
    bare.settle()
    assert 250_000 < bare.largest["message"] < 300_000
    bare.check()


def test_an_unknown_field_of_a_small_message_goes_on_to_where_a_later_release_may_know_it() -> None:
    bare = Bare(partitions=2)
    for i in range(20):
        start = Start(workflow="w", idempotency_key=f"{i}")
        start.MergeFromString(unknown(100))
        bare.start(None, start)
    bare.settle()
    events = [event for data in bare.log for event in Frame.FromString(data).events]
    added = [event.data for event in events if event.kind == Event.OUTBOX_ADDED]
    assert added
    assert all(b"u" * 100 in data for data in added)


def test_a_forwarded_start_of_a_stranger_has_no_field_without_a_bound() -> None:
    bare = Bare()
    origin = Origin(topic="t" * 3_000_000, timestamp_ms=EPOCH_MS)
    origin.MergeFromString(unknown(2_500_000))
    message = PartitionMessage(source=0, number=1, start=ForwardedStart(start=Start(workflow="w"), origin=origin))
    bare.command(Command(message=message), workflow({"id": "a"}))
    bare.command(Command(cancel=Cancel(run_id="r" * 3_000_000, reason="y" * 3_000_000)))
    bare.settle()
    bare.check()
    assert len(bare.core.state.runs) == 1


def test_a_heartbeat_of_a_run_with_an_endless_name_is_not_answered() -> None:
    bare = Bare()
    bare.result(Result(kind=Result.HEARTBEAT, run_id="r" * 2_500_000, worker="w1"))
    bare.core.begin(EPOCH_MS + 10_000)
    bare.settle()
    bare.check()
    assert bare.core.counters["unknown"] == 1


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_of_a_run_with_many_skipped_tasks_or_attempts_has_small_frames() -> None:
    n = 40_000
    tasks = [{"id": "root"}, *[{"id": f"s{i}", "depends_on": ["root"]} for i in range(n)]]
    tasks += [{"id": f"a{i}"} for i in range(n)]
    bare = Bare()
    bare.start(workflow(*tasks), Start(workflow="w"))
    bare.settle()
    for task in bare.take("host-1234-0123456789abcdef"):
        bare.answer(task, *([Result.FAILED] if task.task_id == "root" else [Result.STARTED]))
    bare.settle()
    bare.log.clear()
    cursor = bare.snapshot()
    assert cursor.last == bare.core.state.seq
    assert len(bare.log) > 3
    assert max(map(len, bare.log)) < 900_000
    core = PartitionCore(0, 1)
    for data in bare.log:
        core.replay(Frame.FromString(data))
    (run,), (again,) = bare.core.state.runs.values(), core.state.runs.values()
    assert (again.states, again.reasons, again.left) == (run.states, run.reasons, run.left)
    assert len(again.attempts) == len(run.attempts) == n


def test_a_snapshot_of_long_keys_labels_and_waiting_messages_has_small_frames() -> None:
    bare = Bare(partitions=2)
    definition = workflow({"id": "a"})
    params = json.dumps({"x": "v" * (VALUE - 20)}).encode()
    for i in range(2_000):
        bare.start(definition, Start(workflow="w", idempotency_key=f"{i}" + "k" * 1_000))
    for i in range(30):
        bare.start(definition, Start(workflow="w", idempotency_key=f"m{i}", params=params))
    windows = bare.core.state.windows
    for i in range(5_000):
        windows.labels["w", f"{i}" + "\U0001f600" * 150] = definition.hash
    bare.settle()
    bare.log.clear()
    bare.snapshot()
    assert max(map(len, bare.log)) < 900_000
    core = PartitionCore(0, 2)
    for data in bare.log:
        core.replay(Frame.FromString(data))
    assert core.state.windows.keys == windows.keys
    assert core.state.windows.labels == windows.labels
    assert list(core.state.outbox[1]) == list(bare.core.state.outbox[1])
    assert core.state.outbox_numbers == bare.core.state.outbox_numbers
