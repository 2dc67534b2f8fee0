"""The example of INTERFACES section 2, as a module that a worker could import."""

from __future__ import annotations

from indegree import Defaults, Kafka, Retry, Workflow

orders = Workflow(
    "orders",
    params={"region": str, "rows": 0},
    triggers=[Kafka("orders.ready", filter="value.rows > 0", idempotency_key="value.batch_id")],
    timeout="2h",
    defaults=Defaults(timeout="15m", retry=Retry(max_attempts=3, delay="2s", backoff=2, max_delay="1m", jitter=0.2)),
)


@orders.task(timeout="5m")
def extract(region: str) -> list[str]:
    return [f"{region}-1", f"{region}-2"]


@orders.task
def check(extract: list[str]) -> dict:
    return {"ok": bool(extract), "reason": "empty"}


@orders.task(when="check.ok", foreach="extract", concurrency=4, queue="heavy")
def load(item: str) -> int:
    return len(item)


orders.command("quarantine", './quarantine.sh "$REASON"', when="not check.ok", env={"REASON": "${{ check.reason }}"})


@orders.task(trigger_rule="none_failed_min_one_success", depends_on=["quarantine"])
def report(load: list[int] | None) -> int:
    return sum(load or [])
