"""An independent checker: reads a cluster's topics on Kafka, nothing else, and proves what the log claims.

    python -m tests.checker --kafka HOST:PORT --cluster NAME [--expect-runs FILE] [--running-ok]

It shares no code with indegree.engine, .stream or .events, only the generated messages of the contract: a bug in the
engine's way of reading its log must not hide itself. `proof` says what is proven; `prove` is pure, so its own tests
(which show that it fails on doctored logs) need no Kafka.
"""

from __future__ import annotations

import gc
from collections.abc import Collection

from tests.checker.proof import prove
from tests.checker.reading import Records, read_cluster
from tests.checker.verdict import Takeover, Verdict

__all__ = ["Records", "Takeover", "Verdict", "check", "prove", "read_cluster"]


def check(bootstrap: str, cluster: str, *, running_ok: bool = False, expect_runs: Collection[str] = ()) -> Verdict:
    """Reads everything and proves it. Blocks: a second of quiet first, then about a second for 200,000 records.

    `running_ok`: unfinished runs are no fault, and nothing is waited for. `expect_runs`: ids of runs that must have
    ended. Raises confluent_kafka.KafkaException where Kafka or the cluster is not there.
    """
    collecting = gc.isenabled()
    gc.disable()  # a million small objects without a cycle: looking for one takes a third of the time
    try:
        records = read_cluster(bootstrap, cluster, quiet=not running_ok)
        return prove(records, running_ok=running_ok, expect_runs=expect_runs)
    finally:
        if collecting:
            gc.enable()
