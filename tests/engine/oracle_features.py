"""The naive evaluator for maps, waits and hands: slow, straightforward, and without a line of the engine's.

A spec is a list of dicts as in oracle.py, with these in addition:
- map: a list of outcome lists, one for each instance (then `outcomes` counts for nothing); allow: None, True, or the
  number of instances that may fail
- follow: id of a mapped task that this one follows element by element (with `map` for what each instance comes to)
- wait: "comes" (the signal comes), "default" (it does not, and there is a default), "never" (there is none), "delay"
- hand: "skip" or "mark": what somebody does with the task before anything of it is decided

`ends` says how every task and instance ends, and the run.
"""

from __future__ import annotations

from typing import Any

from tests.engine import oracle

End = tuple[str, str]


def ends(spec: list[dict[str, Any]]) -> tuple[str, dict[str, End]]:
    """(state of the run, id -> (state, reason of a skip or "")), instances included as `id[place]`."""
    found: dict[str, End] = {}
    left = list(spec)
    while left:
        for task in list(left):
            if all(parent in found for parent in task["parents"]):
                _end(spec, task, found)
                left.remove(task)
    failed = [t for t in spec if found[t["id"]][0] == "FAILED" and not _tolerates(t)]
    return ("FAILED" if failed else "SUCCESS"), found


def _tolerates(task: dict[str, Any]) -> bool:
    return bool(task["allow_failure"]) if task.get("map") is None else task.get("allow") is True


def _edge(parent: dict[str, Any], end: End) -> str:
    return oracle._edge({"allow_failure": _tolerates(parent)}, end)


def _end(spec: list[dict[str, Any]], task: dict[str, Any], found: dict[str, End]) -> None:
    own = task["id"]
    if task.get("hand") == "skip":
        found[own] = ("SKIPPED", "by_hand")
        return
    if task.get("hand") == "mark":
        found[own] = ("SUCCESS", "")
        return
    by_id = {t["id"]: t for t in spec}
    follow = task.get("follow")
    edges = [_edge(by_id[p], found[p]) for p in task["parents"] if p != follow]
    judged = dict(task, join=True, when=task["when"])
    state, reason = oracle._end(judged, [({"allow_failure": False}, _as_end(edge)) for edge in edges])
    if state != "SUCCESS":
        found[own] = (state, reason)
    elif task.get("wait"):
        found[own] = ("FAILED", "") if task["wait"] == "never" else ("SUCCESS", "")
    elif task.get("map") is not None:
        _map(by_id, task, found)
    elif task["join"]:
        found[own] = ("SUCCESS", "")
    else:
        found[own] = _outcome(task["outcomes"], task["max_attempts"])


def _as_end(edge: str) -> End:
    return {"taken": ("SUCCESS", ""), "not taken": ("SKIPPED", "condition"), "failed": ("FAILED", "")}[edge]


def _outcome(outcomes: list[str], max_attempts: int) -> End:
    for outcome in outcomes[:max_attempts]:
        if outcome == "ok":
            return "SUCCESS", ""
        if outcome == "permanent":
            return "FAILED", ""
    return "FAILED", ""


def _map(by_id: dict[str, dict[str, Any]], task: dict[str, Any], found: dict[str, End]) -> None:
    own, instances = task["id"], task["map"]
    follow = task.get("follow")
    if follow is not None:
        parent, end = by_id[follow], found[follow]
        count = sum(1 for name in found if name.startswith(f"{follow}["))
        if not count:
            if end[0] == "SUCCESS" or (end[0] == "FAILED" and _tolerates(parent)):
                found[own] = ("SUCCESS", "")
            elif end[0] == "SKIPPED" and end[1] != "upstream_failed":
                found[own] = ("SKIPPED", "upstream_skipped")
            else:
                found[own] = ("SKIPPED", "upstream_failed")
            return
        instances = [instances[place % len(instances)] for place in range(count)]
    failed = 0
    for place, outcomes in enumerate(instances):
        name = f"{own}[{place}]"
        if follow is not None and (skip := _not_followed(by_id[follow], found[f"{follow}[{place}]"])):
            found[name] = ("SKIPPED", skip)
            continue
        found[name] = _outcome(outcomes, task["max_attempts"])
        failed += found[name][0] == "FAILED"
    allow = task.get("allow")
    allowed = len(instances) if allow is True else int(allow or 0)
    parent_failed = follow is not None and found[follow][0] == "FAILED" and not _tolerates(by_id[follow])
    found[own] = ("FAILED", "") if failed > allowed or parent_failed else ("SUCCESS", "")


def _not_followed(parent: dict[str, Any], end: End) -> str:
    if end[0] == "SUCCESS" or (end[0] == "FAILED" and _tolerates(parent)):
        return ""
    return "upstream_skipped" if end[0] == "SKIPPED" and end[1] != "upstream_failed" else "upstream_failed"
