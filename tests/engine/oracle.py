"""A second, naive evaluator of a whole run: slow, straightforward, and without a line of the engine's.

It reads a plain description of a workflow and what each attempt of each task comes to, and says how everything ends.
It knows nothing of time, order, events or counts: it looks at the ends of all parents and applies the words of
INTERFACES section 5 one after the other.

A spec is a list of dicts in any order: id, parents, rule, when (None, True, False or "error"), outcomes (a word for
each attempt: ok, error, permanent, lost, timeout), max_attempts, allow_failure, join (nothing to do).
"""

from __future__ import annotations

from typing import Any


def ends(spec: list[dict[str, Any]]) -> tuple[str, dict[str, tuple[str, str]]]:
    """(state of the run, task id -> (state, reason of a skip or ""))."""
    found: dict[str, tuple[str, str]] = {}
    left = list(spec)
    while left:
        for task in list(left):
            if all(parent in found for parent in task["parents"]):
                found[task["id"]] = _end(task, [(_by_id(spec, p), found[p]) for p in task["parents"]])
                left.remove(task)
    failed = [t for t in spec if found[t["id"]][0] == "FAILED" and not t["allow_failure"]]
    return ("FAILED" if failed else "SUCCESS"), found


def _by_id(spec: list[dict[str, Any]], task_id: str) -> dict[str, Any]:
    return next(t for t in spec if t["id"] == task_id)


def _edge(parent: dict[str, Any], end: tuple[str, str]) -> str:
    state, reason = end
    if state == "SUCCESS":
        return "taken"
    if state == "SKIPPED":
        return "failed" if reason == "upstream_failed" else "not taken"
    return "taken" if parent["allow_failure"] else "failed"


def _end(task: dict[str, Any], parents: list[tuple[dict[str, Any], tuple[str, str]]]) -> tuple[str, str]:
    edges = [_edge(parent, end) for parent, end in parents]
    rule = task["rule"]
    if edges and not _is_met(rule, edges):
        accepts_failures = rule in ("all_failed", "one_failed", "all_done", "none_skipped", "one_done")
        if "failed" in edges and not accepts_failures:
            return "SKIPPED", "upstream_failed"
        return "SKIPPED", "upstream_skipped"
    if task["when"] is False:
        return "SKIPPED", "condition"
    if task["when"] == "error":
        return "FAILED", ""
    if task["join"]:
        return "SUCCESS", ""
    for outcome in task["outcomes"][: task["max_attempts"]]:
        if outcome == "ok":
            return "SUCCESS", ""
        if outcome == "permanent":
            return "FAILED", ""
    return "FAILED", ""


def _is_met(rule: str, edges: list[str]) -> bool:
    taken, skipped, failed = (edges.count(word) for word in ("taken", "not taken", "failed"))
    match rule:
        case "all_success":
            return taken == len(edges)
        case "all_done" | "always":
            return True
        case "all_failed":
            return failed == len(edges)
        case "one_success":
            return taken > 0
        case "one_failed":
            return failed > 0
        case "one_done":
            return taken + failed > 0
        case "none_failed":
            return failed == 0
        case "none_skipped":
            return skipped == 0
        case "none_failed_min_one_success":
            return failed == 0 and taken > 0
    raise ValueError(rule)
