"""Pools and rate limits: a task asks for a place or a token before it is queued, and holds no slot while it waits.

Why: `pool: db` means at most so many tasks at the database, whatever their workflow, run and partition; a rate limit
protects what is on the other side. Both span partitions, and must not cost a round trip to etcd.

How: a limit lives on the partition of its name. A task that needs one is WAITING (reason pool or rate) and its
partition
sends LimitAsk; the limit's partition grants in the order of (priority, arrival) and answers LimitGrant; when the task
ends, is tried again or is cancelled, LimitRelease gives the place back. All of it goes through the outboxes, so what is
asked, granted and given back stands on both logs, and a takeover on either side only delays. Holders are a set, never a
counter, so that whatever comes twice changes nothing.

A pool has as many places as POOL_SET says, else `limits.pool_default`. A rate is a token bucket of `limit` tokens that
fills by `limit` in `per`, as the generic cell rate algorithm keeps it (ITU-T I.371): one number, the theoretical
arrival time of the next token. A token is not given back: a task that has one sends nothing when it ends. A task with
both takes a place first, then a token.

It must never grant to more holders than a pool has places, and never take a place away from one that works.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Any, TypeAlias

from indegree.engine import children
from indegree.engine.answers import accept, refuse
from indegree.engine.draft import Draft
from indegree.engine.failing import fail
from indegree.engine.kinds import Kind
from indegree.engine.messages import forward
from indegree.engine.plan import CHILD
from indegree.engine.records import Builder
from indegree.engine.scope import scope_of
from indegree.engine.state import Run, State
from indegree.engine.values import Missing, Needs
from indegree.events import json_values
from indegree.events.definition import Definition
from indegree.events.expressions import EvaluationError
from indegree.events.run_ids import is_id, partition_of_key
from indegree.v1.event_pb2 import WindowSnapshot
from indegree.v1.trigger_pb2 import (
    Command,
    Holder,
    LimitAsk,
    LimitGrant,
    LimitRelease,
    Origin,
    PartitionMessage,
)

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event

_KEY_CHARS = 100
MOST_PLACES = 1_000_000

Key: TypeAlias = tuple[int, str, int, int, int]
"""Of a holder: partition, run id, slot, attempt, generation."""


class Limit:
    """One pool or rate limit, where it lives.

    pool:    places, -1 where nobody has set them; of a rate: -1
    tokens, per_ms: of a rate, by the newest ask; 0 of a pool
    holders: of a pool, who has a place
    waiting: (-priority, order of arrival, holder), ascending
    asked:   holder -> its entry in `waiting`
    next_us: of a rate, the theoretical arrival time of the next token, microseconds since the epoch
    timer:   number of its armed timer, 0 for none
    """

    __slots__ = ("arrivals", "asked", "holders", "name", "next_us", "per_ms", "pool", "timer", "tokens", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pool = -1
        self.tokens = 0
        self.per_ms = 0
        self.holders: dict[Key, None] = {}
        self.waiting: list[tuple[int, int, Key]] = []
        self.asked: dict[Key, tuple[int, int, Key]] = {}
        self.arrivals = 0
        self.next_us = 0
        self.timer = 0

    @property
    def is_pool(self) -> bool:
        """A pool, else a rate limit."""
        return self.name.startswith("pool/")

    def may_at_ms(self) -> int:
        """Of a rate: when the next token is there, milliseconds since the epoch."""
        interval = -(-self.per_ms * 1_000 // max(1, self.tokens))
        return -(-(self.next_us - interval * (self.tokens - 1)) // 1_000)

    def is_idle(self, now_ms: int) -> bool:
        """Nothing of it has to be remembered."""
        return not self.waiting and not self.holders and self.pool < 0 and self.next_us <= now_ms * 1_000

    def forget_ask(self, key: Key) -> None:
        """The holder asks no more."""
        entry = self.asked.pop(key, None)
        if entry is not None:
            del self.waiting[bisect_left(self.waiting, entry)]


def key_of(holder: Holder) -> Key:
    """Its identity."""
    return holder.partition, holder.run_id, holder.task, holder.attempt, holder.generation


def _holder(key: Key) -> Holder:
    partition, run_id, task, attempt, generation = key
    return Holder(partition=partition, run_id=run_id, task=task, attempt=attempt, generation=generation)


# -- the side of the task ----------------------------------------------------------------------------------------------


def begin(draft: Draft, builder: Builder, run: Run, slot: int, number: int) -> None:
    """Asks for what attempt `number` needs. Raises Needs before anything is emitted."""
    task = run.plan.tasks[run.node(slot)]
    rate = ""
    if task.params and run.plan.kinds[run.node(slot)] == CHILD:
        children.look_at_params(builder, run, slot)
    if task.rate_limit is not None:
        try:
            rate = _rate_name(builder, run, slot)
        except (EvaluationError, json_values.JsonValueError, Missing) as error:
            fail(draft, run, slot, f"the key of its rate_limit has no value: {error}")
            return
    if task.pool is not None:
        _ask(draft, run, slot, number, f"pool/{task.pool}", rate)
    else:
        _ask(draft, run, slot, number, rate, "")


def _rate_name(builder: Builder, run: Run, slot: int) -> str:
    task = run.plan.tasks[run.node(slot)]
    rate = task.rate_limit
    assert rate is not None
    key = ""
    if rate.key is not None:
        key = json_values.dumps(rate.key.evaluate(scope_of(run, builder.values, slot))).decode()
        if len(key) > _KEY_CHARS:
            key = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"rate/{run.plan.workflow}/{task.id}/{key}"


def _ask(draft: Draft, run: Run, slot: int, number: int, name: str, after: str) -> None:
    task = run.plan.tasks[run.node(slot)]
    generation = run.generation(slot)
    draft.emit(
        Kind.TASK_WAITING,
        run.run_id,
        task=slot,
        attempt=number,
        generation=generation,
        reason="pool" if name.startswith("pool/") else "rate",
        label=name,
        topic=after,
    )
    holder = Holder(partition=draft.number, run_id=run.run_id, task=slot, attempt=number, generation=generation)
    ask = LimitAsk(limit=name, holder=holder, priority=task.priority)
    if task.rate_limit is not None and not name.startswith("pool/"):
        ask.tokens, ask.per_ms = task.rate_limit.limit, task.rate_limit.per_ms
    forward(draft, partition_of_key("limit", name, "", draft.partitions), PartitionMessage(ask=ask))


def granted(draft: Draft, builder: Builder, message: PartitionMessage) -> Run | None:
    """Message `grant`: the task goes on; or what it no longer wants is given back."""
    grant = message.grant
    holder = grant.holder
    run = draft.state.runs.get(holder.run_id)
    wait = run.waits.get(holder.task) if run is not None and run.waits is not None else None
    if (
        run is None
        or wait is None
        or wait.label != grant.limit
        or (wait.attempt, wait.generation) != (holder.attempt, holder.generation)
    ):
        held = run.held.get(holder.task, ()) if run is not None and run.held is not None else ()
        if (grant.limit, holder.attempt) not in held:
            _give_back(draft, grant.limit, holder)
        return None
    if run.ending:
        return None  # it is about to be cancelled, which gives it back
    if wait.after:
        _ask(draft, run, wait.task, wait.attempt, wait.after, "")
        return None
    if run.plan.kinds[run.node(wait.task)] == CHILD:
        try:
            children.begin(draft, builder, run, wait.task, wait.attempt)
        except Needs:
            fail(draft, run, wait.task, "a parameter of its sub-workflow lies in the payloads topic and is not at hand")
        return run
    draft.emit(Kind.TASK_QUEUED, run.run_id, task=wait.task, attempt=wait.attempt, generation=wait.generation)
    return run


def release(draft: Draft, run: Run, slot: int, name: str, attempt: int) -> None:
    """The task no longer holds or asks for the limit `name`: its owner is told."""
    generation = run.generation(slot)
    _give_back(
        draft,
        name,
        Holder(partition=draft.number, run_id=run.run_id, task=slot, attempt=attempt, generation=generation),
    )


def _give_back(draft: Draft, name: str, holder: Holder) -> None:
    home = partition_of_key("limit", name, "", draft.partitions)
    forward(draft, home, PartitionMessage(release=LimitRelease(limit=name, holder=holder)))


# -- the side of the limit ---------------------------------------------------------------------------------------------


def asked(draft: Draft, builder: Builder, message: PartitionMessage) -> Run | None:
    """Message `ask`."""
    ask = message.ask
    draft.emit(Kind.LIMIT_ASKED, None, label=ask.limit, data=ask.SerializeToString(deterministic=True))
    _serve(draft, ask.limit)
    return None


def given_back(draft: Draft, builder: Builder, message: PartitionMessage) -> Run | None:
    """Message `release`."""
    name, holder = message.release.limit, message.release.holder
    limit: Limit | None = draft.state.limits.get(name)
    key = key_of(holder)
    if limit is not None and (key in limit.holders or key in limit.asked or limit.is_idle(draft.state.time_ms)):
        draft.emit(Kind.LIMIT_RELEASED, None, label=name, data=holder.SerializeToString(deterministic=True))
        _serve(draft, name)
    return None


def _serve(draft: Draft, name: str) -> None:
    """Grants what may be granted now, as far as a step goes; for what is left a timer is armed that is due."""
    for _ in range(draft.limits.step_tasks):
        limit: Limit | None = draft.state.limits.get(name)
        if limit is None or not limit.waiting:
            return
        fields: dict[str, Any] = {}
        if limit.is_pool:
            places = limit.pool if limit.pool >= 0 else draft.limits.pool_default
            if len(limit.holders) >= places:
                return
        else:
            now = draft.state.time_ms
            if limit.may_at_ms() > now:
                return
            interval = -(-limit.per_ms * 1_000 // max(1, limit.tokens))
            fields = {"due_ms": max(limit.next_us, now * 1_000) + interval}
        if draft.full():
            return
        holder = _holder(limit.waiting[0][2])
        draft.emit(Kind.LIMIT_GRANTED, None, label=name, data=holder.SerializeToString(deterministic=True), **fields)
        forward(draft, holder.partition, PartitionMessage(grant=LimitGrant(limit=name, holder=holder)))


def due(draft: Draft, builder: Builder, limit: Limit) -> Run | None:
    """There may be something to grant: the next token of a rate is there, or a pool has more room than one step filled.
    Or all tokens of a rate are there, and nothing of it has to be remembered."""
    _serve(draft, limit.name)
    if limit.is_idle(draft.state.time_ms):
        draft.emit(Kind.LIMIT_RELEASED, None, label=limit.name)
    return None


def set_pool(
    draft: Draft, builder: Builder, command: Command, origin: Origin, definition: Definition | None
) -> Run | None:
    """Command `set_pool`, judged on the partition of the pool's name."""
    name, places = command.set_pool.name, command.set_pool.limit
    if not is_id(name):
        refuse(draft, command, "", f"{name!r:.120} is no name of a pool: letters, digits, _, - and ., at most 100")
        return None
    if places > MOST_PLACES:
        refuse(draft, command, "", f"{places} places; a pool has at most {MOST_PLACES}")
        return None
    label = f"pool/{name}"
    home = partition_of_key("limit", label, "", draft.partitions)
    if home != draft.number:
        forward(draft, home, PartitionMessage(command=command))
        return None
    draft.emit(Kind.POOL_SET, None, label=label, number=places, actor=command.actor, request_id=command.request_id)
    accept(draft, command, "", f"pool {name!r} has {places} place{'' if places == 1 else 's'}")
    _serve(draft, label)
    return None


