"""Stops: tells a worker that an attempt of its is over (cancelled, timed out, stale).

A stop that is lost costs only time: a heartbeat of an attempt that is not current is answered with a stop again. So
stops need neither fence nor repetition; a failed one still counts as a failed output of its partition.
"""

from __future__ import annotations

from collections.abc import Sequence

from indegree.events.kafka import Record
from indegree.stream.outbound import Outbound, Ticket
from indegree.v1.task_pb2 import Control

CONTROL_PARTITION = 0  # the topic has one


def send_stops(outbound: Outbound, topic: str, stops: Sequence[Control], ticket: Ticket) -> None:
    """Hands the stops over, each under the key of the worker instance that it is for. Never blocks."""
    records: list[Record] = [(stop.worker.encode(), stop.SerializeToString(), ()) for stop in stops]
    outbound.put(topic, CONTROL_PARTITION, records, ticket)
