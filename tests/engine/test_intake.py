"""Records of users' topics become runs: what starts, what is passed over, what is refused; positions in the log."""

from __future__ import annotations

import json
import random
from typing import Any

from indegree.engine.intake import Route, Taken, is_of_run
from indegree.engine.kinds import Kind
from indegree.engine.limits import Limits
from indegree.engine.state import DEAD_LETTER
from indegree.events.definition import Definition, RunTrigger
from indegree.events.run_ids import partition_of_key
from indegree.v1.event_pb2 import Frame
from indegree.v1.trigger_pb2 import Command
from indegree.v1.workflow_pb2 import DeadLetter
from tests.engine.road import EPOCH_MS, Road

T = "orders.ready"


def flow(name: str = "w", trigger: dict[str, Any] | None = None, **fields: Any) -> Definition:
    """A workflow with one Kafka trigger."""
    given = {"topic": T, **(trigger or {})}
    tasks = [{"id": "a", "python": "m:f"}]
    return Definition.from_normal({"id": name, "tasks": tasks, "triggers": [{"kafka": given}], **fields})


def record(offset: int, value: Any, **fields: Any) -> Taken:
    data = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Taken(offset, EPOCH_MS + offset, data, **fields)


def routes(*definitions: Definition) -> list[Route]:
    return [Route.of(definition, range(len(definition.triggers))) for definition in definitions]


class Intake:
    """One partition of a topic, read in step with the road."""

    def __init__(self, *definitions: Definition, road: Road | None = None, begin: int = 0) -> None:
        self.road = road or Road()
        self.routes = routes(*definitions)
        self.road.core.begin(self.road.now)
        self.road.core.intake_began(T, 3, {d.id: begin for d in definitions})
        self.road.cut()

    def take(self, *records: Taken) -> None:
        left = list(records)
        while left:
            self.road.core.begin(self.road.now)
            done = self.road.core.intake(T, 3, left, self.routes)
            left = left[done:]
            self.road.step()

    def position(self) -> int:
        return self.road.core.state.intakes[T, 3].next

    def letters(self) -> list[DeadLetter]:
        entries = self.road.core.state.outbox.get(DEAD_LETTER, {}).values()
        return [DeadLetter.FromString(entry.data) for entry in entries]

    def started(self, *names: str) -> list[tuple[int, str]]:
        found = [(e.origin.offset, e.workflow) for e in self.road.events(Kind.RUN_STARTED)]
        return found if not names else [pair for pair in found if pair[1] in names]

    def refused(self) -> dict[str, str]:
        return {p.workflow: p.reason for p in self.road.progress if p.type == "run.refused"}


def test_a_record_that_passes_the_filter_starts_a_run_with_the_fields_that_have_a_parameters_name() -> None:
    intake = Intake(
        flow(trigger={"filter": "value.rows > 0"}, params={"rows": {"type": "integer"}, "b": {"default": 7}})
    )
    intake.take(record(5, {"rows": 2, "other": 1}, key=b"k", headers={"h": "x"}), record(6, {"rows": 0}))
    [started] = intake.road.events(Kind.RUN_STARTED)
    assert json.loads(started.value.json) == {"rows": 2, "b": 7}
    origin = started.origin
    assert (origin.kind, origin.topic, origin.partition, origin.offset) == ("kafka", T, 3, 5)
    assert (origin.key, dict(origin.headers), json.loads(origin.value)) == (b"k", {"h": "x"}, {"rows": 2, "other": 1})
    assert intake.position() == 7


def test_one_record_starts_every_workflow_that_asks_for_it_and_each_has_its_own_run() -> None:
    intake = Intake(flow("w1"), flow("w2"), flow("w3", {"filter": "value == 2"}))
    intake.take(record(0, 1), record(1, 2))
    assert intake.started() == [(0, "w1"), (0, "w2"), (1, "w1"), (1, "w2"), (1, "w3")]
    assert len({e.run_id for e in intake.road.events(Kind.RUN_STARTED)}) == 5
    assert [e.total for e in intake.road.events(Kind.INTAKE_DECIDED)] == [2, 3]


