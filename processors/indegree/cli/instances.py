"""Mapped tasks on a screen: their instances below them where they are few, one line with counts where they are many.

Why: `load` over 100,000 elements is one thing to a person, until a few of them fail.

How: `Instances` keeps the counts of one mapped task as events come in, so that drawing costs the same for ten and for
100,000; `shown` gives the rows of a list of tasks.

It must never hide a failure: what has failed is in the counts, and told below with its error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from indegree.events.definition import Definition
from indegree.sdk.client_events import TASK_ENDED, TaskView

MOST_SHOWN: Final = 10
"""Instances of a mapped task that have lines of their own."""
_INSTANCE = re.compile(r"(.+)\[\d+\]\Z", re.DOTALL)


def mapped_of(task_id: str) -> str:
    """The mapped task that this is an instance of: `load` of `load[3]`; empty for any other."""
    if not task_id.endswith("]"):
        return ""
    found = _INSTANCE.match(task_id)
    return found[1] if found is not None else ""


def queue_of(definition: Definition, task_id: str) -> str:
    """The queue of a task, of an instance of a mapped one, or of a hook."""
    name = mapped_of(task_id) or task_id
    if name in definition.graph.index:
        return definition.task(name).queue
    hooks = (hook for hooks in definition.hooks.values() for hook in hooks if hook.id == name)
    return next((hook.queue for hook in hooks), "default")


class Instances:
    """Those of one mapped task. `total`: how many there are; `heard`: ids of the first ones of which something was
    heard; counts: of those heard, by state."""

    __slots__ = ("counts", "heard", "known", "total")

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.known = 0
        self.heard: list[str] = []
        self.counts: dict[str, int] = {}

    def count(self, task_id: str, before: str, state: str) -> None:
        """An instance went from one state to another. `before` empty: it was not heard of before."""
        if before:
            self.counts[before] -= 1
        else:
            self.known += 1
            self.total = max(self.total, self.known)
            if len(self.heard) <= MOST_SHOWN:
                self.heard.append(task_id)
        self.counts[state] = self.counts.get(state, 0) + 1

    @property
    def folded(self) -> bool:
        """Whether they are shown as counts only."""
        return self.total > MOST_SHOWN

    def words(self) -> str:
        """`[73/100 done, 2 failed]`"""
        ended = sum(self.counts.get(state, 0) for state in TASK_ENDED)
        parts = [f"{ended}/{self.total} done"]
        for state in ("FAILED", "SKIPPED", "CANCELLED", "RETRYING", "WAITING", "RUNNING"):
            if count := self.counts.get(state, 0):
                parts.append(f"{count} {state.lower()}")
        return f"[{', '.join(parts)}]"


def shown(order: Iterable[str], maps: Mapping[str, Instances]) -> list[str]:
    """The ids that get a line: those of `order` that are no instances, each followed by its few instances."""
    ids: list[str] = []
    for task_id in order:
        if mapped_of(task_id) in maps:
            continue
        ids.append(task_id)
        found = maps.get(task_id)
        if found is not None and not found.folded:
            ids += sorted(found.heard, key=lambda instance: int(instance[len(task_id) + 1 : -1]))
    return ids


def count_all(tasks: Mapping[str, TaskView]) -> dict[str, Instances]:
    """The mapped tasks among these, by id."""
    maps = {task.id: Instances(task.instances) for task in tasks.values() if task.instances}
    for task in tasks.values():
        base = mapped_of(task.id)
        if base in tasks:
            maps.setdefault(base, Instances()).count(task.id, "", task.state)
    return maps
