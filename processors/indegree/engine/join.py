"""Trigger rules: when do the ends of its parents decide a task, and what do they decide?

Why: this is where schedulers go wrong (a join skipped because one parent was skipped while another still ran, a join
that never runs). So it is one pure function over four counts.

How: each edge ends once: taken, not taken, or failed; until then it is open. A rule is decided as soon as neither its
outcome nor its reason can change, whatever the open edges become. The names and meanings are Airflow's. Where a rule is
not met, the reason is `upstream_failed` if an edge failed and the rule does not accept failures, else
`upstream_skipped`: so all_success with an edge not taken waits until an edge fails or none is open.

It must never look at anything but the counts: then a decision cannot depend on the order in which parents end.
"""

from __future__ import annotations

from typing import Final

from indegree.events.definition_model import TriggerRule

# What an edge became. OPEN is no end.
TAKEN: Final = 0
NOT_TAKEN: Final = 1
EDGE_FAILED: Final = 2

UNDECIDED: Final = 0
RUN: Final = 1
SKIP_SKIPPED: Final = 2
SKIP_FAILED: Final = 3

REASONS: Final = {SKIP_SKIPPED: "upstream_skipped", SKIP_FAILED: "upstream_failed"}

ALL_SUCCESS: Final = 0
ALL_DONE: Final = 1
ALL_FAILED: Final = 2
ONE_SUCCESS: Final = 3
ONE_FAILED: Final = 4
ONE_DONE: Final = 5
NONE_FAILED: Final = 6
NONE_SKIPPED: Final = 7
NONE_FAILED_MIN_ONE_SUCCESS: Final = 8
ALWAYS: Final = 9

CODES: Final[dict[TriggerRule, int]] = {
    TriggerRule.ALL_SUCCESS: ALL_SUCCESS,
    TriggerRule.ALL_DONE: ALL_DONE,
    TriggerRule.ALL_FAILED: ALL_FAILED,
    TriggerRule.ONE_SUCCESS: ONE_SUCCESS,
    TriggerRule.ONE_FAILED: ONE_FAILED,
    TriggerRule.ONE_DONE: ONE_DONE,
    TriggerRule.NONE_FAILED: NONE_FAILED,
    TriggerRule.NONE_SKIPPED: NONE_SKIPPED,
    TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: NONE_FAILED_MIN_ONE_SUCCESS,
    TriggerRule.ALWAYS: ALWAYS,
}

EAGER: Final = frozenset({ALL_FAILED, ONE_SUCCESS, ONE_DONE, ALWAYS})
"""Rules that may be decided while edges are open though every edge that ended was taken. All others are decided by the
last edge then."""


def decide(rule: int, open_: int, taken: int, not_taken: int, failed: int) -> int:
    """UNDECIDED, RUN, SKIP_SKIPPED or SKIP_FAILED for these counts of edges. A task without parents runs."""
    if not (open_ or taken or not_taken or failed):
        return RUN
    match rule:
        case 0:  # ALL_SUCCESS
            if failed:
                return SKIP_FAILED
            if open_:
                return UNDECIDED
            return SKIP_SKIPPED if not_taken else RUN
        case 1:  # ALL_DONE
            return UNDECIDED if open_ else RUN
        case 2:  # ALL_FAILED
            if taken or not_taken:
                return SKIP_SKIPPED
            return UNDECIDED if open_ else RUN
        case 3:  # ONE_SUCCESS
            if taken:
                return RUN
            if open_:
                return UNDECIDED
            return SKIP_FAILED if failed else SKIP_SKIPPED
        case 4:  # ONE_FAILED
            if failed:
                return RUN
            return UNDECIDED if open_ else SKIP_SKIPPED
        case 5:  # ONE_DONE: a success or a failure; a skipped parent is not "done" here, as in Airflow
            if taken or failed:
                return RUN
            return UNDECIDED if open_ else SKIP_SKIPPED
        case 6:  # NONE_FAILED
            if failed:
                return SKIP_FAILED
            return UNDECIDED if open_ else RUN
        case 7:  # NONE_SKIPPED
            if not_taken:
                return SKIP_SKIPPED
            return UNDECIDED if open_ else RUN
        case 8:  # NONE_FAILED_MIN_ONE_SUCCESS
            if failed:
                return SKIP_FAILED
            if open_:
                return UNDECIDED
            return RUN if taken else SKIP_SKIPPED
        case 9:  # ALWAYS
            return RUN
        case _:
            raise ValueError(f"trigger rule number {rule} does not exist")
