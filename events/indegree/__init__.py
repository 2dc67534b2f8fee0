"""indegree: what people import, under one short name.

Why: `from indegree import Workflow, Client` should work without anybody having to know which package a name lives in,
and importing one package (say, the pure core) must not pull in Kafka clients.

How: the distribution has five source roots, each with a folder `indegree/`. This is the only `__init__.py` among them:
`extend_path` joins the others to this package's search path, and the public names are loaded on first use.

It must never do anything else, and there must never be a second one: it would hide the packages of the other roots
(tests/architecture forbids it).
"""

from __future__ import annotations

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from indegree.sdk import (
        AfterRun,
        AsyncClient,
        Client,
        Concurrency,
        Cron,
        Defaults,
        Kafka,
        Permanent,
        Retry,
        Workflow,
    )

__all__ = [
    "AfterRun",
    "AsyncClient",
    "Client",
    "Concurrency",
    "Cron",
    "Defaults",
    "Kafka",
    "Permanent",
    "Retry",
    "Workflow",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("indegree.sdk"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__path__"]
