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

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from indegree.events.graph import Graph
from indegree.sdk.client_events import TASK_ENDED, RunEvent, RunState, TaskView

from .instances import Instances, mapped_of, shown
from .output import clock, short, span, state_text
from .states import STATE_STYLES
from .summary import TaskGroup, name_of, summary
from .tables import cut, folded
from .telling import by_hand, waiting
from .terminal import restore, without_echo_of_keys

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
_FRAME_ROWS = 8  # title, totals, notes: what a picture needs beside its rows
_LINE_WIDTH = 28
_STATE_WIDTH = 9
_TOOK_WIDTH = 6
_REMARK_LEAST = 8
_NOTES = 4
_ONE_TAKEOVER_S = 30.0  # owner and epoch heard within this are one takeover
_QUIET_S = 5.0  # with tasks ready and none running, somebody should look why


class RunView:
    """Feed it with `apply`; print it, or use it as a context manager on a terminal to see it move.

    `graph`: the run's tasks, where they are known; without it, tasks appear as they are heard of.
    `owner`: who owns the run's partition, where somebody knows; shown as it is.
    `title`: the workflow's name, before the first record says it.
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
        self.owner = self.known_owner = owner  # the second stays while nobody is the owner
        self.status = ""  # what is waited for at present; under the picture, gone when it is empty
        self.notes: list[str] = []
        self.remarks: Callable[[str], None] | None = None  # where notes go too, when there is no picture
        self._moved_at = float("-inf")  # when the last takeover was noted, and its two halves
        self._moved: dict[str, str] = {}
        self._rejected: dict[str, int] = {}  # task -> how often since it was begun or queued anew
        self._again: dict[str, str] = {}  # task -> why its attempt before this one was not the last
        self._live: Live | None = None
        self._echo: list[Any] | None = None  # the terminal's attributes as they were
        self._groups: dict[tuple[int, str], TaskGroup] = {}
        self._counts: dict[str, int] = {}
        self._maps: dict[str, Instances] = {}
        self._heard: list[str] = []  # tasks that are neither in the graph nor instances of a mapped one
        self._total = graph.n if graph is not None else 0
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
            self.moved("epoch", f"epoch {epoch} -> {self.state.epoch}")
        if event.position == 1:
            self.status = ""
        self._now_ms, self._heard_at = max(self._now_ms, event.time_ms), time.monotonic()
        if event.instances and event.state == "RUNNING":
            self._expanded(event.task_id, event.instances)
        if event.task_id:
            self._count(self.state.tasks[event.task_id], before, attempts, new=task is None)
            self._remember_why(event, attempts)
        return True

    def _remember_why(self, event: RunEvent, attempts: int) -> None:
        if event.state == "QUEUED" and event.error is not None:
            self._rejected[event.task_id] = self._rejected.get(event.task_id, 0) + 1
        elif event.state != "QUEUED":
            self._rejected.pop(event.task_id, None)
        if event.state == "RETRYING" or (event.state == "QUEUED" and event.attempt > max(1, attempts)):
            why = event.reason if event.reason not in ("", "error") else short(str(event.error or event.reason), 60)
            if why:
                self._again[event.task_id] = why

    def moved(self, half: str, text: str) -> None:
        """A takeover, as one note: etcd names the owner, the records name the epoch, and either may be first."""
        now = time.monotonic()
        if half in self._moved or now - self._moved_at > _ONE_TAKEOVER_S:
            self._moved = {}
        first = not self._moved
        self._moved[half], self._moved_at = text, now
        words = "the run has a new owner: " + ", ".join(
            self._moved[key] for key in ("owner", "epoch") if key in self._moved
        )
        if not first and self.notes and "the run has a new owner: " in self.notes[-1]:
            del self.notes[-1]
        self.note(words)

    def note(self, text: str) -> None:
        """A remark under the picture, with the time. The last few stay."""
        self.notes.append(f"{clock(int(time.time() * 1000))}  {text}")
        if self.remarks is not None:
            self.remarks(text)
        del self.notes[:-_NOTES]

    def _group(self, task_id: str) -> TaskGroup:
        depth = 0
        if self.graph is not None:
            place = self.graph.index.get(mapped_of(task_id) or task_id)
            depth = self.graph.depth[place] if place is not None else 0
        key = (depth, name_of(task_id))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = TaskGroup(key[1], depth)
        return group

    def _count(self, task: TaskView, before: str, attempts: int, *, new: bool) -> None:
        group = self._group(task.id)
        base = mapped_of(task.id)
        known = base in self._maps if base else self.graph is not None and task.id in self.graph.index
        if base in self._maps:
            self._maps[base].count(task.id, "" if new else before, task.state)
        if new and not known:
            group.size += 1
            self._total += 1
            self._heard.append(task.id)
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
        elif before in TASK_ENDED and task.state not in TASK_ENDED:  # begun again by hand
            group.ended -= 1

    def _expanded(self, task_id: str, total: int) -> None:
        """A mapped task has so many instances now; where it had others, those are no more."""
        group = self._group(f"{task_id}[0]")
        old = self._maps.get(task_id)
        changes = {"PENDING": total}
        if old is not None:
            group.size -= old.total
            group.ended -= sum(old.counts.get(state, 0) for state in TASK_ENDED)
            self._total -= old.total
            changes["PENDING"] -= old.total - old.known
            for state, count in old.counts.items():
                changes[state] = changes.get(state, 0) - count
        group.size += total
        self._total += total
        for counts in (group.counts, self._counts):
            for state, count in changes.items():
                counts[state] = counts.get(state, 0) + count
        self._maps[task_id] = Instances(total)

    # -- the run as numbers

    @property
    def total(self) -> int:
        """Tasks, instances of mapped ones among them."""
        return self._total

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

    @property
    def quiet_s(self) -> float:
        """Seconds since the last record was heard (or since the view was made)."""
        return time.monotonic() - self._heard_at

    # -- moving

    def __enter__(self) -> Self:
        self._echo = without_echo_of_keys()
        self._live = Live(self, console=self.console, refresh_per_second=8, transient=False)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._echo is not None:
            restore(self._echo)
            self._echo = None

    # -- drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.max_height if console.is_terminal else 200
        yield self.draw(height, options.max_width)

    def draw(self, height: int = 200, width: int = 100) -> RenderableType:
        """The picture, at most `height` lines of `width` columns."""
        room = max(4, height - _FRAME_ROWS - len(self.notes))
        folded = sum(found.total for found in self._maps.values() if found.folded)
        rows = self._tasks(width) if self.total - folded <= room else []
        parts: list[RenderableType] = [*self._head(width), Text("")]
        if rows and len(rows) <= room:  # a long name may take two lines
            parts += rows
        else:
            parts.append(summary(self._groups.values(), room, width))
        parts += [Text(""), *self._totals(width)]
        if self.status:
            parts.append(Text(cut(self.status, width), style="bold magenta", no_wrap=True))
        parts += [Text(cut(note, width), style="bold magenta", no_wrap=True) for note in self.notes]
        return Group(*parts)

    def _head(self, width: int) -> list[Text]:
        """Workflow, run id, state; over two lines where they do not fit into one."""
        state = self.state
        name = Text(state.workflow or self.title or "run", "bold", no_wrap=True)
        rest = Text.assemble((state.run_id, "dim"), "  ", no_wrap=True)
        rest.append_text(state_text(state.state))
        lines = [Text.assemble(name, "  ", rest, no_wrap=True)]
        if lines[0].cell_len > width:
            lines = [name, rest]
        why = ", ".join(filter(None, (state.reason, by_hand(state))))
        if why:
            style = "red" if state.state == "FAILED" else "dim"
            room = width - lines[-1].cell_len - 2
            if room >= min(cell_len(why), 24):
                lines[-1].append("  " + cut(short(why, 80), room), style=style)
            else:
                lines.append(Text(cut(short(why, 200), width), style=style, no_wrap=True))
        return lines

    def _totals(self, width: int) -> list[Text]:
        done = Text(f"{self.ended}/{self.total} tasks", style="bold", no_wrap=True)
        for state in ("RUNNING", "QUEUED", "WAITING", "RETRYING", "FAILED", "SKIPPED", "CANCELLED"):
            if count := self._counts.get(state, 0):
                done.append("  ")
                done.append(f"{GLYPHS[state]} {count} {state.lower()}", style=STATE_STYLES[state])
        done.append(f"   {span(self.elapsed_ms)}", style="bold")
        lines = [done]
        if self.owner or self.state.epoch:
            who = " ".join(filter(None, (self.owner, f"epoch {self.state.epoch}" if self.state.epoch else "")))
            text = Text(f"owner: {who}", style="dim", no_wrap=True)
            if done.cell_len + 3 + text.cell_len <= width:
                done.append("   ").append_text(text)
            else:
                text.truncate(width, overflow="ellipsis")
                lines.append(text)
        quiet_s = self.quiet_s
        stuck = self._counts.get("QUEUED", 0) and not self._counts.get("RUNNING", 0) and not self.state.ended
        stuck = stuck and self.state.state != "PAUSED"
        if stuck and quiet_s > _QUIET_S and not self.status:
            words = f"no news for {quiet_s:.0f} s: `indegree doctor` says why"
            lines.append(Text(cut(words, width), style="bold magenta", no_wrap=True))
        return lines

    def _ordered(self) -> Sequence[str]:
        """The tasks that get a line; see instances.py for mapped ones."""
        if self.graph is None:
            return shown(self._heard, self._maps)
        known = [self.graph.ids[place] for place in sorted(self.graph.order, key=lambda p: (self.graph.depth[p], p))]  # type: ignore[union-attr]
        return shown(known + self._heard, self._maps)

    def _tasks(self, width: int) -> list[Text]:
        """A line a task: mark, whole name, state, time; then, as far as there is room, its time line and a remark."""
        bar = _LINE_WIDTH if width >= 90 else 0
        ids = self._ordered()
        widest = max((cell_len(task_id) for task_id in ids), default=0)
        name_width = min(widest, max(16, width - 2 - _STATE_WIDTH - _TOOK_WIDTH - 4))
        if name_width + 2 + _STATE_WIDTH + _TOOK_WIDTH + 4 + bar + 2 > width:
            bar = 0
        lines: list[Text] = []
        for task_id in ids:
            task = self.state.tasks.get(task_id) or TaskView(task_id)
            style = STATE_STYLES.get(task.state, "")
            first, *more = folded(task_id, name_width)
            line = Text(no_wrap=True)
            line.append(GLYPHS.get(task.state, "?"), style)
            line.append(f" {first}{' ' * (name_width - cell_len(first))}  ")
            line.append(f"{task.state:<{_STATE_WIDTH}}  ", style)
            line.append(f"{self._duration(task):<{_TOOK_WIDTH}}  ", "dim")
            if bar:
                line.append_text(self._time_line(task, bar))
                line.append(" " * max(0, bar - self._time_line(task, bar).cell_len) + "  ")
            attempt = f"attempt {task.attempts}" if task.attempts > 1 else ""
            words = "  ".join(filter(None, (attempt, self._remark(task))))
            room = width - line.cell_len
            if words and room >= min(cell_len(words), _REMARK_LEAST):
                line.append(cut(words, room), "magenta" if attempt else "dim")
            line.rstrip()
            lines.append(line)
            lines += [Text("  " + part, no_wrap=True) for part in more]
        return lines

    def _duration(self, task: TaskView) -> str:
        if not task.started_ms:
            return ""
        if task.finished_ms:
            return span(task.finished_ms - task.started_ms)
        if task.state == "RUNNING":
            return span(self.state.started_ms + self.elapsed_ms - task.started_ms)
        return ""

    def _remark(self, task: TaskView) -> str:
        found = self._maps.get(task.id)
        if found is not None and (found.folded or task.state == "RUNNING"):
            return found.words()
        match task.state:
            case "WAITING":
                return waiting(task)
            case "FAILED" | "RETRYING":
                why = short(str(task.error) if task.error else task.reason, 120)
                return f"{task.reason}: {why}" if task.reason not in ("", "error", why) else why
            case "QUEUED" if task.error is not None:
                times = self._rejected.get(task.id, 0)
                return f"rejected{f' {times} times' if times > 1 else ''}: {short(task.error.message, 120)}"
            case "SKIPPED" | "CANCELLED":
                return ", ".join(filter(None, (task.reason, by_hand(task))))
            case "SUCCESS" if task.actor:
                return by_hand(task)
            case _:
                why = self._again.get(task.id, "") if task.attempts > 1 else ""
                return f"after {why}" if why else task.worker

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
