"""`indegree workflow`: check, format, deploy and compare definitions.

Why: a definition is data with a version; people write it, read it back, and want to know what changed.

How: files and modules are loaded by targets.py; what is deployed is read from the workflows topic (the client's
catalog). Deploy, activate and rollback are commands that the owner of the name's partition judges. `history` and `diff`
stand in versions.py.

It must never deploy what it cannot read back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from indegree.events.definition import Definition
from indegree.events.durations import format_duration
from indegree.sdk.client_async import Deployed

from .exits import Exit
from .output import moment, short
from .problems import BadTarget
from .session import IndegreeGroup, Session, session
from .targets import FILES, load_targets, one_target
from .versions import diff, history, labels_of, pick, yaml_of


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
                notes = [*target.notes, *target.nulls()]
                if now.out.json_lines:
                    now.out.value(
                        {
                            "target": text,
                            "workflow": definition.id,
                            "ok": True,
                            "version": definition.hash,
                            "tasks": len(definition.tasks),
                            "notes": notes,
                        }
                    )
                else:
                    now.out.line(f"{text}: {definition.id} {definition.hash[:12]}, {len(definition.tasks)} tasks, ok")
                for note in notes:
                    now.out.note(f"{text}: {note}")
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
                    "label": labels_of(client, name, pointer.version) if pointer else "",
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
        definition = pick(client, name, version, label)
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
    """Make the version active that was active before the present one. Once more: back again."""
    now = session()
    return now.run(_rollback(now, name))


async def _rollback(now: Session, name: str) -> int:
    async with now.client() as client:
        pick(client, name)
        _deployed(now, await client.rollback(name))
    return Exit.SUCCESS


workflow.add_command(history)
workflow.add_command(diff)
