"""`python -m benchmarks features`: what the features of issue 6 cost, and that they hold at full size across kill -9.

First the rates, on one engine and one worker, beside what raw clients append on the same broker in the same run (taken
before and after). Then the same loads with two engines, one of which is killed in the middle; the checker proves the
whole log after each. Exit code 1 when something does not hold.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import feature_loads as loads
from benchmarks import floors
from benchmarks.cluster import Cluster
from benchmarks.feature_loads import Done, Place
from benchmarks.machine import EmptyLoop, cpu_s, table

RAW_RECORDS = 300_000
SLOTS = 2_000
_SEED = 20_261_125

Load = tuple[str, str, Callable[[Place], Done]]


def rates(scale: float) -> list[Load]:
    """(name, unit, load) of what is measured without a kill. `scale`: share of the full size."""

    def sized(count: int) -> int:
        return max(2, int(count * scale))

    return [  # what leaves most on the log comes last: each load reads all of it
        ("signals", "signals", lambda at: loads.signals(at, sized(10_000))),
        ("sub-workflows", "child runs", lambda at: loads.children_with_kill(at, sized(5_000), kill=False)),
        ("pool of 100", "tasks", lambda at: loads.pool_with_kill(at, 8, sized(2_500), 100, kill=False, seconds=0.0)),
        ("keys, in order", "runs", lambda at: loads.keyed_with_kill(at, sized(1_000), 20, _SEED, kill=False)),
        ("intake, Kafka trigger", "records", lambda at: loads.intake(at, sized(50_000))),
        ("map, 100-byte items", "instances", lambda at: loads.map_with_kill(at, sized(100_000), kill=False)),
    ]


def kills(scale: float) -> list[Load]:
    """The same where an engine is killed in the middle."""

    def sized(count: int) -> int:
        return max(2, int(count * scale))

    return [
        ("delay, moment, signal", "runs", loads.waits_with_kill),
        ("rates of 10 a second", "tasks", lambda at: loads.rate_with_kill(at, 10, 60)),
        ("pool of 20", "tasks", lambda at: loads.pool_with_kill(at, 8, sized(250), 20)),
        ("sub-workflows", "child runs", lambda at: loads.children_with_kill(at, sized(2_000))),
        ("keys", "runs", lambda at: loads.keyed_with_kill(at, sized(1_000), 20, _SEED + 1)),
        ("map", "instances", lambda at: loads.map_with_kill(at, sized(100_000))),
    ]


def run(scale: float, partitions: int, stack: str) -> int:
    """The exit code: 0 if everything held and the checker has proven it."""
    measured, killed, faults = [], [], 0
    with EmptyLoop() as idle:
        with Cluster(stack, partitions) as cluster:
            raw = [floors.append_and_read(cluster.settings, RAW_RECORDS)]
            with loads.place(cluster, SLOTS) as at:
                for name, unit, load in rates(scale):
                    engine = at.cluster.engines["e1"].pid
                    used = -cpu_s(engine)
                    done = load(at)
                    used += cpu_s(engine)
                    measured.append((name, unit, done, used / done.count * 1e6))
                    print(f"{name}: {done.count:,} {unit} in {done.seconds:.1f} s; {done.note}", flush=True)
            raw.append(floors.append_and_read(cluster.settings, RAW_RECORDS))
        with Cluster(stack, partitions, **{"engine.lease_ttl_s": 2.0}) as cluster, loads.place(cluster, SLOTS) as at:
            for name, unit, load in kills(scale):
                done = load(at)
                verdict = at.proven()
                faults += not verdict.ok
                killed.append((name, unit, done, verdict))
                print(f"kill -9 during {name}: {done.count:,} {unit} in {done.seconds:.1f} s; {done.note}", flush=True)
    appended, read = (max(rate) for rate in zip(*raw, strict=True))
    print()
    rows: list[tuple[str, ...]] = [
        ("", "count", "seconds", "a second", "of raw appends", "CPU of engine", "engine peak")
    ]
    for name, unit, done, cpu_us in measured:
        rate = done.count / done.seconds
        count, each = f"{done.count:,} {unit}", f"{cpu_us:.0f} us"
        rows.append(
            (
                name,
                count,
                f"{done.seconds:.1f}",
                f"{rate:,.0f}",
                f"1/{appended / rate:.0f}",
                each,
                f"{done.peak_mib:.0f} MiB",
            )
        )
    print(table(rows))
    print(f"raw clients: {appended:,.0f} records appended a second, {read:,.0f} read")
    print()
    rows = [("with a kill -9", "count", "seconds", "engine peak", "checker")]
    for name, unit, done, verdict in killed:
        proven = "ALL GOOD" if verdict.ok else "FAULTS"
        rows.append((name, f"{done.count:,} {unit}", f"{done.seconds:.1f}", f"{done.peak_mib:.0f} MiB", proven))
    print(table(rows))
    print(idle)
    for name, _, _, verdict in killed:
        if not verdict.ok:
            print(f"after {name}:\n{verdict.report()}")
    return 1 if faults else 0
