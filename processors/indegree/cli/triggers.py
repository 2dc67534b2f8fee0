"""`indegree triggers` and `indegree triggers audit`.

Why: who feeds runs from topics wants to see where each intake stands, and to prove that no record was lost or counted
twice.

How: positions are read from the event logs, ends from the topics; no engine is asked. `audit` puts the logs of all
partitions beside the topic, record by record (auditing.py).

It must never read an event that is not in force.
"""

from __future__ import annotations

from typing import Any

import click
from aiokafka import TopicPartition

from indegree.engine.core import PartitionCore
from indegree.events import kafka
from indegree.events.frames import Verdict as Counts
from indegree.events.topics import Topics
from indegree.sdk.client_errors import InvalidStart
from indegree.sdk.client_reading import open_reader
from indegree.v1.event_pb2 import Event, WindowSnapshot

from .auditing import Ledger, Verdict
from .eventlog import read_log
from .exits import Exit
from .session import IndegreeCommand, IndegreeGroup, Session, common, session

_SHOWN = 5  # problems of one partition; --json has all


@click.group(cls=IndegreeGroup, invoke_without_command=True, params=common())
@click.pass_context
def triggers(context: click.Context) -> int | None:
    """Where the intake of each topic stands; `audit TOPIC` proves what its records started."""
    return None if context.invoked_subcommand else session().run(_list(session()))


@triggers.command("list", cls=IndegreeCommand)
def list_() -> int:
    """Topic, partition, position, lag, and who takes part."""
    return session().run(_list(session()))


@triggers.command(cls=IndegreeCommand)
@click.argument("topic")
@click.option("--from", "begin", type=int, metavar="OFFSET", help="Default: where the intake began.")
@click.option("--to", "end", type=int, metavar="OFFSET", help="Up to, without it. Default: what is decided.")
@click.option("--partition", type=int, metavar="P", help="Only this one of the topic.")
def audit(topic: str, begin: int | None, end: int | None, partition: int | None) -> int:
    """Prove from the event logs that each record started its runs exactly once, was passed over, or was refused.

    \b
      indegree triggers audit orders.ready
      indegree triggers audit orders.ready --partition 3 --from 1000 --to 2000

    Exit code 0: so it is. 1: it is not, and what is wrong is said.
    """
    now = session()
    if begin is not None and end is not None and begin > end:
        raise click.UsageError(f"--from {begin} lies behind --to {end}")
    return now.run(_audit(now, topic, begin, end, partition))


# -- positions ---------------------------------------------------------------------------------------------------------


async def _list(now: Session) -> int:
    rows: list[dict[str, Any]] = []
    reader, count = await open_reader(now.settings, Topics(now.settings.cluster).events)
    try:
        for number in range(count):
            core = PartitionCore(number, count)
            async for read in read_log(now.settings, number):
                core.replay(read.frame)
            for (topic, k), intake in core.state.intakes.items():
                rows.append({"topic": topic, "partition": k, "position": intake.next, "by": number})
                rows[-1]["workflows"] = sorted(intake.begins)
        rows.sort(key=lambda row: (row["topic"], row["partition"]))
        tps = [TopicPartition(row["topic"], row["partition"]) for row in rows]
        there = {topic: await kafka.partition_count(reader, topic) for topic in {tp.topic for tp in tps}}
        ends = await reader.end_offsets([tp for tp in tps if tp.partition < there[tp.topic]])
    finally:
        await reader.stop()
    for row, tp in zip(rows, tps, strict=True):
        row["lag"] = max(0, ends[tp] - row["position"]) if tp in ends else None
    if now.out.json_lines:
        for row in rows:
            now.out.value(row)
    elif not rows:
        now.out.note(
            "no topic is read for a trigger: no active workflow has `triggers: [{kafka: {topic: ...}}]`, or the topic "
            "that it names does not exist yet (engines look for it again every few seconds; their logs say so)"
        )
    else:
        now.out.table(
            ["topic", "partition", "position", "lag", "workflows"],
            [
                [
                    row["topic"],
                    row["partition"],
                    row["position"],
                    "no such topic" if row["lag"] is None else row["lag"],
                    ", ".join(row["workflows"]),
                ]
                for row in rows
            ],
            whole=("topic",),
        )
    return Exit.SUCCESS


