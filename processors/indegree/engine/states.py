"""The states of tasks and runs, and every legal transition. Whatever changes a state goes through this table.

A task run begins PENDING and waits for its parents. When its trigger rule is met and its condition holds it is QUEUED
(TASK_QUEUED), when a worker says so it is RUNNING (TASK_STARTED), and it ends in exactly one of SUCCESS, FAILED,
SKIPPED and CANCELLED, which are terminal: nothing leaves them.

A failed attempt is an event (ATTEMPT_FAILED), not a state: right after it the task is RETRYING, and QUEUED again when
the delay is over, or FAILED when no attempt is left. A short task whose worker reports only its outcome passes from
QUEUED through RUNNING in one step. A task with nothing to do succeeds from PENDING; one whose expression has no value
fails from PENDING. A task that waits for a signal, a record, a run, a time or a place in a limit is WAITING and holds
no slot. A mapped task is RUNNING from its expansion until its instances have ended; each of them has a state of its
own.

A run is PENDING until its time and its turn have come, which for most is inside the event that accepts it, then RUNNING
(or PAUSED) until RUN_FINISHED names the state that it ended in: SUCCESS, FAILED or CANCELLED. A rerun (RUN_RERUN) is no
transition: its tasks begin again as PENDING, in a new generation.

The numbers of the task states stand in snapshots on the log, so they never change.
"""

from __future__ import annotations

from typing import Final

from indegree.engine.kinds import Kind

PENDING: Final = 0
QUEUED: Final = 1
RUNNING: Final = 2
RETRYING: Final = 3
WAITING: Final = 4
SUCCESS: Final = 5
FAILED: Final = 6
SKIPPED: Final = 7
CANCELLED: Final = 8

TERMINAL: Final = SUCCESS
"""This state and all above it are terminal."""

TASK_STATES: Final = (
    "PENDING",
    "QUEUED",
    "RUNNING",
    "RETRYING",
    "WAITING",
    "SUCCESS",
    "FAILED",
    "SKIPPED",
    "CANCELLED",
)

TRANSITIONS: Final[tuple[tuple[int, int, int], ...]] = (
    # from, event, to
    (PENDING, Kind.TASK_QUEUED, QUEUED),
    (PENDING, Kind.TASK_SUCCEEDED, SUCCESS),  # nothing to do: a join point
    (PENDING, Kind.TASK_FAILED, FAILED),  # error in its expression
    (PENDING, Kind.TASK_SKIPPED, SKIPPED),
    (PENDING, Kind.TASK_CANCELLED, CANCELLED),
    (PENDING, Kind.TASK_WAITING, WAITING),
    (PENDING, Kind.TASK_EXPANDED, RUNNING),  # a mapped task, while its instances run
    (QUEUED, Kind.TASK_STARTED, RUNNING),
    (QUEUED, Kind.TASK_SUCCEEDED, SUCCESS),  # through RUNNING in one step
    (QUEUED, Kind.TASK_RETRYING, RETRYING),
    (QUEUED, Kind.TASK_FAILED, FAILED),
    (QUEUED, Kind.TASK_CANCELLED, CANCELLED),
    (QUEUED, Kind.TASK_REJECTED, QUEUED),  # its worker lacks the code: to be sent again
    (QUEUED, Kind.TASK_RETURNED, QUEUED),
    (RUNNING, Kind.TASK_SUCCEEDED, SUCCESS),
    (RUNNING, Kind.TASK_RETRYING, RETRYING),
    (RUNNING, Kind.TASK_FAILED, FAILED),
    (RUNNING, Kind.TASK_CANCELLED, CANCELLED),
    (QUEUED, Kind.TASK_SKIPPED, SKIPPED),  # by hand, as the next three
    (RUNNING, Kind.TASK_SKIPPED, SKIPPED),
    (RETRYING, Kind.TASK_SKIPPED, SKIPPED),
    (WAITING, Kind.TASK_SKIPPED, SKIPPED),
    (RETRYING, Kind.TASK_QUEUED, QUEUED),
    (RETRYING, Kind.TASK_WAITING, WAITING),  # for a limit, or a child again
    (RETRYING, Kind.TASK_SUCCEEDED, SUCCESS),  # by hand
    (RETRYING, Kind.TASK_FAILED, FAILED),
    (RETRYING, Kind.TASK_CANCELLED, CANCELLED),
    (WAITING, Kind.TASK_WAITING, WAITING),  # the next limit, or the child lives elsewhere
    (WAITING, Kind.TASK_RETRYING, RETRYING),  # a child failed
    (WAITING, Kind.TASK_QUEUED, QUEUED),
    (WAITING, Kind.TASK_SUCCEEDED, SUCCESS),
    (WAITING, Kind.TASK_FAILED, FAILED),
    (WAITING, Kind.TASK_CANCELLED, CANCELLED),
)

ILLEGAL: Final = 255


def _by_kind() -> dict[int, bytes]:
    table: dict[int, bytearray] = {}
    for old, kind, new in TRANSITIONS:
        table.setdefault(kind, bytearray([ILLEGAL] * len(TASK_STATES)))[old] = new
    return {kind: bytes(row) for kind, row in table.items()}


NEXT: Final = _by_kind()
"""NEXT[kind][state] is the state that an event of this kind leads to, or ILLEGAL."""

# One row each, for apply: a module-level name is read faster than a dict entry.
ON_QUEUED: Final = NEXT[Kind.TASK_QUEUED]
ON_STARTED: Final = NEXT[Kind.TASK_STARTED]
ON_SUCCEEDED: Final = NEXT[Kind.TASK_SUCCEEDED]
ON_RETRYING: Final = NEXT[Kind.TASK_RETRYING]
ON_FAILED: Final = NEXT[Kind.TASK_FAILED]
ON_SKIPPED: Final = NEXT[Kind.TASK_SKIPPED]
ON_CANCELLED: Final = NEXT[Kind.TASK_CANCELLED]
ON_REJECTED: Final = NEXT[Kind.TASK_REJECTED]
ON_WAITING: Final = NEXT[Kind.TASK_WAITING]
ON_EXPANDED: Final = NEXT[Kind.TASK_EXPANDED]


class IllegalTransition(RuntimeError):
    """An event does not fit the state of its task: the log is corrupt, or the engine decided wrongly.

    It is never caught inside the core: the partition stops there rather than to guess.
    """

    def __init__(self, run_id: str, task_id: str, state: int, kind: int) -> None:
        super().__init__(
            f"task {task_id!r} of run {run_id} is {TASK_STATES[state]}, and event kind {kind} cannot follow; "
            "keep this log and report it: `indegree replay` shows the events before it"
        )
