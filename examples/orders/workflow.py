"""One run an order. Those of one customer run one by one, in the order of the topic; customers run side by side."""

from __future__ import annotations

from indegree import Concurrency, Kafka, Workflow

orders = Workflow(
    "orders",
    params={"customer": str, "number": int, "amount": 0},
    triggers=[Kafka("orders.placed", filter="value.amount > 0", begin="earliest")],
    concurrency=Concurrency(key="params.customer", limit=1),
)


@orders.task
def reserve(customer: str, amount: int) -> str:
    return f"{customer}: {amount} reserved"


@orders.task(depends_on=["reserve"])
def ship(customer: str, number: int) -> dict[str, object]:
    return {"customer": customer, "number": number}
