"""A dead letter fits into one record of its topic, whatever was refused, and says what was cut."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from indegree.events import kafka
from indegree.events.kafka import MAX_BATCH_BYTES, Record, RecordTooLarge
from indegree.events.topics import MAX_RECORD_BYTES
from indegree.stream.outbox import _letter
from indegree.v1.workflow_pb2 import DeadLetter

MIB = 1024 * 1024
LETTER = DeadLetter(topic="c.triggers", partition=0, offset=1, reason="\N{SNOWMAN}" * 1000)


class Client:
    """Makes batches as a producer does."""

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(MAX_BATCH_BYTES, 0, is_transactional=False, key_serializer=None, value_serializer=None)


def size(record: Record) -> int:
    """Of the batch that the broker would measure. Raises RecordTooLarge."""
    (batch,) = kafka.batches(Client(), "c.dead-letter", [record])
    return int(batch.size())


def buried(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Record:
    return _letter(SimpleNamespace(key=key, value=value, headers=tuple(headers)), LETTER)


def cuts(record: Record) -> dict[str, int]:
    return {name: int(value) for name, value in record[2] if name.startswith("indegree.cut")}


LARGE: dict[str, tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = {
    "value": (b"k", b"v" * (2 * MIB - 300), [("h", b"x")]),
    "key": (b"k" * 3 * MIB, b"{", []),
    "headers": (b"k", b"{", [("h", b"x" * 3 * MIB)]),
    "many headers": (None, b"{", [("", b"")] * 300_000),
    "headers without a value": (None, None, [("h" * 200, None)] * 20_000),
    "all": (b"k" * 3 * MIB, b"v" * 3 * MIB, [("h", b"x" * MIB)] * 3),
    "all, just under the limit in each": (b"k" * MIB, b"v" * MIB, [("h", b"x" * MIB)]),
}


@pytest.mark.parametrize("what", LARGE)
def test_whatever_is_large_is_cut_to_fit(what: str) -> None:
    key, value, headers = LARGE[what]
    record = buried(key, value, headers)
    assert size(record) <= MAX_RECORD_BYTES
    assert cuts(record), "and it says so"
    assert (key or b"").startswith(record[0] or b"")
    assert (value or b"").startswith(record[1] or b"")


def test_what_is_cut_is_counted() -> None:
    record = buried(b"k" * 100_000, b"v" * 3 * MIB, [("a", b"1"), ("b", b"x" * MIB), ("c", b"3")])
    assert cuts(record) == {"indegree.cut": 3 * MIB, "indegree.cut-key": 100_000, "indegree.cut-headers": 2}
    assert record[2][0] == ("a", b"1")


@pytest.mark.parametrize("key", [None, b"", b"k"])
def test_what_has_room_is_kept_whole(key: bytes | None) -> None:
    own = [("traceparent", b"00-1"), ("empty", b"")]
    record = buried(key, b"v" * MIB, own)
    assert (record[0], record[1], list(record[2])[:2]) == (key, b"v" * MIB, own)
    assert not cuts(record)


def test_any_mixture_fits() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(60):
        sizes = [0, 10, 65_000, 66_000, MIB, 2 * MIB - 5_000, 2 * MIB - 4_000, 2 * MIB]
        headers = [("\N{SNOWMAN}" * rng.randrange(50), b"x" * rng.choice(sizes)) for _ in range(rng.randrange(4))]
        record = buried(b"k" * rng.choice(sizes), b"v" * rng.choice(sizes), headers)
        assert size(record) <= MAX_RECORD_BYTES


@pytest.mark.parametrize(
    "record", [(b"k" * 2 * MIB, b"v", []), (b"k", b"v" * 2 * MIB, []), (b"k", b"v", [("h", b"x" * 2 * MIB)])]
)
def test_an_append_refuses_what_is_over_the_limit_whichever_part_is_large(record: Record) -> None:
    with pytest.raises(RecordTooLarge):
        size(record)
