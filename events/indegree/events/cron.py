"""Schedules of five fields in a time zone: which instants they name.

Why: a start is made for each time of a schedule, exactly one, also on the two days a year when a local clock jumps.

How: `cronsim` reads the five fields and walks through local times as a clock on the wall without daylight saving would
show them; from local time to UTC we go ourselves. A local time that does not exist stands for the first instant behind
the gap; one that there is twice stands for the first of the two; two local times that fall on one instant are one. So
the instants of a schedule strictly increase. (It follows that `*/15 * * * *` says nothing for the second pass of a
doubled hour: what must come at even distances is written in UTC.)

The fields are minute (0-59), hour (0-23), day of the month (1-31, `L`: the last, `LW`: the last weekday), month (1-12
or JAN-DEC), day of the week (0-7 or SUN-SAT, `5L`: the last Friday, `1#2`: the second Monday), each with `*`, lists,
ranges and steps. Where both days are restricted, one of them is enough, as in Vixie's cron.

It must never read the clock: instants come in as arguments, in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from indegree.events.spelling import did_you_mean

MAX_CHARS: Final = 200
"""Of a schedule: five fields that list all their values would have some 400, and nobody writes those."""
_FIELDS: Final = {
    "minute": (0, "a minute: 0 to 59"),
    "hour": (1, "an hour: 0 to 23"),
    "day-of-month": (2, "a day of the month: 1 to 31, L or LW"),
    "month": (3, "a month: 1 to 12 or JAN to DEC"),
    "day-of-week": (4, "a day of the week: 0 to 7 (both are Sunday) or SUN to SAT, 5L or 1#2"),
}
"""By the name that stands in the library's error: place and what it may be."""
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EPOCH: Final = datetime(1970, 1, 1)
_SECOND: Final = timedelta(seconds=1)
_PROBE: Final = datetime(2000, 1, 1)
"""A schedule that names no time in the 50 years from here never does: they hold each kind of year."""
_MACHINE_ZONES: Final = ("localtime", "posixrules")  # files of a zone database that are no names of zones
_OTHER_TREES: Final = ("right/", "posix/")  # "right" counts leap seconds, which no clock here does
LAST_MS: Final = 253_370_764_800_000
"""9999-01-01: behind it, datetime cannot say each local time."""