# -- proof -------------------------------------------------------------------------------------------------------------


async def _audit(now: Session, topic: str, begin: int | None, end: int | None, only: int | None) -> int:
    reader, count = await open_reader(now.settings, Topics(now.settings.cluster).events)
    try:
        ledger = Ledger(topic)
        for number in range(count):
            async for read in read_log(now.settings, number):
                if read.verdict is Counts.IN_FORCE:
                    for event in read.frame.events:
                        _tell(ledger, event)
        partitions = await kafka.partition_count(reader, topic)
        if only is not None and only >= partitions:
            raise InvalidStart(f"topic {topic!r} has {partitions} partitions, and no partition {only}")
        if not ledger.intakes:
            raise InvalidStart(
                f"no event log has an intake of topic {topic!r}: `indegree triggers` lists those there are"
            )
        chosen = [only] if only is not None else sorted({*range(partitions), *ledger.intakes})
        verdicts = [await _judge(reader, ledger, number, begin, end, number < partitions) for number in chosen]
    finally:
        await reader.stop()
    for verdict in verdicts:
        if now.out.json_lines:
            now.out.value({"topic": topic, **_row(verdict), "problems": verdict.problems})
    if not now.out.json_lines:
        _print(now, topic, verdicts)
    return Exit.SUCCESS if all(verdict.good for verdict in verdicts) else Exit.RUN_FAILED


def _tell(ledger: Ledger, event: Event) -> None:
    if event.kind == Event.SNAPSHOT:
        if event.state in ("rest", "end"):
            for intake in WindowSnapshot.FromString(event.data).intakes:
                if intake.topic == ledger.topic:
                    ledger.known(intake.partition, intake.next)
    else:
        ledger.event(event)


async def _judge(reader: Any, ledger: Ledger, number: int, begin: int | None, end: int | None, exists: bool) -> Verdict:
    intake = ledger.intakes.get(number)
    if not exists:
        found = Verdict(number, 0, 0)
        found.problems.append("the topic has no such partition any more")
        return found
    tp = TopicPartition(ledger.topic, number)
    first = (await reader.beginning_offsets([tp]))[tp]
    last = (await reader.end_offsets([tp]))[tp]
    at = begin if begin is not None else max(first, intake.first if intake is not None else first)
    to = end if end is not None else (max(at, intake.position) if intake is not None else at)
    if intake is None and end is None and begin is None and first == last:
        return Verdict(number, at, to)  # nothing there, and nothing decided
    offsets: list[int] = []
    if at < min(to, last):
        await kafka.assign(reader, {tp: max(at, first)})
        async for _, records in kafka.read_range(reader, {tp: min(to, last)}):
            offsets += [record.offset for record in records if record.offset >= at]
    verdict = ledger.judge(number, offsets, at, to)
    if at < first and to > at:
        verdict.problems.append(
            f"Kafka has no records below {first} any more, so those from {at} on cannot be looked at"
        )
    return verdict


def _row(verdict: Verdict) -> dict[str, Any]:
    return {
        "partition": verdict.partition,
        "from": verdict.begin,
        "to": verdict.end,
        "records": verdict.records,
        "started": verdict.started,
        "passed_over": verdict.passed_over,
        "refused": verdict.refused,
        "runs": verdict.runs,
    }


def _print(now: Session, topic: str, verdicts: list[Verdict]) -> None:
    rows = [_row(verdict) for verdict in verdicts]
    columns = [*rows[0], "verdict"] if rows else []
    now.out.table(
        columns,
        [
            [*row.values(), "exactly once" if verdict.good else f"{len(verdict.problems)} problems"]
            for row, verdict in zip(rows, verdicts, strict=True)
        ],
    )
    for verdict in verdicts:
        for problem in verdict.problems[:_SHOWN]:
            now.out.error(f"{topic} partition {verdict.partition}: {problem}")
        if len(verdict.problems) > _SHOWN:
            now.out.error(f"{topic} partition {verdict.partition}: {len(verdict.problems) - _SHOWN} more (--json)")
