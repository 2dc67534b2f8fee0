"""Run ids as people type them: whole, or only their beginning.

Why: a run id has 38 characters, and its first 19 (the time to the millisecond) nearly always name one run.

How: a beginning that holds at least date, hour and minute is looked up on the progress topic, from that time on to the
topic's end (a run of a backfill has the time that it is for in its id, and its records lie much later). One run: it is
meant. None or several: the error says what is missing.

It must never guess between two runs.
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime

from indegree.events import run_ids
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.sdk.client_errors import InvalidStart
from indegree.sdk.client_reading import read

_BEGINNING = re.compile(r"(\d{8}T\d{4})(\d{2})?(?:\.(\d{0,3})Z?)?(?:-([0-9A-F]{0,12})(?:-(\d*))?)?\Z")
_SLACK_MS = 60_000  # clocks differ: a run's records may lie before the time in its id
_SHOWN = 5


def check_beginning(text: str) -> datetime:
    """The time that a run id, or the beginning of one, names. Asks nobody. Raises InvalidId."""
    found = _BEGINNING.match(text)
    if found is not None:
        with contextlib.suppress(ValueError):
            return datetime.strptime(found[1] + (found[2] or "00"), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    raise run_ids.InvalidId(
        f"run id {text!r} is not of the form 20261125T101530.123Z-0123456789AB-0007, and not the beginning of one "
        "(to the minute at least, such as 20261125T1015): `indegree runs` lists runs"
    )


async def whole_run_id(settings: Settings, text: str) -> str:
    """The run id that `text` is, or begins. Raises InvalidStart (none, or several), InvalidId (no beginning of one)."""
    begin = check_beginning(text)
    if run_ids.is_run_id(text):
        return text
    found = _BEGINNING.match(text)
    assert found is not None
    begin_ms = int(begin.timestamp() * 1000)
    ids: dict[str, None] = {}
    async for record in read(settings, Topics(settings.cluster).progress, time_ms=max(0, begin_ms - _SLACK_MS)):
        if record.key is None:
            continue
        run_id = record.key.decode("utf-8", "replace")
        if run_id.startswith(text) and run_ids.is_run_id(run_id):
            ids[run_id] = None
    match sorted(ids):
        case [one]:
            return one
        case []:
            raise InvalidStart(f"no run's id begins with {text!r} ({_missing(text)}): `indegree runs` lists runs")
        case several:
            shown = ", ".join(several[:_SHOWN]) + (
                f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
            )
            raise InvalidStart(f"{len(several)} runs have ids that begin with {text!r}: {shown}; give more of it")


def _missing(text: str) -> str:
    """Which part of a whole run id is not there."""
    match text.count("-"):
        case 0:
            return "a whole one goes on with -, 12 hex digits, - and the partition"
        case 1:
            return "a whole one ends in - and the partition, such as -0007"
        case _:
            return "its partition has at least 4 digits"
