"""The queues of concurrency keys: who is active, who waits, and what the events of runs do to them.

Why: runs of one key begin in the order in which they came, so many at a time as the workflow says, also across a
takeover.

How: all runs of a key live on one partition, so a queue is that partition's state: derived from its runs, each of which
knows its key (`run.gate`) and its turn (`run.turn`). The turn stands in the event that gave it, so a recovery that
meets a run behind the snapshot's mark before those from in front of it still knows who came first. apply.py calls
`enter`, `begin` and `leave`.

It must never look at a limit: gates.py decides who begins.
"""

from __future__ import annotations

from indegree.engine.state import Run, State

PREFIX = "k"
"""Before the key in `run.gate`, so that an empty key is told from none."""


class Gate:
    """The runs of one key. active, queued: run ids by turn, as dicts; turns: the highest turn given."""

    __slots__ = ("active", "queued", "turns")

    def __init__(self) -> None:
        self.active: dict[str, None] = {}
        self.queued: dict[str, None] = {}
        self.turns = 0


def gate_of(state: State, run: Run) -> Gate | None:
    """The queue of a run's key."""
    found: Gate | None = state.gates.get((run.plan.workflow, run.gate))
    return found


def next_turn(state: State, workflow: str, key: str) -> int:
    """The turn of the next run of a key."""
    gate = state.gates.get((workflow, key))
    return 1 if gate is None else gate.turns + 1


def begin(state: State, run: Run, turn: int = 0) -> None:
    """The run is active from now on. `turn`: where it did not wait in the queue before."""
    gate = _take(state, run, turn or run.turn)
    gate.queued.pop(run.run_id, None)
    gate.active[run.run_id] = None


def enter(state: State, run: Run, turn: int) -> None:
    """The run is the last in the queue."""
    _take(state, run, turn).queued[run.run_id] = None


def _take(state: State, run: Run, turn: int) -> Gate:
    gate: Gate = state.gates.setdefault((run.plan.workflow, run.gate), Gate())
    run.turn = turn or gate.turns + 1  # an event without a turn: logs of before turns stood there
    gate.turns = max(gate.turns, run.turn)
    return gate


def leave(state: State, run: Run) -> None:
    """The run has ended, or was cancelled while it waited. One that has no turn was not there."""
    name = (run.plan.workflow, run.gate)
    run.turn = 0
    gate = state.gates.get(name)
    if gate is not None:
        gate.active.pop(run.run_id, None)
        gate.queued.pop(run.run_id, None)
        if not gate.active and not gate.queued:
            del state.gates[name]


def restored(state: State, run: Run) -> None:
    """A run from a snapshot takes its place among those that are known, by its turn."""
    gate = _take(state, run, run.turn)
    if run.waiting:
        gate.queued = _placed(state, gate.queued, run)
    else:
        gate.active = _placed(state, gate.active, run)


def _placed(state: State, known: dict[str, None], run: Run) -> dict[str, None]:
    if not known or state.runs[next(reversed(known))].turn < run.turn:
        known[run.run_id] = None  # as a rule: snapshots are written in the order of the starts
        return known
    return dict.fromkeys(sorted([*known, run.run_id], key=lambda run_id: state.runs[run_id].turn))


def image(state: State) -> dict[object, object]:
    """For invariants.py: who is active and who waits, in order."""
    return {name: (list(gate.active), list(gate.queued)) for name, gate in state.gates.items()}


def problem(state: State) -> str:
    """For invariants.py: what is wrong with the queues, "" where nothing is."""
    in_turn: dict[tuple[str, str], tuple[list[tuple[int, str]], list[tuple[int, str]]]] = {}
    for run in state.runs.values():
        if run.turn:
            lists = in_turn.setdefault((run.plan.workflow, run.gate), ([], []))
            lists[run.waiting].append((run.turn, run.run_id))
        elif run.gate and not run.ending and not run.closing and not run.not_before_ms:
            return f"run {run.run_id} has a key and no turn"
    right = {name: tuple([run_id for _, run_id in sorted(runs)] for runs in lists) for name, lists in in_turn.items()}
    return "" if image(state) == right else f"the queues are {image(state)}, and they should be {right}"
