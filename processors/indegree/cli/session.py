"""What every command has in common: its options, the settings, a client, and how its help is laid out.

Why: `--json`, `--cluster` and the addresses mean the same everywhere, so they are declared once; and a command's help
should show what is special about it first.

How: `Session` is click's context object. `IndegreeCommand` adds the common options to each command and prints them in a
section of their own; `IndegreeGroup` lists its commands in named sections. Settings are loaded at first use, so that
`--help` works anywhere.

It must never open a connection before a command asks for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indegree.events.settings import Settings
from indegree.events.spelling import did_you_mean

from .output import Output

if TYPE_CHECKING:
    from indegree.sdk.client_async import AsyncClient

T = TypeVar("T")


class Session:
    """The choices of one call of `indegree`."""

    def __init__(self) -> None:
        self.flags: dict[str, Any] = {}
        self.debug = False
        self.out = Output()
        self.run_id = ""  # the run that is looked at, for what is said when somebody stops looking
        self._settings: Settings | None = None
        self._said_where = False

    @property
    def settings(self) -> Settings:
        """Loaded once. Raises SettingsError."""
        if self._settings is None:
            self._settings = Settings.load(self.flags)
        return self._settings

    def say_where(self) -> None:
        """Says on stderr, once, where the addresses come from if they were found and not set. Before the settings were
        loaded there is nothing to say."""
        if self._settings is not None and not self._said_where:
            self._said_where = True
            for note in self._settings.notes:
                self.out.note(note)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """An open client. Raises Unreachable after about 10 s."""
        from indegree.events import telemetry
        from indegree.sdk.client_async import AsyncClient

        telemetry.configure("indegree-cli")
        async with AsyncClient(self.settings) as client:
            yield client

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a command's coroutine on a fresh event loop; Ctrl-C cancels it in order."""
        quiet(debug=self.debug)
        return asyncio.run(work)


def quiet(*, debug: bool) -> None:
    """Client libraries report each failed connection attempt; a command reports the outcome, once."""
    if not debug:
        for name in ("aiokafka", "asyncio", "faust", "mode", "aetcd", "kafka"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def session() -> Session:
    """The session of the command that runs."""
    found = click.get_current_context().find_object(Session)
    assert found is not None
    return found


def _flag(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            context.ensure_object(Session).flags[name] = value

    return keep


def _json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).out.json_lines = True


def _debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).debug = True


def _set(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> None:
    for pair in values:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE, such as engine.lease_ttl_s=2", context, parameter)
        context.ensure_object(Session).flags[name.strip()] = value


def common() -> list[click.Parameter]:
    """The options that every command has."""
    hidden: dict[str, Any] = {"expose_value": False, "is_eager": True}
    return [
        click.Option(["--json"], is_flag=True, callback=_json, help="JSON, one object a line.", **hidden),
        click.Option(["--cluster"], metavar="NAME", callback=_flag("cluster"), help="Default: indegree.", **hidden),
        click.Option(
            ["--kafka"], metavar="HOST:PORT", callback=_flag("kafka.bootstrap_servers"), help="Kafka.", **hidden
        ),
        click.Option(["--etcd"], metavar="HOST:PORT", callback=_flag("etcd.endpoints"), help="etcd.", **hidden),
        click.Option(
            ["--set"],
            metavar="NAME=VALUE",
            multiple=True,
            callback=_set,
            help="Any other setting; repeat it.",
            **hidden,
        ),
        click.Option(["--debug"], is_flag=True, callback=_debug, help="Tracebacks and client logs.", **hidden),
    ]


_COMMON_NAMES = ("json", "cluster", "kafka", "etcd", "set", "debug", "help")


class IndegreeCommand(click.Command):
    """A command with the common options, shown after its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                (common if parameter.name in _COMMON_NAMES else own).append(record)
        for title, records in (("Options", own), ("Everywhere", common)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class IndegreeGroup(click.Group):
    """A group that lists its commands in sections, in the order they were given."""

    command_class = IndegreeCommand

    def __init__(self, *args: Any, sections: dict[str, list[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        named = [name for names in self.sections.values() for name in names if name in self.commands]
        return named + [name for name in self.commands if name not in named]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)  # first what can be done, then the few options
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed: set[str] = set()
        for title, names in {**self.sections, "Commands": list(self.commands)}.items():
            rows = [
                (name, self.commands[name].get_short_help_str(80))
                for name in names
                if name in self.commands and name not in listed and not self.commands[name].hidden
            ]
            listed.update(name for name, _ in rows)
            if rows:
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(max(map(len, self.commands))), text) for name, text in rows])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = did_you_mean(args[0], self.commands)
            raise click.UsageError(
                f"no such command {args[0]!r}{near or f'; `{ctx.command_path} --help` lists all'}", ctx
            )
        return super().resolve_command(ctx, args)


IndegreeGroup.group_class = IndegreeGroup
