"""Asks Kafka for topics' ids and partition counts: a topic that was deleted and made anew has another id.

Why: its name is the same, so a client goes on as if nothing had happened, at offsets that mean other records.

How: one Metadata request of version 10, which aiokafka (it ends at version 5) does not know; its wire form is written
down here with aiokafka's own types, from Kafka's protocol guide (its page "Kafka protocol", Metadata).
Brokers since 2.8 answer it; an older one gives ids that are empty, and then only counts can be compared.

It must never make a topic (the request says so).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_NO_ERROR, _UNKNOWN_TOPIC = 0, 3


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """What a topic is besides its name. `id`: empty where the broker does not say."""

    id: str
    partitions: int


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    """16 bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class([(bytes(16), name, {}) for name in self._names], False, False, False, {})


async def identities(client: Any, names: Collection[str]) -> Mapping[str, TopicIdentity] | None:
    """Name to identity, of those that exist; None: the brokers are too old to say (before 2.8).

    `client`: the low-level client of a started consumer or admin client (`._client`). Raises KafkaError, also for a
    topic that is there and about which nothing can be said now.
    """
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    try:
        answer = await client.send(node, _MetadataRequest(names))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    found: dict[str, TopicIdentity] = {}
    for code, name, topic_id, _, partitions, *_ in answer.topics:
        if code == _NO_ERROR:
            found[name] = TopicIdentity(str(uuid.UUID(bytes=topic_id)) if any(topic_id) else "", len(partitions))
        elif code != _UNKNOWN_TOPIC:
            raise for_code(code)(f"metadata of topic {name}")
    return found
