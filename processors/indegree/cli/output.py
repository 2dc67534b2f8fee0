"""What a command prints: results on stdout, remarks on stderr, one JSON object a line where `--json` is given.

Why: people read tables, programs read JSON lines, and both pipe us into something that may stop reading.

How: `Output` is the only thing that writes to stdout. A closed pipe raises ReaderGone, which `main` ends quietly (click
and rich would end the process with code 1).

It must never mix the two: a remark on stdout would break whoever parses it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from .states import STATE_STYLES
from .tables import draw


class ReaderGone(Exception):
    """Whoever read our output has closed the pipe: there is nobody left to tell."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise ReaderGone


class Output:
    """Writes for a person or, with `json_lines`, for a program."""

    def __init__(self, *, json_lines: bool = False) -> None:
        self.json_lines = json_lines
        self.console = _Console(highlight=False, soft_wrap=True)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Whether a live view makes sense: a terminal, and a person at it."""
        return self.console.is_terminal and not self.json_lines

    def value(self, value: Mapping[str, Any]) -> None:
        """One JSON object on one line, at once (a reader of a stream waits for it)."""
        self.text(json.dumps(value, separators=(",", ":"), ensure_ascii=True, default=str) + "\n")

    def text(self, text: str) -> None:
        """Text as it is, at once. Raises ReaderGone."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderGone from None

    def line(self, text: str = "", style: str | None = None) -> None:
        """A line for a person; `text` is taken as it is."""
        self.console.print(Text(text, style=style or ""))

    def rich(self, thing: Any) -> None:
        """Something that rich draws."""
        self.console.print(thing)

    def note(self, text: str) -> None:
        """A remark on stderr."""
        self.errors.print(Text(text, style="dim"))

    def error(self, text: str) -> None:
        """What went wrong, on stderr."""
        self.errors.print(Text.assemble(("error: ", "bold red"), text))

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        whole: Collection[str] = (),
        text: Collection[str] = (),
    ) -> None:
        """A table without borders. A cell that is a state's word gets its colour; a piped table is never cut.

        `whole`: columns that are never cut nor left out; `text`: those that may be shortened. See tables.py.
        """
        width = self.console.width if self.console.is_terminal else None
        lines, layout = draw(columns, list(rows), width, whole=whole, text=text)
        if width is None:
            self.text("".join(line.plain + "\n" for line in lines))
            return
        for line in lines:
            self.console.print(line)
        if layout.left_out:
            self.note(f"no room for {', '.join(layout.left_out)}: a wider terminal, a pipe and --json have all")


def state_text(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def clock(time_ms: int) -> str:
    """Local wall time with milliseconds, empty for 0."""
    if not time_ms:
        return ""
    return datetime.fromtimestamp(time_ms / 1000).strftime("%H:%M:%S.%f")[:-3]


def moment(time_ms: int) -> str:
    """Local date and time to the second, empty for 0."""
    if not time_ms:
        return ""
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(ms: float) -> str:
    """A duration for people: 12 ms, 3.4 s, 2m05s, 1h02m."""
    if ms < 0:
        return ""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"


def short(value: Any, limit: int = 60) -> str:
    """A JSON value as one line of at most `limit` characters."""
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else value
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


__all__ = ["STATE_STYLES", "Output", "clock", "moment", "short", "span", "state_text"]
