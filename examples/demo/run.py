"""The demo: real Kafka, real etcd, two engines, two workers; a recorded workflow; the owner is killed in the middle.

`./dev demo` runs it. It shows (a) a takeover that loses nothing, (b) how near an undisturbed run comes to what no
schedule can beat, (c) a computation whose result is checked, and ends with the verdict of the independent checker,
which is also the exit code. `INDEGREE_DEMO_KEEP=1` leaves the stack up and prints its addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from examples.demo import census, recorded, takeover
from examples.demo.processes import ROOT, Processes
from indegree import Client, Workflow
from indegree.cli.live import RunView
from indegree.events import admin
from indegree.events.run_ids import partition_of_run
from indegree.events.settings import LOCAL, Settings
from indegree.stack import Stack, StackError
from tests.checker import check

LEASE_TTL_S = 2
MODULES = ("examples.demo.recorded", "examples.demo.census")


@dataclass(slots=True)
class Watched:
    """A run that was followed to its end. `seconds`: from its start to its end, by the log's clock."""

    run_id: str
    state: str
    seconds: float
    tasks: int
    outputs: dict[str, object]


def say(console: Console, text: str) -> None:
    console.print(text, highlight=False)


@contextlib.contextmanager
def phase(console: Console, text: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    say(console, f"[dim]{time.monotonic() - begin:5.1f} s[/dim]  {text}")


def start_workers(processes: Processes, slots: int) -> None:
    for name in ("worker-1", "worker-2"):
        processes.start(name, "worker", *MODULES, "--slots", str(slots))


def follow(
    console: Console, client: Client, workflow: Workflow, at_third: Kill | None, processes: Processes
) -> Watched:
    """Starts the workflow and shows it until it ends; `at_third` is called once when a third of its tasks are done."""
    definition = workflow.definition()
    run = client.start(workflow)
    run.accepted(timeout=30)
    view = RunView(run.run_id, definition.graph, console=console, title=definition.id)
    begun = ended = 0
    third = definition.graph.n // 3
    live = console.is_terminal
    with view if live else contextlib.nullcontext():
        for event in run.follow():
            view.apply(event)
            begun = begun or event.time_ms
            ended = event.time_ms
            if at_third is not None and view.ended >= third:
                view.note(at_third(partition_of_run(run.run_id)))
                at_third = None
            processes.check()
    if not live:
        console.print(view)
    outputs = {name: task.output for name, task in run.tasks.items()}
    return Watched(run.run_id, run.state, (ended - begun) / 1000, definition.graph.n, outputs)


class Kill:
    """kill -9 of the engine that owns a partition."""

    def __init__(self, settings: Settings, processes: Processes) -> None:
        self.settings, self.processes = settings, processes
        self.victim, self.moment, self.partition = "", 0.0, -1

    def __call__(self, partition: int) -> str:
        self.partition = partition
        self.victim = takeover.owner(self.settings, partition)
        self.moment = self.processes.kill(self.victim)
        return f"kill -9 {self.victim}, which owned partition {partition}"


def ready(settings: Settings, processes: Processes, within_s: float = 40) -> None:
    """Waits until every partition has an owner and both workers have announced themselves."""

    async def all_there() -> bool:
        if await takeover.workers(settings) < 2:
            return False
        return all([await takeover.owners(settings, p) for p in range(settings.topics.partitions)])

    deadline = time.monotonic() + within_s
    while True:
        processes.check()
        if asyncio.run(all_there()):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"no owner for every partition after {within_s} s; logs are in {processes.logs}")
        time.sleep(0.2)


def main() -> int:
    console = Console()
    keep = os.environ.get("INDEGREE_DEMO_KEEP") == "1"
    folder = Path(tempfile.mkdtemp(prefix="indegree-demo-"))
    begin = time.monotonic()
    say(console, "[bold]indegree demo[/bold]: a trigger on a real Kafka runs a DAG of real tasks; its owner is killed")
    stack = Stack(folder / "stack", background=keep)
    code = 1
    try:
        with phase(console, "Kafka and etcd are up"):
            addresses = stack.start()
        settings = Settings.load(
            {
                **LOCAL,
                "cluster": f"demo-{secrets.token_hex(3)}",
                "kafka.bootstrap_servers": addresses.kafka,
                "etcd.endpoints": addresses.etcd,
                "engine.lease_ttl_s": LEASE_TTL_S,
            },
            environ={},
        )
        with Processes(settings, folder / "logs") as processes:
            code = show(console, settings, processes, folder if keep else None)
        say(console, f"[dim]{time.monotonic() - begin:.1f} s in all[/dim]")
        if keep:
            tell_kept(settings, folder)
        return code
    except KeyboardInterrupt:
        say(
            console,
            "\ninterrupted: the engines and workers are stopped" + (", the stack is taken down" if not keep else ""),
        )
        if keep:
            say(console, f"the stack stays up; stop it with: ./dev stack down --folder {folder / 'stack'}")
        return 130
    except StackError as error:
        say(console, f"[red]error:[/red] {error}")
        return 3
    except Exception as error:
        say(console, f"[red]error:[/red] {error}\nlogs of the engines and workers: {folder / 'logs'}")
        raise
    finally:
        if not keep:
            stack.stop()
            shutil.rmtree(folder / "stack", ignore_errors=True)
        if not keep and code in (0, 130):
            shutil.rmtree(folder, ignore_errors=True)


