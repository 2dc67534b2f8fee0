"""One partition's stay with us: from the moment it is assigned until it has been given back.

A grant is the token that the partition's stream holds. It is made when the partition is assigned (the stream starts
warm: it reads the log and waits), becomes ``granted`` when it may announce itself, and ends once, for one reason. It is
never reused: the same partition assigned again is a new grant, and only after the last one's stream has gone.

The token says nothing about the lease: before every dispatch a stream asks ``session.valid()`` as well, since a lease
can end between two looks at the grant.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from indegree.ownership.reconcile import Granted


class Ending(Enum):
    """Why a grant ended. What the stream may still do while it is given up follows from it."""

    MOVED = "moved"
    """Assigned to somebody else: finish what is in flight, write a closing frame."""
    STOPPED = "stopped"
    """The engine stops: the same."""
    QUARANTINED = "quarantined"
    """The partition is in quarantine."""
    FENCED = "fenced"
    """The log has a newer owner: drop the producer, send nothing."""
    UNPROVEN = "unproven"
    """The lease is lost or late: stop at once and forget the state, send nothing."""
    FAILED = "failed"
    """Its stream could not be started."""

    @property
    def gracious(self) -> bool:
        """Whether the stream may still write and dispatch what is under way (as long as ``session.valid()``)."""
        return self in (Ending.MOVED, Ending.STOPPED)


class Grant:
    """See the module. Made and changed by the session alone; a stream only reads it and waits on it."""

    __slots__ = ("_decided", "_ended", "ending", "granted", "moving_since", "partition", "since", "warm", "way")

    def __init__(self, partition: int, since: float) -> None:
        self.partition = partition
        self.since = since
        """When it was assigned, by the session's clock, in seconds."""
        self.granted = asyncio.Event()
        """Set: announce yourself (unless ``revoked``). An end before that never sets it: wait with ``decided``."""
        self.warm = False
        """The stream has read the log to its end, and waits for the owner to let go."""
        self.moving_since: float | None = None
        """Since when it has been assigned to somebody else, who is not warm yet; None: it is ours."""
        self.way: Granted | None = None
        """On what ``granted`` rests; may become KEY later when the key comes free after WAITED."""
        self.ending: Ending | None = None
        self._ended = asyncio.Event()
        self._decided = asyncio.Event()

    def grant(self, way: Granted) -> bool:
        """For the session. True: it was not granted before."""
        if self.revoked:
            return False
        first, self.way = self.way is None, way
        self.granted.set()
        self._decided.set()
        return first

    def revoke(self, ending: Ending) -> None:
        """For the session. The first reason counts."""
        if self.ending is None:
            self.ending = ending
            self._ended.set()
            self._decided.set()

    @property
    def revoked(self) -> bool:
        """It is over: take no more in. Never becomes False again."""
        return self.ending is not None

    async def decided(self) -> bool:
        """Wait until it is granted (True) or over (False), however long."""
        await self._decided.wait()
        return not self.revoked

    async def ended(self) -> Ending:
        """Wait for the end, however long; at once when it has come."""
        await self._ended.wait()
        assert self.ending is not None
        return self.ending

    def __repr__(self) -> str:
        state = self.ending.value if self.ending else self.way.value if self.way else "waiting"
        return f"<Grant of partition {self.partition}: {state}>"
