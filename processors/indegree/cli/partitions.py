"""`indegree partitions`: who owns what, and giving a partition back to the engines.

Why: a partition whose recovery failed three times is put in quarantine, so that the engines live on; once somebody has
repaired the cause, they have to be told.

How: everything stands in etcd. `list` reads it, `lift` deletes the quarantine's key: the engines see that at once and
assign the partition.

It must never lift anything that was not named.
"""

from __future__ import annotations

from typing import Any

import click

from indegree.sdk.client_errors import InvalidStart

from .coordination import lift, read_membership
from .exits import Exit
from .output import moment, short
from .session import IndegreeGroup, Session, session


@click.group(cls=IndegreeGroup)
def partitions() -> None:
    """Who owns which partition; and partitions that no engine takes (quarantine)."""


@partitions.command("list")
def list_() -> int:
    """All partitions: owner, who is ready to take over, and why one is in quarantine."""
    now = session()
    return now.run(_list(now))


async def _list(now: Session) -> int:
    seen = await read_membership(now.settings)
    numbers = sorted({*seen.owners, *seen.quarantined, *(seen.assignment or ())})
    rows: list[dict[str, Any]] = []
    for number in numbers:
        owner, warm, why = seen.owners.get(number), seen.warm.get(number), seen.quarantined.get(number)
        rows.append(
            {
                "partition": number,
                "owner": owner.id if owner is not None else "",
                "assigned": (seen.assignment or {}).get(number, ""),
                "ready": warm.id if warm is not None else "",
                "quarantine": why.reason if why is not None else "",
                "since_ms": int(why.at * 1000) if why is not None else 0,
            }
        )
    if now.out.json_lines:
        for row in rows:
            now.out.value(row)
    elif not rows:
        now.out.note(f"no engine of cluster {now.settings.cluster!r} has owned a partition: `indegree engine`")
    else:
        now.out.table(
            ["partition", "owner", "assigned to", "ready", "quarantine", "since"],
            [
                [
                    r["partition"],
                    r["owner"],
                    r["assigned"],
                    r["ready"],
                    short(r["quarantine"], 120),
                    moment(r["since_ms"]),
                ]
                for r in rows
            ],
            whole=("partition", "owner"),
            text=("quarantine",),
        )
    return Exit.SUCCESS


@partitions.command("lift")
@click.argument("number", type=click.IntRange(min=0), metavar="PARTITION")
def lift_(number: int) -> int:
    """End the quarantine of a partition: engines take it again. Repair first what `indegree doctor` names."""
    now = session()
    return now.run(_lift(now, number))


async def _lift(now: Session, number: int) -> int:
    seen = await read_membership(now.settings)
    if not await lift(now.settings, number):
        others = ", ".join(map(str, sorted(seen.quarantined)))
        known = f"; those that are: {others}" if others else "; no partition of the cluster is"
        raise InvalidStart(f"partition {number} of cluster {now.settings.cluster!r} is not in quarantine{known}")
    why = seen.quarantined.get(number)
    if now.out.json_lines:
        now.out.value({"partition": number, "lifted": True, "reason": why.reason if why is not None else ""})
    else:
        now.out.line(f"partition {number} may be owned again" + ("" if seen.members else "; no engine is there yet"))
    return Exit.SUCCESS
