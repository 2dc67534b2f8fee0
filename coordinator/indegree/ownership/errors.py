"""What can go wrong between us and etcd, by what the caller has to do about it.

* ``EtcdUnreachable``: no answer. Nothing is known; try later. Its subclass ``OutcomeUnknown``: a write without an
  answer, which etcd may or may not have carried out: **read back** before writing again.
* ``EtcdRefused``: etcd answered, and said no. Trying the same again changes nothing. Its subclass ``LeaseNotFound``:
  the lease that a write was to hang on has ended.
"""

from __future__ import annotations

from collections.abc import Sequence


class EtcdError(Exception):
    """Any failure of a call to etcd."""


class EtcdUnreachable(EtcdError):
    """etcd did not answer. Names the endpoint that was asked, the call, the cause, and the way out."""

    def __init__(self, endpoint: str, what: str, why: str, endpoints: Sequence[str] = ()) -> None:
        self.endpoint = endpoint
        self.what = what
        self.why = why
        others = [e for e in endpoints if e != endpoint]
        tail = f" The next call goes to another of {', '.join(endpoints)}." if others else ""
        super().__init__(
            f"etcd at {endpoint} did not answer '{what}': {why}.{tail} Is it running, and reachable from here? "
            "Start it (`indegree stack up` for a local one) or correct etcd.endpoints (INDEGREE_ETCD__ENDPOINTS)."
        )


class OutcomeUnknown(EtcdUnreachable):
    """A write got no answer: it may have been carried out. Read back what it would have written before trying again."""


class EtcdRefused(EtcdError):
    """etcd answered with an error of its own."""

    def __init__(self, endpoint: str, what: str, why: str, way_out: str) -> None:
        self.endpoint = endpoint
        self.what = what
        self.why = why
        super().__init__(f"etcd at {endpoint} refused '{what}': {why}. {way_out}")


class LeaseNotFound(EtcdRefused):
    """The lease named in a write has ended."""


class BadEtcdSetting(EtcdError, ValueError):
    """An address, a file or a name in the settings cannot be used."""
