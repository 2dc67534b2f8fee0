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
    """One round. `taken`: takeovers of the partitions of the killed engine; `runs`: started in this round."""

    engine: str
    taken: list[Takeover]
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
                print(_line(number, done), flush=True)
                if not done.verdict.ok:
                    break
        except TimeoutError as error:
            print(f"kill {len(rounds) + 1}: {error}")
            print(cluster.log_ends())
            print(check(cluster.settings.kafka.bootstrap_servers, cluster.settings.cluster, running_ok=True).report())
        finally:
            watch.close()
    if rounds:
        print(_silences(ttl_s, rounds))
        print(rounds[-1].verdict.report())
    print(idle)
    return 0 if len(rounds) == kills and all(kill.verdict.ok for kill in rounds) else 1


def _line(number: int, kill: Kill) -> str:
    shown = ", ".join(f"p{one.partition} {(one.silence_ms or 0) / 1000:.2f}" for one in kill.taken)
    proven = "proven" if kill.verdict.ok else "FAULTS"
    again = f"{kill.sent_again} attempts sent again"
    return f"kill {number} of {kill.engine}: silences in s: {shown}; {kill.runs} runs, {again}, {proven}"


def _silences(ttl_s: float, rounds: list[Kill]) -> str:
    taken = [one for kill in rounds for one in kill.taken]
    announced = [one.announced_ms - (one.last_ms or one.announced_ms) for one in taken]
    recovered = [(one.first_ms or one.announced_ms) - one.announced_ms for one in taken]
    longest = [max(one.silence_ms or 0 for one in kill.taken) for kill in rounds if kill.taken]
    return table(
        [
            (f"lease TTL {ttl_s:.1f} s, {len(rounds)} kills", "median", "worst", "count"),
            _row("silence of a partition", [one.silence_ms or 0 for one in taken]),
            _row("  until the new owner's announcement", announced),
            _row("  from there to its first event", recovered),
            _row("longest silence of each kill", longest),
        ]
    )


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
    taken = _taken(verdict.takeovers, engine, lost)
    return Kill(engine, taken, len(wanted), verdict.counts["attempts sent again"] - sent_again_before, verdict)


def _alive(watch: Watch, partition: int, dead: str) -> bool:
    seen = watch.partitions[partition]
    return seen.rule.owner != dead and seen.epoch_events > 0


def _taken(takeovers: list[Takeover], dead: str, lost: list[int]) -> list[Takeover]:
    """From the dead engine, the last one of each partition that it owned. Engines have names of their own.

    Raises RuntimeError where the log does not show one.
    """
    found = {
        after.partition: after
        for before, after in pairwise(takeovers)
        if before.partition == after.partition and before.owner == dead and after.partition in lost
    }
    if sorted(found) != sorted(lost):
        raise RuntimeError(f"{dead} owned {lost} when it was killed, but the log shows takeovers of {sorted(found)}")
    return list(found.values())


def _row(name: str, times_ms: list[int]) -> tuple[str, ...]:
    return name, f"{median(times_ms):,.0f} ms", f"{max(times_ms):,} ms", str(len(times_ms))
