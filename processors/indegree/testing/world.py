"""What surrounds a simulated run: signals, records, ends of other runs, and the payloads topic.

Why: tasks that wait need something that comes, and large values need a place to lie; in a simulation both are data that
the test hands in, or a dict.

How: `World.act` is asked when nothing can run; it delivers one thing that a task waits for, and says whether it did.
`Payloads` holds what would lie in the payloads topic under made-up offsets.

It must never bring anything that nobody waits for: an early signal is the core's subject, not the simulation's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from indegree.engine.core import PartitionCore
from indegree.engine.waiting import Observed
from indegree.events import json_values
from indegree.events.moments import moment_ms
from indegree.sdk.convert import to_json
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command, Origin, Signal
from indegree.v1.value_pb2 import Reference, ValueList

if TYPE_CHECKING:
    from indegree.testing.simulate import _Simulation


class World:
    """See `simulate` for what the three are."""

    def __init__(
        self, signals: Mapping[str, Any], records: Mapping[str, Sequence[Any]], runs: Mapping[str, Sequence[Any]]
    ) -> None:
        self._signals = dict(signals)
        self._seen = {("kafka", topic): list(values) for topic, values in records.items()}
        self._seen |= {("run", name): list(values) for name, values in runs.items()}

    def act(self, simulation: _Simulation) -> bool:
        """Delivers one thing that a task waits for. False: there is none."""
        for run in simulation.core.runs():
            for wait in (run.waits or {}).values():
                if wait.kind == "signal" and wait.label in self._signals:
                    payload = json_values.dumps(to_json(self._signals.pop(wait.label)))
                    signal = Signal(run_id=run.run_id, name=wait.label, payload=payload)
                    simulation.command(Command(request_id="simulated", actor="simulation", signal=signal))
                    return True
        for kind, label in simulation.core.awaited():
            if values := self._seen.get((kind, label)):
                value = to_json(values.pop(0))
                simulation.observe(Observed(kind, label, simulation.now, value))
                return True
        return False

    def waiting(self, simulation: _Simulation) -> str:
        """Words for what is still waited for."""
        waits = sorted(
            {
                f"{run.id_of(wait.task)!r} waits for {wait.kind} {wait.label!r}"
                for run in simulation.core.runs()
                for wait in (run.waits or {}).values()
            }
        )
        return f": {', '.join(waits[:5])}; hand it in by `signals`, `records` or `runs`" if waits else ""


def origin_of(trigger: Mapping[str, Any], now_ms: int) -> Origin:
    """The origin of a start by what expressions see of it."""
    origin = Origin(topic=str(trigger.get("topic", "simulated")), timestamp_ms=now_ms)
    if "value" in trigger or "headers" in trigger:
        origin.kind = "kafka"
        origin.value = json_values.dumps(to_json(trigger.get("value")))
        origin.headers.update(trigger.get("headers") or {})
    if "key" in trigger:
        origin.key = str(trigger["key"]).encode()
    if "scheduled_at" in trigger:
        origin.kind = "cron"
        origin.scheduled_ms = moment_ms(trigger["scheduled_at"])
        origin.timezone = str(trigger.get("timezone", "UTC"))
        if trigger.get("previous_scheduled_at"):
            origin.previous_scheduled_ms = moment_ms(trigger["previous_scheduled_at"])
    return origin


class Payloads:
    """What would lie in the payloads topic."""

    def __init__(self) -> None:
        self._contents: list[bytes] = []

    def _put(self, data: bytes) -> Reference:
        digest = hashlib.sha256(data).digest()
        self._contents.append(data)
        return Reference(offset=len(self._contents) - 1, parts=1, size=len(data), sha256=digest)

    def take(self, result: Result, inline_bytes: int) -> None:
        """Keeps an output that is too large to stand in a result, as a worker would."""
        data = result.output.json
        if len(data) > inline_bytes:
            result.output.reference.CopyFrom(self._put(data))
            result.output.json = b""

    def serve(self, core: PartitionCore) -> bool:
        """Does what the core asks for. True: it asked for something."""
        found = False
        for token, data in core.to_store():
            found = True
            core.stored(token, self._put(data))
        for reference in core.wants():
            found = True
            core.supply(reference, self.text(reference))
        return found

    def text(self, reference: Reference) -> bytes:
        """The JSON text that a reference stands for."""
        data = self._contents[reference.offset]
        if not reference.list:
            return data
        values = ValueList.FromString(data).values
        return b"[" + b",".join(self.text(v.reference) if v.HasField("reference") else v.json for v in values) + b"]"

    def fill(self, task: Task) -> None:
        """Puts the values that a task refers to where a worker would have them."""
        if task.references:
            members = [b"%b:%b" % (json_values.dumps(name), self.text(ref)) for name, ref in task.references.items()]
            inside = task.args[1:-1]
            task.args = b"{" + b",".join([*([inside] if inside else []), *members]) + b"}"
        if task.HasField("input_reference"):
            task.input = self.text(task.input_reference)
