"""The values that go to and come from etcd: what is read, what is compared, what is written; and the calls with them.

They know nothing of gRPC, so that whatever decides (and a simulator) can be had without a connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int
    """0: no lease."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys under a prefix as of one revision, in the order of their names."""

    revision: int
    items: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    id: int
    ttl_s: float
    """As etcd granted it: never below what was asked, and at least 2 by etcd's own rule."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Comparison: the key does not exist."""

    key: str


@dataclass(frozen=True, slots=True)
class CreatedAt:
    """Comparison: the key exists and was created at this revision."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class ModifiedAt:
    """Comparison: the key was last written at this revision; 0: it does not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class HeldUnder:
    """Comparison: the key hangs on this lease."""

    key: str
    lease: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


Compare = Absent | CreatedAt | ModifiedAt | HeldUnder
Write = Put | Delete


class Connection(Protocol):
    """The calls that a session makes (``etcd.Etcd`` has them; a simulator may bring its own)."""

    async def get_prefix(self, prefix: str, *, timeout_s: float | None = None) -> Snapshot: ...
    async def put(self, key: str, value: bytes, *, lease: int = 0, timeout_s: float | None = None) -> None: ...
    async def txn(
        self, compare: Sequence[Compare], then: Sequence[Write], *, timeout_s: float | None = None
    ) -> bool: ...
    async def lease_grant(self, ttl_s: int, *, timeout_s: float | None = None) -> Lease: ...
    async def lease_keepalive(self, lease: int, *, timeout_s: float | None = None) -> float: ...
    async def lease_revoke(self, lease: int, *, timeout_s: float | None = None) -> None: ...
    def watch_prefix(self, prefix: str) -> AsyncGenerator[None, None]: ...
