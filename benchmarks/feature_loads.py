"""Features on a real cluster, at any size, with an engine killed in the middle: loads and their judgement.

Why: the same loads prove the features in the tests (small) and in `./dev bench features` (full size).

How: a `Place` has two engines of a cluster. A load starts its runs, waits for a sign in the event log that it is in the
middle, kills -9 the engine that matters, starts another one, waits for all ends, and reads the log. What does not hold
it raises as AssertionError, from what workers say or from the frames in force, never from the engine's own pages.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from benchmarks import feature_flows as flows
from benchmarks.cluster import Cluster
from benchmarks.feature_log import Fact, begun_per_key, facts_of, granted, most_above_rate, most_at_once
from benchmarks.machine import peak_mib, reset_peak
from benchmarks.watch import Watch
from indegree.events.run_ids import partition_of_key, partition_of_run
from indegree.events.topics import Topics
from indegree.sdk.client import Client
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import Command, Signal
from tests.checker import Records, Verdict, prove, read_cluster

WITHIN_S = 600.0
MODULE = flows.__name__


@dataclass
class Place:
    """A cluster with engines and a worker, its event log as it grows, and a client."""

    cluster: Cluster
    watch: Watch
    client: Client
    within_s: float = WITHIN_S
    killed: list[str] = field(default_factory=list)
    records: Records = field(default_factory=Records)

    def ready(self, kill: bool) -> None:
        """Waits until every engine owns partitions; there have to be two where one is going to be killed."""
        while kill and len(self.cluster.engines) < 2:
            self.cluster.engine()
        mine = set(self.cluster.engines)
        self.sign(lambda: set(self.watch.owners().values()) == mine, f"engines {mine} own the partitions")

    def kill_owner(self, partition: int) -> None:
        """kill -9 of the owner; another engine starts while its lease runs out."""
        engine = self.watch.owners()[partition]
        self.cluster.kill(engine)
        self.killed.append(engine)
        self.cluster.engine()

    def facts(self) -> list[Fact]:
        """All events in force, once nobody writes any more."""
        settings = self.cluster.settings
        self.records = read_cluster(settings.kafka.bootstrap_servers, settings.cluster)
        return facts_of(self.records)

    def proven(self) -> Verdict:
        """The checker's verdict on what `facts` read last."""
        return prove(self.records)

    def sign(self, seen: Callable[[], bool], what: str) -> None:
        """Waits for a sign in the log. Raises TimeoutError."""
        self.watch.until(seen, self.within_s, what)

    def ended(self, run_ids: list[str]) -> None:
        """Waits for the end of these runs. Raises AssertionError where one does not succeed."""
        left = set(run_ids)

        def all_ended() -> bool:
            left.difference_update(self.watch.ended)
            return not left

        self.sign(all_ended, f"the end of {len(run_ids)} runs")
        states = Counter(self.watch.ended[run_id] for run_id in run_ids)
        assert states == Counter(SUCCESS=len(run_ids)), states

    def topic(self, name: str, partitions: int) -> str:
        """A new topic of a user's; it goes with the cluster."""
        settings = self.cluster.settings
        full = f"{settings.cluster}.user.{name}"
        admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
        admin.create_topics([NewTopic(full, partitions, 1)])[full].result(20)
        return full


@contextlib.contextmanager
def place(cluster: Cluster, slots: int = 500, within_s: float = WITHIN_S) -> Iterator[Place]:
    """One engine and one worker of the feature flows on a cluster that is entered; a kill starts further engines."""
    cluster.engine()
    cluster.worker(slots, module=MODULE)
    watch = Watch(cluster.settings)
    try:
        with Client(cluster.settings) as client:
            yield Place(cluster, watch, client, within_s)
    finally:
        watch.close()


@dataclass(frozen=True, slots=True)
class Done:
    """What a load came to. `peaks_mib`: the largest engine. `note`: what it found besides, for people."""

    count: int
    seconds: float
    peak_mib: float
    note: str


class _Stopwatch:
    """Time and the engines' peak memory of a load; call `look` before an engine is killed."""

    def __init__(self, at: Place) -> None:
        self._at, self._peak = at, 0.0
        for process in at.cluster.engines.values():
            reset_peak(process.pid)
        self._begun = time.perf_counter()
        self.seconds = 0.0

    def look(self) -> None:
        self.seconds = time.perf_counter() - self._begun
        self._peak = max(self._peak, *(peak_mib(process.pid) for process in self._at.cluster.engines.values()))

    def done(self, count: int, note: str) -> Done:
        return Done(count, self.seconds, self._peak, note)


