"""Moments and delays as options of commands.

Why: `trigger --at`, `trigger --delay` and `backfill --start` mean moments, and a time without an offset is none.

How: `events.moments` and `events.durations` read the text; here it becomes the aware datetime that the client takes.

It must never guess a time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from indegree.events.durations import parse_duration
from indegree.events.moments import moment_ms


def to_datetime(time_ms: int) -> datetime:
    """The moment of milliseconds since the epoch, in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)


def later(at: str | None, delay: str | None, now_ms: int) -> datetime | None:
    """When a run may begin; None: at once. Raises click.UsageError for both, MomentError, DurationError."""
    if at is not None and delay is not None:
        raise click.UsageError(f"give --at {at} or --delay {delay}, not both")
    if at is not None:
        return to_datetime(moment_ms(at))
    return None if delay is None else to_datetime(now_ms + parse_duration(delay))
