"""Versions of workflows: finding one by its name, `workflow history` and `workflow diff`.

Why: before a version is activated, somebody wants to know what would change; and after something broke, what was
changed, by whom and when.

How: definitions, labels and the history lie on the workflows topic, which the client's catalog has read. A comparison
is of the normal forms, as YAML, so that only what matters differs.

It must never compare what cannot run.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from indegree.events import run_ids
from indegree.events.definition import Definition
from indegree.events.spelling import did_you_mean, listing
from indegree.sdk.client_async import AsyncClient
from indegree.sdk.client_catalog import Done
from indegree.sdk.client_errors import InvalidStart

from .exits import Exit
from .output import moment
from .session import IndegreeCommand, Session, session
from .targets import FILES, one_target


def labels_of(client: AsyncClient, name: str, version: str) -> str:
    return ", ".join(
        label
        for (workflow, label), pointer in client.catalog.labels.items()
        if workflow == name and pointer.version == version
    )


def pick(client: AsyncClient, name: str, version: str = "", label: str = "") -> Definition:
    """A deployed definition. Raises InvalidStart with the way out."""
    catalog = client.catalog
    if name not in catalog.names():
        known = f"; this cluster has {listing(catalog.names())}" if catalog.names() else "; this cluster has none yet"
        raise InvalidStart(f"unknown workflow {name!r}{known}{did_you_mean(name, catalog.names())}")
    wanted = catalog.resolve(name, version, label)
    if not wanted and not version and not label and catalog.versions(name):
        wanted = catalog.versions(name)[-1]  # none is active: the one published last
    definition = catalog.definition(wanted) if wanted else None
    if definition is None:
        raise InvalidStart(f"workflow {name!r} has no version {version or label!r}: `indegree workflow history {name}`")
    return definition


def yaml_of(definition: Definition) -> str:
    """The normal form as YAML text."""
    from indegree.sdk.file_write import normal_yaml

    return normal_yaml(definition)


@click.command(cls=IndegreeCommand)
@click.argument("name")
def history(name: str) -> int:
    """What was done to a workflow: deployed, activated, rolled back; which version, by whom, when. Oldest first."""
    now = session()
    return now.run(_history(now, name))


async def _history(now: Session, name: str) -> int:
    async with now.client() as client:
        pick(client, name)
        pointer = client.catalog.active.get(name)
        active = pointer.version if pointer is not None else ""
        done = _whole_history(client, name)
    if now.out.json_lines:
        for line in done:
            now.out.value(
                {
                    "what": line.what,
                    "version": line.version,
                    "label": line.label,
                    "actor": line.actor,
                    "time_ms": line.time_ms,
                    "active": line.version == active,
                }
            )
    else:
        now.out.table(
            ["when", "what", "version", "label", "by", "active"],
            [
                [
                    moment(line.time_ms),
                    line.what.replace("_", " "),
                    line.version[:12],
                    line.label,
                    line.actor,
                    "active" if line.version == active else "",
                ]
                for line in done
            ],
            whole=("when", "what", "version"),
            text=("label", "by"),
        )
    return Exit.SUCCESS


def _whole_history(client: AsyncClient, name: str) -> list[Done]:
    """The history, and before it those versions of which it says nothing: published only, or by an older release."""
    catalog = client.catalog
    told = catalog.history(name)
    known = {line.version for line in told}
    silent = [version for version in catalog.versions(name) if version not in known]
    older = [
        Done("published", version, labels_of(client, name, version), "", catalog.published_ms[version])
        for version in silent
    ]
    return sorted([*older, *told], key=lambda line: line.time_ms)


@click.command(cls=IndegreeCommand)
@click.argument("one")
@click.argument("other")
def diff(one: str, other: str) -> int:
    """Compare two definitions. Each is a TARGET, NAME (its active version) or NAME@VERSION (hash or label)."""
    now = session()
    return now.run(_diff(now, one, other))


async def _diff(now: Session, one: str, other: str) -> int:
    first, second = await _side(now, one), await _side(now, other)
    first, second = (Definition.from_canonical(side.canonical()) for side in (first, second))  # parameters in one order
    lines = list(
        difflib.unified_diff(yaml_of(first).splitlines(), yaml_of(second).splitlines(), one, other, lineterm="", n=3)
    )
    if now.out.json_lines:
        now.out.value({"one": first.hash, "other": second.hash, "same": first.hash == second.hash, "diff": lines})
    elif not lines:
        now.out.note("no difference")
    else:
        for line in lines:
            now.out.line(line, {"+": "green", "-": "red", "@": "cyan"}.get(line[0]))
    return Exit.SUCCESS


def _is_deployed_name(text: str) -> bool:
    return run_ids.is_id(text) and not Path(text).exists() and not text.endswith((*FILES, ".py"))


async def _side(now: Session, text: str) -> Definition:
    name, at, version = text.partition("@")
    if at or _is_deployed_name(text):
        async with now.client() as client:
            if not at and name not in client.catalog.names():
                return one_target(text).definition
            try:
                return pick(client, name, version)
            except InvalidStart:
                return pick(client, name, "", version)
    return one_target(text).definition
