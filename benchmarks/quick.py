"""`python -m benchmarks quick`: tasks a second and the hop of a chain, beside the raw floors of the same run.

The floors are taken before and after, since a machine changes from minute to minute. A line is marked when the hop is
above 2.5 times the relay or the rate below 1/30 of the raw append rate: then something is wrong. Being slow is never an
error of the command.
"""

from __future__ import annotations

import time
from itertools import pairwise

from benchmarks import floors
from benchmarks.cluster import Cluster
from benchmarks.machine import EmptyLoop, cpu_s, percentile, table
from benchmarks.starts import start_raw
from benchmarks.watch import Watch
from benchmarks.workflows import chain, diamond
from indegree.events.definition import Definition
from indegree.sdk.client import Client

HOPS = 300
RAW_RECORDS = 300_000
SLOTS = 2_000
_WARM_UP = 200
_HOP_LIMIT, _RATE_LIMIT = 2.5, 30  # of issue and DESIGN section 13: beyond these something is broken


def run(runs: int, partitions: int, stack: str) -> int:
    with Cluster(stack, partitions) as cluster, EmptyLoop() as idle:
        settings = cluster.settings
        appended, read = floors.append_and_read(settings, RAW_RECORDS)
        relay = floors.relay_hop_ms(settings, HOPS)
        cluster.engine()
        processes = [*cluster.engines.values(), cluster.worker(SLOTS)]
        watch = Watch(settings)
        try:
            with Client(settings) as client:
                measure_runs(client, watch, diamond(), _WARM_UP)
                hops = measure_hops(client, watch)
            used = [-cpu_s(process.pid) for process in processes]
            begun = time.perf_counter()
            wait_for(watch, start_raw(settings, diamond(), runs))
            tasks_s = 4 * runs / (time.perf_counter() - begun)
            used = [before + cpu_s(process.pid) for before, process in zip(used, processes, strict=True)]
        finally:
            watch.close()
        for process in processes:
            process.terminate()
            process.wait(30)
        relay += floors.relay_hop_ms(settings, HOPS)
        again = floors.append_and_read(settings, RAW_RECORDS)
        appended, read = max(appended, again[0]), max(read, again[1])
    (hop, hop_99), (floor, floor_99) = ([percentile(ms, share) for share in (0.5, 0.99)] for ms in (hops, relay))
    cpu_us = [seconds / (4 * runs) * 1e6 for seconds in used]
    print(
        table(
            [
                ("", "measured", "floor", "ratio"),
                (
                    f"tasks/s ({runs:,} diamonds)",
                    f"{tasks_s:,.0f}",
                    f"{appended:,.0f} appended/s",
                    f"1/{appended / tasks_s:.1f}",
                ),
                ("", "", f"{read:,.0f} read/s", f"1/{read / tasks_s:.1f}"),
                ("hop p50, idle", f"{hop:.2f} ms", f"{floor:.2f} ms relay", f"{hop / floor:.2f}"),
                ("hop p99, idle", f"{hop_99:.2f} ms", f"{floor_99:.2f} ms relay", f"{hop_99 / floor_99:.2f}"),
                ("CPU of a task, engine", f"{cpu_us[0]:.0f} us"),
                ("CPU of a task, worker", f"{cpu_us[1]:.0f} us"),
            ]
        )
    )
    print(idle)
    if hop > _HOP_LIMIT * floor:
        print(f"!! the hop is {hop / floor:.2f} times the relay, above {_HOP_LIMIT}: something is wrong")
    if tasks_s < appended / _RATE_LIMIT:
        print(f"!! the rate is 1/{appended / tasks_s:.0f} of raw appends, below 1/{_RATE_LIMIT}: something is wrong")
    return 0


def measure_runs(client: Client, watch: Watch, definition: Definition, runs: int, within_s: float = 300.0) -> float:
    """Seconds from `start_many` to the last end. Raises TimeoutError, and RuntimeError where a run does not succeed."""
    begun = time.perf_counter()
    wait_for(watch, [started.run_id for started in client.start_many(definition, [{}] * runs)], within_s)
    return time.perf_counter() - begun


def wait_for(watch: Watch, run_ids: list[str], within_s: float = 300.0) -> None:
    """Blocks until these runs have ended. Raises TimeoutError, and RuntimeError where one does not succeed."""
    left = set(run_ids)

    def ended() -> bool:
        left.difference_update(watch.ended)
        return not left

    watch.until(ended, within_s, f"the end of {len(run_ids)} runs")
    failed = [run_id for run_id in run_ids if watch.ended[run_id] != "SUCCESS"]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(run_ids)} runs did not succeed, the first: {failed[0]}")


def measure_hops(client: Client, watch: Watch) -> list[float]:
    """Milliseconds from each task of a chain to the next, by the worker's clock, with nothing else to do."""
    watch.outputs.clear()
    measure_runs(client, watch, chain(HOPS + 1, "clock"), 1)
    times = sorted(watch.outputs)
    return [(after - before) / 1e6 for before, after in pairwise(times)]