def _in_the_middle(kill: bool, facts: Iterable[Fact]) -> None:
    """What went on under one owner has gone on under another. Raises AssertionError where the kill came too late."""
    assert len({fact.epoch for fact in facts}) > 1 or not kill, "the kill came too late: nothing was left to be done"


def map_with_kill(at: Place, items: int, *, kill: bool = True) -> Done:
    """A map over `items` elements of 100 bytes; its owner dies while it is expanded.

    The child of the map fails, and so does the run, unless the gathered list is right and in order.
    """
    at.ready(kill)
    watch, clock = at.watch, _Stopwatch(at)
    before = Counter(watch.kinds)
    run = at.client.start(flows.mapped, {"n": items})
    home = partition_of_run(run.run_id)
    if kill:
        at.sign(lambda: watch.kinds[Event.TASK_EXPANDED] > before[Event.TASK_EXPANDED], "the map is expanded")
        clock.look()
        at.kill_owner(home)
    at.ended([run.run_id])
    clock.look()
    facts = [fact for fact in at.facts() if fact.run_id == run.run_id]
    ends = Counter(fact.event.task for fact in facts if fact.event.kind == Event.TASK_SUCCEEDED)
    assert len(ends) == items + 3, f"{len(ends)} tasks succeeded, not {items + 3}"
    assert set(ends.values()) == {1}, "a task succeeded twice"
    slices = [fact.epoch for fact in facts if fact.event.kind in (Event.TASK_EXPANDED, Event.TASK_ITEMS)]
    late = sum(epoch > slices[0] for epoch in slices)
    begun_late = sum(fact.event.kind == Event.TASK_QUEUED and fact.epoch > slices[0] for fact in facts)
    assert begun_late or not kill, "the kill came too late: nothing was left to be begun"
    note = f"{late} of {len(slices)} slices of the items and {begun_late:,} instances were begun after the takeover"
    return clock.done(items, note if kill else f"{len(slices)} slices of the items")


