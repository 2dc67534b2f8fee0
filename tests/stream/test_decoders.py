"""Decoders: which one counts for a topic, and what becomes of what it gives or raises. A protobuf and an Avro one."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from indegree.stream.decoders import Decoders, DecoderUnusable
from indegree.v1.workflow_pb2 import DeadLetter

# -- what users would write


def protobuf(value: bytes, headers: dict[str, str], topic: str) -> Any:
    """Any message of theirs; here one that is at hand."""
    return MessageToDict(DeadLetter.FromString(value), preserving_proto_field_name=True)


def avro(value: bytes, headers: dict[str, str], topic: str) -> Any:
    """Confluent's framing (0, schema id), then the Avro record {n: long, name: string}, by hand: fastavro is not among
    our dependencies."""
    data = io.BytesIO(value)
    if data.read(1) != b"\0" or data.read(4) != b"\0\0\0\x07":
        raise ValueError("schema 7 is the only one that is known")
    return {"n": _long(data), "name": data.read(_long(data)).decode()}


def _long(data: io.BytesIO) -> int:
    """A zigzag varint (Avro 1.11, binary encoding)."""
    shift = number = 0
    while True:
        byte = data.read(1)[0]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1)
        shift += 7


def odd(value: bytes, headers: dict[str, str], topic: str) -> Any:
    """No JSON value."""
    return {1, 2}


def about(value: bytes, headers: dict[str, str], topic: str) -> Any:
    return [value.decode(), headers, topic]


def decode(named: dict[str, str], topic: str, value: bytes, **headers: str) -> tuple[bytes, str]:
    decoders = Decoders(named)
    try:
        return asyncio.run(decoders.decode(topic, [(value, headers)]))[0]
    finally:
        decoders.close()


def test_without_a_decoder_a_value_is_json_as_it_is() -> None:
    assert decode({}, "orders", b'{"n":1}') == (b'{"n":1}', "")


def test_a_protobuf_topic() -> None:
    value = DeadLetter(topic="a", offset=7).SerializeToString()
    assert decode({"orders": f"{__name__}:protobuf"}, "orders", value) == (b'{"topic":"a","offset":"7"}', "")


def test_an_avro_topic() -> None:
    value = b"\0\0\0\0\x07" + b"\x80\x01" + b"\x06abc"
    assert decode({"orders.*": f"{__name__}:avro"}, "orders.v1", value) == (b'{"n":64,"name":"abc"}', "")


def test_what_a_decoder_raises_is_the_reason_of_the_refusal() -> None:
    data, error = decode({"*": f"{__name__}:avro"}, "orders", b"nonsense")
    assert (data, error) == (b"", f"decoder {__name__}:avro: ValueError: schema 7 is the only one that is known")


def test_what_is_no_json_value_is_refused_and_not_written_otherwise() -> None:
    assert "decoder" in decode({"*": f"{__name__}:odd"}, "orders", b"")[1]


def test_a_name_counts_before_a_pattern_and_the_first_pattern_before_others() -> None:
    named = {"orders.*": "a:b", "*": "c:d", "orders.new": "e:f"}
    decoders = Decoders(named)
    assert [decoders.name_of(t) for t in ("orders.new", "orders.old", "other")] == ["e:f", "a:b", "c:d"]


def test_a_decoder_is_given_bytes_headers_and_topic() -> None:
    assert decode({"t": f"{__name__}:about"}, "t", b"x", h="1") == (b'["x",{"h":"1"},"t"]', "")


@pytest.mark.parametrize("name", ["no_such_module_of_ours:f", f"{__name__}:nothing", f"{__name__}:__doc__"])
def test_a_decoder_that_cannot_be_loaded_is_no_fault_of_a_record(name: str) -> None:
    with pytest.raises(DecoderUnusable, match=r"triggers\.decoders"):
        decode({"*": name}, "t", b"")
