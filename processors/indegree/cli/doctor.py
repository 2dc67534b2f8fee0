"""`indegree doctor`: is everything as it must be, and if not, what is to be done.

Why: a task that does not run has a dozen possible causes in four processes; this looks at all of them in one go.

How: a list of checks, each of which gives findings: ok, warn or bad, one sentence, and the way out. A check that cannot
be made says why; the others go on. Kafka and etcd are asked within seconds.

It must never change anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import click
from aiokafka import TopicPartition

from indegree.events import admin, kafka
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.sdk.client_catalog import Catalog
from indegree.sdk.client_errors import ClientError
from indegree.sdk.client_events import RunEvent
from indegree.sdk.client_progress import decode, type_of
from indegree.sdk.client_reading import open_reader, read, stretches
from indegree.stream.holdings import ranges
from indegree.v1.task_pb2 import Worker

from .coordination import ask_page, read_membership
from .exits import Exit
from .instances import queue_of
from .output import moment, short, span
from .session import IndegreeCommand, Session, session

_TAIL = 2_000  # progress records a partition that are looked at for tasks that wait
_REFUSED_MS = 600_000  # an older refusal is history
_WAITS_MS = 5_000  # a queued task younger than this is no finding
_WORKER_QUIET_MS = 10_000
_BEATS = 3  # of a worker that may be missing before it is worth a look


class Grade(Enum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"


_STYLES = {Grade.OK: "green", Grade.WARN: "yellow", Grade.BAD: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one thing. `out`: what to do, empty where nothing is."""

    check: str
    grade: Grade
    text: str
    out: str = ""


@dataclass(slots=True)
class Picture:
    """What earlier checks have found, for later ones."""

    settings: Settings
    findings: list[Finding] = field(default_factory=list)
    kafka: bool = False
    topics: bool = False
    workers: dict[str, tuple[Worker, int]] = field(default_factory=dict)  # instance -> announcement, its time
    partitions: int = 0
    now_ms: int = 0

    def say(self, check: str, grade: Grade, text: str, out: str = "") -> None:
        self.findings.append(Finding(check, grade, text, out))


@click.command(cls=IndegreeCommand)
def doctor() -> int:
    """Check Kafka, etcd, topics, engines, workers and what waits; say what to do.

    Exits with 3 when something is wrong, with 0 when all is well or there are only warnings.
    """
    now = session()
    return now.run(_doctor(now))


async def _doctor(now: Session) -> int:
    settings = now.settings
    now.say_where()
    picture = Picture(settings, now_ms=int(time.time() * 1000))
    shown = 0
    for check in CHECKS:
        try:
            async with asyncio.timeout(20):
                await check(picture)
        except TimeoutError:
            picture.say(_name(check), Grade.BAD, "no answer within 20 s")
        except admin.TopicFault as problem:
            _topic_faults(picture, str(problem).split("; "))
        except (kafka.KafkaUnreachable, ClientError) as problem:
            picture.say(_name(check), Grade.BAD, str(problem))
        for finding in picture.findings[shown:]:
            _print(now, finding)
        shown = len(picture.findings)
    worst = Counter(finding.grade for finding in picture.findings)
    if not now.out.json_lines:
        bad, warn = worst[Grade.BAD], worst[Grade.WARN]
        summary = "all is well" if not bad and not warn else f"{bad} wrong, {warn} to look at"
        now.out.line(summary, "bold green" if not bad and not warn else "bold")
    return Exit.CANNOT_REACH if worst[Grade.BAD] else Exit.SUCCESS


def _name(check: Callable[..., Any]) -> str:
    return check.__name__.removeprefix("_").replace("_", " ")


def _print(now: Session, finding: Finding) -> None:
    if now.out.json_lines:
        now.out.value(
            {"check": finding.check, "grade": finding.grade.value, "text": finding.text, "way_out": finding.out}
        )
        return
    from rich.text import Text

    line = Text.assemble(
        (f"{finding.grade.value:<5}", _STYLES[finding.grade]), (f"{finding.check:<14}", "dim"), finding.text
    )
    now.out.rich(line)
    if finding.out:
        now.out.line(" " * 19 + "-> " + finding.out, "dim")


