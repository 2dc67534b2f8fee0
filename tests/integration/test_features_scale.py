"""Maps, keys, pools, rates, sub-workflows and waits on real processes, each with the engine that matters killed -9.

The loads and what they claim are those of `./dev bench features` (benchmarks/feature_loads.py), which has the full
sizes of the issue; here they are small. After each the independent checker proves the whole log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from benchmarks import feature_loads as loads
from benchmarks.cluster import Cluster
from benchmarks.feature_loads import Done, Place
from tests.conftest import SharedStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 4


@pytest.fixture(scope="module")
def at(stack: SharedStack) -> Iterator[Place]:
    given = f"{stack.kafka},{stack.etcd}"
    with Cluster(given, PARTITIONS, **{"engine.lease_ttl_s": 2.0}) as cluster, loads.place(cluster, 200, 60.0) as place:
        yield place


LOADS: dict[str, Callable[[Place], Done]] = {
    "every instance of a map succeeds once and the list is in order": lambda at: loads.map_with_kill(at, 5_000),
    "runs of a customer start in the order of their offsets": lambda at: loads.keyed_with_kill(
        at, 100, 20, time.time_ns() % 1_000_000
    ),
    "a pool has never more than its places": lambda at: loads.pool_with_kill(at, 8, 40, 5),
    "a rate holds": lambda at: loads.rate_with_kill(at, 2, 30),
    "every child of a fan-out runs once": lambda at: loads.children_with_kill(at, 200),
    "waits end with what they wait for, and not before": loads.waits_with_kill,
}


@pytest.mark.parametrize("what", LOADS)
def test_across_a_kill(at: Place, what: str) -> None:
    done = LOADS[what](at)
    print(f"{done.count} in {done.seconds:.1f} s, engine peak {done.peak_mib:.0f} MiB; {done.note}")
    verdict = at.proven()
    print(verdict.report())
    assert verdict.ok, verdict.report()
