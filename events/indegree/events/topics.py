"""Every topic of ours: name, key, who writes, who reads, settings. The one module that knows them.

`triggers`, `commands`, `results`, `events`, `progress` and `payloads` are co-partitioned: a run lives on one partition
number of all of them. The count is fixed when the topics are made and recorded on `workflows` under the key `cluster`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# The order of Frame.next and the meaning of Event.cause; 3 is a timer (no topic).
TRIGGERS, COMMANDS, RESULTS = 0, 1, 2
TIMER = 3

# One record may hold a frame (512 KiB) or a task with all its arguments (1 MiB) and still have room for headers.
MAX_RECORD_BYTES = 2 * 1024 * 1024

_FOREVER = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
_COMPACTED = {"cleanup.policy": "compact"}


class Partitions(Enum):
    """Where a topic's partition count comes from."""

    SHARED = "the cluster's partition count"
    TASKS = "the task topics' own count"
    ONE = "one"


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic is for and how it must be set."""

    name: str
    key: str
    writer: str
    reader: str
    partitions: Partitions
    settings: dict[str, str]


_ALL = (
    Topic("triggers", "chooses the partition, no more", "users", "owner", Partitions.SHARED, _FOREVER),
    Topic("commands", "chooses the partition, no more", "users, owners", "owner", Partitions.SHARED, _FOREVER),
    Topic("results", "run id", "workers", "owner", Partitions.SHARED, _FOREVER),
    Topic(
        "events",
        "none",
        "owner",
        "owner, readers",
        Partitions.SHARED,
        {**_FOREVER, "message.timestamp.type": "LogAppendTime"},
    ),
    Topic("progress", "run id", "owner", "users", Partitions.SHARED, _FOREVER),
    Topic("payloads", "digest", "whoever makes the value", "workers", Partitions.SHARED, _FOREVER),
    Topic(
        "workflows",
        "HASH/part, active/NAME, label/NAME/LABEL, cluster",
        "clients, owners",
        "all",
        Partitions.ONE,
        _COMPACTED,
    ),
    Topic("workers", "worker instance", "workers", "engines", Partitions.ONE, _COMPACTED),
    Topic("control", "worker instance", "owner", "workers", Partitions.ONE, {"retention.ms": "3600000"}),
    Topic("dead-letter", "of the record that was refused", "owner", "users", Partitions.ONE, _FOREVER),
)
BY_NAME = {topic.name: topic for topic in _ALL}
# A task record is of no use once its worker has read it; the owner sends again what was not begun.
_TASKS = Topic("tasks.QUEUE", "run id", "owner", "workers", Partitions.TASKS, {"retention.ms": "604800000"})

# What every topic of ours must hold, whatever it is for: (setting, required value).
_ALWAYS = {"unclean.leader.election.enable": "false", "max.message.bytes": str(MAX_RECORD_BYTES)}


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of one cluster's topics."""

    cluster: str

    @property
    def triggers(self) -> str:
        return f"{self.cluster}.triggers"

    @property
    def commands(self) -> str:
        return f"{self.cluster}.commands"

    @property
    def results(self) -> str:
        return f"{self.cluster}.results"

    @property
    def events(self) -> str:
        return f"{self.cluster}.events"

    @property
    def progress(self) -> str:
        return f"{self.cluster}.progress"

    @property
    def payloads(self) -> str:
        return f"{self.cluster}.payloads"

    @property
    def workflows(self) -> str:
        return f"{self.cluster}.workflows"

    @property
    def workers(self) -> str:
        return f"{self.cluster}.workers"

    @property
    def control(self) -> str:
        return f"{self.cluster}.control"

    @property
    def dead_letter(self) -> str:
        return f"{self.cluster}.dead-letter"

    def tasks(self, queue: str) -> str:
        """The topic of one queue."""
        return f"{self.cluster}.tasks.{queue}"

    @property
    def inputs(self) -> tuple[str, str, str]:
        """What an owner reads, in the order of Frame.next."""
        return self.triggers, self.commands, self.results

    @property
    def of_work(self) -> tuple[str, ...]:
        """Those that hold what may not be lost: one made anew under its old name must not be taken for the old one."""
        return *self.inputs, self.events, self.progress, self.payloads, self.workflows

    def all(self) -> dict[str, Topic]:
        """Full name to topic, without the task topics (those exist per queue)."""
        return {f"{self.cluster}.{topic.name}": topic for topic in _ALL}

    def describe(self, full_name: str) -> Topic:
        """The topic behind a full name of this cluster. Raises KeyError for a name that is not ours."""
        rest = full_name.removeprefix(self.cluster + ".")
        if rest == full_name:
            raise KeyError(full_name)
        return _TASKS if rest.startswith("tasks.") else BY_NAME[rest]


def required_settings(topic: Topic, min_insync_replicas: int) -> dict[str, str]:
    """The settings with which a topic is made, and which are checked at each start."""
    return {**_ALWAYS, "min.insync.replicas": str(min_insync_replicas), **topic.settings}
