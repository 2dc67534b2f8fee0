"""The values that go to and come from etcd: what is read, what is compared, what is written.

They know nothing of gRPC, so that whatever decides (and a simulator) can be had without a connection.
"""

from __future__ import annotations

from dataclasses import dataclass


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
