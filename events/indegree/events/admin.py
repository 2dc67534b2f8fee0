"""Makes the topics of a cluster and checks that they are as they must be: at each start and each metadata refresh.

A topic with another partition count, or with settings under which acknowledged work could be lost, is refused with
its name, the value, what it must be, and the way out. Nothing is changed behind anybody's back: only missing topics
are made.

The ids of the topics that hold work are recorded beside the partition count when the cluster is set up. A topic that
was deleted and made anew keeps its name and looks empty: to go on with it would do old work again, or lose it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from indegree.events import kafka
from indegree.events.run_ids import is_name
from indegree.events.settings import Settings
from indegree.events.topic_ids import identities
from indegree.events.topics import Partitions, Topic, Topics, required_settings
from indegree.v1.workflow_pb2 import ClusterSettings

CLUSTER_KEY = b"cluster"
# What a broker reports although a weaker value was never asked for; only these are compared.
_TIMEOUT_S = 15.0


class TopicFault(Exception):
    """A topic that is missing, or not as it must be; the message lists every fault with its way out."""


@dataclass(slots=True)
class Cluster:
    """What was found: the partition count that keys are mapped by, and the ids of the topics that hold work.

    `topic_ids`: name to id; a topic whose id the brokers do not tell (before Kafka 2.8) is left out.
    `recorded`: what stood under the key `cluster` then.
    """

    partitions: int
    topic_ids: dict[str, str] = field(default_factory=dict)
    recorded: ClusterSettings = field(default_factory=ClusterSettings)


def _described(settings: Settings, queues: Collection[str]) -> dict[str, Topic]:
    """Full name to topic: the cluster's own, and the task topics of these queues."""
    topics = Topics(settings.cluster)
    return {**topics.all(), **{topics.tasks(queue): topics.describe(topics.tasks(queue)) for queue in queues}}


def wanted_partitions(topic: Topic, settings: Settings) -> int:
    match topic.partitions:
        case Partitions.SHARED:
            return settings.topics.partitions
        case Partitions.TASKS:
            return settings.topics.task_partitions
        case Partitions.ONE:
            return 1


@contextlib.asynccontextmanager
async def _client(settings: Settings):  # type: ignore[no-untyped-def]
    client = AIOKafkaAdminClient(**settings.kafka.client(), request_timeout_ms=10_000)
    try:
        await asyncio.wait_for(client.start(), 10)
    except (KafkaConnectionError, KafkaError, OSError, TimeoutError) as error:
        with contextlib.suppress(Exception):
            await client.close()
        raise kafka.unreachable(settings, error) from error
    try:
        yield client
    finally:
        await client.close()


async def ensure_topics(settings: Settings, queues: Collection[str] = ("default",)) -> Cluster:
    """Makes what is missing, then checks everything. Raises TopicFault, KafkaUnreachable.

    Two processes at once are fine: whoever comes second finds the topics there.
    """
    for queue in queues:
        if not is_name(queue):
            raise TopicFault(f"queue {queue!r}: a queue's name has a-z, 0-9 and '-', at most 100 characters")
    topics = Topics(settings.cluster)
    names = _described(settings, queues)
    async with _client(settings) as client:
        present = set(await client.list_topics())
        missing = [name for name in names if name not in present]
        if missing:
            partitions = (await _recorded(settings)).partitions if topics.workflows in present else None
            new = []
            for name in missing:
                topic = names[name]
                count = wanted_partitions(topic, settings)
                if partitions and topic.partitions is Partitions.SHARED:
                    count = partitions
                config = required_settings(topic, settings.topics.min_insync_replicas)
                new.append(NewTopic(name, count, settings.topics.replication, topic_configs=config))
            response = await client.create_topics(new)
            faults = []
            for entry in response.topic_errors:
                name, code = entry[0], entry[1]
                message = entry[2] if len(entry) > 2 else ""
                if code not in (0, 36):  # 36: somebody else has just made it
                    faults.append(f"topic {name} cannot be made: {message or for_code(code).__name__}")
            if faults:
                raise TopicFault("; ".join(faults))
            await _visible(client, names)
    cluster = await check_topics(settings, queues)
    await _record_cluster(settings, cluster)
    return cluster


async def accept_topics(settings: Settings) -> Cluster:
    """Records the topics as they are now: after they were restored, or copied to another Kafka, with all offsets.

    Raises TopicFault for every other fault, KafkaUnreachable. Engines that run have to be started again.
    """
    cluster = await check_topics(settings, (), any_ids=True)
    await _record_cluster(settings, cluster, anew=True)
    return cluster


async def _visible(client: AIOKafkaAdminClient, names: Collection[str]) -> None:
    """Waits until the broker's metadata shows every new topic with a leader for each partition."""
    deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
    while True:
        found = {t["topic"]: t for t in await client.describe_topics(list(names))}
        if all(
            name in found
            and not found[name]["error_code"]
            and found[name]["partitions"]
            and all(p["leader"] >= 0 for p in found[name]["partitions"])
            for name in names
        ):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise TopicFault(f"topics made, but not visible after {_TIMEOUT_S:.0f} s: {', '.join(sorted(names))}")
        await asyncio.sleep(0.05)