def tell_kept(settings: Settings, folder: Path) -> None:
    """How to look at what the demo left. Plain print: these lines are for copying."""
    print(
        "the stack stays up. To look at what happened, paste\n\n"
        f"  export INDEGREE_KAFKA__BOOTSTRAP_SERVERS={settings.kafka.bootstrap_servers}\n"
        f"  export INDEGREE_ETCD__ENDPOINTS={settings.etcd.endpoints[0]}\n"
        f"  export INDEGREE_CLUSTER={settings.cluster}\n"
        "  export INDEGREE_TOPICS__REPLICATION=1 INDEGREE_TOPICS__MIN_INSYNC_REPLICAS=1 "
        "INDEGREE_TOPICS__ALLOW_WEAKER=true\n"
        "  ./dev run indegree runs\n\n"
        f"The logs of the engines and workers are in {folder / 'logs'}. To stop it and remove all:\n\n"
        f"  ./dev stack down --folder {folder / 'stack'} && rm -r {folder}\n"
    )


def show(console: Console, settings: Settings, processes: Processes, kept: Path | None) -> int:
    with phase(console, "two engines share 8 partitions, two workers of 16 slots wait"):
        asyncio.run(admin.ensure_topics(settings))
        for number in (1, 2):
            processes.start(f"engine-{number}", "engine", INDEGREE_ENGINE__ID=f"engine-{number}")
        start_workers(processes, 16)
        ready(settings, processes)
    with Client.from_settings(settings) as client:
        say(
            console,
            "\n[bold](a)[/bold] Montage (astronomy), recorded run times / 2; the owner is killed after a third",
        )
        kill = Kill(settings, processes)
        montage = follow(console, client, recorded.montage, kill, processes)

        say(console, "\n[bold](b)[/bold] 1000genome, recorded run times / 100, undisturbed; two workers of 64 slots")
        processes.stop("worker-1", "worker-2")
        start_workers(processes, 64)
        ready(settings, processes)
        genome = follow(console, client, recorded.genome, None, processes)

        say(console, "\n[bold](c)[/bold] a census of Python's standard library, one task a package")
        counted = follow(console, client, census.census, None, processes)
    expected = census.expected()
    same = counted.outputs.get("report") == expected
    say(console, f"{counted.outputs.get('report')}: {'the same as' if same else 'NOT the same as'} one plain loop")

    processes.stop()
    found = asyncio.run(takeover.read(settings, kill.partition))
    after = next(((e, o) for e, o, at in found.owners if at > kill.moment * 1000), (0, "nobody"))
    before = next(((e, o) for e, o, at in reversed(found.owners) if at <= kill.moment * 1000), (0, "nobody"))
    say(console, "\n[bold]what was seen[/bold]")
    say(
        console,
        f"  takeover   {before[1]} (epoch {before[0]}), owner of partition {kill.partition}, was killed;\n"
        f"             {found.silence_ms(round(kill.moment * 1000)):,} ms later {after[1]} (epoch {after[0]}) owned it "
        f"(lease {LEASE_TTL_S} s)\n"
        f"             sent again {found.again}, stale results {found.stale}, void frames {found.void}",
    )
    good = same
    for name, run, bound in (
        ("montage", montage, recorded.critical_path_s(recorded.MONTAGE, 2)),
        ("genome", genome, recorded.critical_path_s(recorded.GENOME, 100)),
    ):
        good = good and run.state == "SUCCESS"
        say(
            console,
            f"  {name:10} {run.state}, {run.tasks} tasks: {run.seconds:.2f} s, critical path {bound:.2f} s, "
            f"ratio {run.seconds / bound:.2f}",
        )
    say(console, f"  census     {counted.state}, {counted.tasks} tasks: {counted.seconds:.2f} s")
    verdict = check(settings.kafka.bootstrap_servers, settings.cluster)
    good = good and verdict.ok and counted.state == "SUCCESS"
    counts = verdict.counts
    say(
        console,
        f"  checker    {'ALL GOOD' if verdict.ok else 'FAULTS'}, from Kafka alone: {counts['frames']:,} frames, "
        f"{counts['events']:,} events,\n             {counts['progress records']:,} progress records",
    )
    if not verdict.ok:
        say(console, verdict.report())
    where = "" if kept else "\n             (gone with this stack; INDEGREE_DEMO_KEEP=1 keeps it)"
    say(
        console,
        f"  trace      {found.traces[montage.run_id]} \n"
        f"             (spans go out when the OTEL_* variables say so)\n"
        f"  log        topic {settings.cluster}.events, partition {kill.partition}{where}",
    )
    say(
        console,
        "\n[bold]what to try next[/bold]\n"
        "  ./dev run indegree run examples/hello/hello.yaml\n"
        "      a workflow of your own, all in one\n"
        "  INDEGREE_DEMO_KEEP=1 ./dev demo\n"
        "      keeps the stack: look with indegree runs, show, logs, replay, doctor\n"
        "  README.md\n"
        "      triggers from kcat and Python, workers, what is promised",
    )
    return 0 if good else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
