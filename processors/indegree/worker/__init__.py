"""indegree.worker: runs tasks.

The way of a task record: `kafka_io` reads it and hands it to the `Runner`; the runner finds the function (`functions`),
waits for a slot, and gives the attempt to a lane (`threads`, `coroutines` or `processes`); the lane answers with a
`Result`; `kafka_io` appends it to `results` at the partition that the record names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indegree.worker.context import Context
    from indegree.worker.serve import run_worker
    from indegree.worker.worker import Worker

__all__ = ["Context", "Worker", "run_worker"]

_WHERE = {"Context": "context", "Worker": "worker", "run_worker": "serve"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a child process that runs one function needs none of Kafka.
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(f"indegree.worker.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its public names are {', '.join(__all__)}")
