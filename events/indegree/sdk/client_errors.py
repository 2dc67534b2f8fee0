"""What can go wrong between a client and a cluster, as types that a caller can catch.

Why: "refused", "not found", "not reachable" and "my program is wrong" ask for different answers, and the command line
maps each to an exit code of its own.

How: one base class, one class a kind. A timeout of `wait` is Python's own TimeoutError.

It must never carry only a message where a caller needs the value: `Refused.reason` is the engine's own text.
"""

from __future__ import annotations


class ClientError(Exception):
    """Base of everything here."""


class InvalidStart(ClientError, ValueError):
    """The request breaks a rule that the client can check by itself; nothing was sent."""


class Refused(ClientError):
    """The engine has read the request and said no. `reason` is its text, `run_id` is empty where none was given."""

    def __init__(self, what: str, reason: str, run_id: str = "") -> None:
        super().__init__(f"{what} was refused: {reason}")
        self.what = what
        self.reason = reason
        self.run_id = run_id


class RunNotFound(ClientError):
    """No record of this run lies on the topics (any more)."""


class ProgressGap(ClientError):
    """A progress record is missing: positions of a run go up by one, and this one did not."""


class ValueLost(ClientError):
    """A value of the payloads topic cannot be had: deleted by retention, damaged, or over `limits.payload_bytes`."""


class Unreachable(ClientError):
    """Kafka did not answer in time. The message names the address that was tried."""


class Closed(ClientError):
    """The client was closed while, or before, somebody waited on it."""
