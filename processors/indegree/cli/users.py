"""Who works on a stack: engines by their keys in etcd, workers by their announcements.

Why: whoever takes a stack down should know whose work stops with it.

How: every cluster has its keys under /indegree/CLUSTER/; the workers topic of each is read. All within a few seconds,
and what does not answer is left out: nobody may be kept from taking a stack down.

It must never write anything.
"""

from __future__ import annotations

import asyncio
import contextlib

from indegree.events.settings import LOCAL, Settings

_WITHIN_S = 3.0
_MOST_CLUSTERS = 10


async def users(kafka: str, etcd: str) -> list[str]:
    """`engine e1 of cluster 'indegree'`, and the same for workers."""
    found: list[str] = []
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_WITHIN_S):
            await _collect(kafka, etcd, found)
    return found


async def _collect(kafka: str, etcd: str, found: list[str]) -> None:
    from indegree.ownership.etcd import Etcd

    from .unserved import living_workers

    connection = Etcd((etcd,), timeout_s=1.0)
    try:
        snapshot = await connection.get_prefix("/indegree/", timeout_s=1.0)
    finally:
        await connection.close()
    clusters: dict[str, None] = {}
    for item in snapshot.items:
        parts = item.key.split("/")
        if len(parts) >= 4:
            clusters[parts[2]] = None
        if len(parts) == 5 and parts[3] == "members":
            found.append(f"engine {parts[4]} of cluster {parts[2]!r}")
    local = {name.replace(".", "__"): value for name, value in LOCAL.items()}
    base = Settings().with_values(**local, kafka__bootstrap_servers=kafka, etcd__endpoints=(etcd,))
    for cluster in list(clusters)[-_MOST_CLUSTERS:]:
        with contextlib.suppress(Exception):  # its topics are gone
            for worker in await living_workers(base.with_values(cluster=cluster)):
                found.append(f"worker {worker.instance} of cluster {cluster!r}")
