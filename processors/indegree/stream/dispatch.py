"""Sends ready attempts to workers that have room: each record to the one partition and instance that is to run it.

One for the engine, over all its partitions: they share what a worker can take, so that the best attempt of all of
them goes first (by priority, depth, age) and a partition with much to do starves no other. A worker announces what it
serves and its slots (workers.py); an engine sends it at most its share of twice the slots. The rest waits in the cores'
heaps: without this bound priority, cancel and fairness would mean nothing. Of a queue's workers the one with most room
is taken.

Called whenever attempts become ready and whenever there may be room: after each frame, on news of a worker. It never
waits. What cannot be sent now stays ready in its core.
"""

from __future__ import annotations

import heapq
from typing import Protocol

from indegree.engine.core import PartitionCore
from indegree.events.kafka import Record
from indegree.events.topics import Topics
from indegree.stream.outbound import Outbound, Ticket
from indegree.stream.spans import Spans
from indegree.stream.workers import Workers


class Member(Protocol):
    """A partition that is owned, as the dispatcher sees it."""

    core: PartitionCore
    ticket: Ticket

    @property
    def serving(self) -> bool:
        """Its attempts may be sent."""
        ...

    def sent(self, count: int, decided: bool) -> None:
        """So many of its attempts were sent; `decided`: events were made by it, so a frame has to be cut."""

    def failed(self, error: BaseException) -> None:
        """A fault of its core: its ownership is over."""


_Room = list[tuple[int, str, int]]
"""A heap of (-free, instance, partition of the queue's topic)."""


class Dispatcher:
    """It changes only what the cores hold as volatile: who was sent what."""

    def __init__(self, owner: str, topics: Topics, workers: Workers, outbound: Outbound, spans: Spans | None) -> None:
        self._owner, self._topics, self._workers, self._outbound, self._spans = owner, topics, workers, outbound, spans
        self._members: list[Member] = []

    def join(self, member: Member) -> None:
        self._members.append(member)

    def leave(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)

    def run(self) -> None:
        """Sends what can be sent now. The caller has made sure that the lease is proven."""
        members = [member for member in self._members if member.serving]
        queues = {queue: None for member in members for queue in member.core.queues()}
        if not queues:
            return
        used: dict[str, int] = {}
        for member in members:
            for instance in member.core.holders():
                used[instance] = used.get(instance, 0) + member.core.held(instance)
        for queue in queues:
            room = self._room(queue, used)
            if room:
                self._send(queue, room, members, used)

    def _room(self, queue: str, used: dict[str, int]) -> _Room:
        room: _Room = []
        for known, partition in self._workers.serving(queue):
            instance = known.worker.instance
            free = known.allowance - used.get(instance, 0)
            if free > 0:
                room.append((-free, instance, partition))
        heapq.heapify(room)
        return room

    def _send(self, queue: str, room: _Room, members: list[Member], used: dict[str, int]) -> None:
        waiting: list[tuple[tuple[int, int, int], int]] = []  # (what its best is worth, which member)
        for place, member in enumerate(members):
            best = member.core.best(queue)
            if best is not None:
                waiting.append((best, place))
        heapq.heapify(waiting)
        before = {place: members[place].core.ready(queue) for _, place in waiting}
        out: dict[int, dict[int, list[Record]]] = {}  # member -> partition of the topic -> records
        while waiting and room:
            place, core = waiting[0][1], members[waiting[0][1]].core
            negative, instance, partition = room[0]
            try:
                task = core.take(queue, instance)
            except Exception as error:  # noqa: BLE001 - a fault of one core ends that ownership, not this call
                heapq.heappop(waiting)
                members[place].failed(error)
                continue
            best = core.best(queue)
            if best is None:
                heapq.heappop(waiting)
            else:
                heapq.heapreplace(waiting, (best, place))
            if task is None:
                continue
            task.owner = self._owner
            if self._spans is not None:
                self._spans.dispatched(task)
            records = out.setdefault(place, {}).setdefault(partition, [])
            records.append((task.run_id.encode(), task.SerializeToString(), ()))
            used[instance] = used.get(instance, 0) + 1
            if negative == -1:
                heapq.heappop(room)
            else:
                heapq.heapreplace(room, (negative + 1, instance, partition))
        topic = self._topics.tasks(queue)
        for place, ready in before.items():
            member, count = members[place], 0
            for partition, records in out.get(place, {}).items():
                count += len(records)
                self._outbound.put(topic, partition, records, member.ticket)
            decided = member.core.ready(queue) != ready - count  # a task whose inputs cannot be made has failed
            if count or decided:
                member.sent(count, decided)
