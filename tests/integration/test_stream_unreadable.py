"""A record that an engine cannot read: its partition stops with the reason, and nobody else loses anything by it."""

from __future__ import annotations

import json
import time
from pathlib import Path

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