async def check_topics(settings: Settings, queues: Collection[str] = ("default",), *, any_ids: bool = False) -> Cluster:
    """Compares partition counts, settings and ids with what they must be. Raises TopicFault with every fault found.

    `any_ids`: the ids that are recorded do not count.
    """
    topics = Topics(settings.cluster)
    names = _described(settings, queues)
    recorded = await _recorded(settings)
    faults: list[str] = []
    async with _client(settings) as client:
        found = {t["topic"]: t for t in await client.describe_topics(list(names))}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names if name in found]
        configs: dict[str, dict[str, str]] = {}
        for response in await client.describe_configs(resources):
            for resource in response.resources:
                configs[resource[3]] = {entry[0]: entry[1] for entry in resource[4]}
        ids = await identities(client._client, topics.of_work) or {}
    cluster = Cluster(recorded.partitions or settings.topics.partitions, recorded=recorded)
    for name, topic in names.items():
        entry = found.get(name)
        if entry is None or entry["error_code"]:
            faults.append(f"topic {name} is missing: run `indegree topics --create`, or start an engine")
            continue
        count = len(entry["partitions"])
        want = cluster.partitions if topic.partitions is Partitions.SHARED else wanted_partitions(topic, settings)
        if count != want and topic.partitions is not Partitions.TASKS:
            faults.append(
                f"topic {name} has {count} partitions, but the cluster has {want}: a run lives on the partition that "
                "its id names, so the count may not change; make the topic again with that count, or use another "
                "cluster name"
            )
        for p in entry["partitions"]:
            replicas = len(p["replicas"])
            if replicas < settings.topics.replication:
                faults.append(
                    f"topic {name} partition {p['partition']} has {replicas} replicas, fewer than topics.replication = "
                    f"{settings.topics.replication}: add replicas, or accept it by that setting and topics.allow_weaker"
                )
                break
        for setting, value in required_settings(topic, settings.topics.min_insync_replicas).items():
            actual = configs.get(name, {}).get(setting)
            if actual is not None and not _as_strong(setting, actual, value):
                faults.append(f"topic {name}: {setting} = {actual}, must be {value}: alter the topic's configuration")
        if name in ids and ids[name].id:
            cluster.topic_ids[name] = ids[name].id
            known = recorded.topic_ids.get(name, "")
            if known and known != ids[name].id and not any_ids:
                faults.append(
                    f"topic {name} was deleted and made anew since the cluster was set up (its id was {known}, now "
                    f"{ids[name].id}): its records are gone, and offsets mean other ones; use another cluster name, "
                    "or, if it was restored or copied with all its offsets, `indegree topics --accept`"
                )
    if faults:
        raise TopicFault("; ".join(faults))
    return cluster


def _as_strong(setting: str, actual: str, wanted: str) -> bool:
    if setting in ("max.message.bytes", "min.insync.replicas"):
        return int(actual) >= int(wanted)
    if setting == "retention.ms" and wanted != "-1":
        return int(actual) == -1 or int(actual) >= int(wanted)
    return actual == wanted


async def _recorded(settings: Settings) -> ClusterSettings:
    """What stands under the key `cluster`; empty if nothing is recorded yet."""
    topic = Topics(settings.cluster).workflows
    found = ClusterSettings()
    async with _client(settings) as client:
        if topic not in await client.list_topics():
            return found
    tp = TopicPartition(topic, 0)
    async with kafka.reading(settings, {tp: 0}, auto_offset_reset="earliest") as reader:
        ends = await reader.end_offsets([tp])
        async for _, records in kafka.read_range(reader, ends):
            for record in records:
                if record.key == CLUSTER_KEY and record.value:
                    found = ClusterSettings.FromString(record.value)
    return found


async def _record_cluster(settings: Settings, cluster: Cluster, *, anew: bool = False) -> None:
    """Adds what is not recorded yet; `anew`: the ids of today count, whatever stands there."""
    recorded = cluster.recorded
    wanted = ClusterSettings(partitions=cluster.partitions, format=1)
    older, newer = (recorded, cluster) if anew else (cluster, recorded)
    wanted.topic_ids.update({**older.topic_ids, **newer.topic_ids})
    if wanted == recorded:
        return
    value = wanted.SerializeToString(deterministic=True)
    client = kafka.producer(settings)
    await kafka.start(client, settings)
    try:
        await kafka.append_wait(client, Topics(settings.cluster).workflows, 0, [(CLUSTER_KEY, value, [])])
    finally:
        await client.stop()


async def delete_cluster(settings: Settings) -> None:
    """Removes every topic of this cluster name. For tests and the demo."""
    prefix = settings.cluster + "."
    async with _client(settings) as client:
        mine = [name for name in await client.list_topics() if name.startswith(prefix)]
        if mine:
            await client.delete_topics(mine)
