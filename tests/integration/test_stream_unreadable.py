"""A record that an engine cannot read: its partition stops with the reason, and nobody else loses anything by it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import Producer as StockProducer

from tests.conftest import SharedStack
from tests.integration.stream_road import HandWorker, Road, make_settings, wait_until

PARTITIONS = 4
ONE = {"id": "one", "tasks": [{"id": "a", "python": "m:a"}]}
WITHOUT_LZ4 = """
import runpy
import aiokafka.codec
aiokafka.codec.has_lz4 = lambda: False
runpy.run_module("indegree.stream", run_name="__main__")
"""


def test_only_the_partition_with_a_record_that_cannot_be_read_stops(
    stack: SharedStack, cluster_name: str, tmp_path: Path
) -> None:
    values = {"engine.progress_format": "json"}
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, PARTITIONS, **values), tmp_path)
    script = tmp_path / "without_lz4.py"
    script.write_text(WITHOUT_LZ4)
    engine = road.engine(script=script)
    try:
        engine.wait_ready()
        with HandWorker(road.settings):
            road.deploy(ONE)
            road.wait_finished([request for p in range(PARTITIONS) for request in road.trigger("one", 2, p)])
            requests: list[str] = []
            bad = StockProducer({"bootstrap.servers": stack.kafka, "compression.type": "lz4"})
            body = json.dumps({"start": {"workflow": "one", "params": {"k": "y" * 3000}}}).encode()
            for round_ in range(40):
                if round_ == 10:
                    bad.produce(f"{cluster_name}.triggers", body, partition=0)
                    assert bad.flush(10) == 0
                for partition in range(1, PARTITIONS):
                    requests += road.trigger("one", 1, partition)
                time.sleep(0.03)
            assert set(road.wait_finished(requests).values()) == {"SUCCESS"}
            wait_until(lambda: 0 not in engine.owned(), "partition 0 has stopped")
            assert set(engine.owned()) == {1, 2, 3}, engine.words()
            words = engine.words()
            assert "triggers partition 0 has a record at offset 2 that cannot be read" in words
            assert "lz4" in words
        assert engine.stop() == 0
    finally:
        road.close()


def test_a_refused_record_with_a_large_key_or_header_is_buried_and_its_partition_goes_on(
    stack: SharedStack, cluster_name: str, tmp_path: Path
) -> None:
    values = {"engine.progress_format": "json"}
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, 2, **values), tmp_path)
    engine = road.engine()
    try:
        engine.wait_ready()
        with HandWorker(road.settings):
            road.deploy(ONE)
            # given records that their producer compresses, so that the broker takes them
            options = {"compression.type": "gzip", "message.max.bytes": 8_000_000}
            stock = StockProducer({"bootstrap.servers": stack.kafka, **options})
            name = f"{cluster_name}.triggers"
            stock.produce(name, b"{", b"k" * 3_000_000, 0)
            stock.produce(name, b"{", b"k", 0, headers=[("h", b"x" * 3_000_000)])
            stock.produce(name, b"{" * 3_000_000, b"k", 0)
            assert stock.flush(20) == 0
            road.produce("triggers", [(0, b"k", b"{")])
            # then all are buried, with what was cut, and the partition serves
            letters = wait_until(
                lambda: found if len(found := list(road.read_all("dead-letter"))) == 4 else None, "four dead letters"
            )
            cuts = [[name for name, _ in letter.headers() if name.startswith("indegree.cut")] for letter in letters]
            assert cuts == [["indegree.cut-key"], ["indegree.cut-headers"], ["indegree.cut"], []]
            road.wait_finished([*road.trigger("one", 3, 0), *road.trigger("one", 3, 1)])
            assert "starts anew" not in engine.words()
    finally:
        road.close()


class RawName(str):
    """A header's name that goes out as bytes which are no UTF-8, as a client in another language may write it."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


async def produce_raw_header(bootstrap: str, topic: str, values: list[bytes], bad: int) -> None:
    """One batch of these values; the one at index `bad` has a header whose name is not UTF-8."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 1_000_000)
        for place, value in enumerate(values):
            headers = [(RawName("x"), b"1")] if place == bad else []
            assert batch.append(key=None, value=value, timestamp=None, headers=headers) is not None
        batch.close()
        await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()


def test_a_record_that_nobody_can_take_apart_is_refused_and_its_partition_goes_on(
    stack: SharedStack, cluster_name: str, tmp_path: Path
) -> None:
    values = {"engine.progress_format": "json"}
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, 2, **values), tmp_path)
    engine = road.engine()
    try:
        engine.wait_ready()
        with HandWorker(road.settings):
            road.deploy(ONE)
            road.wait_finished([*road.trigger("one", 2, 0), *road.trigger("one", 2, 1)])
            # given a batch whose second record has a header that is no text, and work before and behind it
            before = road.trigger("one", 3, 0)
            start = [json.dumps({"start": {"workflow": "one", "request_id": f"q{i}"}}).encode() for i in range(3)]
            asyncio.run(produce_raw_header(stack.kafka, f"{cluster_name}.triggers", start, bad=1))
            behind = [*road.trigger("one", 3, 0), *road.trigger("one", 3, 1)]
            # then all other work ends, and what could not be had is on dead-letter with its place
            assert set(road.wait_finished([*before, "q0", *behind]).values()) == {"SUCCESS"}
            letters = wait_until(
                lambda: found if len(found := list(road.read_all("dead-letter"))) == 2 else None, "two dead letters"
            )
            places = [dict(letter.headers()) for letter in letters]
            assert [place["indegree.offset"] for place in places] == [b"6", b"7"]
            assert all(b"cannot be taken apart" in place["indegree.reason"] for place in places)
            assert set(engine.owned()) == {0, 1}
        assert engine.stop() == 0
    finally:
        road.close()
