"""Sends ready attempts to workers that have room: each record to the one partition and instance that is to run it.

One for the engine, over all its partitions: they share what a worker can take, so that the best attempt of all of
them goes first (by priority, turn of its workflow, depth, age) and a partition with much to do starves no other. Whose
turn it is they share too (engine/turns.py), so a take on one partition changes what the attempts of that workflow are
worth on all others: the first in line is asked again before it is taken. A worker announces what it serves and its
slots (workers.py); an engine sends it at most its share of twice the slots. The rest waits in the cores' lines: without
this bound priority, cancel and fairness would mean nothing. Of a queue's workers the one with most room
is taken; one that has rejected the attempt (it lacks the code) gets it again only when all others have done so too.

Called whenever attempts become ready and whenever there may be room: after each frame, on news of a worker. It never
waits. What cannot be sent now stays ready in its core.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import Protocol

from indegree.engine.core import PartitionCore
from indegree.engine.dispatch import Worth
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
        """So many of its attempts were sent, and it may have an earlier deadline now: of these, or of one that was put
        off. `decided`: events were made by it, so a frame has to be cut."""

    def failed(self, error: BaseException) -> None:
        """A fault of its core: its ownership is over."""


_Room = list[tuple[int, str, int]]
"""A heap of (-free, instance, partition of the queue's topic)."""
_Waiting = list[tuple[Worth, int]]
"""A heap of (what the best attempt of a member is worth, which member)."""


class Dispatcher:
    """It changes only what the cores hold as volatile: who was sent what."""

    def __init__(self, owner: str, topics: Topics, workers: Workers, outbound: Outbound, spans: Spans | None) -> None:
        self._owner, self._topics, self._workers, self._outbound, self._spans = owner, topics, workers, outbound, spans
        self._members: list[Member] = []
        self._arrivals = 0  # of workers, as far as they were looked at

    def join(self, member: Member) -> None:
        self._members.append(member)

    def leave(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)

    def run(self) -> None:
        """Sends what can be sent now. The caller has made sure that the lease is proven."""
        members = [member for member in self._members if member.serving]
        if self._arrivals != self._workers.arrivals:
            self._arrivals = self._workers.arrivals
            for member in members:
                member.core.recall(self._somebody_new)
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

    def _somebody_new(self, queue: str, refusers: Collection[str]) -> bool:
        """Whether a worker serves the queue that has not rejected the attempt, whether it has room or not."""
        return any(known.worker.instance not in refusers for known, _ in self._workers.serving(queue))

    def _choose(self, core: PartitionCore, queue: str, room: _Room) -> int:
        """Place in `room` of the worker that gets the core's best attempt; -1: one without room may have its code."""
        refusers = core.refusers(queue)
        if not refusers:
            return 0
        able = [place for place, (_, instance, _) in enumerate(room) if instance not in refusers]
        if able:
            return min(able, key=room.__getitem__)
        return -1 if self._somebody_new(queue, refusers) else 0

    def _room(self, queue: str, used: dict[str, int]) -> _Room:
        room: _Room = []
        topic = self._topics.tasks(queue)
        for known, partition in self._workers.serving(queue):
            instance = known.worker.instance
            free = known.allowance - used.get(instance, 0)
            if free > 0 and self._outbound.knows(topic, partition):
                room.append((-free, instance, partition))
        heapq.heapify(room)
        return room

    def _send(self, queue: str, room: _Room, members: list[Member], used: dict[str, int]) -> None:
        waiting: _Waiting = []
        for place, member in enumerate(members):
            best = member.core.best(queue)
            if best is not None:
                waiting.append((best, place))
        heapq.heapify(waiting)
        before = {place: members[place].core.ready(queue) for _, place in waiting}
        put_off: set[int] = set()  # members
        out: dict[int, dict[int, list[Record]]] = {}  # member -> partition of the topic -> records
        while waiting and room:
            worth, place = waiting[0]
            core = members[place].core
            if len(waiting) > 1 and (now := core.best(queue)) != worth:
                _next(waiting, now, place)
                continue
            chosen = self._choose(core, queue, room)
            if chosen < 0:
                core.postpone(queue)
                put_off.add(place)
                before[place] -= 1
                _next(waiting, core.best(queue), place)
                continue
            negative, instance, partition = room[chosen]
            try:
                task = core.take(queue, instance)
            except Exception as error:  # noqa: BLE001 - a fault of one core ends that ownership, not this call
                heapq.heappop(waiting)
                members[place].failed(error)
                continue
            _next(waiting, core.best(queue), place)
            if task is None:
                continue
            task.owner = self._owner
            if self._spans is not None:
                self._spans.dispatched(task)
            records = out.setdefault(place, {}).setdefault(partition, [])
            records.append((task.run_id.encode(), task.SerializeToString(), ()))
            used[instance] = used.get(instance, 0) + 1
            if chosen:  # not the first: rare enough to put the heap in order anew
                room[chosen] = (negative + 1, instance, partition)
                room = [entry for entry in room if entry[0]]
                heapq.heapify(room)
            elif negative == -1:
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
            if count or decided or place in put_off:
                member.sent(count, decided)


def _next(waiting: _Waiting, best: Worth | None, place: int) -> None:
    """The first of `waiting` has given its best: `best` is now what it has."""
    if best is None:
        heapq.heappop(waiting)
    else:
        heapq.heapreplace(waiting, (best, place))
