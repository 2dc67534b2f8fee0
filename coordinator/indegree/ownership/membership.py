"""What stands in etcd about one cluster, as values; and how it is written there.

Keys under ``/indegree/CLUSTER/``::

    members/ID      on the member's lease   {"fit", "draining", "address", "metadata"}
    assign          written by the leader   {"0": "ID", "1": "ID", ...}
    owners/P        on the owner's lease    ID
    warm/P          on the assignee's lease ID: it has read P's log and waits for the owner to let go
    quarantine/P    no lease                {"reason", "by", "at"}

Reading must never fail on what somebody else wrote there: a value that cannot be understood is left out and named in
``unreadable``, and the next write of its owner repairs it. Nothing here decides anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from indegree.ownership.errors import BadEtcdSetting
from indegree.ownership.operations import Snapshot

_CLUSTER = re.compile(r"[a-z0-9-]{1,100}\Z")
_MEMBER = re.compile(r"[A-Za-z0-9._:@-]{1,200}\Z")


class Reader(Protocol):
    """The part of the connection that reading needs."""

    async def get_prefix(self, prefix: str, *, timeout_s: float | None = None) -> Snapshot: ...


class Eraser(Protocol):
    async def delete(self, key: str, *, timeout_s: float | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of a cluster's keys. No two clusters share a prefix: names have no slash, and each prefix ends in
    one."""

    cluster: str

    def __post_init__(self) -> None:
        if not _CLUSTER.match(self.cluster):
            raise BadEtcdSetting(
                f"cluster name {self.cluster!r} is not of a-z, 0-9 and '-', 1 to 100 long: choose another"
            )

    @property
    def prefix(self) -> str:
        return f"/indegree/{self.cluster}/"

    @property
    def assign(self) -> str:
        return f"{self.prefix}assign"

    def member(self, id: str) -> str:
        return f"{self.prefix}members/{id}"

    def owner(self, partition: int) -> str:
        return f"{self.prefix}owners/{partition}"

    def warm(self, partition: int) -> str:
        return f"{self.prefix}warm/{partition}"

    def quarantine(self, partition: int) -> str:
        return f"{self.prefix}quarantine/{partition}"


@dataclass(frozen=True, slots=True)
class Card:
    """What a member says about itself."""

    fit: bool = True
    """It can read the ends of its logs. One that is not fit gets no partition and does not lead."""
    draining: bool = False
    """It is about to stop: its partitions go elsewhere, as long as there is somebody else."""
    address: str = ""
    """host:port of its HTTP page, empty when it has none."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        value = {"fit": self.fit, "draining": self.draining, "address": self.address, "metadata": dict(self.metadata)}
        return json.dumps(value, sort_keys=True).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Raises ValueError for what ``encode`` did not write. Fields that a newer version adds are left out."""
        said = json.loads(value)
        if not isinstance(said, dict):
            raise ValueError("not an object")
        metadata = said.get("metadata", {})
        if not isinstance(metadata, dict):
            raise ValueError("metadata is not an object")
        return cls(
            fit=said.get("fit") is True,
            draining=said.get("draining") is True,
            address=str(said.get("address", "")),
            metadata={str(k): str(v) for k, v in metadata.items()},
        )


@dataclass(frozen=True, slots=True)
class Member:
    id: str
    card: Card
    create_revision: int
    """Its age: the lowest is the oldest."""
    mod_revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a key of a partition (owners/P, warm/P)."""

    id: str
    lease: int
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why no engine takes a partition at present."""

    reason: str
    by: str
    at: float
    """Seconds since 1970 by the clock of the engine that set it: for people only."""

    def encode(self) -> bytes:
        return json.dumps({"reason": self.reason, "by": self.by, "at": self.at}).encode()