def keyed_with_kill(at: Place, customers: int, each: int, seed: int, *, kill: bool = True) -> Done:
    """`each` records of every customer in mixed order on a topic; runs of a customer one at a time, in their order."""
    print(f"seed {seed}")
    at.ready(kill)
    topic, partitions = at.topic(f"orders-{seed}", 6), 6
    order = [f"c{number}" for number in range(customers)] * each
    random.Random(seed).shuffle(order)
    expected: dict[str, list[int]] = {f"c{number}": [] for number in range(customers)}
    faults: list[object] = []

    def delivered(fault: object, message: Message) -> None:
        if fault is not None:
            faults.append(fault)
        expected[(message.key() or b"").decode()].append(message.offset() or 0)

    servers = at.cluster.settings.kafka.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    for customer in order:
        value = json.dumps({"customer": customer}).encode()
        producer.produce(topic, value, customer, int(customer[1:]) % partitions, on_delivery=delivered)
        producer.poll(0)
    assert (producer.flush(60), faults) == (0, [])
    expected = {customer: sorted(offsets) for customer, offsets in expected.items()}  # reports come in any order
    before, clock = len(at.watch.ended), _Stopwatch(at)
    at.client.deploy(flows.served(topic))
    if kill:
        at.sign(lambda: len(at.watch.ended) - before > len(order) // 4, "a quarter of the runs has ended")
        clock.look()
        at.kill_owner(0)
    at.sign(lambda: len(at.watch.ended) - before >= len(order), f"the end of {len(order)} runs")
    clock.look()
    facts = at.facts()
    begun = begun_per_key(facts, topic)
    home = {f.run_id for f in facts if f.event.origin.topic == topic and f.partition == 0}
    _in_the_middle(kill, (f for f in facts if f.run_id in home and f.event.kind == Event.RUN_FINISHED))
    found = {key[1:].strip('"'): offsets for key, offsets in begun.items()}  # a key is JSON behind a sign
    wrong = [name for name in expected if found.get(name) != expected[name]]
    assert not wrong, f"{len(wrong)} customers out of order, {wrong[0]}: {found.get(wrong[0])}, {expected[wrong[0]]}"
    waited = sum(fact.event.kind == Event.RUN_RELEASED for fact in facts)
    return clock.done(len(order), f"{customers:,} customers in order, {waited:,} runs waited for their turn")


def intake(at: Place, records: int) -> Done:
    """Records of a topic of the user's, each of which starts a run without work. From the deploy to the last end."""
    at.ready(False)
    topic, partitions = at.topic("free", 6), 6
    producer = Producer({"bootstrap.servers": at.cluster.settings.kafka.bootstrap_servers})
    for number in range(records):
        producer.produce(topic, json.dumps({"customer": f"c{number}"}).encode(), partition=number % partitions)
        producer.poll(0)
    assert producer.flush(60) == 0
    before, clock = len(at.watch.ended), _Stopwatch(at)
    at.client.deploy(flows.served(topic, keyed=False, function=""))
    at.sign(lambda: len(at.watch.ended) - before >= records, f"the end of {records} runs")
    clock.look()
    return clock.done(records, "runs without work")


def signals(at: Place, count: int) -> Done:
    """One signal to each of `count` runs that wait for it. From the first signal to the last end of a run."""
    at.ready(False)
    watch, before = at.watch, at.watch.kinds[Event.TASK_WAITING]
    run_ids = [run.run_id for run in at.client.start_many(flows.signalled, [{}] * count)]
    at.sign(lambda: watch.kinds[Event.TASK_WAITING] - before >= count, f"{count} tasks wait")
    clock = _Stopwatch(at)
    producer = Producer({"bootstrap.servers": at.cluster.settings.kafka.bootstrap_servers})
    topic = Topics(at.cluster.settings.cluster).commands
    for run_id in run_ids:
        command = Command(signal=Signal(run_id=run_id, name="go"), actor="ada")
        producer.produce(topic, command.SerializeToString(), run_id.encode(), partition_of_run(run_id))
        producer.poll(0)
    assert producer.flush(60) == 0
    at.ended(run_ids)
    clock.look()
    return clock.done(count, "one for each run that waits")


def pool_with_kill(at: Place, runs: int, each: int, places: int, *, kill: bool = True, seconds: float = 0.02) -> Done:
    """Two workflows, runs on all partitions, one pool; the owner of the pool dies."""
    at.ready(kill)
    pool = f"seats-{places}-{runs}-{each}"
    at.client.set_pool(pool, places)
    clock, watch = _Stopwatch(at), at.watch
    before, given = watch.tasks, {"many": list(range(each)), "seconds": seconds}
    started = [
        run.run_id
        for name in (f"bench-{pool}-a", f"bench-{pool}-b")
        for run in at.client.start_many(flows.pooled(name, pool), [given] * (runs // 2))
    ]
    if kill:
        at.sign(lambda: watch.tasks - before > runs * each // 4, "a quarter of the tasks has ended")
        clock.look()
        at.kill_owner(partition_of_key("limit", f"pool/{pool}", "", at.cluster.settings.topics.partitions))
    at.ended(started)
    clock.look()
    mine, facts = set(started), at.facts()
    _in_the_middle(kill, (f for f in facts if f.event.kind == Event.LIMIT_GRANTED and f.event.label == f"pool/{pool}"))
    facts = [fact for fact in facts if fact.run_id in mine]
    spans = [
        json.loads(fact.event.value.json)
        for fact in facts
        if fact.event.kind == Event.TASK_SUCCEEDED and fact.event.worker
    ]
    assert len(spans) == runs * each, f"{len(spans)} ends, not {runs * each}"
    most = most_at_once(spans)
    assert most <= places, f"{most} at once in a pool of {places}"
    homes = len({fact.partition for fact in facts})
    return clock.done(len(spans), f"at most {most} of {places} at once, over {homes} partitions")


def rate_with_kill(at: Place, customers: int, each: int, *, kill: bool = True) -> Done:
    """Ten a second of each customer; the owner of one customer's rate dies."""
    at.ready(kill)
    names = [f"r{number}" for number in range(customers)]
    clock, watch = _Stopwatch(at), at.watch
    before = watch.kinds[Event.LIMIT_GRANTED]
    many = list(range(each))
    runs = at.client.start_many(flows.rated, [{"customer": name, "many": many} for name in names])
    started = [run.run_id for run in runs]
    if kill:
        at.sign(lambda: watch.kinds[Event.LIMIT_GRANTED] - before > 12 * customers, "the first tokens are given")
        clock.look()
        limit = f'rate/{flows.rated.id}/call/"{names[0]}"'  # a key is JSON
        at.kill_owner(partition_of_key("limit", limit, "", at.cluster.settings.topics.partitions))
    at.ended(started)
    clock.look()
    facts, mine = at.facts(), set(started)
    times = granted(facts, f"rate/{flows.rated.id}/")
    assert sorted(times) == [f'rate/{flows.rated.id}/call/"{name}"' for name in sorted(names)], sorted(times)
    first = f'rate/{flows.rated.id}/call/"{names[0]}"'
    _in_the_middle(kill, (f for f in facts if f.event.kind == Event.LIMIT_GRANTED and f.event.label == first))
    above = max(most_above_rate(found, 10, 1_000) for found in times.values())
    assert above <= 0.01, f"{above} tokens more than 10 a second"
    queued = Counter(fact.run_id for fact in facts if fact.run_id in mine and fact.event.kind == Event.TASK_QUEUED)
    assert set(queued.values()) == {each}, queued
    return clock.done(customers * each, f"{customers} keys; {above:+.2f} tokens against 10 and 10 a second")


def children_with_kill(at: Place, children: int, *, kill: bool = True) -> Done:
    """A map over a sub-workflow; the owner of the parent dies while children run everywhere."""
    at.ready(kill)
    at.client.deploy(flows.child)
    clock, watch = _Stopwatch(at), at.watch
    before = len(watch.ended)
    run = at.client.start(flows.parent, {"numbers": list(range(children))})
    if kill:
        at.sign(lambda: len(watch.ended) - before > children // 8, "an eighth of the children has ended")
        clock.look()
        at.kill_owner(partition_of_run(run.run_id))
    at.ended([run.run_id])
    clock.look()
    facts = at.facts()
    _in_the_middle(kill, (f for f in facts if f.run_id == run.run_id))
    wanted = {fact.event.label for fact in facts if fact.run_id == run.run_id and fact.event.kind == Event.TASK_WAITING}
    started = Counter(fact.run_id for fact in facts if fact.event.kind == Event.RUN_STARTED and fact.run_id in wanted)
    assert len(wanted) == children == started.total(), f"{started.total()} starts of {len(wanted)} children"
    at.ended(sorted(wanted))
    homes = Counter(partition_of_run(one) for one in wanted)
    return clock.done(
        children, f"children on {len(homes)} partitions, {min(homes.values())} to {max(homes.values())} each"
    )


def waits_with_kill(at: Place, *, kill: bool = True) -> Done:
    """A delayed start, a delay, a moment and signals before and after a kill; nothing ends before its time."""
    at.ready(kill)
    clock, watch = _Stopwatch(at), at.watch
    moment = datetime.now(UTC) + timedelta(seconds=1.5)  # falls into the takeover
    before = watch.kinds[Event.TASK_WAITING]
    first, second = at.client.start_many(flows.waits, [{"at": moment.isoformat()}] * 2)
    late = at.client.start(flows.later, not_before=moment)
    at.sign(lambda: watch.kinds[Event.TASK_WAITING] - before >= 6, "six tasks wait")
    first.signal("go", {"number": 1}, actor="ada")
    if kill:
        clock.look()
        at.kill_owner(partition_of_run(first.run_id))
    second.signal("go", {"number": 2}, actor="bob")
    at.ended([first.run_id, second.run_id, late.run_id])
    clock.look()
    facts = [fact for fact in at.facts() if fact.run_id in (first.run_id, second.run_id, late.run_id)]
    due_ms = int(moment.timestamp() * 1000)
    lateness: list[int] = []
    for run, number, actor in ((first, 1, "ada"), (second, 2, "bob")):
        mine = [fact for fact in facts if fact.run_id == run.run_id]
        since = next(f.time_ms for f in mine if f.event.kind == Event.TASK_WAITING and f.event.reason == "delay")
        ends = {fact.event.task: fact for fact in mine if fact.event.kind == Event.TASK_SUCCEEDED}
        lateness += [ends[0].time_ms - since - 3_000, ends[1].time_ms - due_ms]
        assert (ends[3].event.value.json, len(ends)) == (str(number).encode(), 4)
        signals = [fact.event.actor for fact in mine if fact.event.kind == Event.SIGNAL_RECEIVED]
        assert signals == [actor], signals
    lateness += [fact.time_ms - due_ms for fact in facts if fact.event.kind == Event.RUN_RELEASED]
    assert len(lateness) == 5
    assert min(lateness) >= 0, f"before its time: {lateness} ms"
    return clock.done(3, f"none before its time; at most {max(lateness)} ms late, with a takeover meanwhile")
