"""Three days land: of no file, of one, of five. One of them is announced twice, and one record is about nothing."""

from __future__ import annotations

from pathlib import Path

from examples.etl.workflow import etl
from examples.stage import Stage

DAYS = {"2026-11-23": 0, "2026-11-24": 1, "2026-11-25": 5}  # day -> number of files


def show(stage: Stage) -> None:
    stage.topic("landing")
    stage.deploy(etl)
    stage.worker("examples.etl.workflow")
    folders = {day: land(stage.folder / day, count) for day, count in DAYS.items()}
    records = [(day, {"folder": str(folder), "day": day}) for day, folder in folders.items()]
    stage.produce("landing", [*records, ("nothing", {"note": "no folder"}), records[0]])

    outputs = [run.tasks["merge"].output for run in stage.ended("etl", len(DAYS))]
    expected = [
        {"day": day, "files": count, "total": {"EUR": 10.0 * count, "USD": 2.5 * count} if count else {}}
        for day, count in DAYS.items()
    ]
    stage.shows("each day was loaded whole", sorted(outputs, key=lambda output: str(output["day"])), expected)
    stage.shows("a day that was announced twice ran once", len(stage.runs("etl")), len(DAYS))


def land(folder: Path, count: int) -> Path:
    """Writes a day's files."""
    folder.mkdir()
    for number in range(count):
        (folder / f"part-{number}.csv").write_text("currency,amount\nEUR,7.5\nUSD,2.5\nEUR,2.5\n", "utf-8")
    return folder
