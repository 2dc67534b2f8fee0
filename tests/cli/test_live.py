"""The picture of a run: what it shows for a small graph, for a large one, and after a failover."""

from __future__ import annotations

import io
import random

import pytest
from rich.cells import cell_len
from rich.console import Console

from indegree.cli.live import RunView
from indegree.cli.summary import name_of
from indegree.cli.telling import plain_line
from indegree.events.graph import Graph
from tests.client.test_run_state import RUN, event


def picture(view: RunView, height: int = 60, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(view.draw(height, width))
    return out.getvalue()


def running(graph: Graph) -> RunView:
    view = RunView(RUN, graph)
    view.apply(event(1, "run.accepted", "PENDING"))
    view.apply(event(2, "run.running", "RUNNING"))
    return view


def test_a_small_run_is_shown_task_by_task_in_topological_order() -> None:
    view = running(Graph.build(["report", "left", "right", "root"], [["left", "right"], ["root"], ["root"], []]))
    view.apply(event(3, "task.queued", "QUEUED", "root", attempt=1))
    view.apply(event(4, "task.success", "SUCCESS", "root", attempt=1, started_ms=1_003, finished_ms=1_004))
    view.apply(event(5, "task.skipped", "SKIPPED", "left", reason="condition"))
    text = picture(view)
    names = [line.split()[1] for line in text.splitlines() if line and line[0] in "✓·↷○"]
    assert names == ["root", "left", "right", "report"]
    assert "✓ root" in text
    assert "↷ left" in text
    assert "condition" in text
    assert "2/4 tasks" in text


def test_a_run_that_does_not_fit_is_summed_up_by_level_and_name() -> None:
    ids = ["start", *(f"mProject_ID{number:07d}" for number in range(300)), "mConcat"]
    parents = [[], *[["start"]] * 300, ids[1:-1]]
    view = running(Graph.build(ids, parents))
    position = 2
    for number in range(30):
        position += 1
        view.apply(event(position, "task.success", "SUCCESS", ids[1 + number], attempt=1))
    text = picture(view, height=24)
    assert "mProject x300" in text
    assert "30/300" in text
    assert "30/302 tasks" in text
    assert len(text.splitlines()) <= 24


def test_counts_equal_a_recount_after_any_sequence_of_events() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    ids = [f"t{number}" for number in range(12)]
    view = running(Graph.build(ids, [[]] * len(ids)))
    for position in range(3, 200):
        state = dice.choice(["QUEUED", "RUNNING", "RETRYING", "SUCCESS", "FAILED", "SKIPPED"])
        view.apply(event(position, f"task.{state.lower()}", state, dice.choice(ids), attempt=dice.randint(1, 3)))
        heard = [task.state for task in view.state.tasks.values()]
        for word in ("QUEUED", "RUNNING", "RETRYING", "SUCCESS", "FAILED", "SKIPPED"):
            assert view._counts.get(word, 0) == heard.count(word)
        assert view._counts["PENDING"] == len(ids) - len(heard)
    assert view.total == len(ids)


def test_counts_equal_a_recount_also_of_instances_and_of_what_is_begun_again() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    view = running(Graph.build(["extract", "load"], [[], ["extract"]]))
    position, instances, generation = 2, 0, 0
    for _ in range(300):
        position += 1
        if not instances or dice.random() < 0.02:
            instances, generation = dice.randint(1, 30), generation + 1
            of = {"instances": instances, "generation": generation}
            view.apply(event(position, "task.running", "RUNNING", "load", **of))
        else:
            state = dice.choice(["QUEUED", "RUNNING", "WAITING", "SUCCESS", "FAILED"])
            view.apply(event(position, f"task.{state.lower()}", state, f"load[{dice.randrange(instances)}]", attempt=1))
        heard = [task.state for task in view.state.tasks.values()]
        for word in ("QUEUED", "RUNNING", "WAITING", "SUCCESS", "FAILED"):
            assert view._counts.get(word, 0) == heard.count(word)
        assert view.total == 2 + instances
        assert view._counts["PENDING"] == view.total - len(heard)
        assert sum(group.size for group in view._groups.values()) == view.total
        assert all(0 <= group.ended <= group.size for group in view._groups.values())


def expanded(total: int) -> RunView:
    view = running(Graph.build(["extract", "load", "report"], [[], ["extract"], ["load"]]))
    view.apply(event(3, "task.running", "RUNNING", "load", instances=total))
    return view


def test_many_instances_are_one_line_with_counts() -> None:
    view = expanded(100)
    for number in range(73):
        state = "FAILED" if number in (5, 9) else "SUCCESS"
        view.apply(event(4 + number, f"task.{state.lower()}", state, f"load[{number}]", attempt=1))
    text = picture(view, height=20)
    [line] = [line for line in text.splitlines() if "load" in line]
    assert "[73/100 done, 2 failed]" in line
    assert "73/103 tasks" in text
    assert "report" in text


def test_few_instances_have_a_line_each_below_their_task() -> None:
    view = expanded(10)
    for position, number in enumerate((9, 0, 2), 4):
        view.apply(event(position, "task.success", "SUCCESS", f"load[{number}]", attempt=1))
    rows = [line.split()[1] for line in picture(view).splitlines() if line and line[0] in "✓·●"]
    assert rows == ["extract", "load", "load[0]", "load[2]", "load[9]", "report"]
    assert "[3/10 done]" in picture(view)


def test_a_task_that_waits_says_what_for() -> None:
    view = running(Graph.build(["approve", "bill", "pause"], [[], [], []]))
    view.apply(event(3, "task.waiting", "WAITING", "approve", reason="signal", waits_for="approve", due_ms=86_400_000))
    view.apply(event(4, "task.waiting", "WAITING", "bill", reason="workflow", waits_for=RUN))
    view.apply(event(5, "task.waiting", "WAITING", "pause", reason="delay", due_ms=86_400_000))
    text = picture(view, width=160)
    assert "waits for signal approve, until" in text
    assert f"waits for run {RUN}" in text
    assert "waits until" in text
    assert "3 waiting" in text


def test_what_was_done_by_hand_says_by_whom() -> None:
    view = running(Graph.build(["a", "b"], [[], []]))
    view.apply(event(3, "task.skipped", "SKIPPED", "a", reason="by_hand", actor="ann"))
    view.apply(event(4, "task.success", "SUCCESS", "b", actor="bob"))
    view.apply(event(5, "run.paused", "PAUSED", reason="wrong bucket", actor="cleo"))
    text = picture(view)
    assert "by_hand, by ann" in text
    assert "by bob" in text
    assert "PAUSED  wrong bucket, by cleo" in text
    assert plain_line(event(6, "task.skipped", "SKIPPED", "a", reason="by_hand", actor="ann")).endswith(
        "by_hand  by ann"
    )
    assert "by ann" not in plain_line(event(2, "run.running", "RUNNING", actor="ann")), (
        "who started it did nothing by hand"
    )


def test_a_failover_is_noted_with_both_epochs() -> None:
    view = running(Graph.build(["a"], [[]]))
    later = event(3, "task.queued", "QUEUED", "a", attempt=1)
    object.__setattr__(later, "epoch", 2)
    view.apply(later)
    assert "epoch 1 -> 2" in picture(view)


def test_a_run_without_a_known_graph_shows_the_tasks_it_hears_of() -> None:
    view = RunView(RUN)
    view.apply(event(1, "run.accepted", "PENDING"))
    view.apply(event(2, "task.queued", "QUEUED", "surprise", attempt=1))
    assert "surprise" in picture(view)
    assert view.total == 1


def test_a_name_loses_its_number_and_keeps_what_is_no_number() -> None:
    assert name_of("mProject_ID0000007") == "mProject"
    assert name_of("load-12") == "load"
    assert name_of("extract") == "extract"
    assert name_of("load[12]") == "load[*]"
    assert name_of("2024") == "2024"


def test_a_line_of_a_log_names_task_attempt_state_and_error() -> None:
    line = plain_line(event(7, "task.retrying", "RETRYING", "load", attempt=2, reason="error", error="down"))
    assert "load#2" in line
    assert "RETRYING" in line
    assert "ValueError: down" in line


LONG = ["transform_customer_orders_into_daily_aggregates", "validate_that_all_of_the_aggregates_add_up_right_x"]


@pytest.mark.parametrize("width", [80, 120])
def test_long_task_ids_and_states_are_whole(width: int) -> None:
    view = running(Graph.build(LONG, [[], [LONG[0]]]))
    view.apply(event(3, "task.running", "RUNNING", LONG[0], attempt=1, worker="host-1-deadbeef"))
    text = picture(view, width=width)
    rows = [line for line in text.splitlines() if line[:1] in "●·" and line.strip()]
    assert [LONG[0] in rows[0], "RUNNING" in rows[0], LONG[1] in rows[1], "PENDING" in rows[1]] == [True] * 4
    assert all(cell_len(line) <= width for line in text.splitlines())


def test_an_id_of_the_greatest_length_goes_over_lines_and_is_not_cut() -> None:
    name = "x" * 100
    view = running(Graph.build([name], [[]]))
    text = picture(view, width=80)
    assert sum(line.count("x") for line in text.splitlines()) == 100
    assert "PENDING" in text


def test_a_title_that_is_too_long_leaves_the_state_visible() -> None:
    view = RunView(RUN, title="w" * 90)
    view.apply(event(1, "run.accepted", "PENDING"))
    object.__setattr__(view.state, "workflow", "w" * 60)
    text = picture(view, width=80)
    assert f"{RUN}  PENDING" in text


def test_a_status_goes_with_the_first_record_and_leaves_the_workflows_name() -> None:
    view = RunView(RUN, title="orders")
    view.status = "starting engine and worker"
    assert "starting engine and worker" in picture(view)
    view.apply(event(1, "run.accepted", "PENDING"))
    text = picture(view)
    assert "starting" not in text
    assert text.startswith("orders")


@pytest.mark.parametrize("order", ["owner first", "epoch first"])
def test_one_takeover_is_one_note(order: str) -> None:
    view = running(Graph.build(["a"], [[]]))
    halves = [("owner", "partition 3, e1 -> e2"), ("epoch", "epoch 1 -> 2")]
    for half, text in halves if order == "owner first" else reversed(halves):
        view.moved(half, text)
    [note] = view.notes
    assert note.endswith("the run has a new owner: partition 3, e1 -> e2, epoch 1 -> 2")


def test_a_second_takeover_is_another_note() -> None:
    view = running(Graph.build(["a"], [[]]))
    view.moved("epoch", "epoch 1 -> 2")
    view.moved("epoch", "epoch 2 -> 3")
    assert len(view.notes) == 2


def test_a_later_attempt_says_why_there_is_one() -> None:
    view = running(Graph.build(["a"], [[]]))
    view.apply(event(3, "task.queued", "QUEUED", "a", attempt=1))
    view.apply(event(4, "task.retrying", "RETRYING", "a", attempt=1, reason="worker_lost", error="gone"))
    view.apply(event(5, "task.queued", "QUEUED", "a", attempt=2))
    assert "attempt 2  after worker_lost" in picture(view)
