"""Where the scenarios are kept by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.engine.road import Road

SCENARIOS: dict[str, Callable[[], Road]] = {}


def scenario(build: Callable[[], Road]) -> Callable[[], Road]:
    """Registers a scenario under the name of its function."""
    SCENARIOS[build.__name__] = build
    return build
