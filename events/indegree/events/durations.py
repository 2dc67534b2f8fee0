"""Durations as people write them (`90s`, `1h30m`, `2d`) and as the engine counts them (integer milliseconds).

Why: one reader and one printer, so that a duration means the same in a file, in Python, in a setting and on the screen.

How: a number is seconds; text is whole or decimal numbers, each with a unit, largest first. `format_duration` is the
inverse and prints the one canonical form, on which the hash of a workflow rests: its output for a given number of
milliseconds may never change.

It must never guess: `1:30` is minutes for one reader and hours for another, so it is refused with the way out.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_TEXT = re.compile(r"(?:\d{1,15}(?:\.\d{1,9})?(?:ms|d|h|m|s))+", re.ASCII)
_PART = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ms|d|h|m|s)", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)

MAX_DURATION_MS = 3_650 * _UNITS_MS["d"]
"""Ten years. Longer is a mistake in the unit, and sums of such durations must stay far from 2**63 milliseconds."""

_HOW = "write it like 90s, 5m, 1h30m or 2d; a bare number is seconds"


class DurationError(ValueError):
    """The value is not a duration. The message names it, the rule and the way out."""


def parse_duration(value: object) -> int:
    """Milliseconds of a duration: text (`1h30m`), a number of seconds, or a timedelta. Raises DurationError."""
    if isinstance(value, timedelta):
        exact = Decimal(value.days * 86_400_000) + Decimal(value.seconds * 1_000) + Decimal(value.microseconds) / 1_000
        return _whole(exact, value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DurationError(f"{_shown(value)} is not a duration: {_HOW}")
    if not isinstance(value, str):
        if value != value or value in (float("inf"), float("-inf")):
            raise DurationError(f"{value} is not a duration: {_HOW}")
        return _whole(Decimal(str(value)) * 1_000, value)
    text = value.strip()
    if len(text) <= 100:
        if _NUMBER.fullmatch(text):
            return _whole(Decimal(text) * 1_000, value)
        if _TEXT.fullmatch(text):
            parts = _PART.findall(text)
            sizes = [_UNITS_MS[unit] for _, unit in parts]
            if any(after >= before for before, after in pairwise(sizes)):
                raise DurationError(f"{value!r} has units twice or out of order: {_HOW}")
            return _whole(sum((Decimal(n) * _UNITS_MS[unit] for n, unit in parts), Decimal(0)), value)
    if ":" in text:
        raise DurationError(f"{_shown(value)} is ambiguous (minutes or hours?): write 1m30s or 1h30m")
    raise DurationError(f"{_shown(value)} is not a duration: {_HOW}")


def format_duration(ms: int) -> str:
    """The canonical text of a duration in milliseconds: `0s`, `1h30m`, `1s500ms`."""
    if ms <= 0:
        return "0s"
    parts = []
    for unit, size in _UNITS_MS.items():
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _whole(exact: Decimal, value: object) -> int:
    if exact < 0:
        raise DurationError(f"{_shown(value)} is below zero; a duration is 0 or more")
    if exact > MAX_DURATION_MS:
        raise DurationError(f"{_shown(value)} is longer than the limit of {format_duration(MAX_DURATION_MS)}")
    ms = int(exact)
    if ms != exact:
        raise DurationError(f"{_shown(value)} is finer than a millisecond, the smallest step that there is")
    return ms


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
