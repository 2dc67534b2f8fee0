"""The checker's own reading of a definition, and its own words for when a task may start.

Shares nothing with the engine: a second opinion is worth something only if it was formed alone.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RUN, WAIT, UPSTREAM_FAILED, UPSTREAM_SKIPPED = "run", "wait", "upstream_failed", "upstream_skipped"
_WORK = ("python", "command", "workflow", "wait_for")


class BadDefinition(ValueError):
    """A recorded definition that does not match its hash, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A version. Lists are indexed by task, hooks behind the tasks; `parents`: indices, each once, without the one that
    is followed element by element.

    main: number of tasks; hooks: state of a run's end -> the hooks that then run
    kinds: "work", "join", "wait" or "child"; mapped; follows: the task that is followed element by element, or -1
    runs_at_a_time: of the workflow's concurrency, 0 for no limit
    """

    main: int
    hooks: dict[str, list[int]]
    kinds: list[str]
    mapped: list[bool]
    follows: list[int]
    runs_at_a_time: int
    ids: list[str]
    parents: list[list[int]]
    rules: list[str]
    joins: list[bool]  # nothing to do: they succeed without an attempt
    conditional: list[bool]  # have a `when`
    tolerated: list[bool]  # allow_failure
    max_attempts: list[int]
    queues: list[str]


def read_definition(version: str, parts: Sequence[bytes]) -> Graph:
    """The graph behind the parts of a recorded definition. Raises BadDefinition."""
    try:
        text = zlib.decompress(b"".join(parts))
        if hashlib.sha256(text).hexdigest() != version:
            raise BadDefinition(f"the recorded definition {version[:12]} has another hash")
        return read_graph(json.loads(text))
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise BadDefinition(f"the recorded definition {version[:12]} cannot be read: {error}") from error


def read_graph(definition: dict[str, Any]) -> Graph:
    """The graph of a canonical definition (decoded JSON): there `depends_on` names every parent."""
    tasks: list[dict[str, Any]] = list(definition["tasks"])
    main = len(tasks)
    hooks: dict[str, list[int]] = {}
    for event in ("on_success", "on_failure", "on_cancel", "on_end"):  # the order of the contract
        of_event = definition.get("hooks", {}).get(event, [])
        hooks[event] = list(range(len(tasks), len(tasks) + len(of_event)))
        tasks.extend(of_event)
    defaults: dict[str, Any] = definition.get("defaults", {})
    index = {task["id"]: i for i, task in enumerate(tasks)}

    def attempts(task: dict[str, Any]) -> int:
        retry = {**defaults.get("retry", {}), **task.get("retry", {})}
        return int(retry.get("max_attempts", 1))

    def kind(task: dict[str, Any]) -> str:
        words = {"python": "work", "command": "work", "wait_for": "wait", "workflow": "child"}
        return next((what for word, what in words.items() if word in task), "join")

    def parents(i: int, task: dict[str, Any]) -> list[int]:
        # A hook's parents are hooks; what else it names in expressions has ended.
        found = {index[name] for name in task.get("depends_on", ()) if i < main or index[name] >= main}
        return sorted(found - {index.get(task.get("foreach_with", ""), -1)})

    ends = {"SUCCESS": "on_success", "FAILED": "on_failure", "CANCELLED": "on_cancel"}
    return Graph(
        ids=list(index),
        main=main,
        hooks={end: hooks.get(event, []) + hooks.get("on_end", []) for end, event in ends.items()},
        kinds=[kind(task) for task in tasks],
        mapped=["foreach" in task or "foreach_with" in task for task in tasks],
        follows=[index[task["foreach_with"]] if "foreach_with" in task else -1 for task in tasks],
        runs_at_a_time=int(definition["concurrency"].get("limit", 1)) if "concurrency" in definition else 0,
        parents=[parents(i, task) for i, task in enumerate(tasks)],
        rules=[task.get("trigger_rule", "all_success") for task in tasks],
        joins=[not any(word in task for word in _WORK) for task in tasks],
        conditional=["when" in task for task in tasks],
        tolerated=[task.get("allow_failure") is True for task in tasks],
        max_attempts=[attempts(task) for task in tasks],
        queues=[task.get("queue", defaults.get("queue", "default")) for task in tasks],
    )


def decide(rule: str, total: int, taken: int, not_taken: int, failed: int) -> str:
    """What a trigger rule says of these edges: RUN, WAIT, or the reason for which the task is skipped.

    A reason is only given once neither the outcome nor the reason can change.
    """
    left = total - taken - not_taken - failed
    if total == 0 or rule == "always":
        return RUN
    match rule:
        case "all_success" | "none_failed" | "none_failed_min_one_success":
            if failed:
                return UPSTREAM_FAILED
            if left:
                return WAIT
            enough = {"all_success": not not_taken, "none_failed": True}.get(rule, taken > 0)
            return RUN if enough else UPSTREAM_SKIPPED
        case "all_done":
            return WAIT if left else RUN
        case "all_failed":
            return UPSTREAM_SKIPPED if taken or not_taken else WAIT if left else RUN
        case "one_success":
            return RUN if taken else WAIT if left else UPSTREAM_FAILED if failed else UPSTREAM_SKIPPED
        case "one_failed":
            return RUN if failed else WAIT if left else UPSTREAM_SKIPPED
        case "one_done":
            return RUN if taken or failed else WAIT if left else UPSTREAM_SKIPPED
        case "none_skipped":
            return UPSTREAM_SKIPPED if not_taken else WAIT if left else RUN
        case _:
            raise BadDefinition(f"unknown trigger rule {rule!r}")
