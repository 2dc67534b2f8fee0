"""What it waits for comes in two pieces, each after one that is about another day."""

from __future__ import annotations

from examples.stage import HERE, Stage

DAY, OTHER = "2026-11-25", "2026-11-24"


def show(stage: Stage) -> None:
    stage.topic("prices.ready")
    stage.topic("rates.ready", partitions=1)
    stage.deploy(HERE / "sensor" / "stock-import.yaml")
    stage.deploy(HERE / "sensor" / "workflow.yaml")
    run = stage.client.start("sensor", {"day": DAY})
    run.accepted(stage.left_s)
    stage.until(lambda: "prices" in run.tasks and "stock" in run.tasks, "it waits")
    stage.shows("it waits, and no worker is there", run["prices"].state, "WAITING")
    stage.worker("--commands")

    stage.produce("prices.ready", [("a", {"day": OTHER, "count": 3}), ("b", {"day": DAY, "count": 21})])
    for day in (OTHER, DAY):
        stage.wait(stage.client.start("stock-import", {"day": day}))

    stage.shows("all has come", stage.wait(run), "SUCCESS")
    stage.shows("the record of our day", run["prices"].output, {"day": DAY, "count": 21})
    [_, ours] = stage.runs("stock-import")
    stage.shows("the run of our day", run["stock"].output["run_id"], ours.run_id)
    last = max(run["prices"].finished_ms, run["stock"].finished_ms)
    stage.shows("it settled for half a second", run["settle"].finished_ms - last >= 500, True)
    stage.shows("what nobody brought has its default", run["rates"].output, {"eur": 1.08})
    stage.shows("the report", run["report"].output, {"prices": 21, "eur": 1.08, "import": "SUCCESS"})
