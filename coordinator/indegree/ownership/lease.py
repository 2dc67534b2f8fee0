"""How long a lease is proven, by our own clock.

No etcd client tells its caller that a lease has ended, and a network that is cut cannot. So the holder keeps a
deadline of its own: the moment **before** the last keepalive that was answered was sent, plus the TTL of the answer.
etcd counts the same TTL from a later moment (when the request arrived), so by the holder's clock the lease ends first:
whoever stops at the deadline has stopped before etcd gives the key to anybody else, whatever the network does.

What must hold:

* A deadline never moves back: an answer that comes late belongs to a keepalive that was sent earlier and proves less.
* A TTL of zero, or no TTL, means that etcd does not know the lease: lost, and lost for good. A new lease is a new
  object.
* A deadline that has passed is not yet a loss: a keepalive that is answered later with a TTL proves that etcd kept the
  lease all along, and the clock is valid again. (Its partitions were given up meanwhile; etcd still has their keys.)

The clock is CLOCK_BOOTTIME where the system has it: a machine that was suspended wakes up with its lease over, while
CLOCK_MONOTONIC would have stood still. The clock is a parameter, so a simulator can turn it by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since some fixed moment; never goes back."""


def boot_clock() -> float:
    """Seconds since the machine was started, the time that it was suspended included (where the system can tell)."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class LeaseClock:
    """The proof that one lease is ours: valid until a deadline that only answered keepalives move.

    ``sent_at`` arguments are readings of ``clock`` taken before the request was sent (see ``now``). Never blocks.
    """

    __slots__ = ("_clock", "_deadline", "_lost", "lease")

    def __init__(self, lease: int, sent_at: float, ttl_s: float, clock: Clock = boot_clock) -> None:
        self.lease = lease
        """etcd's id of the lease."""
        self._clock = clock
        self._deadline = sent_at
        """By ``clock``; only ever grows, until the lease is lost."""
        self._lost = False
        """etcd said that it does not know the lease. Final."""
        self.answered(sent_at, ttl_s)

    def now(self) -> float:
        """The reading to take before a keepalive is sent."""
        return self._clock()

    def answered(self, sent_at: float, ttl_s: float | None) -> bool:
        """Count the answer to a keepalive that was sent at ``sent_at``. False: the lease is lost for good."""
        if ttl_s is None or ttl_s <= 0:
            self._lost = True
        if not self._lost and ttl_s is not None:
            self._deadline = max(self._deadline, sent_at + ttl_s)
        return not self._lost

    def lose(self) -> None:
        """etcd refused the lease in some other call: final."""
        self._lost = True

    @property
    def lost(self) -> bool:
        return self._lost

    @property
    def deadline(self) -> float:
        """The first moment, by the clock, at which the lease is no longer proven."""
        return self._deadline

    def remaining_s(self) -> float:
        """Seconds for which the lease is still proven; 0.0 when it is not."""
        return 0.0 if self._lost else max(0.0, self._deadline - self._clock())

    def valid(self) -> bool:
        """Whether work may be done on the strength of this lease, now."""
        return not self._lost and self._clock() < self._deadline