# -- what the events do ------------------------------------------------------------------------------------------------


def _apply_asked(state: State, run: Run | None, event: Event) -> None:
    ask = LimitAsk.FromString(event.data)
    limit: Limit = state.limits.setdefault(event.label, Limit(event.label))
    key = key_of(ask.holder)
    if key in limit.holders or key in limit.asked:
        return
    if not limit.is_pool:
        limit.tokens, limit.per_ms = max(1, ask.tokens), ask.per_ms
    limit.arrivals += 1
    entry = (-ask.priority, limit.arrivals, key)
    limit.asked[key] = entry
    insort(limit.waiting, entry)
    _arm(state, limit)


def _apply_granted(state: State, run: Run | None, event: Event) -> None:
    limit: Limit | None = state.limits.get(event.label)
    if limit is None:
        return  # asked for before recovery begins: the snapshot behind this has what came of it
    key = key_of(Holder.FromString(event.data))
    limit.forget_ask(key)
    if limit.is_pool:
        limit.holders[key] = None
    else:
        limit.next_us = event.due_ms
    _arm(state, limit)


def _apply_released(state: State, run: Run | None, event: Event) -> None:
    limit: Limit | None = state.limits.get(event.label)
    if limit is None:
        return
    key = key_of(Holder.FromString(event.data))  # of an idle limit, which nobody gives back, that of no one
    limit.holders.pop(key, None)
    limit.forget_ask(key)
    _arm(state, limit)
    if limit.is_idle(state.time_ms):
        limit.timer = 0
        del state.limits[event.label]


