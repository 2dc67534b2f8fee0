"""`indegree stack`: the local Kafka and etcd as commands.

Why: the first thing that a newcomer needs, and what tests and the demo stand on.

How: everything is done by `indegree.stack.commands`; this adds options, `--json` and exit codes.

It must never touch a stack of another folder than the one it was given.
"""

from __future__ import annotations

from pathlib import Path

import click

from indegree.stack import Stack, commands, read_addresses

from .exits import Exit
from .session import IndegreeGroup, session
from .users import users


@click.group(cls=IndegreeGroup)
def stack() -> None:
    """A real Kafka and a real etcd on this machine, without Docker or Java.

    \b
      indegree stack up                  data stays in .indegree; other commands find it there
      eval "$(indegree stack env)"       the addresses, for other programs
    """


_folder = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=commands.FOLDER,
    show_default=True,
    help="Its data.",
)


def _end(code: int) -> int:
    """The commands' own codes: 1 is "not up", which here is "cannot reach"."""
    return {0: Exit.SUCCESS, 1: Exit.CANNOT_REACH}.get(code, Exit.CANNOT_REACH)


@stack.command()
@_folder
@click.option("--ephemeral", is_flag=True, help="Stay in the foreground; at Ctrl-C it goes, with its data.")
@click.option("--kafka-port", type=int, help="Default: a free one.")
@click.option("--etcd-port", type=int, help="Default: a free one.")
def up(folder: Path, ephemeral: bool, kafka_port: int | None, etcd_port: int | None) -> int:
    """Bring it up; what runs already is left alone."""
    if ephemeral:
        given = None if folder == commands.FOLDER else folder
        return _end(commands.up_ephemeral(given, kafka_port=kafka_port, etcd_port=etcd_port))
    if session().out.json_lines:
        Stack(folder, background=True, kafka_port=kafka_port, etcd_port=etcd_port).start()
        return _status_json(folder)
    return _end(commands.up(folder, kafka_port=kafka_port, etcd_port=etcd_port))


@stack.command()
@_folder
def status(folder: Path) -> int:
    """What runs, and where."""
    return _status_json(folder) if session().out.json_lines else _end(commands.status(folder))


@stack.command()
@_folder
def env(folder: Path) -> int:
    """Shell lines that point programs at it."""
    return _status_json(folder) if session().out.json_lines else _end(commands.env(folder))


@stack.command()
@_folder
@click.option("--purge", is_flag=True, help="Delete its data too, without asking.")
def down(folder: Path, purge: bool) -> int:
    """Stop it; the data stays, unless --purge."""
    now = session()
    if (addresses := read_addresses(folder.absolute())) is not None:
        for text in now.run(users(addresses.kafka, addresses.etcd)):
            now.out.note(
                f"still in use by {text}: it will wait for a stack at the same addresses, or has to be stopped"
            )
    code = _end(commands.down(folder, purge=purge))
    return _status_json(folder) and code if now.out.json_lines else code


def _status_json(folder: Path) -> int:
    found = Stack(folder).status()
    addresses = found.addresses
    session().out.value(
        {
            "running": found.running,
            "folder": str(found.folder),
            "kafka": addresses.kafka if addresses else None,
            "etcd": addresses.etcd if addresses else None,
            "kafka_pid": found.kafka_pid,
            "etcd_pid": found.etcd_pid,
        }
    )
    return Exit.SUCCESS if found.running else Exit.CANNOT_REACH
