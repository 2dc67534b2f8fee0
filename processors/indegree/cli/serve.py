"""`indegree engine` and `indegree worker`: the two long-lived processes.

Why: a person in a terminal or a supervisor starts them; both want one clear line when it is ready, and a log.

How: options become settings and arguments of `stream.app.run_engine` and `worker.run_worker`, which block until the
process is told to stop.

It must never decide what a worker may run: only what it was given on the command line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .output import Output
from .process_log import set_up
from .session import IndegreeCommand, session

_LEVELS = ("debug", "info", "warning", "error")
_log_level = click.option(
    "--log-level",
    type=click.Choice(_LEVELS),
    default="info",
    show_default=True,
    metavar="LEVEL",
    help="Of the log on stderr.",
)


@click.command(cls=IndegreeCommand)
@click.option("--id", "name", metavar="NAME", help="Unique among engines. Default: host and process id.")
@click.option("--port", type=int, help="Of its page (/metrics, /healthz, /readyz, /state). Default: a free one.")
@click.option(
    "--ttl", type=float, metavar="SECONDS", help="Lease: how long a dead engine's partitions wait. Default: 5."
)
@click.option("--queue", "queues", multiple=True, default=("default",), help="Task queues to make; repeat it.")
@_log_level
def engine(name: str | None, port: int | None, ttl: float | None, queues: tuple[str, ...], log_level: str) -> int:
    """Run an engine: it owns partitions of the event log and fires tasks when their in-degree is zero.

    Start as many as you like; they share the partitions, and take over from one another.
    Makes the cluster's topics where they are missing. SIGTERM hands over before it stops.
    """
    from indegree.stream.app import run_engine

    now = session()
    now.flags.update({key: value for key, value in _engine_flags(name, port, ttl).items() if value is not None})
    settings = now.settings
    now.say_where()
    set_up(log_level)
    return run_engine(settings, queues=queues, ready=lambda address: _ready(now.out, settings.cluster, address))


def _engine_flags(name: str | None, port: int | None, ttl: float | None) -> dict[str, object]:
    return {"engine.id": name, "engine.port": port, "engine.lease_ttl_s": ttl}


def _ready(out: Output, cluster: str, address: str) -> None:
    if out.json_lines:
        out.value({"ready": True, "cluster": cluster, "address": address})
    else:
        out.line(f"engine of cluster {cluster!r} is ready: http://{address}/state")


@click.command(cls=IndegreeCommand)
@click.argument("modules", nargs=-1, metavar="[MODULE[:OBJECT]]...")
@click.option("--queue", "-q", "queues", multiple=True, default=("default",), help="Serve this queue; repeat it.")
@click.option("--slots", type=int, help="Tasks at the same time. Default: 16.")
@click.option("--commands", is_flag=True, help="Run shell commands too.")
@click.option("--allow-import", multiple=True, metavar="PATTERN", help="Also functions of these modules: 'orders.*'.")
@click.option("--deploy", is_flag=True, help="Deploy the workflows in the modules first.")
@click.option("--reload", is_flag=True, help="Start anew when a source file changes.")
@_log_level
def worker(
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    slots: int | None,
    commands: bool,
    allow_import: tuple[str, ...],
    deploy: bool,
    reload: bool,
    log_level: str,
) -> int:
    """Run a worker. It executes only functions of the modules it is given, and commands only with --commands.

    \b
      indegree worker orders.flow --slots 8            functions of one module
      indegree worker --commands -q shell              shell commands of the queue "shell"
    """
    from indegree.worker import run_worker

    now = session()
    if not modules and not commands and not allow_import:
        raise click.UsageError("give it modules (`indegree worker orders.flow`), --allow-import, or --commands")
    settings = now.settings
    now.say_where()
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # modules are found as `python -m` finds them
    set_up(log_level)
    code: int = run_worker(
        settings,
        modules=list(modules),
        queues=list(queues),
        slots=slots,
        commands=commands,
        allow_import=list(allow_import),
        deploy=deploy,
        reload=reload,
    )
    return code
