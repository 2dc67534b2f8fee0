"""`python -m benchmarks kills`: the owner of partitions is killed under load, again and again.

Two engines share the partitions; diamonds of 20 ms tasks arrive at a steady rate on all of them. Each round kills with
-9 an engine that owns partitions, waits until every partition that it owned has events of a new owner, ends the load,
waits for all runs, and has the checker prove the whole log. A silence is the broker's time from the last frame with
events before to the first one after, for each partition that changed hands. Exit code 1 when the checker finds a fault
or a run is lost.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Self

from benchmarks.cluster import Cluster
from benchmarks.machine import EmptyLoop, table
from benchmarks.watch import Watch
from benchmarks.workflows import diamond
from indegree.events.settings import Settings
from indegree.sdk.client_async import AsyncClient
from tests.checker import Takeover, Verdict, check

_SLOTS = 256
_BEFORE_S = 1.0  # of load before a kill: runs are under way everywhere
_AFTER_S = 1.0  # of load after everything has an owner again
_WITHIN_S = 60.0
_TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class Kill:
    """One round. `silences_ms`: partition to silence; `runs`: started in this round."""

    engine: str
    silences_ms: dict[int, int]
    runs: int
    sent_again: int
    verdict: Verdict


class Load(threading.Thread):
    """Starts diamonds at `rate` a second until `stop`; `run_ids` are those that Kafka has acknowledged."""

    def __init__(self, settings: Settings, rate: int) -> None:
        super().__init__(name="load", daemon=True)
        self._settings, self._rate = settings, rate
        self._stopped = threading.Event()
        self.run_ids: list[str] = []
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(_WITHIN_S)
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        try:
            asyncio.run(self._feed())
        except Exception as error:  # noqa: BLE001 - raised where the load is ended
            self.error = error

    async def _feed(self) -> None:
        definition = diamond("pause", "bench-kills", attempts=3)
        async with AsyncClient(self._settings) as client:
            begun, sent = time.monotonic(), 0
            while not self._stopped.is_set():
                due = int((time.monotonic() - begun) * self._rate) - sent
                if due > 0:
                    sent += due
                    started = await client.start_many(definition, [{}] * due)
                    self.run_ids += [run.run_id for run in started]
                await asyncio.sleep(_TICK_S)


def run(kills: int, rate: int, ttl_s: float, partitions: int, stack: str) -> int:
    """The exit code: 0 if the checker has proven everything, each time."""
    rounds: list[Kill] = []
    with Cluster(stack, partitions, **{"engine.lease_ttl_s": ttl_s}) as cluster, EmptyLoop() as idle:
        cluster.engine()
        cluster.engine()
        cluster.worker(_SLOTS)
        watch = Watch(cluster.settings)
        try:
            for number in range(1, kills + 1):
                done = _one(cluster, watch, rate, number, sum(kill.sent_again for kill in rounds))
                rounds.append(done)
                shown = ", ".join(f"p{p} {ms / 1000:.2f}" for p, ms in sorted(done.silences_ms.items()))
                proven = "proven" if done.verdict.ok else "FAULTS"
                print(
                    f"kill {number} of {done.engine}: silences in s: {shown}; {done.runs} runs, "
                    f"{done.sent_again} attempts sent again, {proven}",
                    flush=True,
                )
                if not done.verdict.ok:
                    print(done.verdict.report())
                    break
        finally:
            watch.close()
    silences = [ms for kill in rounds for ms in kill.silences_ms.values()]
    worst_of_each = [max(kill.silences_ms.values()) for kill in rounds if kill.silences_ms]
    print(
        table(
            [
                (f"lease TTL {ttl_s:.1f} s", "median", "worst", "count"),
                ("silence of a partition", f"{median(silences):,.0f} ms", f"{max(silences):,} ms", str(len(silences))),
                (
                    "longest of each kill",
                    f"{median(worst_of_each):,.0f} ms",
                    f"{max(worst_of_each):,} ms",
                    str(len(rounds)),
                ),
            ]
        )
    )
    print(idle)
    print(rounds[-1].verdict.report())
    return 0 if len(rounds) == kills and all(kill.verdict.ok for kill in rounds) else 1


def _one(cluster: Cluster, watch: Watch, rate: int, number: int, sent_again_before: int) -> Kill:
    engines = set(cluster.engines)
    watch.until(
        lambda: set(watch.owners().values()) == engines, _WITHIN_S, f"both engines own partitions ({watch.owners()})"
    )
    with Load(cluster.settings, rate) as load:
        watch.until(lambda: len(load.run_ids) >= rate * _BEFORE_S, _WITHIN_S, "load")
        owners = watch.owners()
        engine = sorted(engines, key=lambda name: int(name[1:]))[number % 2]  # the older and the newer one in turn
        lost = [p for p, owner in owners.items() if owner == engine]
        cluster.kill(engine)
        watch.until(lambda: all(_alive(watch, p, engine) for p in lost), _WITHIN_S, f"partitions {lost} of {engine}")
        until = time.monotonic() + _AFTER_S
        watch.until(lambda: time.monotonic() > until, _WITHIN_S, "load goes on")
    wanted = set(load.run_ids)
    watch.until(lambda: wanted <= watch.ended.keys(), _WITHIN_S, f"all {len(wanted)} runs end")
    cluster.engine()
    verdict = check(
        cluster.settings.kafka.bootstrap_servers, cluster.settings.cluster, running_ok=False, expect_runs=wanted
    )
    silences = _silences(verdict.takeovers, engine, lost)
    return Kill(engine, silences, len(wanted), verdict.counts["attempts sent again"] - sent_again_before, verdict)


def _alive(watch: Watch, partition: int, dead: str) -> bool:
    seen = watch.partitions[partition]
    return seen.rule.owner != dead and seen.epoch_events > 0


def _silences(takeovers: list[Takeover], dead: str, lost: list[int]) -> dict[int, int]:
    """Of each partition that was taken from the dead engine. Engines have names of their own, so each dies once."""
    found: dict[int, int] = {}
    for before, after in pairwise(takeovers):
        if (
            before.partition == after.partition
            and after.partition in lost
            and before.owner == dead
            and not after.closed
        ):
            found[after.partition] = after.silence_ms or 0
    return found
