"""`python -m benchmarks scale`: many runs, a run of 100,000 tasks, a chain of 10,000; each proven right by the checker.

Exit code 1 when the checker finds a fault or something does not end. Memory is the peak of each process during each
load.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.cluster import Cluster
from benchmarks.machine import EmptyLoop, peak_mib, reset_peak, table
from benchmarks.quick import SLOTS, measure_runs
from benchmarks.watch import Watch
from benchmarks.workflows import chain, diamond, wide
from indegree.events.definition import Definition
from indegree.sdk.client import Client
from tests.checker import check

_WITHIN_S = 900.0  # a chain of 10,000 at 30 ms a hop on a busy machine takes 300 s


def run(runs: int, tasks: int, length: int, partitions: int, stack: str) -> int:
    """The exit code: 0 if the checker has proven everything."""
    loads: list[tuple[str, Callable[[], Definition], int]] = [
        (f"{runs:,} diamonds", diamond, runs),
        (f"one run of {tasks:,} tasks (root, middle, join)", lambda: wide(tasks), 1),
        (f"one chain of {length:,} tasks", lambda: chain(length), 1),
    ]
    rows: list[tuple[str, ...]] = [("", "seconds", "tasks/s", "engine peak", "worker peak")]
    with Cluster(stack, partitions) as cluster, EmptyLoop() as idle:
        cluster.engine()
        processes = [*cluster.engines.values(), cluster.worker(SLOTS)]
        watch = Watch(cluster.settings)
        try:
            with Client(cluster.settings) as client:
                measure_runs(client, watch, diamond(), 1)
                for name, make, count in loads:
                    definition = make()
                    for process in processes:
                        reset_peak(process.pid)
                    seconds = measure_runs(client, watch, definition, count, _WITHIN_S)
                    rate = count * len(definition.tasks) / seconds
                    peaks = [f"{peak_mib(process.pid):,.0f} MiB" for process in processes]
                    rows.append((name, f"{seconds:.1f}", f"{rate:,.0f}", *peaks))
                    print(f"{name}: {seconds:.1f} s", flush=True)
        finally:
            watch.close()
        begun = time.perf_counter()
        verdict = check(cluster.settings.kafka.bootstrap_servers, cluster.settings.cluster)
        checked_s = time.perf_counter() - begun
    print(table(rows))
    print(idle)
    print(verdict.report())
    print(f"(read and proven in {checked_s:.1f} s)")
    return 0 if verdict.ok else 1
