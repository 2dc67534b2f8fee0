"""Sends ready attempts to workers that have room: each record to the one partition and instance that is to run it.

A worker announces what it serves and its slots (workers.py). An owner sends it at most its share of twice the slots;
the rest waits in the core's heaps, ordered by priority, depth and age: without this bound priority, cancel and
fairness would mean nothing. Among the workers of a queue the one with most room is taken.

Called whenever attempts become ready and whenever there may be room: after each frame, on news of a worker. It never
waits. What cannot be sent now stays ready in the core.
"""

from __future__ import annotations

import heapq

from indegree.engine.core import PartitionCore
from indegree.events.kafka import Record
from indegree.events.topics import Topics
from indegree.stream.outbound import Outbound, Ticket
from indegree.stream.spans import Spans
from indegree.stream.workers import Workers


class Dispatcher:
    """Of one ownership. It changes only what the core holds as volatile: who was sent what."""

    def __init__(
        self,
        core: PartitionCore,
        topics: Topics,
        workers: Workers,
        outbound: Outbound,
        ticket: Ticket,
        spans: Spans | None,
    ) -> None:
        self._core, self._topics, self._workers = core, topics, workers
        self._outbound, self._ticket, self._spans = outbound, ticket, spans
        self.sent = 0

    def run(self) -> bool:
        """Sends what can be sent now. True: a task whose inputs cannot be made has failed, and a frame must be cut."""
        core, decided = self._core, False
        for queue in core.queues():
            before, sent = core.ready(queue), self.sent
            self._queue(queue)
            decided |= core.ready(queue) != before - (self.sent - sent)
        return decided

    def _queue(self, queue: str) -> None:
        core = self._core
        room: list[tuple[int, str, int]] = []
        for known, partition in self._workers.serving(queue):
            instance = known.worker.instance
            free = known.allowance - core.held(instance)
            if free > 0:
                room.append((-free, instance, partition))
        if not room:
            return
        heapq.heapify(room)
        topic = self._topics.tasks(queue)
        out: dict[int, list[Record]] = {}
        while room:
            negative, instance, partition = room[0]
            task = core.take(queue, instance)
            if task is None:
                break
            if self._spans is not None and task.traceparent:
                self._spans.dispatched(task)
            out.setdefault(partition, []).append((task.run_id.encode(), task.SerializeToString(), ()))
            if negative == -1:
                heapq.heappop(room)
            else:
                heapq.heapreplace(room, (negative + 1, instance, partition))
        for partition, records in out.items():
            self.sent += len(records)
            self._outbound.put(topic, partition, records, self._ticket)
