"""Event kinds as plain integers.

Why: the hot path compares a kind for each event, and reading an enum value through protobuf's generated class costs
more than applying a small event. A test keeps these numbers equal to `Event.Kind`.

They are grouped as in event.proto. A number once released never changes its meaning.
"""

from __future__ import annotations

from typing import Final


class Kind:
    """A name space of numbers; never instantiated."""

    RUN_STARTED: Final = 1
    RUN_FINISHED: Final = 2
    RUN_CANCEL_REQUESTED: Final = 3
    RUN_REFUSED: Final = 4
    RUN_REPEATED: Final = 5
    SIGNAL_RECEIVED: Final = 6
    RUN_RELEASED: Final = 7
    RUN_PAUSED: Final = 8
    RUN_RESUMED: Final = 9

    TASK_QUEUED: Final = 10
    TASK_STARTED: Final = 11
    TASK_SUCCEEDED: Final = 12
    ATTEMPT_FAILED: Final = 13
    TASK_RETRYING: Final = 14
    TASK_FAILED: Final = 15
    TASK_SKIPPED: Final = 16
    TASK_CANCELLED: Final = 17
    RESULT_STALE: Final = 18
    TASK_REJECTED: Final = 19
    TASK_RETURNED: Final = 20
    TASK_WAITING: Final = 21
    TASK_EXPANDED: Final = 22
    TASK_ITEMS: Final = 23
    RUN_CLOSING: Final = 24
    RUN_RERUN: Final = 25
    RUN_REOPENED: Final = 26
    START_PASSED_ON: Final = 27
    RUN_GATED: Final = 28

    DEFINITION_RECORDED: Final = 30
    VERSION_DEPLOYED: Final = 31
    VERSION_ACTIVATED: Final = 32
    DEPLOY_REFUSED: Final = 33

    INTAKE_BEGAN: Final = 34
    INTAKE_DECIDED: Final = 35
    SCHEDULE_SET: Final = 36
    SCHEDULE_SKIPPED: Final = 37
    BACKFILL_CHANGED: Final = 38
    BACKFILL_STEP: Final = 39

    OUTBOX_ADDED: Final = 40
    OUTBOX_SENT: Final = 41
    MESSAGE_RECEIVED: Final = 42
    INPUT_REFUSED: Final = 43
    COMMAND_REFUSED: Final = 44

    LIMIT_ASKED: Final = 45
    LIMIT_GRANTED: Final = 46
    LIMIT_RELEASED: Final = 47
    POOL_SET: Final = 48
    SWITCHED: Final = 49
    COMMAND_ACCEPTED: Final = 50

    SNAPSHOT: Final = 51
    START_UNPLACED: Final = 52