def test_records_that_start_nothing_are_one_event_for_many() -> None:
    intake = Intake(flow(trigger={"filter": "value > 900"}))
    intake.take(*(record(i, i) for i in range(500)))
    assert [(e.number, e.total) for e in intake.road.events(Kind.INTAKE_DECIDED)] == [(500, 0)]


def test_a_start_and_the_position_behind_its_record_stand_in_one_frame() -> None:
    intake = Intake(flow())
    intake.take(record(0, 1))
    frame = Frame.FromString(intake.road.log[-1])
    assert {Kind.RUN_STARTED, Kind.INTAKE_DECIDED} <= {event.kind for event in frame.events}


def test_a_redelivered_record_is_passed_over() -> None:
    intake = Intake(flow())
    intake.take(record(0, 1), record(1, 2))
    intake.take(record(0, 1), record(1, 2), record(2, 3))
    assert [offset for offset, _ in intake.started()] == [0, 1, 2]


def test_a_new_owner_that_reads_from_further_back_starts_nothing_twice() -> None:
    intake = Intake(flow())
    intake.take(*(record(i, i) for i in range(10)))
    intake.road.take_over()
    assert intake.position() == 10
    intake.take(*(record(i, i) for i in range(5, 15)))
    assert [offset for offset, _ in intake.started()] == list(range(15))


def test_a_frame_that_had_to_be_closed_within_a_record_makes_no_second_run_after_a_loss_of_its_rest() -> None:
    """Twelve workflows of one large record do not fit into one frame; the log ends before the position has moved."""
    flows = [flow(f"w{i:02}") for i in range(12)]
    road = Road(limits=Limits(frame_bytes=100_000))
    intake = Intake(*flows, road=road)
    frames = len(road.log)
    intake.take(record(0, "x" * 60_000))
    assert len(road.log) > frames + 5
    cut = next(i for i in range(frames, len(road.log)) if i > frames + 3)
    again = Road(limits=road.limits, log=road.log[:cut])
    intake.road = again
    assert intake.position() == 0
    intake.take(record(0, "x" * 60_000))
    ids = [event.run_id for event in again.events(Kind.RUN_STARTED)]
    assert len(ids) == len(set(ids)) == 12
    assert again.events(Kind.RUN_REPEATED)


def test_what_is_not_json_is_refused_with_the_reason_and_buried() -> None:
    intake = Intake(flow())
    intake.take(record(0, b"{oops"), record(1, 1), record(2, None, error="decoder m:f: ValueError: no"))
    assert intake.started() == [(1, "w")]
    assert [(letter.topic, letter.partition, letter.offset, letter.foreign) for letter in intake.letters()] == [
        (T, 3, 0, True),
        (T, 3, 2, True),
    ]
    decided = [(e.number, e.total, e.reason[:24]) for e in intake.road.events(Kind.INTAKE_DECIDED)]
    assert decided == [(1, 0, "the value is not JSON: $"[:24]), (2, 1, ""), (3, 0, "decoder m:f: ValueError:")]
    assert "not JSON" in next(p.reason for p in intake.road.progress if p.type == "run.refused")


def test_less_than_null_in_a_filter_refuses_the_record() -> None:
    intake = Intake(flow(trigger={"filter": "value.rows > 0"}), flow("other"))
    intake.take(record(0, {"nothing": 1}))
    assert intake.started() == [(0, "other")]
    assert "null" in intake.refused()["w"]
    assert len(intake.letters()) == 1


def test_parameters_that_do_not_fit_refuse_the_record() -> None:
    intake = Intake(flow(params={"n": {"type": "integer", "required": True}}))
    intake.take(record(0, {"n": "seven"}), record(1, {}), record(2, {"n": 7}))
    assert intake.started() == [(2, "w")]
    assert [letter.offset for letter in intake.letters()] == [0, 1]