def _apply_pool_set(state: State, run: Run | None, event: Event) -> None:
    limit: Limit = state.limits.setdefault(event.label, Limit(event.label))
    limit.pool = event.number
    _arm(state, limit)


def _arm(state: State, limit: Limit) -> None:
    if limit.is_pool:
        if limit.waiting and (limit.pool < 0 or len(limit.holders) < limit.pool):
            state.timers.arm(limit, state.time_ms)  # how many places one has that nobody has set is not known here
        else:
            limit.timer = 0
    elif limit.waiting:
        state.timers.arm(limit, max(limit.may_at_ms(), 1))
    elif limit.next_us > state.time_ms * 1_000:
        state.timers.arm(limit, -(-limit.next_us // 1_000))  # then it is forgotten, unless somebody asks
    else:
        limit.timer = 0


# -- what is compared --------------------------------------------------------------------------------------------------


def image(state: State) -> dict[str, object]:
    """For invariants.py: the limits as plain data, without the numbers of arrivals, which a recovery gives anew."""
    found: dict[str, object] = {}
    for name, limit in state.limits.items():
        waiting = [(priority, key) for priority, _, key in limit.waiting]
        found[name] = (limit.pool, limit.tokens, limit.per_ms, limit.next_us, sorted(limit.holders), waiting)
    return found


def problem(state: State) -> str:
    """For invariants.py: what is wrong with the limits, "" where nothing is."""
    for name, limit in state.limits.items():
        if limit.name != name or limit.waiting != sorted(limit.asked.values()):
            return f"{name}: waiting {limit.waiting}, asked {limit.asked}"
        if any(entry[2] != key for key, entry in limit.asked.items()) or limit.holders.keys() & limit.asked.keys():
            return f"{name}: asked {limit.asked}, held by {list(limit.holders)}"
        if limit.is_pool == bool(limit.tokens) and (limit.waiting or limit.holders):
            return f"{name}: {limit.tokens} tokens"
        if not limit.is_pool and limit.waiting and id(limit) not in state.timers.alive():
            return f"{name}: tasks wait, and no timer is armed"
    return ""


# -- snapshots ---------------------------------------------------------------------------------------------------------


def written(limit: Limit) -> WindowSnapshot.Limit:
    """As a snapshot holds it."""
    data = WindowSnapshot.Limit(
        name=limit.name,
        pool=limit.pool + 1,
        next_ms=limit.next_us,
        tokens=limit.tokens,
        per_ms=limit.per_ms,
        holders=[_holder(key) for key in limit.holders],
    )
    for priority, _, key in limit.waiting:
        data.waiting.add(limit=limit.name, holder=_holder(key), priority=-priority)
    return data


def read(state: State, data: WindowSnapshot.Limit) -> None:
    """A limit as it was when the snapshot wrote it takes the place of what is known of it."""
    old = state.limits.get(data.name)
    if old is not None:
        old.timer = 0
    limit = state.limits[data.name] = Limit(data.name)
    limit.pool = data.pool - 1
    limit.next_us = data.next_ms
    limit.tokens, limit.per_ms = data.tokens, data.per_ms
    limit.holders = {key_of(holder): None for holder in data.holders}
    for ask in data.waiting:
        limit.arrivals += 1
        entry = (-ask.priority, limit.arrivals, key_of(ask.holder))
        limit.asked[entry[2]] = entry
        limit.waiting.append(entry)
    _arm(state, limit)


APPLIERS = {
    Kind.LIMIT_ASKED: _apply_asked,
    Kind.LIMIT_GRANTED: _apply_granted,
    Kind.LIMIT_RELEASED: _apply_released,
    Kind.POOL_SET: _apply_pool_set,
}
COMMANDS = {"set_pool": set_pool}
MESSAGES = {"ask": asked, "grant": granted, "release": given_back}
DUE = {Limit: due}
