"""What a paused workflow or queue means for the state: one place for events, starts and snapshots.

Why: the same follows from a switch that is recorded, from a run that starts after it, and from a snapshot that tells of
it; if one of them differed, a takeover would change what is paused.

How: `state.switches` says what is paused. A run has the bit BY_WORKFLOW in `paused` if and only if its workflow is
paused and the run is neither ending nor in its hooks: those are carried out.

It must never decide anything, and never look at what is volatile.
"""

from __future__ import annotations

from typing import Final

from indegree.engine import timetable
from indegree.engine.state import Run, State

BY_ITSELF: Final = 1
BY_WORKFLOW: Final = 2
"""Bits of `run.paused`."""


def set_switch(state: State, what: str, name: str, by: tuple[str, str] | None) -> None:
    """`what` is "workflow" or "queue". `by`: who paused it and why; None: it goes on. Looks at all runs for a workflow:
    about 0.1 us each."""
    if by is None:
        state.switches.pop((what, name), None)
    else:
        state.switches[what, name] = by
    if what == "workflow":
        if by is None:
            timetable.resumed(state, name)
        for run in state.runs.values():
            if run.plan.workflow == name:
                set_paused(state, run, (run.paused & BY_ITSELF) | of_workflow(state, run))


def is_workflow_paused(state: State, workflow: str) -> bool:
    """Whether its runs are decided no further, and its triggers are to start none."""
    return bool(state.switches) and ("workflow", workflow) in state.switches


def is_queue_paused(state: State, queue: str) -> bool:
    """Whether nobody gets attempts of it."""
    return bool(state.switches) and ("queue", queue) in state.switches


def of_workflow(state: State, run: Run) -> int:
    """BY_WORKFLOW or 0. To be asked again when a run that was ending goes on."""
    return BY_WORKFLOW if is_workflow_paused(state, run.plan.workflow) and not run.ending and not run.closing else 0


def set_paused(state: State, run: Run, bits: int) -> None:
    """Sets `run.paused`, and whether there is something to decide."""
    run.paused = bits
    if run.is_decidable():
        state.decidable[run.run_id] = run
    else:
        state.decidable.pop(run.run_id, None)
