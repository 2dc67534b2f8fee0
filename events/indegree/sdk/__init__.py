"""What users import: workflows, their options and files, and the client.

Why: one place for every public name, whichever file it lives in.

How: names are loaded on first use, so that building a workflow needs no Kafka client and reading none of YAML.

It must never do work of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indegree.sdk.client import Client
    from indegree.sdk.client_async import AsyncClient
    from indegree.sdk.errors import ConversionError, DefinitionError, ParameterError, Permanent
    from indegree.sdk.file import from_file, from_json, from_yaml
    from indegree.sdk.options import AfterRun, Concurrency, Cron, Defaults, Kafka, Retry
    from indegree.sdk.workflow import Workflow

_HOMES = {
    "AfterRun": "options",
    "AsyncClient": "client_async",
    "Client": "client",
    "Concurrency": "options",
    "ConversionError": "errors",
    "Cron": "options",
    "Defaults": "options",
    "DefinitionError": "errors",
    "Kafka": "options",
    "ParameterError": "errors",
    "Permanent": "errors",
    "Retry": "options",
    "Workflow": "workflow",
    "from_file": "file",
    "from_json": "file",
    "from_yaml": "file",
}

__all__ = [
    "AfterRun",
    "AsyncClient",
    "Client",
    "Concurrency",
    "ConversionError",
    "Cron",
    "Defaults",
    "DefinitionError",
    "Kafka",
    "ParameterError",
    "Permanent",
    "Retry",
    "Workflow",
    "from_file",
    "from_json",
    "from_yaml",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its names are {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return list(__all__)
