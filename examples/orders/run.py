"""Five customers place eight orders each, in mixed order."""

from __future__ import annotations

import random
from itertools import pairwise

from examples.orders.workflow import orders
from examples.stage import Stage

CUSTOMERS, ORDERS, SEED = ("ada", "bob", "cleo", "dan", "eve"), 8, 7


def show(stage: Stage) -> None:
    stage.topic("orders.placed", partitions=3)
    stage.deploy(orders)
    stage.worker("examples.orders.workflow")
    whose = [customer for customer in CUSTOMERS for _ in range(ORDERS)]
    random.Random(SEED).shuffle(whose)
    placed = dict.fromkeys(CUSTOMERS, 0)
    records = []
    for customer in whose:
        placed[customer] += 1
        records.append((customer, {"customer": customer, "number": placed[customer], "amount": 5}))
    stage.produce("orders.placed", [*records, ("ada", {"customer": "ada", "number": 99, "amount": 0})])

    runs = stage.ended("orders", len(records))
    stage.shows("each order ran once", (len(stage.runs("orders")), {run.state for run in runs}), (40, {"SUCCESS"}))
    for customer in CUSTOMERS:
        own = [run for run in runs if run.tasks["ship"].output["customer"] == customer]
        own.sort(key=lambda run: run.finished_ms)
        numbers = [run.tasks["ship"].output["number"] for run in own]
        apart = all(before.finished_ms <= after.tasks["reserve"].queued_ms for before, after in pairwise(own))
        stage.shows(
            f"{customer}: in order, each after the one before it", (numbers, apart), ([*range(1, ORDERS + 1)], True)
        )
    begun = [run.tasks["reserve"].queued_ms for run in runs]
    overlap = sum(run.tasks["reserve"].queued_ms <= at <= run.finished_ms for run in runs for at in begun) > len(runs)
    stage.shows("customers did not wait for one another", overlap, True)
