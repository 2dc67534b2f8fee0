"""The command `indegree`: the list of commands, and what happens when one fails.

Why: one door for people. Reading `indegree --help` should tell what can be done and what to type first.

How: each module of this package adds its commands to `cli`; this one imports them, groups them for the help, and turns
errors into one clear message and an exit code (see exits.py). Modules of commands are imported when one of them is
asked for, so that `indegree --help` is there at once.

It must never show a traceback unless `--debug` asks for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import click

from .output import ReaderGone
from .problems import BadTarget
from .session import IndegreeGroup, Session

SECTIONS = {
    "Try it on this machine": ["run", "stack"],
    "Serve": ["engine", "worker"],
    "Runs": ["trigger", "follow", "show", "runs", "logs", "replay"],
    "Steer": ["cancel", "pause", "resume", "rerun", "signal", "skip", "mark", "backfill"],
    "Definitions": ["workflow"],
    "Look after it": ["doctor", "topics", "triggers", "dead-letters", "pools", "partitions"],
}

# Where each command lives, and its line in the help: nothing of it is imported before it is used.
COMMANDS = {
    "run": ("run", "Run a workflow file, all in one: stack, engine, worker."),
    "stack": ("stack", "A real Kafka and etcd here, without Docker or Java."),
    "engine": ("serve", "Run an engine: it owns partitions and fires tasks."),
    "worker": ("serve", "Run a worker: it executes tasks of given modules."),
    "trigger": ("runs", "Start a run of a deployed workflow."),
    "follow": ("runs", "Watch a run, live, until it ends; or all runs."),
    "show": ("runs", "One run: its state, tasks, outputs and errors."),
    "runs": ("runs", "The latest runs."),
    "logs": ("logs", "What the tasks of a run printed."),
    "cancel": ("runs", "End a run: nothing more starts, what runs is stopped."),
    "pause": ("steering", "Pause a run, a workflow or a queue."),
    "resume": ("steering", "End a pause."),
    "rerun": ("steering", "Run tasks of a run again, with all that depend on them."),
    "signal": ("steering", "Tell a run what it waits for; approve it."),
    "skip": ("steering", "End an open task as SKIPPED."),
    "mark": ("steering", "Mark a task as SUCCESS: its work was done by hand."),
    "backfill": ("backfill", "Run a cron workflow for times that have passed."),
    "replay": ("replay", "Rebuild a run or a partition from the event log."),
    "workflow": ("workflow", "Check, format, deploy and compare definitions."),
    "doctor": ("doctor", "Check everything and say what to do."),
    "topics": ("topics", "The topics of the cluster; make those missing."),
    "pools": ("pools", "Limits on tasks that workflows share."),
    "partitions": ("partitions", "Who owns which partition; end a quarantine."),
    "triggers": ("triggers", "Where topics' intakes stand; audit what records started."),
    "dead-letters": ("topics", "Records that were refused for good, and why."),
}


class _Lazy(IndegreeGroup):
    """Finds a command in its module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in self.sections.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"indegree.cli.{module}"), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))  # one column over all sections
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), COMMANDS[name][1]) for name in names])


def _version() -> str:
    try:
        return version("indegree")
    except PackageNotFoundError:
        return "from source"


@click.group(
    cls=_Lazy,
    sections=SECTIONS,
    commands=dict.fromkeys(COMMANDS, click.Command("later")),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nEvery command: --help, --json, --cluster, --kafka, --etcd, --set NAME=VALUE, --debug.\n"
    "Settings: flags, then INDEGREE_SECTION__KEY, then indegree.toml or [tool.indegree].\n"
    "Exit codes: 0 done, 1 the run failed, 2 usage or bad file, 3 cannot reach, 4 cancelled, 5 timed out.",
)
@click.version_option(_version(), "--version", message="indegree %(version)s")
def cli() -> None:
    """Runs DAGs of tasks. A trigger on Kafka starts a run, each transition is an event, the log replays.

    \b
    The first minute, all in one:
      indegree run examples/hello/hello.yaml -p name=Ada
    \b
    Then the parts, each in a terminal:
      indegree stack up && indegree engine
      indegree worker orders.flow --deploy
      indegree trigger orders -p region=eu --follow
    """


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command and ends the process with its exit code."""
    sys.exit(call(args))


def call(args: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code and raises nothing."""
    session = Session()
    try:
        value = cli.main(args=args, prog_name="indegree", standalone_mode=False, obj=session)
        sys.stdout.flush()
        return value if isinstance(value, int) else 0
    except (ReaderGone, BrokenPipeError):
        # Nothing may be written any more, not even by Python's own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.format_message())
        return 2
    except click.ClickException as problem:
        session.out.error(_usage(problem))
        return problem.exit_code
    except (click.Abort, KeyboardInterrupt):
        from .exits import Exit

        return Exit.INTERRUPTED
    except Exception as problem:
        if session.debug:
            raise
        return _failed(session, problem)


def _usage(problem: click.ClickException) -> str:
    text = problem.format_message()
    context = getattr(problem, "ctx", None)
    if context is not None and "--help" not in text and not isinstance(problem, BadTarget):
        text += f" (`{context.command_path} --help`)"
    return text


def _failed(session: Session, problem: Exception) -> int:
    from .exits import Exit, code_of

    if isinstance(problem, BaseExceptionGroup) and len(problem.exceptions) == 1:
        inner = problem.exceptions[0]
        if isinstance(inner, Exception):
            return _failed(session, inner)
    code = code_of(problem)
    if code is not None:
        session.out.error(str(problem))
        if code == Exit.CANNOT_REACH:
            session.say_where()
        return code
    if isinstance(problem, OSError):
        session.out.error(str(problem))
        return Exit.USAGE
    session.out.error(
        f"a fault of indegree: {type(problem).__name__}: {problem}. `--debug` shows where; please report it."
    )
    return Exit.OWN_FAULT