class ScheduleError(ValueError):
    """A schedule or a time zone that cannot be used. `part` is "schedule" or "timezone"."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


class Schedule:
    """The instants of a schedule. Immutable; equal ones are the same object where they come from `schedule_of`."""

    __slots__ = ("_zone", "schedule", "timezone")

    def __init__(self, schedule: str, timezone: str = "UTC") -> None:
        """Raises ScheduleError for fields out of range, an unknown zone, and what never comes."""
        self.schedule = _checked(schedule)
        self.timezone = timezone
        self._zone = zone_of(timezone)

    def __repr__(self) -> str:
        return f"Schedule({self.schedule!r}, {self.timezone!r})"

    def after(self, instant_ms: int) -> int | None:
        """The first instant behind this one; None where there is none within 50 years."""
        return next(self._forward(instant_ms), None)

    def before(self, instant_ms: int) -> int | None:
        """The last instant before this one; None where there was none within 50 years."""
        if not 0 < instant_ms <= LAST_MS:
            return None
        aware = datetime.fromtimestamp(instant_ms // 1000, self._zone)
        local = aware.replace(tzinfo=None, fold=0)
        if aware.fold:  # in the second pass, all local times of the first lie before it
            local += _offset(aware.replace(fold=0)) - _offset(aware)
        for found in CronSim(self.schedule, local + _SECOND, reverse=True):
            instant = self._instant(found)
            if instant < instant_ms:
                return instant if instant >= 0 else None
        return None

    def between(self, start_ms: int, end_ms: int) -> Iterator[int]:
        """All instants in [start_ms, end_ms), ascending, made as they are asked for (some 5 us each)."""
        for instant in self._forward(start_ms - 1):
            if instant >= end_ms:
                return
            yield instant

    def _forward(self, instant_ms: int) -> Iterator[int]:
        last = max(instant_ms, -1)
        if last >= LAST_MS:
            return
        local = datetime.fromtimestamp(last // 1000, self._zone).replace(tzinfo=None, fold=0)
        for found in CronSim(self.schedule, local):
            instant = self._instant(found)
            if instant > last:  # not: local times of a gap, or of a first pass that is over
                if instant > LAST_MS:
                    return
                last = instant
                yield instant

    def _instant(self, local: datetime) -> int:
        """Milliseconds since the epoch of a local time, by the rule above."""
        aware = local.replace(tzinfo=self._zone)
        seconds = (local - _EPOCH) // _SECOND
        late = seconds - _offset(aware) // _SECOND
        early = seconds - _offset(aware.replace(fold=1)) // _SECOND
        if early >= late:  # not in a gap; in a doubled time, `late` is by the offset before the jump: the first pass
            return late * 1000
        while early + 1 < late:  # the jump lies in (early, late]; its instant is the first one behind the gap
            middle = (early + late) // 2
            if datetime.fromtimestamp(middle, self._zone).replace(tzinfo=None) > local:
                late = middle
            else:
                early = middle
        return late * 1000


@lru_cache(maxsize=4_096)
def schedule_of(schedule: str, timezone: str) -> Schedule:
    """As `Schedule`, kept. Raises ScheduleError."""
    return Schedule(schedule, timezone)


def zone_of(timezone: str) -> ZoneInfo:
    """The zone of an IANA name; reads the machine's zone database, or that of `tzdata`, once a name.

    Raises ScheduleError, with the nearest name.
    """
    known = timezone not in _MACHINE_ZONES and not timezone.startswith(_OTHER_TREES)
    if known:
        try:
            return ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # a path, a folder of the database, a name that there is not: said below
    hint = did_you_mean(timezone, sorted(available_timezones()))
    raise ScheduleError("timezone", f"{timezone!r:.120} is no time zone; write one as Europe/Berlin or UTC{hint}")


@lru_cache(maxsize=1_024)
def is_zone(timezone: str) -> bool:
    """Whether `zone_of` knows it."""
    try:
        zone_of(timezone)
    except ScheduleError:
        return False
    return True


def local_iso(instant_ms: int, timezone: str) -> str:
    """An instant as aware ISO 8601 in a zone: `2026-03-29T06:30:00+02:00`, with milliseconds where there are any.

    Raises ScheduleError for an unknown zone.
    """
    moment = datetime.fromtimestamp(instant_ms // 1000, zone_of(timezone)).replace(microsecond=instant_ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")


def local_date(instant_ms: int, timezone: str) -> str:
    """The date of an instant in a zone: `2026-03-29`. Raises ScheduleError for an unknown zone."""
    return datetime.fromtimestamp(instant_ms // 1000, zone_of(timezone)).strftime("%Y-%m-%d")


def _checked(schedule: str) -> str:
    """The schedule with single spaces. Raises ScheduleError."""
    text = " ".join(schedule.split())
    word = _WORDS.get(text.lower())
    if word is not None:
        raise ScheduleError("schedule", f"{text!r} is not understood; write {word!r}")
    if len(text) > MAX_CHARS:
        raise ScheduleError("schedule", f"a schedule of {len(text)} characters; the limit is {MAX_CHARS}: use steps")
    fields = text.split()
    if len(fields) != 5:
        raise ScheduleError(
            "schedule",
            f"{text!r} has {len(fields)} fields; a schedule has five: minute, hour, day of the month, month, day of "
            "the week",
        )
    try:
        first = next(CronSim(text, _PROBE), None)
    except CronSimError as error:
        place, rule = _FIELDS[str(error).removeprefix("Bad ")]
        if place != 2 or not _is_day(fields[2]):
            raise ScheduleError(
                "schedule",
                f"{fields[place]!r} in {text!r} is not {rule}, with lists (1,2), ranges (1-5) and steps (*/15)",
            ) from None
        first = None
    if first is None:
        raise ScheduleError("schedule", f"{text!r} never comes: there is no such day; correct the day or the month")
    return text


def _offset(aware: datetime) -> timedelta:
    offset = aware.utcoffset()
    assert offset is not None, "a zone of the database always knows its offset"
    return offset


def _is_day(field: str) -> bool:
    """Whether the day of the month is right in itself, so that only the months asked for have no such day."""
    try:
        CronSim(f"0 0 {field} * *", _PROBE)
    except CronSimError:
        return False
    return True
