"""From what a program asks for to start records: everything that can be checked before anything is sent.

Why: a start that is refused by its sender costs nothing and says so at once; and of a thousand starts either all are
sent or none.

How: pure functions. A start without an idempotency key gets a run id made here and goes to the partition in it; one
with a key goes to the key's partition, whose owner decides the run id.

It must never do IO; time and randomness come in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from indegree.events import json_values, run_ids
from indegree.events.definition import Definition
from indegree.v1.trigger_pb2 import Start, Trigger

from .client_errors import InvalidStart
from .convert import to_json
from .workflow import Workflow

MAX_KEY_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Planned:
    """A start that is ready to be sent: its partition of `triggers`, and its record's key and value."""

    start: Start
    partition: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What all starts of one call have in common. `definition`: where it is known here; `partitions`: the cluster's."""

    definition: Definition | None
    workflow: str
    version: str
    label: str
    actor: str
    partitions: int
    max_params_bytes: int
    not_before_ms: int = 0  # milliseconds since the epoch; 0: at once

    def plan(
        self,
        params: Mapping[str, Any],
        *,
        place: str,
        request_id: str,
        run_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Planned:
        """One start, with a `run_id` of ours or an `idempotency_key`. `place`: what the parameters are called in an
        error. Raises InvalidStart, run_ids.InvalidId."""
        start = Start(params=self._params(params, place), request_id=request_id, not_before_ms=self.not_before_ms)
        try:
            start.workflow, start.version, start.label, start.actor = (
                self.workflow,
                self.version,
                self.label,
                self.actor,
            )
            if idempotency_key is not None:
                partition = self._keyed(start, idempotency_key)
            else:
                partition = self._own(start, run_id or "")
        except UnicodeEncodeError as problem:
            raise InvalidStart(f"{problem.object[:40]!r} holds a lone surrogate, which is not text") from None
        key = (start.idempotency_key or start.run_id).encode()
        return Planned(start, partition, key, Trigger(start=start).SerializeToString())

    def _params(self, params: Mapping[str, Any], place: str) -> bytes:
        where = f"{place} of {self.workflow!r}"
        if not isinstance(params, Mapping):
            raise InvalidStart(f"{where} must be a mapping of names to values, not {type(params).__name__}")
        try:
            plain = {name: to_json(value) for name, value in params.items()}
            data = json_values.dumps(plain)
            if self.definition is not None:
                self.definition.bind_params(plain)
        except ValueError as problem:
            raise InvalidStart(f"{where}: {problem}") from problem
        if len(data) > self.max_params_bytes:
            raise InvalidStart(
                f"{where} have {len(data)} bytes, more than limits.value_bytes = {self.max_params_bytes}: pass a "
                "reference to where the data lies"
            )
        return data

    def _own(self, start: Start, run_id: str) -> int:
        run_ids.time_of_run(run_id)
        partition = run_ids.partition_of_run(run_id)
        if partition >= self.partitions:
            raise InvalidStart(f"run id {run_id!r} names partition {partition}; the cluster has {self.partitions}")
        start.run_id = run_id
        return partition

    def _keyed(self, start: Start, key: str) -> int:
        size = len(key.encode("utf-8", "surrogatepass"))
        if not 1 <= size <= MAX_KEY_BYTES:
            raise InvalidStart(
                f"idempotency key {key[:40]!r} has {size} bytes, it must have 1 to {MAX_KEY_BYTES} bytes: leave it out "
                "where none is needed"
            )
        start.idempotency_key = key
        return run_ids.partition_of_key("idempotency", start.workflow, key, self.partitions)


def fresh_run_id(time_ms: int, draw: Callable[[int], str], below: Callable[[int], int], partitions: int) -> str:
    """A run id that nobody else has. `draw(n)`: n random bytes in hex; `below(n)`: a random number under n."""
    return run_ids.make_run_id(time_ms, draw(6), below(partitions))


def runnable(workflow: Workflow | Definition) -> Definition:
    """The definition of what was given. Raises DefinitionError."""
    return workflow if isinstance(workflow, Definition) else workflow.definition()
