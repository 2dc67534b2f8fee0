"""The last week of March 2026 is made up for: in its middle a night has no half past two."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

from examples.stage import ENDED, HERE, Stage
from indegree.sdk.client_events import RunState

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, END, DAYS = datetime(2026, 3, 26, tzinfo=BERLIN), datetime(2026, 4, 2, tzinfo=BERLIN), 7


def show(stage: Stage) -> None:
    stage.deploy(HERE / "nightly" / "workflow.yaml")
    stage.worker("--commands")
    stage.say("        " + stage.client.backfill("nightly", FIRST, END, concurrency=3, timeout=stage.left_s))
    runs = made_up(stage, DAYS)
    stage.shows("all of them succeed", {run.state for run in runs}, {"SUCCESS"})

    exports = {run.tasks["export"].output["day"]: run.tasks["export"].output for run in runs}
    expected = [f"2026-03-{day}" for day in range(26, 32)] + ["2026-04-01"]
    stage.shows("each day of the range has one run", sorted(exports), expected)
    stage.shows("a winter's night", exports["2026-03-28"]["at"], "2026-03-28T02:30:00+01:00")
    stage.shows("half past two does not exist", exports["2026-03-29"]["at"], "2026-03-29T03:00:00+02:00")
    stage.shows("a summer's night", exports["2026-03-30"]["at"], "2026-03-30T02:30:00+02:00")
    stage.shows("it knows the night before", exports["2026-03-30"]["since"], "2026-03-29T03:00:00+02:00")

    # A second backfill over a longer range runs what has no run yet, and nothing twice.
    stage.client.backfill("nightly", FIRST.replace(day=24), END, concurrency=3, timeout=stage.left_s)
    days = Counter(run.tasks["publish"].output for run in made_up(stage, DAYS + 2))
    stage.shows("two nights more, and nothing twice", (len(days), max(days.values())), (DAYS + 2, 1))


def made_up(stage: Stage, count: int) -> list[RunState]:
    """The runs of the range, once so many have ended. Tonight's is none of them, if it is half past two just now."""

    def found() -> list[RunState]:
        ended = [run for run in stage.runs("nightly") if run.state in ENDED]
        past = [run for run in ended if run.tasks["export"].output["day"] < f"{END:%Y-%m-%d}"]
        return past if len(past) >= count else []

    return stage.until(found, f"{count} nights are made up for")