async def _kafka(picture: Picture) -> None:
    settings = picture.settings
    client = kafka.consumer(settings)
    begun = time.monotonic()
    await kafka.start(client, settings)
    try:
        took_ms = (time.monotonic() - begun) * 1000
        brokers = client._client.cluster.brokers()
        picture.kafka = True
        where = settings.kafka.bootstrap_servers
        picture.say("kafka", Grade.OK, f"{where}: {len(brokers)} broker(s), answered in {took_ms:.0f} ms")
        if len(brokers) < settings.topics.replication:
            picture.say(
                "kafka",
                Grade.BAD,
                f"{len(brokers)} broker(s), but topics.replication = {settings.topics.replication}",
                "add brokers, or set topics.replication, topics.min_insync_replicas and topics.allow_weaker",
            )
        elif settings.topics.replication < 3:
            picture.say(
                "kafka",
                Grade.OK,
                f"replication {settings.topics.replication}, by setting: work survives kill -9, not a lost disk",
            )
    finally:
        await client.stop()


async def _topics(picture: Picture) -> None:
    if not picture.kafka:
        return
    cluster = await admin.check_topics(picture.settings, ())
    picture.topics = True
    picture.partitions = cluster.partitions
    text = f"cluster {picture.settings.cluster!r}: {len(Topics(picture.settings.cluster).all())} topics as they must be"
    picture.say("topics", Grade.OK, f"{text}, {cluster.partitions} partitions")
    catalog = Catalog(picture.settings)
    await catalog.start()
    await catalog.stop()
    if not catalog.partitions:
        picture.say(
            "topics", Grade.BAD, "the cluster's settings are not recorded on the workflows topic", "start an engine"
        )


def _topic_faults(picture: Picture, faults: list[str]) -> None:
    missing = [fault for fault in faults if " is missing" in fault]
    if len(missing) > 3:
        text = f"cluster {picture.settings.cluster!r} has not been set up: {len(missing)} topics are missing"
        out = "start an engine, or `indegree topics --create`; or is another cluster meant (--cluster)?"
        picture.say("topics", Grade.BAD, text, out)
        faults = [fault for fault in faults if fault not in missing]
    for fault in faults:
        picture.say("topics", Grade.BAD, fault)


async def _engines(picture: Picture) -> None:
    from indegree.ownership.errors import EtcdError

    try:
        seen = await read_membership(picture.settings)
    except EtcdError as problem:
        picture.say("etcd", Grade.BAD, str(problem))
        return
    picture.say("etcd", Grade.OK, f"{', '.join(picture.settings.etcd.endpoints)}: answers")
    if not seen.members:
        picture.say("engines", Grade.BAD, "no engine is a member: nothing is decided", "start one: `indegree engine`")
    for member in seen.members.values():
        owned = sorted(p for p, owner in seen.owners.items() if owner.id == member.id)
        page = await ask_page(f"http://{member.card.address}/state") if member.card.address else None
        parts = page["partitions"] if page is not None else {}
        epochs = sorted({int(parts[str(p)]["epoch"]) for p in owned if str(p) in parts})
        of = f" (epoch{'s' if len(epochs) > 1 else ''} {', '.join(map(str, epochs))})" if epochs else ""
        words = [f"{member.id} owns {len(owned)} partition(s)" + (f": {ranges(owned)}{of}" if owned else "")]
        words += ["leads"] if seen.leader == member.id else []
        words += ["draining"] if member.card.draining else []
        words += [f"page http://{member.card.address}"] if member.card.address else []
        if page is None and member.card.address:
            page_at = f"its page http://{member.card.address}"
            text = f"{member.id} holds {len(owned)} partition(s), but {page_at} does not answer"
            out = (
                "it may be dead or stuck, or out of reach from here; a dead engine loses its partitions when its lease "
                "ends: look again in a few seconds, and at its log"
            )
            picture.say("engines", Grade.WARN, text, out)
        elif member.card.fit:
            picture.say("engines", Grade.OK, "; ".join(words))
        else:
            fault = str(page.get("fault", "")) if page is not None else ""
            text = f"{member.id} is not fit to own partitions" + (f": its intake has stopped: {fault}" if fault else "")
            out = "start it again after that" if fault else "look at its log: it cannot read the ends of its event logs"
            picture.say("engines", Grade.BAD, text, out)
        for place, view in (page or {}).get("intake", {}).items():
            if why := view.get("stopped"):
                picture.say("triggers", Grade.BAD, f"topic {place} is read no further: {why}")
        if recovering := [p for p in owned if str(p) in parts and not parts[str(p)].get("serving", True)]:
            picture.say(
                "engines", Grade.WARN, f"{member.id} recovers partitions {ranges(recovering)}: they serve in a moment"
            )
    count = picture.partitions or len(seen.assignment or ())
    if seen.members and (missing := sorted(set(range(count)) - set(seen.owners) - set(seen.quarantined))):
        out = "wait a few seconds after a start or a crash; else look at the engines' logs"
        picture.say("engines", Grade.BAD, f"partitions without an owner: {ranges(missing)}", out)
    for number, why in sorted(seen.quarantined.items()):
        out = f"repair what it names, then give it back to the engines: `indegree partitions lift {number}`"
        picture.say(
            "engines",
            Grade.BAD,
            f"partition {number} is in quarantine since {moment(int(why.at * 1000))}: {why.reason}",
            out,
        )
    for key in seen.unreadable:
        picture.say(
            "etcd", Grade.WARN, f"the value of {key} cannot be understood", "delete it: its owner writes it anew"
        )


