"""Three journeys: no car, no flight, and one for which there is everything."""

from __future__ import annotations

from examples.saga.workflow import journey
from examples.stage import Stage

EXPECTED = {
    "car": ["booked flight", "booked hotel", "cancelled hotel-17", "cancelled flight-17", "FAILED: task 'car' failed"],
    "flight": ["FAILED: task 'flight' failed"],
    "": ["booked flight", "booked hotel", "booked car"],
}


def show(stage: Stage) -> None:
    stage.deploy(journey)
    stage.worker("examples.saga.workflow")
    for sold_out, expected in EXPECTED.items():
        ledger = stage.folder / f"ledger-{sold_out or 'all'}.txt"
        run = stage.client.start("journey", {"ledger": str(ledger), "sold_out": sold_out})
        what = f"no {sold_out}" if sold_out else "all there"
        stage.shows(f"{what}: the run ends", stage.wait(run), "FAILED" if sold_out else "SUCCESS")
        stage.shows(f"{what}: {'; '.join(expected)}", ledger.read_text("utf-8").splitlines(), expected)
    [no_car, *_] = stage.runs("journey")
    stage.shows("the compensation that failed was tried again", no_car.tasks["cancel_hotel"].attempts, 2)
