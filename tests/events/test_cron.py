"""Schedules: which instants they name, above all on the days when a local clock jumps."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indegree.events.cron import Schedule, ScheduleError, local_date, local_iso
from indegree.events.definition import Definition, DefinitionError

NEW_YORK = "America/New_York"
ZONES = (
    NEW_YORK,
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "America/Havana",
    "UTC",
)
DAY_MS = 86_400_000


def ms(text: str) -> int:
    """Of an ISO 8601 text with its offset."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def on(schedule: str, day: str) -> list[str]:
    """Local times, with their offsets, that a schedule names on a local day in New York."""
    zone = ZoneInfo(NEW_YORK)
    start = datetime.fromisoformat(day).replace(tzinfo=zone)
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=zone)
    found = Schedule(schedule, NEW_YORK).between(ms(start.isoformat()), ms(end.isoformat()))
    return [local_iso(instant, NEW_YORK)[11:] for instant in found]


# -- CASES row 57 ------------------------------------------------------------------------------------------------------


def test_a_local_time_that_does_not_exist_runs_once_at_the_next_valid_instant() -> None:
    assert on("30 2 * * *", "2026-03-08") == ["03:00:00-04:00"]
    assert on("30 2 * * *", "2026-11-01") == ["02:30:00-05:00"]


def test_a_doubled_local_time_runs_once_at_the_first_of_the_two() -> None:
    assert on("30 1 * * *", "2026-11-01") == ["01:30:00-04:00"]
    assert on("30 1 * * *", "2026-03-08") == ["01:30:00-05:00"]


def test_every_second_hour_never_runs_twice_at_one_instant() -> None:
    spring, autumn = on("0 */2 * * *", "2026-03-08"), on("0 */2 * * *", "2026-11-01")
    assert spring[:4] == ["00:00:00-05:00", "03:00:00-04:00", "04:00:00-04:00", "06:00:00-04:00"]
    assert autumn[:4] == ["00:00:00-04:00", "02:00:00-05:00", "04:00:00-05:00", "06:00:00-05:00"]
    assert len(set(spring)) == len(spring) == len(autumn) == 12


def test_two_local_times_that_fall_on_one_instant_are_one_run() -> None:
    assert on("0,30 2,3 * * *", "2026-03-08") == ["03:00:00-04:00", "03:30:00-04:00"]


def test_the_hours_behind_a_jump_are_not_shifted() -> None:
    assert on("0 7,9 * * *", "2026-03-08") == ["07:00:00-04:00", "09:00:00-04:00"]
    assert on("0 7,9 * * *", "2026-11-01") == ["07:00:00-05:00", "09:00:00-05:00"]


# -- properties --------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 59)


@st.composite
def schedules(draw: st.DrawFn) -> str:
    """Five fields, from dense to rare."""

    def field(low: int, high: int) -> str:
        number = st.integers(low, high)
        one = st.one_of(
            st.just("*"),
            number.map(str),
            st.integers(1, high).map(lambda step: f"*/{step}"),
            st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
            st.lists(number, min_size=1, max_size=3).map(lambda values: ",".join(map(str, values))),
        )
        return draw(one)

    return " ".join((field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)))


instants = st.integers(ms("2024-01-01T00:00:00+00:00"), ms("2032-01-01T00:00:00+00:00"))


@settings(max_examples=120, deadline=None, print_blob=True)
@given(schedules(), st.sampled_from(ZONES), instants)
def test_instants_strictly_increase_and_lie_between_their_neighbours(schedule: str, zone: str, start: int) -> None:
    of = Schedule(schedule, zone)
    found = list(islice(of.between(start, start + 400 * DAY_MS), 30))
    assert all(a < b for a, b in pairwise(found))
    for a, b in pairwise(found):
        assert (of.after(a), of.before(b)) == (b, a)
        assert (of.after(b - 1), of.before(a + 1)) == (b, a)
        assert a % 60_000 == 0


@settings(max_examples=60, deadline=None, print_blob=True)
@given(numbers, st.integers(0, 23), st.sampled_from(ZONES), st.integers(2020, 2036))
def test_a_daily_time_comes_on_each_day_of_a_year_exactly_once(minute: int, hour: int, zone: str, year: int) -> None:
    start = ms(datetime(year, 1, 1, tzinfo=ZoneInfo(zone)).isoformat())
    end = ms(datetime(year + 1, 1, 1, tzinfo=ZoneInfo(zone)).isoformat())
    found = [local_date(instant, zone) for instant in Schedule(f"{minute} {hour} * * *", zone).between(start, end)]
    days = (date(year + 1, 1, 1) - date(year, 1, 1)).days
    assert found == [str(date(year, 1, 1) + timedelta(days=day)) for day in range(days)]


