"""Moments as people write them: ISO 8601 with an offset, as milliseconds since the epoch.

Why: a time without an offset means another moment on another machine, so it is refused wherever one is asked for.

How: the standard library's parser, and two rules on top: an offset must be there, and the year must be one that a
run id can hold.

It must never guess a time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_LAST: Final = 253_402_300_799_999  # the end of the year 9999


class MomentError(ValueError):
    """A value is no moment; the message names it and says what one looks like."""


def moment_ms(value: object) -> int:
    """Milliseconds since the epoch of `2026-11-25T06:30:00Z` or the like. Raises MomentError."""
    if not isinstance(value, str):
        raise MomentError(
            f"{value!r:.80} is no time; write it as text with an offset, such as 2026-11-25T06:30:00+01:00"
        )
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise MomentError(f"{value!r:.80} is no time; write it as 2026-11-25T06:30:00+01:00") from None
    if moment.tzinfo is None:
        raise MomentError(
            f"{value!r:.80} has no offset from UTC, so it is no moment; write {value:.40}Z or with +01:00"
        )
    found = int(moment.astimezone(UTC).timestamp() * 1000)
    if not 0 <= found <= _LAST:
        raise MomentError(f"{value!r:.80} lies outside the years 1970 to 9999")
    return found
