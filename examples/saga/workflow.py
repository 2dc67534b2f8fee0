"""A journey is booked in three steps. Where one fails, hooks undo those before it, the last one first.

The bookings are lines in a file, so that anybody can read in which order they came and went.
"""

from __future__ import annotations

from pathlib import Path

from indegree import Defaults, Permanent, Retry, Workflow

journey = Workflow(
    "journey",
    params={"ledger": str, "sold_out": ""},
    defaults=Defaults(retry=Retry(max_attempts=5, delay="100ms")),
)


def note(ledger: str, line: str) -> None:
    with open(ledger, "a", encoding="utf-8") as lines:
        lines.write(line + "\n")


def book(ledger: str, what: str, sold_out: str) -> str:
    if what == sold_out:
        raise Permanent(f"no {what} left")
    note(ledger, f"booked {what}")
    return f"{what}-17"


@journey.task
def flight(ledger: str, sold_out: str) -> str:
    return book(ledger, "flight", sold_out)


@journey.task(depends_on=["flight"])
def hotel(ledger: str, sold_out: str) -> str:
    return book(ledger, "hotel", sold_out)


@journey.task(depends_on=["hotel"])
def car(ledger: str, sold_out: str) -> str:
    return book(ledger, "car", sold_out)


# A hook asks by `when` whether its step had succeeded, and goes on whether or not the hook before it was needed.


@journey.hook("on_failure", when="tasks.hotel.state == 'SUCCESS'", args={"booking": "${{ hotel }}"})
def cancel_hotel(ledger: str, booking: str) -> None:
    """The desk does not answer at once: a compensation is tried again like any task."""
    called = Path(ledger).with_suffix(".called")
    if not called.exists():
        called.touch()
        raise ConnectionError("the hotel's desk does not answer")
    note(ledger, f"cancelled {booking}")


@journey.hook(
    "on_failure",
    depends_on=["cancel_hotel"],
    trigger_rule="all_done",
    when="tasks.flight.state == 'SUCCESS'",
    args={"booking": "${{ flight }}"},
)
def cancel_flight(ledger: str, booking: str) -> None:
    note(ledger, f"cancelled {booking}")


@journey.hook(
    "on_failure",
    depends_on=["cancel_flight"],
    trigger_rule="all_done",
    args={"state": "${{ run.state }}", "reason": "${{ run.reason }}"},
)
def tell(ledger: str, state: str, reason: str) -> None:
    note(ledger, f"{state}: {reason}")
