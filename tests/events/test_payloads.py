"""Values by reference, on a partition played by hand: whose parts are whose, and what cannot be had."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from indegree.events import payload_reading
from indegree.events.payload_reading import PayloadLost, place_of, scan
from indegree.events.payloads import PART_BYTES, Payloads, PayloadTooLarge, records_of
from indegree.events.settings import LOCAL, Settings
from indegree.v1.value_pb2 import Reference, ValueList

TP = TopicPartition("c.payloads", 0)


class Partition:
    """One partition's records, and the part of a consumer that reads them. `begin`: what is below it was deleted."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.begin = 0
        self.seeks: list[int] = []
        self.reads = 0
        self._at = 0

    def put(self, record: Any) -> int:
        key, value, headers = record
        offset = len(self.records)
        self.records.append(SimpleNamespace(offset=offset, key=key, value=value, headers=tuple(headers)))
        return offset

    def write(self, data: bytes, name: bytes = b"w", part_bytes: int = PART_BYTES) -> Reference:
        """All parts of a value, one behind the other."""
        parts = records(data, name, part_bytes)
        offsets = [self.put(part) for part in parts]
        return reference(data, offsets[0], len(parts))

    # -- the consumer

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.seeks.append(offset)
        self._at = offset

    async def getmany(self, tp: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        self.reads += 1
        await asyncio.sleep(0)
        if self._at < self.begin:
            raise OffsetOutOfRangeError({tp: self._at})
        found = self.records[self._at : self._at + 3]
        self._at += len(found)
        return {tp: found} if found else {}

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, len(self.records))

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.begin)

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    def resume(self, tp: TopicPartition) -> None: ...

    def pause(self, tp: TopicPartition) -> None: ...


def records(data: bytes, name: bytes, part_bytes: int) -> list[Any]:
    parts = [data[at : at + part_bytes] for at in range(0, max(1, len(data)), part_bytes)]
    digest = hashlib.sha256(data).digest()
    return [(digest, part, [("value", name), ("part", b"%d" % n)]) for n, part in enumerate(parts)]


def reference(data: bytes, offset: int, parts: int) -> Reference:
    return Reference(offset=offset, parts=parts, size=len(data), sha256=hashlib.sha256(data).digest())


async def read(partition: Partition, *wanted: Reference) -> list[bytes]:
    client: Any = partition
    found = await scan(client, TP, wanted)
    return [found[place_of(one)] for one in wanted]


async def lost(partition: Partition, wanted: Reference) -> str:
    with pytest.raises(PayloadLost) as raised:
        await read(partition, wanted)
    return str(raised.value)


# -- whose parts are whose


def test_a_value_is_cut_into_parts_of_512_kib_that_name_their_writing_and_place() -> None:
    data = b"x" * (2 * PART_BYTES + 1)
    parts = records_of(data, b"digest", b"name")
    assert [len(value or b"") for _, value, _ in parts] == [PART_BYTES, PART_BYTES, 1]
    assert [dict(headers) for _, _, headers in parts] == [{"value": b"name", "part": b"%d" % n} for n in range(3)]
    assert {key for key, _, _ in parts} == {b"digest"}


@pytest.mark.parametrize("seed", range(20))
async def test_parts_of_many_writers_in_any_mixture_are_told_apart(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    partition = Partition()
    contents = [chance.randbytes(chance.randrange(1, 40)) for _ in range(6)]
    writings = [(chance.choice(contents), b"w%d" % n) for n in range(30)]
    ways = [records(data, name, 7) for data, name in writings]
    places = [0] * len(ways)
    firsts = [-1] * len(ways)
    while left := [n for n, way in enumerate(ways) if places[n] < len(way)]:
        # given up to five writers that are under way at a time
        n = chance.choice(left[:5])
        offset = partition.put(ways[n][places[n]])
        if places[n] == 0:
            firsts[n] = offset
        elif chance.random() < 0.1:
            partition.put(ways[n][places[n]])  # its producer sent it twice
        places[n] += 1
    chosen = chance.sample(range(len(ways)), 12)
    wanted = [reference(writings[n][0], firsts[n], len(ways[n])) for n in chosen]
    assert await read(partition, *wanted) == [writings[n][0] for n in chosen]
    for one, n in zip(wanted, chosen, strict=True):
        assert await read(partition, one) == [writings[n][0]]


async def test_values_that_lie_close_together_are_read_in_one_pass_and_a_wide_gap_is_sought_over() -> None:
    partition = Partition()
    near = [partition.write(b"%d" % n, b"n%d" % n) for n in range(10)]
    for n in range(500):
        partition.write(b"other", b"o%d" % n)
    far = partition.write(b"far")
    assert await read(partition, far, *near) == [b"far", *(b"%d" % n for n in range(10))]
    assert partition.seeks == [0, far.offset]


async def test_a_value_of_one_part_without_headers_is_read_as_another_language_may_write_it() -> None:
    partition = Partition()
    data = b'"plain"'
    partition.put((hashlib.sha256(data).digest(), data, []))
    assert await read(partition, reference(data, 0, 1)) == [data]


# -- what cannot be had


async def test_a_value_that_retention_deleted_is_lost_and_says_so() -> None:
    partition = Partition()
    wanted = partition.write(b"old")
    partition.write(b"new")
    partition.begin = 1
    assert "was deleted: c.payloads begins at 1 (setting engine.history_days" in await lost(partition, wanted)


async def test_a_value_that_is_not_what_its_reference_says_is_damaged() -> None:
    partition = Partition()
    short = partition.write(b"0123456789", b"a")
    short.size = 9
    assert "is damaged: it has more than its 1 parts" in await lost(partition, short)
    long = partition.write(b"0123456789", b"b")
    long.size = 11
    assert "is damaged: it has 10 bytes" in await lost(partition, long)
    bad = partition.write(b"0123456789", b"c")
    partition.records[bad.offset].value = b"012345678X"
    assert "is damaged: its SHA-256 is" in await lost(partition, bad)


async def test_an_offset_where_another_value_lies_is_not_taken_for_it() -> None:
    partition = Partition()
    wanted = partition.write(b"mine", b"a")
    partition.write(b"yours", b"b")
    wanted.offset = 1
    assert "is not there: the topic was made anew" in await lost(partition, wanted)


async def test_a_value_whose_parts_do_not_come_is_given_up_at_the_end_of_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payload_reading, "_AT_THE_END_S", 0.5)
    partition = Partition()
    wanted = partition.write(b"0123456789", part_bytes=5)
    partition.records.pop()
    assert "is not whole: c.payloads ends at 1" in await lost(partition, wanted)


