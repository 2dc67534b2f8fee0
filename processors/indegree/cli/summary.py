"""A run that does not fit the screen: a line for all tasks of one level and one name, with a bar.

Why: 100,000 tasks are a dozen kinds of tasks to a person.

How: a group is the tasks of a level whose names differ only by their number (`mProject_0001`, `mProject_0002`), or the
instances of one mapped task. Its counts are kept as events come in; drawing looks at the groups only.

It must never round away what matters: one that runs or has failed is seen in the bar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from .instances import mapped_of
from .output import short, span
from .states import STATE_STYLES

# In this order a summary bar is filled: what is done first, what is open last.
_BAR_ORDER = ("SUCCESS", "SKIPPED", "FAILED", "CANCELLED", "RUNNING", "RETRYING", "QUEUED", "WAITING", "PENDING")
# Only what has ended is drawn full, so that a bar can be read without colour.
_BAR_GLYPHS = {"RUNNING": "▒", "RETRYING": "▒", "QUEUED": "░", "WAITING": "░", "PENDING": "·"}
_NUMBERED = re.compile(r"[_.\-]*(?:ID|id)?\d+$")


def name_of(task_id: str) -> str:
    """What a task is called without its number: `mProject_ID0000007` -> `mProject`, `load[3]` -> `load[*]`."""
    if mapped := mapped_of(task_id):
        return f"{mapped}[*]"
    return _NUMBERED.sub("", task_id) or task_id


class TaskGroup:
    """Tasks of one level and one name."""

    __slots__ = ("attempts", "busy_ms", "counts", "depth", "ended", "name", "size")

    def __init__(self, name: str, depth: int) -> None:
        self.name = name
        self.depth = depth
        self.size = 0
        self.counts: dict[str, int] = {}
        self.attempts = 0  # beyond the first of each task
        self.busy_ms = 0
        self.ended = 0

    @property
    def active(self) -> bool:
        return self.ended < self.size and self.counts.get("PENDING", 0) < self.size


def summary(all_groups: Iterable[TaskGroup], room: int, width: int) -> Table:
    """A line a group, at most `room` of them: those that are active first."""
    bar = max(10, min(40, width - 60))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(5):
        table.add_column(no_wrap=True)
    groups = sorted(all_groups, key=lambda group: group.depth)
    left_out = 0
    if len(groups) > room:
        active = [group for group in groups if group.active]
        waiting = [group for group in groups if not group.active and group.ended < group.size]
        ended = [group for group in groups if group.ended == group.size]
        shown = (active + ended[-2:] + waiting)[: room - 1]
        left_out = len(groups) - len(shown)
        groups = sorted(shown, key=lambda group: group.depth)
    for group in groups:
        label = group.name + (f" x{group.size}" if group.size > 1 else "")
        mean = span(group.busy_ms / group.ended) + " each" if group.busy_ms and group.ended else ""
        retried = f"{group.attempts} retried" if group.attempts else ""
        table.add_row(
            Text(f"{group.depth:>3}  {short(label, 34)}", style="bold" if group.active else ""),
            _bar(group, bar),
            Text(f"{group.ended}/{group.size}"),
            Text(mean, style="dim"),
            Text(retried, style="magenta"),
        )
    if left_out:
        table.add_row(Text(f"     … {left_out} more", style="dim"))
    return table


def _bar(group: TaskGroup, width: int) -> Text:
    text = Text()
    filled, seen = 0, 0
    for state in _BAR_ORDER:
        count = group.counts.get(state, 0)
        if count <= 0:
            continue
        seen += count
        upto = round(seen / max(1, group.size) * width)
        if upto == filled and state in ("RUNNING", "FAILED") and filled < width:
            upto = filled + 1  # what matters is never rounded away
        text.append(_BAR_GLYPHS.get(state, "█") * (upto - filled), style=STATE_STYLES[state])
        filled = max(filled, upto)
    return text
