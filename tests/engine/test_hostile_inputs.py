"""Whatever lies on an input topic, the core decides it: it never raises, and no frame grows over a record."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from indegree.engine.limits import Limits
from indegree.events.run_ids import make_run_id
from indegree.events.topics import MAX_RECORD_BYTES
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import (
    Activate,
    Cancel,
    Command,
    Deploy,
    ForwardedStart,
    Origin,
    PartitionMessage,
    Resume,
    Start,
)
from indegree.v1.value_pb2 import Error, Reference, Value
from tests.engine.road import EPOCH_MS, Road, workflow

LONG = "x" * 300_000
TEXTS = ["", "w", "a b", "\x00", "ü" * 50, "../x", LONG, "9" * 64, make_run_id(EPOCH_MS, "0" * 12, 0)]
TEXTS += [
    make_run_id(EPOCH_MS, "0" * 12, 1),
    make_run_id(EPOCH_MS, "F" * 12, 77),
    "20259925T030000.000Z-00000000000A-0000",
]
BYTES = [b"", b"{}", b"[]", b'{"n":1}', b'{"n":NaN}', b"\xff", b'{"n":' + b"[" * 500, LONG.encode(), b'{"\\ud800":1}']
NUMBERS = [0, 1, 2, 3, 2**32 - 1]
TIMES = [-(2**63), -1, 0, 1, EPOCH_MS, 2**63 - 1]
WORKFLOW = workflow(
    {"id": "a", "retry": {"max_attempts": 3}}, {"id": "b", "when": "trigger.date > a"}, params={"n": {}}
)


class Hostile:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def text(self) -> str:
        return self.rng.choice(TEXTS)

    def start(self) -> Start:
        pick = self.rng.choice
        return Start(
            workflow=pick(["w", "w", "w", self.text()]),
            version=pick(["", self.text()]),
            label=pick(["", self.text()]),
            params=pick(BYTES),
            run_id=pick(["", "", self.text()]),
            idempotency_key=pick(["", self.text()]),
            request_id=pick(["r", self.text()]),
            actor=pick(["", self.text()]),
        )

    def origin(self, offset: int) -> Origin:
        pick = self.rng.choice
        return Origin(
            topic=self.text()[:100],
            offset=offset,
            timestamp_ms=pick(TIMES),
            key=pick(BYTES),
            traceparent=self.text(),
            tracestate=self.text(),
        )

    def command(self) -> Command:
        pick = self.rng.choice
        command = Command(request_id=self.text(), actor=self.text())
        inner = Command(request_id="q", cancel=Cancel(run_id=self.text(), reason=self.text()))
        match pick(["cancel", "deploy", "activate", "resume", "message", "nothing"]):
            case "cancel":
                command.cancel.CopyFrom(Cancel(run_id=self.text(), reason=self.text()))
            case "deploy":
                fields = {"workflow": self.text(), "version": pick([WORKFLOW.hash, self.text()]), "label": self.text()}
                command.deploy.CopyFrom(Deploy(activate=pick([True, False]), **fields))
            case "activate":
                command.activate.CopyFrom(Activate(workflow=self.text(), version=self.text(), label=self.text()))
            case "resume":
                command.resume.CopyFrom(Resume(run_id=self.text()))
            case "message":
                message = PartitionMessage(source=pick(NUMBERS), number=pick(NUMBERS))
                if pick([True, False]):
                    message.start.CopyFrom(ForwardedStart(start=self.start(), origin=self.origin(0)))
                else:
                    message.command.CopyFrom(inner)
                command = Command(message=message)
        return command

    def result(self, runs: list[str]) -> Result:
        pick = self.rng.choice
        error = Error(type=self.text(), message=self.text(), traceback=self.text(), bases=[self.text()] * 3)
        error.causes.extend([Error(message=self.text())] * 2)
        result = Result(
            kind=pick(range(9)),
            run_id=pick([*runs, self.text()]),
            task=pick(NUMBERS),
            attempt=pick(NUMBERS),
            generation=pick([0, 0, 0, 1]),
            worker=pick(["w1", "w1", self.text()]),
            reason=self.text(),
            started_ms=pick(TIMES),
            finished_ms=pick(TIMES),
            log=self.text(),
        )
        if pick([True, False]):
            result.error.CopyFrom(error)
        if pick([True, False]):
            result.output.CopyFrom(pick([Value(json=pick(BYTES)), Value(reference=Reference(size=pick(TIMES)))]))
        return result


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_record_makes_the_core_raise_or_its_frames_too_large(seed: int) -> None:
    note(f"seed {seed}")
    rng = random.Random(seed)
    hostile = Hostile(rng)
    road = Road(0, 2, limits=Limits(heartbeat_timeout_ms=10**12))
    for _ in range(40):
        match rng.randrange(4):
            case 0:
                road.core.begin(road.now)
                road.core.trigger(hostile.start(), hostile.origin(road.offsets[0]), rng.choice([WORKFLOW, None]))
                road.offsets[0] += 1
                road.step()
            case 1:
                road.command(hostile.command(), rng.choice([WORKFLOW, None]))
            case 2:
                road.take()
                road.result(hostile.result(list(road.core.state.runs)))
            case 3:
                road.wait(rng.choice([0, 1, 1_000]))
    assert max(map(len, road.log)) < MAX_RECORD_BYTES
    road.take_over()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"actor": LONG}, "actor is 300000 characters long, the limit is 200"),
        ({"request_id": LONG}, "request_id is 300000 characters long"),
        ({"label": LONG}, "label is 300000 characters long"),
        ({"idempotency_key": LONG}, "the idempotency key is 300000 bytes long, the limit is 1024"),
        ({"run_id": LONG}, "run_id is 300000 characters long"),
    ],
)
def test_a_field_that_is_too_long_is_refused_with_its_name(fields: dict[str, str], reason: str) -> None:
    road = Road()
    road.start(WORKFLOW, {"n": 1}, **fields)
    assert road.progress[-1].type == "run.refused"
    assert reason in road.progress[-1].reason


def test_an_error_and_a_log_of_any_size_are_recorded_cut() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    error = Error(type="E", message=LONG, traceback=LONG, exit_code=3)
    error.causes.extend([Error(message=LONG)] * 10)
    road.say(road.task("a"), Result.FAILED, reason="error", error=error, log=LONG * 3 + "end")
    failed = road.events(Event.ATTEMPT_FAILED)[0]
    assert (failed.error.type, failed.error.exit_code, failed.error.cut) == ("E", 3, True)
    assert failed.ByteSize() < 100_000
    assert failed.log.endswith("end")
