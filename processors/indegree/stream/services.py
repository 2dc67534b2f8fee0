"""What all partitions of one engine share. Made once by engine.py, read by everybody, changed by nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indegree.engine.core import PartitionCore
from indegree.events.payloads import Payloads
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.catalog import Catalog
from indegree.stream.dispatch import Dispatcher
from indegree.stream.metrics import Metrics
from indegree.stream.outbound import Outbound
from indegree.stream.spans import Spans
from indegree.stream.transport import OwnedConsumer
from indegree.stream.workers import Workers


@dataclass(frozen=True, slots=True)
class Services:
    """`owner`: this engine's id; `valid()`: its lease is proven now; `warm(p)`: p's log has been read to its end."""

    settings: Settings
    topics: Topics
    partitions: int
    owner: str
    valid: Callable[[], bool]
    warm: Callable[[int], None]
    consumer: Callable[[], OwnedConsumer]
    new_core: Callable[[int], PartitionCore]
    workers: Workers
    catalog: Catalog
    outbound: Outbound
    payloads: Payloads
    metrics: Metrics
    dispatcher: Dispatcher
    spans: Spans | None
