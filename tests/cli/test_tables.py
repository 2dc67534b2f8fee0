"""Tables at any width: what identifies a thing is whole, cuts are marked, and what went is named."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from indegree.cli.tables import draw

COLUMNS = ["run", "state", "workflow", "took", "reason", "started"]
WHOLE = ("run", "state", "workflow")
RUN = "20261125T101530.123Z-0123456789AB-0003"
ROW = [RUN, "CANCELLED", "orders", "12.3 s", "task 'load' failed since the bucket is gone", "2026-11-25 10:15:30"]


def lines_of(rows: list[list[object]], width: int | None) -> tuple[list[str], tuple[str, ...]]:
    lines, layout = draw(COLUMNS, rows, width, whole=WHOLE, text=("reason",))
    return [line.plain for line in lines], layout.left_out


@pytest.mark.parametrize("width", [80, 100, 120])
def test_ids_and_states_are_whole_and_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines, left_out = lines_of([ROW], width)
    assert RUN in lines[1]
    assert "CANCELLED" in lines[1]
    assert max(map(cell_len, lines)) <= width
    assert "started" in left_out or width >= 120


def test_text_is_shortened_with_an_ellipsis_before_a_column_goes() -> None:
    lines, left_out = lines_of([ROW], 90)
    assert lines[1].endswith("…")
    assert left_out == ("started",)


def test_a_pipe_gets_everything() -> None:
    lines, left_out = lines_of([ROW], None)
    assert left_out == ()
    assert all(str(cell) in lines[1] for cell in ROW)


def test_a_name_that_does_not_fit_beside_its_id_is_folded_and_the_id_is_not() -> None:
    name = "a_workflow_with_a_name_that_is_as_long_as_names_may_be_" + "x" * 40
    lines, _ = lines_of([[RUN, "SUCCESS", name, "1 ms", "", ""]], 80)
    assert lines[1].startswith(f"{RUN}  SUCCESS  ")
    assert "".join(line[len(RUN) + 11 :].strip() for line in lines[1:]) == name
    assert max(map(cell_len, lines)) <= 80


def test_whole_cells_can_be_put_together_again_at_any_width() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(200):
        width = dice.randint(45, 160)
        ids = ["t" * dice.randint(1, 100) for _ in range(3)]
        rows = [[name, "RUNNING", dice.randint(0, 99), "r" * dice.randint(0, 80)] for name in ids]
        lines, _ = draw(["task", "state", "attempts", "reason"], rows, width, whole=("task", "state"), text=("reason",))
        text = "\n".join(line.plain for line in lines)
        assert sum(line.count("t") for line in text.splitlines()[1:]) == sum(map(len, ids))
        assert text.count("RUNNING") == 3
        assert all(cell_len(line.plain) <= width for line in lines)