def test_a_value_over_the_limit_is_refused() -> None:
    intake = Intake(flow(), road=Road(limits=Limits(value_bytes=1_000)))
    intake.take(record(0, "x" * 2_000))
    assert intake.started() == []
    assert "limits.value_bytes" in intake.refused()["w"]


def test_a_tombstone_is_skipped_and_counted() -> None:
    intake = Intake(flow())
    intake.take(record(0, None), record(1, 1))
    assert intake.started() == [(1, "w")]
    assert intake.road.core.counters["tombstones"] == 1
    assert intake.letters() == []


def test_two_records_of_one_idempotency_key_are_one_run_and_other_content_is_refused() -> None:
    intake = Intake(flow(trigger={"idempotency_key": "value.id"}, params={"n": {"default": 0}}))
    intake.take(record(0, {"id": "b", "n": 1}), record(1, {"id": "b", "n": 1}), record(2, {"id": "b", "n": 2}))
    assert intake.started() == [(0, "w")]
    assert "other content" in intake.refused()["w"]


def test_a_null_idempotency_key_is_refused_and_does_not_make_all_records_one_run() -> None:
    intake = Intake(flow(trigger={"idempotency_key": "value.id"}))
    intake.take(record(0, {}))
    assert intake.started() == []
    assert "null" in intake.refused()["w"]


def test_the_trigger_is_readable_in_a_filter_and_in_parameters() -> None:
    definition = flow(
        trigger={"filter": "trigger.partition == 3", "params": {"at": "trigger.offset", "k": "key", "h": "headers.h"}},
        params={"at": {"type": "integer"}, "k": {}, "h": {}},
    )
    intake = Intake(definition)
    intake.take(record(41, {}, key=b"me", headers={"h": "there"}))
    [started] = intake.road.events(Kind.RUN_STARTED)
    assert json.loads(started.value.json) == {"at": 41, "k": "me", "h": "there"}


def test_a_workflow_that_joins_takes_no_record_from_before_it_did() -> None:
    intake = Intake(flow("w1"))
    intake.road.core.intake_began(T, 3, {"w2": 2})
    intake.routes = routes(flow("w1"), flow("w2"))
    intake.take(*(record(i, i) for i in range(4)))
    assert intake.started("w2") == [(2, "w2"), (3, "w2")]


def test_a_new_version_of_a_workflow_goes_on_where_the_old_one_stood() -> None:
    intake = Intake(flow(), begin=0)
    intake.take(record(0, 0))
    intake.road.core.intake_began(T, 3, {"w": 9})  # it takes part already: nothing changes
    intake.take(record(1, 1))
    assert [offset for offset, _ in intake.started()] == [0, 1]


def test_an_intake_ends_with_its_last_workflow_and_a_later_one_begins_anew() -> None:
    intake = Intake(flow("w1"), flow("w2"))
    intake.take(record(0, 0))
    intake.road.core.intake_ended(T, 3, ["w1"])
    assert intake.position() == 1
    intake.road.core.intake_ended(T, 3, ["w2"])
    intake.road.cut()
    assert intake.road.core.state.intakes == {}
    intake.road.core.intake_began(T, 3, {"w1": 70})
    intake.road.cut()
    assert intake.position() == 70


def test_a_position_that_kafka_has_lost_is_in_the_log() -> None:
    intake = Intake(flow())
    intake.take(record(0, 0))
    intake.road.core.intake_lost(T, 3, 50)
    intake.road.cut()
    [*_, lost] = intake.road.events(Kind.INTAKE_DECIDED)
    assert (lost.state, lost.number, intake.position()) == ("lost", 50, 50)


def test_a_snapshot_keeps_positions_and_who_takes_part() -> None:
    intake = Intake(flow("w1"), flow("w2"))
    intake.take(record(0, 0))

    def between() -> None:
        intake.take(record(intake.position(), 1))

    intake.road.snapshot(budget=1, between=between)
    position = intake.position()
    intake.road.take_over()
    assert intake.position() == position
    assert set(intake.road.core.state.intakes[T, 3].begins) == {"w1", "w2"}


