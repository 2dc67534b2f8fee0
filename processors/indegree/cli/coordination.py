"""What etcd says about a cluster, for people: who owns a partition, who is a member.

Why: a live view names the owner, `show` asks its page, `doctor` compares.

How: one fresh reading with a short limit; gRPC is imported only here and only when asked for. An owner's address stands
in its member's card; its page is asked over HTTP with a short limit too.

It must never write to etcd but to end a quarantine (`lift`), and never be needed for a command that can do without it:
`try_membership` gives None.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING, Any

from indegree.events.settings import Settings

if TYPE_CHECKING:
    from indegree.ownership.etcd import Etcd
    from indegree.ownership.membership import Membership


async def read_membership(settings: Settings, timeout_s: float = 3.0) -> Membership:
    """A fresh reading. Raises ownership.errors.EtcdError, whose message names the address and the way out."""
    from indegree.ownership.membership import Membership

    etcd = _connect(settings, timeout_s)
    try:
        return await Membership.read(etcd, settings.cluster, timeout_s=timeout_s)
    finally:
        await etcd.close()


async def lift(settings: Settings, partition: int, timeout_s: float = 3.0) -> bool:
    """Ends the quarantine of a partition; False: it was in none. Raises ownership.errors.EtcdError."""
    from indegree.ownership.membership import lift_quarantine

    etcd = _connect(settings, timeout_s)
    try:
        return await lift_quarantine(etcd, settings.cluster, partition)
    finally:
        await etcd.close()


def _connect(settings: Settings, timeout_s: float) -> Etcd:
    from indegree.ownership.etcd import Etcd, Tls

    there = settings.etcd
    tls = None
    if there.cafile or there.certfile:
        tls = Tls(there.cafile or None, there.certfile or None, there.keyfile or None)
    return Etcd(there.endpoints, timeout_s=timeout_s, user=there.username, password=there.password, tls=tls)


async def try_membership(settings: Settings, timeout_s: float = 1.0) -> Membership | None:
    """The same, or None where etcd does not answer."""
    from indegree.ownership.errors import EtcdError

    try:
        return await read_membership(settings, timeout_s)
    except EtcdError:
        return None


def owner_of(membership: Membership | None, partition: int) -> str:
    """The id of the partition's owner by etcd's word, empty where unknown."""
    if membership is None:
        return ""
    owner = membership.owners.get(partition)
    return owner.id if owner is not None else ""


def page_of(membership: Membership | None, partition: int) -> str:
    """Address (host:port) of the owner's page, empty where unknown."""
    if membership is None:
        return ""
    member = membership.members.get(owner_of(membership, partition))
    return member.card.address if member is not None else ""


async def ask_owner(address: str, run_id: str, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """What the owner's page says about a run that is under way; None: it has ended, or nobody answers in time."""
    found = await ask_page(f"http://{address}/runs/{run_id}", timeout_s) if address else None
    return found if found is not None and "tasks" in found else None


async def ask_page(url: str, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """The JSON object at an engine's page; None: not there, or nobody answers in time."""

    def ask() -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as answer:
                found = json.loads(answer.read())
        except (OSError, ValueError):  # not reachable from here, or 404: the log answers then
            return None
        return found if isinstance(found, dict) else None

    return await asyncio.to_thread(ask)
