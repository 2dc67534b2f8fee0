"""A record names a folder; its files, however many, are listed, loaded side by side, and merged."""

from __future__ import annotations

import csv
from pathlib import Path

from indegree import Defaults, Kafka, Retry, Workflow

etl = Workflow(
    "etl",
    params={"folder": str, "day": str},
    triggers=[Kafka("landing", filter="value.folder", idempotency_key="value.day", begin="earliest")],
    defaults=Defaults(timeout="1m", retry=Retry(max_attempts=3, delay="100ms")),
)


@etl.task
def files(folder: str) -> list[str]:
    """The files that have landed, whatever their number."""
    return sorted(str(path) for path in Path(folder).glob("*.csv"))


@etl.task(foreach="files", concurrency=4)
def load(item: str) -> dict[str, float]:
    """One instance a file: its amounts by currency."""
    amounts: dict[str, float] = {}
    with open(item, encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            amounts[row["currency"]] = amounts.get(row["currency"], 0) + float(row["amount"])
    return amounts


@etl.task
def merge(load: list[dict[str, float]], day: str) -> dict[str, object]:
    """Gets the outputs of all instances, in the order of the files; no file, an empty list."""
    total: dict[str, float] = {}
    for amounts in load:
        for currency, amount in amounts.items():
            total[currency] = total.get(currency, 0) + amount
    return {"day": day, "files": len(load), "total": total}