def test_random_records_killed_at_any_frame_start_exactly_what_they_should() -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    flows = [flow("w0"), flow("w1", {"filter": "value.n > 5"}), flow("w2", {"filter": "value.n > 8"})]
    values: list[Any] = [rng.choice([None, b"no", {"n": rng.randrange(10)}, {}]) for _ in range(300)]
    intake = Intake(*flows, road=Road(limits=Limits(frame_bytes=2_000, step_tasks=7)))
    while intake.position() < len(values):
        at = max(0, intake.position() - rng.randrange(3))
        intake.take(*(record(i, values[i]) for i in range(at, min(len(values), at + rng.randrange(1, 40)))))
        if rng.random() < 0.3:
            keep = rng.randrange(max(1, len(intake.road.log) - 3), len(intake.road.log) + 1)
            intake.road = Road(limits=intake.road.limits, log=intake.road.log[:keep])
    right = {
        (i, name)
        for i, v in enumerate(values)
        if isinstance(v, dict)
        for name, passes in (("w0", True), ("w1", v.get("n", -1) > 5), ("w2", v.get("n", -1) > 8))
        if passes
    }
    started = intake.started()
    assert len(started) == len(set(started))
    assert set(started) == right
    refused = {(e.origin.offset, e.workflow) for e in intake.road.events(Kind.RUN_REFUSED)}
    wrong = {(i, f"w{k}") for i, v in enumerate(values) if v == b"no" for k in range(3)}
    wrong |= {(i, f"w{k}") for i, v in enumerate(values) if v == {} for k in (1, 2)}
    assert refused == wrong


def test_the_end_of_a_run_starts_another_workflow() -> None:
    after = Definition.from_normal(
        {
            "id": "after",
            "params": {"of": {"required": True}},
            "tasks": [{"id": "a"}],
            "triggers": [
                {"run": {"workflow": "w", "filter": "value.version == 'v'", "params": {"of": "value.run_id"}}}
            ],
        }
    )
    intake = Intake(after)
    end = {"type": "run.success", "workflow": "w", "version": "v", "run_id": "r1"}
    intake.take(record(0, end), record(1, {**end, "workflow": "x"}), record(2, {**end, "version": "u"}))
    [started] = intake.road.events(Kind.RUN_STARTED)
    assert json.loads(started.value.json) == {"of": "r1"}
    assert intake.position() == 3


def test_a_run_trigger_of_any_state_takes_each_end_and_nothing_else() -> None:
    def asked(task: str | None) -> list[str]:
        states = ("accepted", "running", "success", "failed", "cancelled", "skipped")
        types = [f"{kind}.{state}" for kind in ("run", "task") for state in states]
        records = {type: {"workflow": "up", "type": type, "task_id": "load"} for type in types}
        return [type for type, value in records.items() if is_of_run(RunTrigger("up", "any", task), value)]

    assert asked(None) == ["run.success", "run.failed", "run.cancelled"]
    assert asked("load") == ["task.success", "task.failed", "task.cancelled", "task.skipped"]
    assert asked("other") == []


def test_a_start_whose_idempotency_key_lives_elsewhere_goes_there_with_its_record_and_is_one_run() -> None:
    definition = flow(trigger={"idempotency_key": "value.id"})
    homes = {key: partition_of_key("idempotency", "w", key, 2) for key in map(str, range(20))}
    key = next(key for key, home in homes.items() if home == 1)
    intake = Intake(definition, road=Road(0, 2))
    intake.take(record(0, {"id": key}), record(1, {"id": key}))
    assert intake.started() == []
    messages = intake.road.core.state.outbox[1].values()
    there = Road(1, 2)
    for entry in messages:
        there.command(Command.FromString(entry.data), definition)
    [started] = there.events(Kind.RUN_STARTED)
    assert (started.origin.kind, started.origin.offset, len(there.events(Kind.RUN_REPEATED))) == ("kafka", 0, 1)
    assert [event.total for event in intake.road.events(Kind.INTAKE_DECIDED)] == [1, 1]
