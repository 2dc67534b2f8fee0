"""Exit codes, and which error means which: the one table of them.

Why: scripts branch on exit codes, so they are part of the interface (INTERFACES section 6) and stand in one place.

How: `code_of` maps an exception to its code; None means a fault of ours, which `main` reports as such.

It must never give 1 to anything but a run that failed.
"""

from __future__ import annotations

from enum import IntEnum

from indegree.events.admin import TopicFault
from indegree.events.codec import Undecodable
from indegree.events.frames import NewerFormat
from indegree.events.kafka import KafkaUnreachable
from indegree.sdk.client_errors import ClientError, Closed, Unreachable
from indegree.stack import StackError


class Exit(IntEnum):
    """What a command comes to."""

    SUCCESS = 0
    RUN_FAILED = 1
    USAGE = 2  # also a bad file, a refused start, an unknown run
    CANNOT_REACH = 3
    CANCELLED = 4
    TIMED_OUT = 5
    OWN_FAULT = 70  # EX_SOFTWARE of sysexits.h: a bug of indegree
    INTERRUPTED = 130  # Ctrl-C, as shells count it: 128 + SIGINT


class CannotReach(Exception):
    """Something that is needed did not answer; the message names the address and the way out."""


BY_STATE = {"SUCCESS": Exit.SUCCESS, "FAILED": Exit.RUN_FAILED, "CANCELLED": Exit.CANCELLED}


def code_of(error: BaseException) -> Exit | None:
    """The exit code of an error whose message is for people; None for one that is a fault of ours."""
    match error:
        case CannotReach() | Unreachable() | KafkaUnreachable() | TopicFault() | Closed():
            return Exit.CANNOT_REACH
        case TimeoutError():
            return Exit.TIMED_OUT
        case StackError():
            return Exit.CANNOT_REACH
        case ClientError() | Undecodable() | NewerFormat():
            return Exit.USAGE
        case _ if type(error).__module__ == "indegree.ownership.errors":  # by name: importing it loads gRPC
            return Exit.CANNOT_REACH
        case _ if type(error).__module__.startswith("indegree.") and isinstance(error, ValueError):
            return Exit.USAGE  # settings, ids, parameters, definitions: all say what is wrong and what to do
        case _:
            return None