async def _workers(picture: Picture) -> None:
    if not picture.topics:
        return
    topic = Topics(picture.settings.cluster).workers
    async for record in read(picture.settings, topic):
        instance = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            picture.workers.pop(instance, None)
        else:
            try:
                picture.workers[instance] = (Worker.FromString(record.value), record.timestamp)
            except Exception:  # noqa: BLE001 - anybody may write anything there: it is no worker
                picture.say(
                    "workers", Grade.WARN, f"a record with key {instance!r} on {topic} is no worker's announcement"
                )
    now_ms = int(time.time() * 1000)
    alive = {
        name: worker
        for name, (worker, heard_ms) in picture.workers.items()
        if now_ms - heard_ms < max(_WORKER_QUIET_MS, 3 * worker.interval_ms)
    }
    for name, worker in alive.items():
        late_ms = now_ms - picture.workers[name][1]
        if worker.interval_ms and late_ms > _BEATS * worker.interval_ms:
            text = (
                f"{name} was last heard of {span(late_ms)} ago, and says every {span(worker.interval_ms)} that it lives"
            )
            out = (
                "it may be dead or stuck: engines count it as lost soon, and send its tasks to others; look at its log"
            )
            picture.say("workers", Grade.WARN, text, out)
    quiet = len(picture.workers) - len(alive)
    if quiet:
        picture.say("workers", Grade.OK, f"{quiet} worker(s) announced themselves once and are gone")
    if not alive:
        picture.say(
            "workers", Grade.BAD, "no worker is there: no task runs", "start one: `indegree worker MODULE --commands`"
        )
    for worker in alive.values():
        queues = ", ".join(queue.name for queue in worker.queues)
        may = f"modules {', '.join(worker.modules) or 'none'}" + (", commands" if worker.commands else "")
        text = f"{worker.instance}: queues {queues}; {worker.used} of {worker.slots} slots in use; {may}"
        picture.say("workers", Grade.OK, text)
        if worker.abandoned:
            text = f"{worker.instance}: {worker.abandoned} slot(s) held by threads whose attempt is over"
            picture.say("workers", Grade.WARN, text, "a thread cannot be killed: use isolate=True for such tasks")
    picture.workers = {name: picture.workers[name] for name in alive}


