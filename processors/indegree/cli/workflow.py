"""`indegree workflow`: check, format, deploy and compare definitions.

Why: a definition is data with a version; people write it, read it back, and want to know what changed.

How: files and modules are loaded by targets.py; what is deployed is read from the workflows topic (the client's
catalog). Deploy, activate and rollback are commands that the owner of the name's partition judges.

It must never deploy what it cannot read back.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click

from indegree.events import run_ids
from indegree.events.definition import Definition
from indegree.events.durations import format_duration
from indegree.events.frames import Verdict
from indegree.events.spelling import did_you_mean, listing
from indegree.sdk.client_async import AsyncClient, Deployed
from indegree.sdk.client_errors import InvalidStart
from indegree.v1.event_pb2 import Event

from .eventlog import read_log
from .exits import Exit
from .output import moment, short
from .problems import BadTarget
from .session import IndegreeGroup, Session, session
from .targets import FILES, load_targets, one_target


@click.group(
    cls=IndegreeGroup,
    sections={
        "Files": ["check", "fmt"],
        "Versions": ["deploy", "list", "show", "history", "diff", "activate", "rollback"],
    },
)
def workflow() -> None:
    """Check, format, deploy and compare definitions.

    \b
    TARGET is a file (flow.yaml, flow.json, flow.py) or MODULE[:OBJECT].
    """


@workflow.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
def check(targets: tuple[str, ...]) -> int:
    """Say whether a definition is right, with every problem and its line. Needs no cluster."""
    now = session()
    code = Exit.SUCCESS
    for text in targets:
        try:
            for target in load_targets(text):
                definition = target.definition
                missing = target.unsupported()
                notes = [*target.notes, *target.nulls()]
                if now.out.json_lines:
                    now.out.value(
                        {
                            "target": text,
                            "workflow": definition.id,
                            "ok": not missing,
                            "version": definition.hash,
                            "tasks": len(definition.tasks),
                            "unsupported": missing,
                            "notes": notes,
                        }
                    )
                else:
                    now.out.line(f"{text}: {definition.id} {definition.hash[:12]}, {len(definition.tasks)} tasks, ok")
                for note in notes:
                    now.out.note(f"{text}: {note}")
                if missing:
                    code = Exit.USAGE
                    now.out.error(f"{text}: not supported yet in this release: {', '.join(missing)}")
        except (ValueError, click.UsageError) as problem:
            if isinstance(problem, ValueError) and not type(problem).__module__.startswith("indegree."):
                raise
            code = Exit.USAGE
            words = problem.format_message() if isinstance(problem, click.UsageError) else str(problem)
            if now.out.json_lines:
                now.out.value({"target": text, "ok": False, "problem": words})
            else:
                now.out.error(words if words.startswith(text) else f"{text}: {words}")
    return code


@workflow.command()
@click.argument("target")
@click.option("--write", "-w", is_flag=True, help="Write it back to the file. Comments are not kept.")
def fmt(target: str, write: bool) -> int:
    """Print the normal form of a definition, as YAML."""
    now = session()
    found = one_target(target)
    definition = found.definition
    for note in found.notes:
        now.out.note(f"{target}: {note}")
    text = yaml_of(definition)
    if write:
        path = Path(target)
        if path.suffix not in FILES[:2]:
            raise BadTarget(f"--write: {target} is no YAML file")
        path.write_text(text, "utf-8")
        now.out.note(f"{target}: written")
    elif now.out.json_lines:
        now.out.value(definition.normal())
    else:
        now.out.text(text)
    return Exit.SUCCESS


def yaml_of(definition: Definition) -> str:
    """The normal form as YAML text."""
    from indegree.sdk.file_write import normal_yaml

    return normal_yaml(definition)


@workflow.command()
@click.argument("target")
@click.option("--label", default="", help="A name for this version; it never means other content.")
@click.option("--no-activate", is_flag=True, help="Only make it known: starts by name keep the active version.")
def deploy(target: str, label: str, no_activate: bool) -> int:
    """Publish the definitions in TARGET and make them the active versions."""
    now = session()
    definitions = [found.definition for found in load_targets(target)]
    return now.run(_deploy(now, definitions, label, activate=not no_activate))


async def _deploy(now: Session, definitions: list[Definition], label: str, *, activate: bool) -> int:
    async with now.client() as client:
        for definition in definitions:
            _deployed(now, await client.deploy(definition, label or None, activate))
    return Exit.SUCCESS


def _deployed(now: Session, done: Deployed) -> None:
    if now.out.json_lines:
        now.out.value(
            {
                "workflow": done.workflow,
                "version": done.version,
                "label": done.label,
                "new": done.new,
                "active": done.active,
            }
        )
        return
    words = f"{done.workflow} {done.version[:12]}"
    words += f" ({done.label})" if done.label else ""
    words += " is active" if done.active else " is known, not active"
    now.out.line(words + ("" if done.new else "; it was published before"))


@workflow.command("list")
def list_() -> int:
    """The workflows of the cluster and their active versions."""
    now = session()
    return now.run(_list(now))


async def _list(now: Session) -> int:
    async with now.client() as client:
        catalog = client.catalog
        rows: list[dict[str, Any]] = []
        for name in catalog.names():
            pointer = catalog.active.get(name)
            versions = catalog.versions(name)
            definition = catalog.definition(pointer.version) if pointer else None
            rows.append(
                {
                    "workflow": name,
                    "active": pointer.version if pointer else "",
                    "label": _labels(client, name, pointer.version) if pointer else "",
                    "tasks": len(definition.tasks) if definition else None,
                    "versions": len(versions),
                    "active_since_ms": pointer.time_ms if pointer else 0,
                    "actor": pointer.actor if pointer else "",
                }
            )
    if now.out.json_lines:
        for row in rows:
            now.out.value(row)
    elif not rows:
        now.out.note(f"cluster {now.settings.cluster!r} has no workflows yet: `indegree workflow deploy FILE`")
    else:
        now.out.table(
            ["workflow", "active", "label", "tasks", "versions", "since", "by"],
            [
                [
                    row["workflow"],
                    str(row["active"])[:12] or "none",
                    row["label"],
                    row["tasks"],
                    row["versions"],
                    moment(row["active_since_ms"]),
                    row["actor"],
                ]
                for row in rows
            ],
            whole=("workflow", "active"),
            text=("label", "by"),
        )
    return Exit.SUCCESS


def _labels(client: AsyncClient, name: str, version: str) -> str:
    return ", ".join(
        label
        for (workflow, label), pointer in client.catalog.labels.items()
        if workflow == name and pointer.version == version
    )


def _pick(client: AsyncClient, name: str, version: str = "", label: str = "") -> Definition:
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


@workflow.command()
@click.argument("name")
@click.option("--version", default="", metavar="HASH", help="Default: the active one.")
@click.option("--label", default="", help="The version with this label.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Its whole definition.")
def show(name: str, version: str, label: str, as_yaml: bool) -> int:
    """One deployed version: parameters, tasks and what they wait for."""
    now = session()
    return now.run(_show(now, name, version, label, as_yaml=as_yaml))


async def _show(now: Session, name: str, version: str, label: str, *, as_yaml: bool) -> int:
    async with now.client() as client:
        definition = _pick(client, name, version, label)
        pointer = client.catalog.active.get(name)
        active = pointer is not None and pointer.version == definition.hash
        if now.out.json_lines:
            now.out.value({"version": definition.hash, "active": active, "definition": definition.normal()})
        elif as_yaml:
            now.out.text(yaml_of(definition))
        else:
            now.out.line(f"{name}  {definition.hash}{'  active' if active else ''}", "bold")
            _summary(now, definition)
    return Exit.SUCCESS


def _summary(now: Session, definition: Definition) -> None:
    out = now.out
    for parameter in definition.params.values():
        rest = "required" if parameter.required else f"default {short(parameter.default)}"
        out.line(f"param     {parameter.name}: {parameter.type}, {rest}")
    if definition.timeout_ms:
        out.line(f"timeout   {format_duration(definition.timeout_ms)}")
    rows = []
    for place in definition.graph.order:
        task = definition.tasks[place]
        what = task.python or (short(str(task.command.source)) if task.command is not None else task.kind.value)
        rules = [] if task.trigger_rule.value == "all_success" else [task.trigger_rule.value]
        if task.retry.max_attempts > 1:
            rules.append(f"{task.retry.max_attempts} attempts")
        if task.timeout_ms:
            rules.append(f"timeout {format_duration(task.timeout_ms)}")
        rows.append([task.id, ", ".join(task.depends_on), what, task.queue, ", ".join(rules)])
    out.line()
    out.table(
        ["task", "waits for", "does", "queue", "rules"], rows, whole=("task",), text=("waits for", "does", "rules")
    )


@workflow.command()
@click.argument("name")
def history(name: str) -> int:
    """All versions of a workflow, oldest first."""
    now = session()
    return now.run(_history(now, name))


async def _history(now: Session, name: str) -> int:
    async with now.client() as client:
        _pick(client, name)
        pointer = client.catalog.active.get(name)
        rows: list[dict[str, Any]] = []
        for version in client.catalog.versions(name):
            definition = client.catalog.definition(version)
            rows.append(
                {
                    "version": version,
                    "label": _labels(client, name, version),
                    "active": pointer is not None and pointer.version == version,
                    "published_ms": client.catalog.published_ms[version],
                    "tasks": len(definition.tasks) if definition else None,
                }
            )
    if now.out.json_lines:
        for row in rows:
            now.out.value(row)
    else:
        now.out.table(
            ["version", "label", "active", "published", "tasks"],
            [
                [
                    str(row["version"])[:12],
                    row["label"],
                    "active" if row["active"] else "",
                    moment(row["published_ms"]),
                    row["tasks"],
                ]
                for row in rows
            ],
            whole=("version", "active"),
            text=("label",),
        )
    return Exit.SUCCESS


@workflow.command()
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
                return _pick(client, name, version)
            except InvalidStart:
                return _pick(client, name, "", version)
    return one_target(text).definition


@workflow.command()
@click.argument("name")
@click.argument("version", required=False, default="", metavar="[VERSION]")
@click.option("--label", default="", help="The version with this label.")
def activate(name: str, version: str, label: str) -> int:
    """Make a known version the active one."""
    if bool(version) == bool(label):
        raise click.UsageError("name a version (its hash, or at least 7 digits of it) or a --label")
    now = session()
    return now.run(_activate(now, name, version, label))


async def _activate(now: Session, name: str, version: str, label: str) -> int:
    async with now.client() as client:
        _deployed(now, await client.activate(name, version, label))
    return Exit.SUCCESS


@workflow.command()
@click.argument("name")
def rollback(name: str) -> int:
    """Make the version active that was active before the present one."""
    now = session()
    return now.run(_rollback(now, name))


async def _rollback(now: Session, name: str) -> int:
    async with now.client() as client:
        _pick(client, name)
        pointer = client.catalog.active.get(name)
        present = pointer.version if pointer is not None else ""
        before = ""
        async for version in _activations(now, name, client.partitions):
            if version != present:
                before = version
        if not before:
            raise InvalidStart(
                f"the event log knows no version of {name!r} that was active before {present[:12] or 'now'}: choose "
                f"one with `indegree workflow activate {name} VERSION` (`indegree workflow history {name}`)"
            )
        _deployed(now, await client.activate(name, before))
    return Exit.SUCCESS


async def _activations(now: Session, name: str, partitions: int) -> Any:
    """The versions of a name in the order in which they became active, from its partition's event log."""
    partition = run_ids.partition_of_key("workflow", name, "", partitions)
    async for read in read_log(now.settings, partition):
        if read.verdict is Verdict.IN_FORCE:
            for event in read.frame.events:
                if event.kind == Event.VERSION_ACTIVATED and event.workflow == name:
                    yield event.version