async def test_silence_of_kafka_is_no_loss() -> None:
    partition = Partition()
    wanted = partition.write(b"0123456789", part_bytes=5)
    withheld = partition.records.pop()

    async def ends(tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 2)

    partition.end_offsets = ends  # type: ignore[method-assign]
    client: Any = partition
    with pytest.raises(TimeoutError, match=r"Kafka has given nothing of c\.payloads for 2 s"):
        await scan(client, TP, [wanted], within_s=2)
    partition.records.append(withheld)
    assert await read(partition, wanted) == [b"0123456789"]


# -- lists, bounds, what is kept


class OnPartition(Payloads):
    """Payloads that read a partition played by hand."""

    def __init__(self, partition: Partition, **settings: Any) -> None:
        cache_bytes = settings.pop("cache_bytes", 0)
        super().__init__(Settings.load({**LOCAL, "cluster": "c", **settings}, environ={}), cache_bytes=cache_bytes)
        self.partition = partition

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncIterator[Any]:
        yield self.partition


def write_list(partition: Partition, *elements: bytes | Reference) -> Reference:
    values = ValueList()
    whole = len(elements) + 1
    for element in elements:
        if isinstance(element, Reference):
            values.values.add(reference=element)
            whole += element.whole or element.size
        else:
            values.values.add(json=element)
            whole += len(element)
    found = partition.write(values.SerializeToString(), b"list%d" % len(partition.records))
    found.list, found.whole = True, whole
    return found


async def test_a_list_is_joined_from_elements_inline_by_reference_and_lists() -> None:
    partition = Partition()
    inner = write_list(partition, partition.write(b'"deep"', b"d"), b"2")
    text = await OnPartition(partition).fetch(
        write_list(partition, b"1", partition.write(b'{"a":[]}', b"a"), b"null", inner)
    )
    assert json.loads(text) == [1, {"a": []}, None, ["deep", 2]]


async def test_a_list_whose_elements_are_not_as_long_as_said_is_lost() -> None:
    partition = Partition()
    wanted = write_list(partition, b"1", b"2")
    wanted.whole += 1
    with pytest.raises(PayloadLost, match="stands for a list of 6 bytes, and its elements make 5"):
        await OnPartition(partition).fetch(wanted)
    no_list = partition.write(b"\xff\xff", b"n")
    no_list.list, no_list.whole = True, 5
    with pytest.raises(PayloadLost, match="is said to be a list, and is none"):
        await OnPartition(partition).fetch(no_list)


async def test_a_value_over_the_limit_is_not_read_and_the_error_names_number_and_setting() -> None:
    partition = Partition()
    payloads = OnPartition(partition, **{"limits.payload_bytes": 100})
    with pytest.raises(PayloadTooLarge, match=r"101 bytes > limit 100 \(setting limits\.payload_bytes\)"):
        await payloads.fetch(partition.write(b"x" * 101))
    with pytest.raises(PayloadTooLarge, match="102 bytes > limit 100"):
        await payloads.fetch(write_list(partition, partition.write(b"x" * 100, b"a")))
    assert partition.reads == 0


async def test_elements_that_are_longer_than_their_list_says_are_not_read() -> None:
    partition = Partition()
    payloads = OnPartition(partition, **{"limits.payload_bytes": 60})
    values = ValueList()
    values.values.add(reference=Reference(offset=0, parts=1, size=1_000, sha256=b"s"))
    liar = partition.write(values.SerializeToString(), b"liar")
    liar.list, liar.whole = True, 5
    with pytest.raises(PayloadTooLarge, match="with its elements: 1000 bytes > limit 60"):
        await payloads.fetch(liar)


async def test_values_read_last_are_kept_within_the_bound_and_one_that_many_want_is_read_once() -> None:
    partition = Partition()
    payloads = OnPartition(partition, cache_bytes=20)
    one, two, three = (partition.write(bytes([n]) * 9, b"%d" % n) for n in range(3))
    large = partition.write(b"x" * 21, b"large")
    assert await asyncio.gather(*(payloads.fetch(one) for _ in range(50))) == [b"\0" * 9] * 50
    assert partition.reads == 1
    for wanted, reads in ((one, 1), (two, 2), (one, 2), (three, 3), (one, 3), (two, 4), (large, 5), (large, 6)):
        await payloads.fetch(wanted)
        assert partition.reads == reads