@settings(max_examples=60, deadline=None, print_blob=True)
@given(schedules(), instants)
def test_in_utc_the_instants_are_those_that_match_the_fields_minute_by_minute(schedule: str, start: int) -> None:
    of, start = Schedule(schedule), start // 60_000 * 60_000
    found = set(of.between(start, start + 2 * DAY_MS))
    days_both = not (schedule.split()[2].startswith("*") or schedule.split()[4].startswith("*"))
    minutes, hours, days, months, weekdays = map(_values, schedule.split(), (0, 0, 1, 1, 0), (59, 23, 31, 12, 7))
    for minute in range(2 * 1440):
        moment = datetime.fromtimestamp(start // 1000 + minute * 60, UTC)
        by_day, by_weekday = moment.day in days, bool({moment.isoweekday(), moment.isoweekday() % 7} & weekdays)
        day = by_day or by_weekday if days_both else by_day and by_weekday
        right = moment.minute in minutes and moment.hour in hours and moment.month in months and day
        assert (start + minute * 60_000 in found) == right, moment


def _values(field: str, low: int, high: int) -> set[int]:
    if field == "*" or field.startswith("*/"):
        return set(range(low, high + 1, int(field[2:] or 1)))
    if "-" in field:
        first, last = map(int, field.split("-"))
        return set(range(first, last + 1))
    return {int(value) for value in field.split(",")}


# -- bounds and words --------------------------------------------------------------------------------------------------


def test_there_is_nothing_before_1970_or_behind_the_last_year() -> None:
    assert Schedule("0 0 * * *").before(1) == 0
    assert Schedule("0 0 * * *").before(0) is None
    assert Schedule("0 0 * * *").after(300_000_000_000_000) is None
    assert Schedule("0 0 * * *", NEW_YORK).after(-(10**18)) == 5 * 3_600_000


def test_a_whole_day_that_a_zone_left_out_is_made_up_for_by_the_next_one() -> None:
    found = Schedule("0 0 * * *", "Pacific/Apia").between(
        ms("2011-12-29T00:00:00-10:00"), ms("2012-01-01T00:00:00+14:00")
    )
    assert [local_date(instant, "Pacific/Apia") for instant in found] == ["2011-12-29", "2011-12-31"]


def test_leap_days_are_found_and_days_that_never_come_are_refused() -> None:
    assert local_iso(Schedule("0 0 29 2 *").after(ms("2026-01-01T00:00:00+00:00")) or 0, "UTC")[:10] == "2028-02-29"
    for schedule in ("0 0 31 2 *", "0 0 30,31 2 *", "0 0 31 4,6 *", "0 0 */31 2 MON#5"):
        with pytest.raises(ScheduleError, match="never comes"):
            Schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("60 * * * *", "'60' in .* is not a minute: 0 to 59"),
        ("* 24 * * *", "'24' in .* is not an hour"),
        ("* * 0 * *", "'0' in .* is not a day of the month"),
        ("* * * 13 *", "'13' in .* is not a month"),
        ("* * * * FOO", "'FOO' in .* is not a day of the week"),
        ("1,,2 * * * *", "'1,,2' in .* is not a minute"),
        ("*/0 * * * *", "is not a minute"),
        ("5-1 * * * *", "is not a minute"),
        ("1#2/3 * * * 1#2/3", "is not a minute"),
        ("0 0 1 1 ²L", "is not a day of the week"),
        ("* * * *", "has 4 fields; a schedule has five"),
        ("0 0 0 * * *", "has 6 fields; a schedule has five"),
        ("@daily", "write '0 0 \\* \\* \\*'"),
        ("1," * 150 + "1 * * * *", "the limit is 200"),
    ],
)
def test_fields_that_are_not_understood_are_named_with_what_would_be(schedule: str, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        Schedule(schedule)


def test_an_unknown_zone_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ScheduleError, match="did you mean 'Europe/Berlin'"):
        Schedule("* * * * *", "Europe/Berln")
    for zone in ("", "../etc/passwd", "America", "right/UTC", "localtime", "/etc/localtime", "a\0b"):
        with pytest.raises(ScheduleError, match="is no time zone"):
            Schedule("* * * * *", zone)


def test_a_definition_tells_a_bad_schedule_and_a_bad_zone_where_they_stand() -> None:
    cron = {"schedule": "0 0 31 2 *", "timezone": "Europe/Berln"}
    with pytest.raises(DefinitionError) as caught:
        Definition.from_normal({"id": "w", "triggers": [{"cron": cron}], "tasks": [{"id": "a", "command": "true"}]})
    assert [problem.path for problem in caught.value.problems] == [
        "triggers[0].cron.schedule",
        "triggers[0].cron.timezone",
    ]


def test_a_moment_is_told_in_its_zone() -> None:
    instant = ms("2026-03-29T04:30:00+00:00")
    assert local_iso(instant, "Europe/Berlin") == "2026-03-29T06:30:00+02:00"
    assert local_iso(instant + 5, "UTC") == "2026-03-29T04:30:00.005+00:00"
    assert local_date(ms("2026-03-29T22:30:00+00:00"), "Europe/Berlin") == "2026-03-30"
