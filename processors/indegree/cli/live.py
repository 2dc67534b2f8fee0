"""A run as one looks at it while it goes on: a picture on a terminal, a line an event elsewhere.

Why: watching the tasks of a DAG light up in order is how most people get to know a scheduler, and during a failover it
is how they see that nothing is lost.

How: `RunView` keeps a `RunState` (the sum of the progress records) and draws it a few times a second with rich. A run
whose tasks fit the screen is drawn task by task, in topological order, with a time line; a larger one is summed up by
level and by the name without its number (`mProject_0001`, `mProject_0002` -> `mProject_*`). Counts are kept as events
come in, so drawing costs the same for ten tasks and for 100,000.

It must never ask anybody anything: it shows what it is fed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from indegree.events.graph import Graph
from indegree.sdk.client_events import TASK_ENDED, RunEvent, RunState, TaskView

from .output import STATE_STYLES, clock, short, span, state_text

GLYPHS = {
    "PENDING": "·",
    "WAITING": "◌",
    "QUEUED": "○",
    "RUNNING": "●",
    "RETRYING": "↻",
    "SUCCESS": "✓",
    "FAILED": "✗",
    "SKIPPED": "↷",
    "CANCELLED": "⊘",
}
# In this order a summary bar is filled: what is done first, what is open last.
_BAR_ORDER = ("SUCCESS", "SKIPPED", "FAILED", "CANCELLED", "RUNNING", "RETRYING", "QUEUED", "WAITING", "PENDING")
# Only what has ended is drawn full, so that a bar can be read without colour.
_BAR_GLYPHS = {"RUNNING": "▒", "RETRYING": "▒", "QUEUED": "░", "WAITING": "░", "PENDING": "·"}
_NUMBERED = re.compile(r"[_.\-]*(?:ID|id)?\d+$")
_FRAME_ROWS = 8  # title, totals, notes: what a picture needs beside its rows
_LINE_WIDTH = 28
_NOTES = 4
_QUIET_S = 5.0  # with tasks ready and none running, somebody should look why


def name_of(task_id: str) -> str:
    """What a task is called without its number: `mProject_ID0000007` -> `mProject`."""
    return _NUMBERED.sub("", task_id) or task_id


class _Group:
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


class RunView:
    """Feed it with `apply`; print it, or use it as a context manager on a terminal to see it move.

    `graph`: the run's tasks, where they are known; without it, tasks appear as they are heard of.
    `owner`: who owns the run's partition, where somebody knows; shown as it is.
    """

    def __init__(
        self,
        run_id: str,
        graph: Graph | None = None,
        *,
        console: Console | None = None,
        title: str = "",
        owner: str = "",
    ) -> None:
        self.state = RunState(run_id)
        self.graph = graph
        self.console = console if console is not None else Console()
        self.title = title
        self.owner = owner
        self.notes: list[str] = []
        self._live: Live | None = None
        self._groups: dict[tuple[int, str], _Group] = {}
        self._counts: dict[str, int] = {}
        self._now_ms = 0
        self._heard_at = time.monotonic()
        if graph is not None:
            for place in graph.order:
                self._group(graph.ids[place]).size += 1
            for group in self._groups.values():
                group.counts["PENDING"] = group.size
            self._counts["PENDING"] = graph.n

    # -- feeding

    def apply(self, event: RunEvent) -> bool:
        """One progress record. False for a repeat. Raises ProgressGap."""
        task = self.state.tasks.get(event.task_id) if event.task_id else None
        before, attempts = (task.state, task.attempts) if task is not None else ("PENDING", 0)
        epoch = self.state.epoch
        if not self.state.apply(event):
            return False
        if epoch and self.state.epoch > epoch:
            self.note(f"a new owner has taken over: epoch {epoch} -> {self.state.epoch}")
        self._now_ms, self._heard_at = max(self._now_ms, event.time_ms), time.monotonic()
        if event.task_id:
            self._count(self.state.tasks[event.task_id], before, attempts, new=task is None)
        return True

    def note(self, text: str) -> None:
        """A remark under the picture, with the time. The last few stay."""
        self.notes.append(f"{clock(int(time.time() * 1000))}  {text}")
        del self.notes[:-_NOTES]

    def _group(self, task_id: str) -> _Group:
        depth = 0
        if self.graph is not None:
            place = self.graph.index.get(task_id)
            depth = self.graph.depth[place] if place is not None else 0
        key = (depth, name_of(task_id))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key[1], depth)
        return group

    def _count(self, task: TaskView, before: str, attempts: int, *, new: bool) -> None:
        group = self._group(task.id)
        known = self.graph is not None and task.id in self.graph.index
        if new and not known:
            group.size += 1
        else:
            for counts in (group.counts, self._counts):
                counts[before] = counts.get(before, 0) - 1
        for counts in (group.counts, self._counts):
            counts[task.state] = counts.get(task.state, 0) + 1
        group.attempts += max(0, task.attempts - max(1, attempts))
        if task.state in TASK_ENDED and before not in TASK_ENDED:
            group.ended += 1
            if task.started_ms:
                group.busy_ms += max(0, task.finished_ms - task.started_ms)

    # -- the run as numbers

    @property
    def total(self) -> int:
        return self.graph.n if self.graph is not None else len(self.state.tasks)

    @property
    def ended(self) -> int:
        """Tasks that are over."""
        return sum(self._counts.get(state, 0) for state in TASK_ENDED)

    @property
    def elapsed_ms(self) -> float:
        """From the run's first record to its end, or to now by the owner's clock as far as it was heard."""
        if not self.state.started_ms:
            return 0
        if self.state.finished_ms:
            return self.state.finished_ms - self.state.started_ms
        return self._now_ms - self.state.started_ms + (time.monotonic() - self._heard_at) * 1000

    # -- moving

    def __enter__(self) -> Self:
        self._live = Live(self, console=self.console, refresh_per_second=8, transient=False)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # -- drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.max_height if console.is_terminal else 200
        yield self.draw(height, options.max_width)

    def draw(self, height: int = 200, width: int = 100) -> RenderableType:
        """The picture, at most `height` lines of `width` columns."""
        room = max(4, height - _FRAME_ROWS - len(self.notes))
        parts: list[RenderableType] = [self._head(), Text("")]
        if self.total <= room:
            parts.append(self._tasks(width))
        else:
            parts.append(self._summary(room, width))
        parts += [Text(""), self._totals()]
        parts += [Text(note, style="bold magenta") for note in self.notes]
        return Group(*parts)

    def _head(self) -> Text:
        state = self.state
        head = Text.assemble((self.title or state.workflow or "run", "bold"), "  ", (state.run_id, "dim"), "  ")
        head.append(state_text(state.state))
        if state.reason:
            head.append(f"  {short(state.reason, 80)}", style="red" if state.state == "FAILED" else "dim")
        return head

    def _totals(self) -> Text:
        done = Text(f"{self.ended}/{self.total} tasks", style="bold")
        for state in ("RUNNING", "QUEUED", "RETRYING", "FAILED", "SKIPPED", "CANCELLED"):
            if count := self._counts.get(state, 0):
                done.append("  ")
                done.append(f"{GLYPHS[state]} {count} {state.lower()}", style=STATE_STYLES[state])
        done.append(f"   {span(self.elapsed_ms)}", style="bold")
        quiet_s = time.monotonic() - self._heard_at
        stuck = self._counts.get("QUEUED", 0) and not self._counts.get("RUNNING", 0) and not self.state.ended
        if stuck and quiet_s > _QUIET_S:
            done.append(f"   no news for {quiet_s:.0f} s: `indegree doctor` says why", style="bold magenta")
        if self.owner or self.state.epoch:
            who = " ".join(filter(None, (self.owner, f"epoch {self.state.epoch}" if self.state.epoch else "")))
            done.append(f"   owner: {who}", style="dim")
        return done

    def _ordered(self) -> Sequence[str]:
        if self.graph is None:
            return list(self.state.tasks)
        known = [self.graph.ids[place] for place in sorted(self.graph.order, key=lambda p: (self.graph.depth[p], p))]  # type: ignore[union-attr]
        return known + [task_id for task_id in self.state.tasks if task_id not in self.graph.index]

    def _tasks(self, width: int) -> Table:
        line = _LINE_WIDTH if width >= 90 else 0
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in range(6 if line else 5):
            table.add_column(no_wrap=True)
        for task_id in self._ordered():
            task = self.state.tasks.get(task_id) or TaskView(task_id)
            style = STATE_STYLES.get(task.state, "")
            attempt = Text(f"attempt {task.attempts}", style="magenta") if task.attempts > 1 else Text("")
            cells: list[RenderableType] = [
                Text.assemble((GLYPHS.get(task.state, "?"), style), " ", short(task_id, 40)),
                Text(task.state, style=style),
                Text(self._duration(task), style="dim"),
            ]
            if line:
                cells.append(self._time_line(task, line))
            cells += [attempt, Text(self._remark(task), style="dim")]
            table.add_row(*cells)
        return table

    def _duration(self, task: TaskView) -> str:
        if not task.started_ms:
            return ""
        if task.finished_ms:
            return span(task.finished_ms - task.started_ms)
        if task.state == "RUNNING":
            return span(self.state.started_ms + self.elapsed_ms - task.started_ms)
        return ""

    def _remark(self, task: TaskView) -> str:
        match task.state:
            case "FAILED" | "RETRYING":
                return short(str(task.error) if task.error else task.reason, 60)
            case "QUEUED" if task.error is not None:
                return "rejected: " + short(task.error.message, 60)
            case "SKIPPED" | "CANCELLED":
                return task.reason
            case _:
                return short(task.worker, 32)

    def _time_line(self, task: TaskView, width: int) -> Text:
        """When it ran, on a line that stands for the whole run so far."""
        whole = max(1.0, self.elapsed_ms)
        begin_ms = task.started_ms or (task.queued_ms if task.state in ("QUEUED", "RETRYING") else 0)
        if not begin_ms:
            return Text("")
        end_ms = task.finished_ms or self.state.started_ms + self.elapsed_ms
        begin = min(width - 1, max(0, int((begin_ms - self.state.started_ms) / whole * width)))
        end = min(width, max(begin + 1, round((end_ms - self.state.started_ms) / whole * width)))
        mark = "━" if task.started_ms else "┄"
        return Text.assemble(" " * begin, (mark * (end - begin), STATE_STYLES.get(task.state, "")), " " * (width - end))

    def _summary(self, room: int, width: int) -> Table:
        bar = max(10, min(40, width - 60))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in range(5):
            table.add_column(no_wrap=True)
        groups = sorted(self._groups.values(), key=lambda group: group.depth)
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
                self._bar(group, bar),
                Text(f"{group.ended}/{group.size}"),
                Text(mean, style="dim"),
                Text(retried, style="magenta"),
            )
        if left_out:
            table.add_row(Text(f"     … {left_out} more", style="dim"))
        return table

    def _bar(self, group: _Group, width: int) -> Text:
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


def plain_line(event: RunEvent) -> str:
    """One event as a line for a log file."""
    what = event.task_id or "run"
    attempt = f"#{event.attempt}" if event.task_id and event.attempt else ""
    parts = [clock(event.time_ms), f"{what + attempt:<32}", f"{event.state or event.type:<9}"]
    if event.started_ms and event.finished_ms:
        parts.append(span(event.finished_ms - event.started_ms))
    if event.reason:
        parts.append(event.reason)
    if event.error is not None:
        parts.append(short(str(event.error), 120))
    elif event.output is not None:
        parts.append("-> " + short(event.output, 80))
    elif event.worker and event.state in ("QUEUED", "RUNNING"):
        parts.append(event.worker)
    return "  ".join(parts).rstrip()
