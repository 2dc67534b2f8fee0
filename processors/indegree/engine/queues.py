"""The queues of concurrency keys: who is active, who waits, and what the events of runs do to them.

Why: runs of one key begin in the order in which they came, so many at a time as the workflow says, also across a
takeover.

How: all runs of a key live on one partition, so a queue is that partition's state: derived from its runs, each of which
knows its key (`run.gate`) and its place in the queue (`run.turn`). apply.py calls `enter`, `begin` and `leave`.

It must never look at a limit: gates.py decides who begins.
"""

from __future__ import annotations

from indegree.engine.state import Run, State

PREFIX = "k"
"""Before the key in `run.gate`, so that an empty key is told from none."""


class Gate:
    """The runs of one key. active, queued: run ids in order, as dicts; turns: the highest turn given."""

    __slots__ = ("active", "queued", "turns")

    def __init__(self) -> None:
        self.active: dict[str, None] = {}
        self.queued: dict[str, None] = {}
        self.turns = 0


def gate_of(state: State, run: Run) -> Gate | None:
    """The queue of a run's key."""
    found: Gate | None = state.gates.get((run.plan.workflow, run.gate))
    return found


def begin(state: State, run: Run) -> None:
    """The run is active from now on."""
    gate = state.gates.setdefault((run.plan.workflow, run.gate), Gate())
    gate.queued.pop(run.run_id, None)
    gate.active[run.run_id] = None


def enter(state: State, run: Run) -> None:
    """The run is the last in the queue."""
    gate = state.gates.setdefault((run.plan.workflow, run.gate), Gate())
    gate.turns += 1
    run.turn = gate.turns
    gate.queued[run.run_id] = None


def leave(state: State, run: Run) -> None:
    """The run has ended."""
    name = (run.plan.workflow, run.gate)
    gate = state.gates.get(name)
    if gate is not None:
        gate.active.pop(run.run_id, None)
        gate.queued.pop(run.run_id, None)
        if not gate.active and not gate.queued:
            del state.gates[name]


def restored(state: State, run: Run) -> None:
    """A run from a snapshot takes its place among those that are known."""
    if not run.waiting or run.ending:
        begin(state, run)
    elif not run.not_before_ms:
        gate = state.gates.setdefault((run.plan.workflow, run.gate), Gate())
        gate.turns = max(gate.turns, run.turn)
        gate.queued[run.run_id] = None
        ordered = sorted(gate.queued, key=lambda run_id: _turn(state, run_id, run))
        gate.queued = dict.fromkeys(ordered)


def _turn(state: State, run_id: str, new: Run) -> int:
    return new.turn if run_id == new.run_id else state.runs[run_id].turn
