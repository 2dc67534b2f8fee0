"""What one partition knows: runs, attempts, versions, positions, outbox. Only apply.py writes to it.

Why: 1,000,000 active runs of four tasks must fit into 2 GiB, and an event must cost microseconds however large its run
is. So the state is mutated in place, tasks are indices, states are bytes, counts are integer arrays, and what few runs
need (counts of edges not taken, reasons) is None until it is needed.

How: a run holds its own columns and shares its version's Plan. Everything that can be computed from the log is in here;
what is volatile (who was sent what, when somebody was last heard of) is in dispatch.py.

It must never hold a reference to an event: a protobuf message keeps its whole frame alive.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from indegree.engine.plan import Plan
from indegree.engine.timers import Timers
from indegree.engine.windows import Windows
from indegree.v1.value_pb2 import Reference

if TYPE_CHECKING:
    from indegree.engine.mapping import MapState

DEAD_LETTER = 4_294_967_295
"""Target number of outbox entries for the dead-letter topic."""
WORKFLOWS = 4_294_967_294
"""Target number of outbox entries for the workflows topic (active versions and labels)."""


OBSERVED = frozenset({"kafka", "run"})
"""Kinds of waits that end by something that the shell observes."""


class Ref:
    """An output that lies in the payloads topic. `data`: the serialised v1.Reference; `size`: bytes of its JSON
    text."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size

    @classmethod
    def of(cls, reference: Reference) -> Ref:
        """That of a reference as a record has it."""
        return cls(reference.SerializeToString(deterministic=True), reference.whole or reference.size)

    @property
    def reference(self) -> Reference:
        """As records have it; a new object on each call."""
        return Reference.FromString(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"Ref({self.size} bytes)"


class Wait:
    """What a WAITING task waits for.

    kind:     signal, kafka, run, delay, until, workflow, pool or rate
    since_ms: owner's time of TASK_WAITING; due_ms: when the wait is over or given up, 0 for never
    label:    name of the signal, topic, workflow or run id of the child, name of the limit
    after:    the limit that is asked for next, or ""
    attempt, generation: of the task, for a child and for limits
    timer:    number of its armed timer, 0 for none
    """

    __slots__ = ("after", "attempt", "due_ms", "generation", "kind", "label", "run", "since_ms", "task", "timer")

    def __init__(
        self,
        run: Run,
        task: int,
        kind: str,
        since_ms: int,
        due_ms: int,
        label: str,
        attempt: int,
        generation: int,
        after: str = "",
    ) -> None:
        self.run = run
        self.task = task
        self.kind = kind
        self.since_ms = since_ms
        self.due_ms = due_ms
        self.label = label
        self.attempt = attempt
        self.generation = generation
        self.after = after
        self.timer = 0


class Attempt:
    """The attempt of a task that is QUEUED, RUNNING or RETRYING. One object for all attempts of the task.

    run, task:   where it belongs; `run.attempts[task] is self` until the task is terminal
    node:        the task of the version's plan: `task` itself, or of a mapped task's instance that task
    number:      from 1; while RETRYING already that of the next attempt
    generation:  how often the task was begun again by hand
    worker:      instance it is bound to; "" until its first `started` (state RUNNING <=> worker != "")
    queued_ms, started_ms: owner's time of TASK_QUEUED and TASK_STARTED; 0 where not yet
    due_ms:      RETRYING: when it is queued again; QUEUED: not to be sent before (after a rejection), else 0
    rejections:  how often workers refused this attempt for lack of code
    timer:       number of its armed timer, 0 for none (timers.py)
    place:       volatile, dispatch.py: where it stands on its way to a worker
    holder:      volatile, dispatch.py: the worker instance it was sent to or is bound to, or ""
    seq:         volatile: the frame of this epoch that queued it, 0 for an earlier epoch
    heard_ms:    volatile, dispatch.py: steady time when it was sent, and then when something was last heard of it
    refusers:    volatile, dispatch.py: worker instances that lack its code
    """

    __slots__ = (
        "due_ms",
        "generation",
        "heard_ms",
        "holder",
        "node",
        "number",
        "place",
        "queued_ms",
        "refusers",
        "rejections",
        "run",
        "seq",
        "started_ms",
        "task",
        "timer",
        "worker",
    )

    seq: int
    heard_ms: int

    def __init__(self, run: Run, task: int, number: int, generation: int, queued_ms: int) -> None:
        self.run = run
        self.task = task
        self.node = task if task < run.plan.n else run.node(task)
        self.number = number
        self.generation = generation
        self.worker = ""
        self.queued_ms = queued_ms
        self.started_ms = 0
        self.due_ms = 0
        self.rejections = 0
        self.timer = 0
        self.place = 0
        self.holder = ""
        self.refusers: frozenset[str] = frozenset()
        # seq and heard_ms are set when it is released and bound, and not read before.


class Run:
    """One run that has not ended. All arrays and bytes are indexed by task.

    A task's number from `plan.n` on is that of a mapped task's instance: they are numbered in the order in which they
    come to be. Such a number is called a slot.

    states:      bytearray of states.*, instances included
    nodes:       array('I'): of each instance the mapped task
    maps:        mapped task -> MapState, once it is expanded; None while there are none
    busy:        mapped task -> MapState with something to decide (mapping.py); derived
    waits:       slot -> Wait, for what is WAITING
    signals:     signals that nobody has taken yet: (name, payload, actor, time)
    generations: slot -> generation, where it is not 0
    held:        slot -> the limits that it holds or asks for: (name, attempt)
    paused:      bits: 1 the run itself, 2 its workflow
    waiting:     accepted and not begun: PENDING
    not_before_ms: while waiting: the time before which it does not begin, or 0; gate: key of the queue it belongs to
    turn:        its place in that queue, kept once it has begun; 0: it is not there (delayed, or cancelled meanwhile)
    parent:      serialised v1.Parent, b"" where nobody waits for its end
    closing:     "", or the state that the run will end in once its hooks are over
    inline_bytes: of outputs and items that lie here; derived
    references:  whether any output is a Ref; triggered: whether something other than a plain start began it
    open:        array('I'): edges that have not ended; sum of open, taken, not taken and failed is plan.degree
    not_taken, failed: array('I') or None while all zero
    left:        number of tasks that are not terminal; 0: the run is to be finished
    failures:    number of FAILED tasks without allow_failure; first_failed: index of the first, or -1
    pending:     decidable tasks in the order they became so, or None: PENDING tasks whose rule is decided; in a run
                 that ends early (`ending`), all that are not terminal, decided or not
    next_pending: index of the next one in `pending`; what stands before it has been decided
    attempts:    task -> Attempt, for the tasks that are QUEUED, RUNNING or RETRYING
    last_attempts: task -> number of the attempt it ended with, where that is not 1 (0: FAILED before any attempt); None
                 while there are none. What has no attempt by its kind or state (join points, SKIPPED) is left out
    outputs:     task -> JSON bytes or Ref, for SUCCESS tasks whose output is not null
    reasons:     task -> reason, for SKIPPED tasks; None while there are none
    params:      the bound parameters: a JSON object
    origin:      serialised Origin
    position:    number of progress records that count as transitions of this run so far
    ending:      "", or the state that the run ends in because somebody or a timeout ended it: nothing more is started
    reason:      why, with `ending`; actor_end: who asked for it
    digest:      of what its client-made id or its idempotency key stands for; empty where the engine made the id
    timer:       number of its armed timer (the run's timeout), 0 for none
    """

    __slots__ = (
        "actor",
        "actor_end",
        "attempts",
        "busy",
        "closing",
        "digest",
        "ending",
        "failed",
        "failures",
        "first_failed",
        "gate",
        "generations",
        "held",
        "idempotency_key",
        "inline_bytes",
        "last_attempts",
        "left",
        "maps",
        "next_pending",
        "nodes",
        "not_before_ms",
        "not_taken",
        "open",
        "origin",
        "outputs",
        "params",
        "parent",
        "paused",
        "pending",
        "plan",
        "position",
        "reason",
        "reasons",
        "references",
        "request_id",
        "run_id",
        "signals",
        "started_ms",
        "states",
        "timer",
        "traceparent",
        "tracestate",
        "triggered",
        "turn",
        "waiting",
        "waits",
    )

    def __init__(self, run_id: str, plan: Plan, started_ms: int) -> None:
        self.run_id = run_id
        self.plan = plan
        self.states = bytearray(plan.n)
        self.open: array[int] = plan.degree[:]
        self.not_taken: array[int] | None = None
        self.failed: array[int] | None = None
        self.left = plan.main
        self.failures = 0
        self.first_failed = -1
        self.pending: list[int] | None = None
        self.next_pending = 0
        self.attempts: dict[int, Attempt] = {}
        self.last_attempts: dict[int, int] | None = None
        self.outputs: dict[int, bytes | Ref] = {}
        self.reasons: dict[int, str] | None = None
        self.params = b"{}"
        self.origin = b""
        self.position = 0
        self.ending = ""
        self.reason = ""
        self.actor_end = ""
        self.actor = ""
        self.request_id = ""
        self.idempotency_key = ""
        self.digest = b""
        self.traceparent = ""
        self.tracestate = ""
        self.started_ms = started_ms
        self.timer = 0
        self.nodes: array[int] | None = None
        self.maps: dict[int, MapState] | None = None
        self.busy: dict[int, MapState] | None = None
        self.waits: dict[int, Wait] | None = None
        self.signals: list[tuple[str, bytes, str, int]] | None = None
        self.generations: dict[int, int] | None = None
        self.held: dict[int, tuple[tuple[str, int], ...]] | None = None
        self.paused = 0
        self.waiting = False
        self.not_before_ms = 0
        self.gate = ""
        self.turn = 0
        self.parent = b""
        self.closing = ""
        self.references = False
        self.inline_bytes = 0
        self.triggered = False

    def node(self, slot: int) -> int:
        """The task of the plan: the slot itself, or the mapped task that it is an instance of."""
        n = self.plan.n
        if slot < n:
            return slot
        assert self.nodes is not None, "a slot above the tasks belongs to an instance"
        return self.nodes[slot - n]

    def place(self, slot: int) -> int:
        """Of an instance: its place in the list, from 0. -1 for a task."""
        if slot < self.plan.n:
            return -1
        assert self.maps is not None, "a slot above the tasks belongs to an instance"
        return slot - self.maps[self.node(slot)].first

    def id_of(self, slot: int) -> str:
        """`load`, or of an instance `load[3]`. Of an instance of an earlier generation `load[-]`."""
        if slot < self.plan.n:
            return self.plan.ids[slot]
        node = self.node(slot)
        found = self.maps.get(node) if self.maps is not None else None
        place = slot - found.first if found is not None else -1
        return f"{self.plan.ids[node]}[{place if place >= 0 else '-'}]"

    def generation(self, slot: int) -> int:
        """How often the task was begun again by hand."""
        return 0 if self.generations is None else self.generations.get(slot, 0)

    def again(self, slot: int) -> dict[str, Any]:
        """`generation` as a field of its events, where it is not 0."""
        generation = 0 if self.generations is None else self.generations.get(slot, 0)
        return {"generation": generation} if generation else {}

    def counts(self, slot: int) -> bool:
        """Whether it is part of the run now: a hook is only when the run ends in what it is for."""
        plan = self.plan
        if slot < plan.main or slot >= plan.n:
            return True
        return bool(self.closing) and slot in plan.hooks[self.closing]

    def is_decidable(self) -> bool:
        """Whether `decide.advance` has something to do here."""
        return (self.pending is not None or bool(self.busy) or not self.left) and not self.waiting and not self.paused

    def edges(self, task: int) -> tuple[int, int, int, int]:
        """(open, taken, not taken, failed) of a task's edges."""
        open_ = self.open[task]
        not_taken = self.not_taken[task] if self.not_taken is not None else 0
        failed = self.failed[task] if self.failed is not None else 0
        return open_, self.plan.degree[task] - open_ - not_taken - failed, not_taken, failed


class OutboxEntry:
    """Something that leaves the partition other than tasks and progress. Produced after its frame is acknowledged.

    target: partition, or DEAD_LETTER, or WORKFLOWS; number: counts from 1 for each target
    topic:  "commands", "dead-letter" or "workflows"; data: the record's value (for dead-letter: a v1.DeadLetter that
            says where the record lies; its bytes are read again when it is sent)
    """

    __slots__ = ("data", "number", "target", "topic")

    def __init__(self, target: int, number: int, topic: str, data: bytes) -> None:
        self.target = target
        self.number = number
        self.topic = topic
        self.data = data

    def __repr__(self) -> str:
        return f"OutboxEntry(target={self.target}, number={self.number}, topic={self.topic!r}, {len(self.data)} bytes)"


class Intake:
    """One partition of a user's topic, whose records start runs (intake.py).

    next:   the offset to go on at
    begins: the workflows that take part -> the offset from which on
    """

    __slots__ = ("begins", "next")

    def __init__(self, next: int) -> None:
        self.next = next
        self.begins: dict[str, int] = {}


class State:
    """One partition.

    runs:       run id -> Run, all that have not ended
    decidable:  run id -> Run, those with `pending` or with nothing left: what proceed() goes through, in turn
    versions:   content hash -> Plan: definitions that stand whole on the log since recover_from
    parts:      content hash -> parts so far, of a definition that is not whole yet
    windows:    idempotency keys, ended runs, active versions, labels
    next:       next offset to read of triggers, commands and results
    epoch, seq: of the last frame in force; time_ms: its time, and while a frame is open the time of that one
    outbox:     target -> number -> entry, numbers ascending: added and not acknowledged yet
    outbox_numbers: target -> highest number given
    received:   source partition -> highest number received
    timers:     derived (timers.py)
    inline_bytes: of all runs, in sum: the owner pauses triggers above a bound; derived
    awaited:    (kind, label) -> the waits that end by what the shell observes; derived
    gates:      (workflow, key) -> Gate: queues of concurrency keys (gates.py)
    limits:     name -> Limit: pools and rate limits that live here (tickets.py)
    schedules:  (workflow, place of the trigger) -> Schedule (schedules.py)
    backfills:  number -> Backfilling (backfills.py); backfill_number: the highest given
    intakes:    (topic, partition) of users -> Intake (intake.py)
    switches:   ("workflow" | "queue", name) -> (who, why): what is paused (pauses.py)
    """

    __slots__ = (
        "awaited",
        "backfill_number",
        "backfills",
        "decidable",
        "epoch",
        "gates",
        "inline_bytes",
        "intakes",
        "limits",
        "next",
        "outbox",
        "outbox_numbers",
        "parts",
        "received",
        "runs",
        "schedules",
        "seq",
        "switches",
        "time_ms",
        "timers",
        "versions",
        "windows",
    )

    def __init__(self, windows: Windows) -> None:
        self.runs: dict[str, Run] = {}
        self.decidable: dict[str, Run] = {}
        self.versions: dict[str, Plan] = {}
        self.parts: dict[str, list[bytes]] = {}
        self.windows = windows
        self.next = [0, 0, 0]
        self.epoch = 0
        self.seq = 0
        self.time_ms = 0
        self.outbox: dict[int, dict[int, OutboxEntry]] = {}
        self.outbox_numbers: dict[int, int] = {}
        self.received: dict[int, int] = {}
        self.timers = Timers()
        self.inline_bytes = 0
        self.awaited: dict[tuple[str, str], dict[Wait, None]] = {}
        self.gates: dict[tuple[str, str], Any] = {}
        self.limits: dict[str, Any] = {}
        self.schedules: dict[tuple[str, int], Any] = {}
        self.backfills: dict[int, Any] = {}
        self.backfill_number = 0
        self.intakes: dict[tuple[str, int], Intake] = {}
        self.switches: dict[tuple[str, str], tuple[str, str]] = {}
