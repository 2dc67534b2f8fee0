"""The engine's pages: /metrics, /healthz, /readyz, /state, /runs/ID. They read, and change nothing."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from indegree.engine.states import TASK_STATES
from indegree.events.run_ids import InvalidId, partition_of_run
from indegree.stream.engine import Engine
from indegree.stream.gauges import Gauges


def add_pages(app: Any, engine: Engine, queues: Collection[str]) -> None:
    """Declares the pages on Faust's web server. `queues`: those that the engine was started for."""
    engine.metrics.registry.register(Gauges(engine, queues))

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def metrics(self: Any, request: Any) -> Any:
        return self.bytes(engine.metrics.page(), content_type=CONTENT_TYPE_LATEST.partition(";")[0])

    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def healthz(self: Any, request: Any) -> Any:
        return self.text("ok\n")

    @app.page("/readyz")  # type: ignore[untyped-decorator]
    async def readyz(self: Any, request: Any) -> Any:
        if engine.ready:
            return self.text("ready\n")
        fault = engine.fitness.fault if getattr(engine, "services", None) is not None else ""
        return self.text(f"not ready: {fault or 'a partition recovers'}\n", status=503)

    @app.page("/state")  # type: ignore[untyped-decorator]
    async def state(self: Any, request: Any) -> Any:
        if getattr(engine, "services", None) is None:  # not started yet
            return _json(self, {"engine": engine.id, "ready": False}, 503)
        return _json(self, engine_view(engine))

    @app.page("/runs/{run_id}")  # type: ignore[untyped-decorator]
    async def run(self: Any, request: Any, run_id: str) -> Any:
        try:
            number = partition_of_run(run_id)
        except InvalidId as error:
            return _json(self, {"error": str(error)}, 400)
        part = engine.owned.get(number)
        core = part.core if part is not None and part.serving else None
        if core is None:
            owner = engine.session.members().owners.get(number)
            return _json(
                self, {"error": f"partition {number} is not owned here", "owner": getattr(owner, "member", owner)}, 421
            )
        found = core.run(run_id)
        if found is None:
            return _json(self, {"error": f"run {run_id} is not under way: it has ended, or never began"}, 404)
        return _json(self, run_view(found, part.epoch if part is not None else 0))


def _json(view: Any, value: Any, status: int = 200) -> Any:
    return view.bytes(json.dumps(value, default=str).encode() + b"\n", content_type="application/json", status=status)


def engine_view(engine: Engine) -> dict[str, Any]:
    """What /state shows."""
    session = engine.session
    partitions = {}
    for number, part in sorted(engine.owned.items()):
        core = part.core
        partitions[str(number)] = {
            "epoch": part.epoch,
            "serving": part.serving,
            "seq": core.state.seq if core is not None else 0,
            "runs": len(core.state.runs) if core is not None else 0,
            "next": list(core.state.next) if core is not None else [],
            "ready": {queue: core.ready(queue) for queue in core.queues()} if core is not None else {},
        }
    return {
        "engine": engine.id,
        "cluster": engine.settings.cluster,
        "ready": engine.ready,
        "fault": engine.fitness.fault,
        "leads": session.leads,
        "lease_s": round(session.lease_remaining_s(), 3),
        "partitions": partitions,
        "paused": paused_view(engine),
        "intake": intake_view(engine),
        "workers": {
            known.worker.instance: {
                "slots": known.worker.slots,
                "used": known.worker.used,
                "queues": [queue.name for queue in known.worker.queues],
                "live": known.live,
            }
            for known in engine.workers.all()
        },
    }


def intake_view(engine: Engine) -> dict[str, dict[str, Any]]:
    """Partitions of users' topics that are read here: position, lag, and why it stands where it does."""
    found: dict[str, dict[str, Any]] = {}
    for tp, (position, lag) in sorted(engine.intake.lag().items()):
        found[f"{tp.topic}/{tp.partition}"] = {"position": position, "lag": lag}
    for tp, why in engine.intake.stopped.items():
        found.setdefault(f"{tp.topic}/{tp.partition}", {})["stopped"] = why
    return found


def paused_view(engine: Engine) -> dict[str, dict[str, dict[str, str]]]:
    """Workflows and queues that are paused, as the partitions that are owned here have it, and by whom and why."""
    found: dict[str, dict[str, dict[str, str]]] = {"workflow": {}, "queue": {}}
    for part in engine.owned.values():
        if part.core is not None:
            for (what, name), (actor, reason) in sorted(part.core.state.switches.items()):
                found[what][name] = {"actor": actor, "reason": reason}
    return found


def run_view(run: Any, epoch: int) -> dict[str, Any]:
    """What /runs/ID shows of a run that is under way."""
    plan = run.plan
    tasks = {}
    for index, state in enumerate(run.states):
        task_id = run.id_of(index)
        attempt = run.attempts.get(index)
        task: dict[str, Any] = {"state": TASK_STATES[state]}
        if run.waits is not None and (wait := run.waits.get(index)) is not None:
            task["waits_for"] = {"kind": wait.kind, "label": wait.label, "due_ms": wait.due_ms}
        if attempt is not None:
            task["attempt"] = attempt.number
            if attempt.worker or attempt.holder:
                task["worker"] = attempt.worker or attempt.holder
        if run.reasons is not None and index in run.reasons:
            task["reason"] = run.reasons[index]
        tasks[task_id] = task
    return {
        "run_id": run.run_id,
        "workflow": plan.workflow,
        "version": plan.version,
        "state": "PAUSED" if run.paused else "PENDING" if run.waiting else "RUNNING",
        "started_ms": run.started_ms,
        "position": run.position,
        "epoch": epoch,
        "tasks": tasks,
    }
