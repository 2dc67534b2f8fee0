"""Tables for people: laid out for the width that is there, so that what identifies a thing is never cut.

Why: a run id that lost its end cannot be copied, and a state that lost its end misleads. So a narrow terminal must
cost something else.

How: a table names the columns that are `whole` (ids, states) and those that are free `text`. Where the natural widths
do not fit, text shrinks first (an ellipsis marks the cut), then columns go from the right, then whole columns are
folded over several lines, the last one first. What went is named under the table.

It must never drop or cut a column that is whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.text import Text

from .states import STATE_STYLES

GAP = 2
TEXT_LEAST = 14  # cells: below that, a text column says nothing any more
FOLD_LEAST = 12


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are shown (by number), how wide each is, and the names of those left out."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    left_out: tuple[str, ...] = ()


def lay_out(
    columns: Sequence[str],
    natural: Sequence[int],
    width: int,
    *,
    whole: Collection[str] = (),
    text: Collection[str] = (),
) -> Layout:
    """The layout for `width` cells. `natural`: the width that each column would like."""
    shown = list(range(len(columns)))

    def least(number: int) -> int:
        return min(natural[number], TEXT_LEAST) if columns[number] in text else natural[number]

    def taken(widths: Sequence[int]) -> int:
        return sum(widths) + GAP * max(0, len(widths) - 1)

    while taken([least(number) for number in shown]) > width:
        loose = [number for number in shown if columns[number] not in whole]
        if not loose:
            break
        shown.remove(loose[-1])
    widths = {number: least(number) for number in shown}
    spare = width - taken(list(widths.values()))
    for number in shown:  # what is left goes to the texts, first come first served
        more = min(max(spare, 0), natural[number] - widths[number])
        widths[number] += more
        spare -= more
    for number in reversed(shown):  # whole columns alone do not fit: fold, the last one first
        if spare < 0 and widths[number] > FOLD_LEAST:
            fold = min(-spare, widths[number] - FOLD_LEAST)
            widths[number] -= fold
            spare += fold
    left_out = tuple(name for number, name in enumerate(columns) if number not in shown)
    return Layout(tuple(shown), tuple(widths[number] for number in shown), left_out)


def draw(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int | None,
    *,
    whole: Collection[str] = (),
    text: Collection[str] = (),
) -> tuple[list[Text], Layout]:
    """The lines of a table, the head included. `width` None: as wide as it wants to be (a pipe, a file)."""
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    natural = [max([cell_len(name), *(cell_len(row[number]) for row in cells)]) for number, name in enumerate(columns)]
    wide = sum(natural) + GAP * len(columns) if width is None else width
    layout = lay_out(columns, natural, wide, whole=whole, text=text)
    lines = _row([columns[number] for number in layout.shown], layout.widths, "bold", fold=True)
    for row in cells:
        folds = [columns[number] in whole for number in layout.shown]
        lines += _row([row[number] for number in layout.shown], layout.widths, None, fold=folds)
    return lines, layout


def _row(cells: Sequence[str], widths: Sequence[int], style: str | None, *, fold: bool | Sequence[bool]) -> list[Text]:
    pieces: list[list[str]] = []
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        folds = fold if isinstance(fold, bool) else fold[number]
        pieces.append(folded(cell, width) if folds else [cut(cell, width)])
    lines = []
    for level in range(max((len(piece) for piece in pieces), default=0)):
        line = Text(no_wrap=True)
        for number, (piece, width) in enumerate(zip(pieces, widths, strict=True)):
            part = piece[level] if level < len(piece) else ""
            line.append(part, style if style is not None else STATE_STYLES.get(cells[number], ""))
            if number < len(pieces) - 1:
                line.append(" " * (width - cell_len(part) + GAP))
        line.rstrip()
        lines.append(line)
    return lines


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells; an ellipsis marks what is missing."""
    if cell_len(text) <= width:
        return text
    return (chop_cells(text, max(1, width - 1))[0] if width > 1 else "") + "…"


def folded(text: str, width: int) -> list[str]:
    """The whole text in lines of at most `width` cells."""
    return chop_cells(text, max(1, width)) if cell_len(text) > width else [text]
