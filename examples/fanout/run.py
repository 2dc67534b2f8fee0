"""The world in four regions; the world without any; and a world that is cancelled while its regions are at work."""

from __future__ import annotations

from examples.fanout.workflow import region, world
from examples.stage import Stage


def show(stage: Stage) -> None:
    stage.deploy(region)
    stage.deploy(world)
    stage.worker("examples.fanout.workflow")

    run = stage.client.start("world")
    stage.shows("the world succeeds", stage.wait(run), "SUCCESS")
    expected = [{"region": name, "sales": 6 * len(name)} for name in ("north", "south", "east", "west")]
    stage.shows("the results of its regions, in their order", run["regions"].output, expected)
    stage.shows("and what became of them", run["best"].output, "south")
    stage.shows("each region was a run of its own", len(stage.ended("region", 4)), 4)

    run = stage.client.start("world", {"names": [], "wait_s": 0})
    stage.wait(run)
    stage.shows("no region, no run, an empty list", (run["regions"].output, len(stage.runs("region"))), ([], 4))

    run = stage.client.start("world", {"names": ["up", "down"], "wait_s": 50})
    stage.until(
        lambda: [one for one in stage.runs("region") if one.tasks and one.tasks["sales"].state == "RUNNING"][1:],
        "two regions are at work",
    )
    run.cancel("not today")
    stage.shows("a world is cancelled", stage.wait(run), "CANCELLED")
    stage.shows("and its regions with it", [one.state for one in stage.ended("region", 6)][4:], ["CANCELLED"] * 2)