@dataclass(frozen=True, slots=True)
class Membership:
    """One consistent reading of a cluster's keys."""

    revision: int = 0
    members: Mapping[str, Member] = field(default_factory=dict)
    assignment: Mapping[int, str] | None = None
    """None: there is none (a new cluster, or an etcd that was emptied). Then nobody knows who should own what."""
    assign_revision: int = 0
    """The revision at which the assignment was last written; 0: there is none."""
    owners: Mapping[int, Owner] = field(default_factory=dict)
    quarantined: Mapping[int, Quarantine] = field(default_factory=dict)
    warm: Mapping[int, Owner] = field(default_factory=dict)
    """Who is ready to take over at once."""
    unreadable: tuple[str, ...] = ()
    """Keys whose value could not be understood."""

    @property
    def leader(self) -> str | None:
        """The oldest fit member; None while none is fit."""
        fit = [m for m in self.members.values() if m.card.fit]
        return min(fit, key=lambda m: m.create_revision).id if fit else None

    @property
    def avoid(self) -> frozenset[str]:
        """Members that get no partition."""
        return frozenset(m.id for m in self.members.values() if not m.card.fit or m.card.draining)

    @classmethod
    async def read(cls, etcd: Reader, cluster: str, *, timeout_s: float | None = None) -> Self:
        """Read it afresh. Writes nothing. Raises EtcdUnreachable, EtcdRefused, or BadEtcdSetting for the cluster's
        name."""
        keys = Keys(cluster)
        return cls.parse(keys, await etcd.get_prefix(keys.prefix, timeout_s=timeout_s))

    @classmethod
    def parse(cls, keys: Keys, snapshot: Snapshot) -> Self:
        members: dict[str, Member] = {}
        owners: dict[int, Owner] = {}
        warm: dict[int, Owner] = {}
        quarantined: dict[int, Quarantine] = {}
        unreadable: list[str] = []
        assignment: dict[int, str] | None = None
        assign_revision = 0
        for kv in snapshot.items:
            kind, _, name = kv.key.removeprefix(keys.prefix).partition("/")
            try:
                match kind:
                    case "members":
                        members[name] = Member(
                            name, Card.decode(kv.value), kv.create_revision, kv.mod_revision, kv.lease
                        )
                    case "assign":
                        assign_revision = kv.mod_revision
                        assignment = _assignment(json.loads(kv.value))
                    case "owners":
                        owners[int(name)] = Owner(kv.value.decode(), kv.lease, kv.mod_revision)
                    case "warm":
                        warm[int(name)] = Owner(kv.value.decode(), kv.lease, kv.mod_revision)
                    case "quarantine":
                        quarantined[int(name)] = _quarantine(kv.value)
                    case _:
                        unreadable.append(kv.key)
            except (ValueError, RecursionError):  # JSON, UTF-8 and numbers alike
                unreadable.append(kv.key)
        return cls(
            snapshot.revision, members, assignment, assign_revision, owners, quarantined, warm, tuple(unreadable)
        )


def check_member_id(id: str) -> str:
    """``id`` itself, or BadEtcdSetting when it cannot be part of a key."""
    if not _MEMBER.match(id):
        raise BadEtcdSetting(f"member id {id!r} is not of letters, digits and . _ : @ -, 1 to 200 long: choose another")
    return id


def encode_assignment(assignment: Mapping[int, str]) -> bytes:
    return json.dumps({str(p): assignment[p] for p in sorted(assignment)}, separators=(",", ":")).encode()


async def lift_quarantine(etcd: Eraser, cluster: str, partition: int) -> bool:
    """Let engines take the partition again; False: it was not in quarantine. Raises EtcdUnreachable, EtcdRefused."""
    return await etcd.delete(Keys(cluster).quarantine(partition))


def _assignment(said: Any) -> dict[int, str]:
    if not isinstance(said, dict) or not all(isinstance(m, str) for m in said.values()):
        raise ValueError("not an object of partition to member")
    return {int(p): m for p, m in said.items()}


def _quarantine(value: bytes) -> Quarantine:
    """Whatever stands there keeps the partition in quarantine, even if a person wrote it by hand."""
    try:
        said = json.loads(value)
        return Quarantine(str(said["reason"]), str(said["by"]), float(said["at"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Quarantine(value.decode("utf-8", "replace") or "no reason given", "unknown", 0.0)
