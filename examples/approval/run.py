"""Five invoices: a small one, one approved, one above the approver's limit, one refused, one that nobody answers."""

from __future__ import annotations

from examples.stage import HERE, Stage
from indegree.sdk.client import Run
from indegree.sdk.client_errors import Refused

PAID, REFUSED = "paid", "refused"


def show(stage: Stage) -> None:
    stage.deploy(HERE / "approval" / "workflow.yaml")
    stage.worker("--commands")
    start = stage.client.start
    small, good, above, bad, silent = (
        start("approval", {"amount": amount}) for amount in (20, 4_000, 9_000, 2_000, 3_000)
    )

    try:
        good.signal("approve", {"approved": "yes"})
        stage.shows("an answer that does not fit the form is refused", "it was taken", "it was refused")
    except Refused as refused:
        stage.shows(
            f"an answer that does not fit the form is refused: {refused.reason}", "approve" in refused.reason, True
        )
    good.signal("approve", {"approved": True, "limit": 5_000}, actor="ada")
    above.signal("approve", {"approved": True, "limit": 5_000}, actor="ada")
    bad.signal("approve", {"approved": False, "limit": 0}, actor="grace")

    stage.shows("a small one is paid, and nobody is asked", outcome(stage, small), (PAID, "SKIPPED", ""))
    stage.shows("ada approves: it is paid", outcome(stage, good), (PAID, "SUCCESS", "ada"))
    stage.shows("ada approves less than that: it is refused", outcome(stage, above), (REFUSED, "SUCCESS", "ada"))
    stage.shows("grace says no: it is refused", outcome(stage, bad), (REFUSED, "SUCCESS", "grace"))
    stage.shows("nobody answers: the default says no", outcome(stage, silent), (REFUSED, "SUCCESS", ""))


def outcome(stage: Stage, run: Run) -> tuple[str, str, str]:
    """(paid or refused, what became of the question, who answered it)."""
    stage.wait(run)
    word = run["pay"].output or run["refuse"].output
    ask = run["ask"]
    return str(word).partition(" ")[0], ask.state, ask.actor