async def _waiting(picture: Picture) -> None:
    """Tasks that are queued and not begun, by queue, and those that workers rejected."""
    if not picture.topics:
        return
    queued, rejected, refused = await _queued(picture.settings)
    catalog = Catalog(picture.settings)
    await catalog.start()
    await catalog.stop()
    now_ms = int(time.time() * 1000)
    served = {queue.name for worker, _ in picture.workers.values() for queue in worker.queues}
    by_queue: Counter[str] = Counter()
    oldest: dict[str, int] = {}
    for key, event in queued.items():
        if key in rejected or now_ms - event.time_ms < _WAITS_MS:
            continue
        definition = catalog.definition(event.version) if event.version else None
        queue = queue_of(definition, event.task_id) if definition is not None else "default"
        by_queue[queue] += 1
        oldest[queue] = min(oldest.get(queue, event.time_ms), event.time_ms)
    for queue, count in by_queue.items():
        age = span(now_ms - oldest[queue])
        if queue in served:
            picture.say("queues", Grade.OK, f"queue {queue}: {count} task(s) wait for a slot, the oldest for {age}")
        else:
            text = f"queue {queue}: {count} task(s) are ready and no worker serves it, the oldest for {age}"
            picture.say("queues", Grade.BAD, text, f"start one: `indegree worker MODULE --queue {queue}`")
    for event in list(rejected.values())[:5]:
        why = short(event.error.message if event.error is not None else event.reason, 160)
        text = f"{event.run_id} {event.task_id}: rejected by {event.worker or 'a worker'}: {why}"
        out = "start a worker with that module (`indegree worker MODULE`), or with --commands for commands"
        picture.say("queues", Grade.BAD, text, out)
    recent = [event for event in refused if now_ms - event.time_ms < _REFUSED_MS]
    for event in recent[-3:]:
        name = event.run_id or "a start without an id"
        text = f"{name} of {event.workflow or 'no workflow'} was refused {span(now_ms - event.time_ms)} ago: "
        out = "whoever starts runs there has to mend it; `indegree runs --state REFUSED` lists them"
        picture.say("starts", Grade.WARN, text + short(event.reason, 160), out)
    if len(recent) > 3:
        picture.say("starts", Grade.WARN, f"{len(recent)} starts were refused in the last {span(_REFUSED_MS)}")
    if not by_queue and not rejected:
        picture.say("queues", Grade.OK, "no task waits for a worker")


_Tasks = dict[tuple[str, str], RunEvent]


async def _queued(settings: Settings) -> tuple[_Tasks, _Tasks, list[RunEvent]]:
    """The newest event of each task that is QUEUED as of the tails of the progress topic; of those rejected; and the
    starts that were refused, in the order of time."""
    topic = Topics(settings.cluster).progress
    reader, count = await open_reader(settings, topic, max_poll_records=5_000)
    last: _Tasks = {}
    ended: set[str] = set()
    refused: list[RunEvent] = []
    try:
        parts = await stretches(reader, topic, range(count))
        tps = {TopicPartition(topic, part.partition): part for part in parts if part.end > part.first}
        await kafka.assign(reader, {tp: max(part.first, part.end - _TAIL) for tp, part in tps.items()})
        async for _, records in kafka.read_range(reader, {tp: part.end for tp, part in tps.items()}):
            for record in records:
                kind = type_of(record)
                if record.value is not None and kind == "run.refused":
                    refused.append(decode(record.value))
                    continue
                if record.value is None or record.key is None or not kind.startswith(("task.", "run.")):
                    continue
                run_id = record.key.decode("utf-8", "replace")
                if kind in ("run.success", "run.failed", "run.cancelled"):
                    ended.add(run_id)
                elif kind.startswith("task."):
                    event = decode(record.value)
                    last[run_id, event.task_id] = event
    finally:
        await reader.stop()
    queued = {key: event for key, event in last.items() if event.state == "QUEUED" and key[0] not in ended}
    rejected = {key: event for key, event in queued.items() if event.error is not None or event.reason}
    return queued, rejected, sorted(refused, key=lambda event: event.time_ms)


async def _dead_letters(picture: Picture) -> None:
    if not picture.topics:
        return
    topic = Topics(picture.settings.cluster).dead_letter
    reader, _ = await open_reader(picture.settings, topic)
    try:
        [part] = await stretches(reader, topic, [0])
    finally:
        await reader.stop()
    count = part.end - part.first
    if count:
        picture.say(
            "dead letters", Grade.WARN, f"{count} record(s) were refused for good", "`indegree dead-letters list`"
        )
    else:
        picture.say("dead letters", Grade.OK, "none")


CHECKS: tuple[Callable[[Picture], Awaitable[None]], ...] = (
    _kafka,
    _topics,
    _engines,
    _workers,
    _waiting,
    _dead_letters,
)
