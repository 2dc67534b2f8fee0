"""The one settings object: where it is read from, what each value means, and what makes it wrong.

Order: flags, then environment variables `INDEGREE_SECTION__KEY` (`INDEGREE_CLUSTER`,
`INDEGREE_KAFKA__BOOTSTRAP_SERVERS`), then `indegree.toml` or `[tool.indegree]` of `pyproject.toml` in the working
folder, then the addresses that `indegree stack up` left in `.indegree/stack.json`, then the defaults. Every other
module gets a `Settings`; none reads the environment.
"""

from __future__ import annotations

import json
import os
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from indegree.events.run_ids import is_name

# Of a value inside a record: half a frame of the event log. A larger one lies in the payloads topic.
MAX_VALUE_BYTES = 256 * 1024
# Of one value in the payloads topic: it is held in memory whole by who writes, reads or evaluates it.
MAX_PAYLOAD_BYTES = 1024 * 1024 * 1024
# Of one task, in one record of at most 2 MiB, with some room for what names the attempt.
MAX_INPUTS_BYTES = 1_536 * 1024
STACK_FILE = Path(".indegree") / "stack.json"


class SettingsError(ValueError):
    """A setting that is unknown, of the wrong type, or out of its bounds."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How Kafka is reached. `options` are raw client settings, passed through."""

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def client(self) -> dict[str, Any]:
        """Keyword arguments for any aiokafka client."""
        out: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            out["sasl_mechanism"] = self.sasl_mechanism
            out["sasl_plain_username"] = self.sasl_username
            out["sasl_plain_password"] = self.sasl_password
        if self.security_protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=self.ssl_cafile or None)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile or None)
            out["ssl_context"] = context
        return {**out, **self.options}


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """How etcd is reached."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    username: str = ""
    password: str = field(default="", repr=False)
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How topics are made and checked."""

    partitions: int = 8
    task_partitions: int = 8
    replication: int = 3
    min_insync_replicas: int = 2
    # Weaker than replication 3 and two in sync loses acknowledged work with one disk: only by saying so.
    allow_weaker: bool = False


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One engine process."""

    id: str = ""  # empty: made from host and pid
    lease_ttl_s: float = 5.0
    append_timeout_s: float = 10.0
    fetch_max_wait_ms: int = 50
    port: int = 0  # of the web page; 0: a free one
    host: str = "127.0.0.1"
    progress_format: str = "protobuf"  # or json
    history_days: float = 30.0  # how far back events and progress are kept; what a recovery needs always is
    inputs_days: float = 7.0  # the same for triggers, commands and results that were decided
    worker_timeout_s: float = 10.0
    heartbeat_timeout_s: float = 30.0
    start_timeout_s: float = 5.0  # a task that its worker has not begun (nor handed back) by then is sent again
    snapshot_records: int = 100_000  # the log is snapshot after this many records (or 4 times the live state)


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """Records of users' topics that start runs."""

    # Topic, or a pattern such as "orders.*", to "module:function": bytes to a JSON value. Without one a value is JSON.
    decoders: dict[str, Any] = field(default_factory=dict)
    # Where Kafka has nothing at an intake's position any more: that partition of the topic stops, or goes on at its
    # first record.
    on_lost: str = "stop"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One worker process."""

    slots: int = 16
    announce_s: float = 1.0
    heartbeat_s: float = 5.0
    grace_s: float = 30.0
    hand_back_s: float = 0.2
    kill_after_s: float = 5.0
    log_bytes: int = 16_384
    port: int = -1  # of the metrics page; 0: a free one; -1: none
    host: str = "127.0.0.1"
    fetch_max_wait_ms: int = 50


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Limits of what users send; each error names the setting."""

    value_bytes: int = MAX_VALUE_BYTES  # one value inside a record (params; an output of any worker)
    inline_bytes: int = 4_096  # a worker of ours writes a larger output to the payloads topic
    payload_bytes: int = 67_108_864  # one value in the payloads topic
    task_payload_bytes: int = 67_108_864  # the inputs of one task that lie there, in sum
    partition_bytes: int = (
        268_435_456  # outputs and items of all live runs of a partition; above it triggers are paused
    )
    inputs_bytes: int = 1_048_576  # all arguments of one task inside its record
    tasks: int = 100_000  # of a run
    instances: int = 100_000  # of one mapped task
    child_depth: int = 20  # of sub-workflows in each other
    definition_bytes: int = 33_554_432  # canonical JSON


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. `notes`: where addresses were taken from, for people."""

    cluster: str = "indegree"
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    etcd: EtcdSettings = field(default_factory=EtcdSettings)
    topics: TopicSettings = field(default_factory=TopicSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    triggers: TriggerSettings = field(default_factory=TriggerSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_name(self.cluster):
            raise SettingsError(
                f"cluster = {self.cluster!r}: a cluster's name has a-z, 0-9 and '-', at most 100, and no '-' in front"
            )
        if self.engine.lease_ttl_s < 2:
            raise SettingsError(
                f"engine.lease_ttl_s = {self.engine.lease_ttl_s}: the smallest lease of etcd is 2 seconds"
            )
        for name in ("history_days", "inputs_days"):
            if getattr(self.engine, name) < 0:
                raise SettingsError(f"engine.{name} = {getattr(self.engine, name)}: must be 0 or more days")
        if self.triggers.on_lost not in ("stop", "earliest"):
            raise SettingsError(f"triggers.on_lost = {self.triggers.on_lost!r}: must be stop or earliest")
        for topic, name in self.triggers.decoders.items():
            if not isinstance(name, str) or not all(name.partition(":")):
                raise SettingsError(
                    f'triggers.decoders: {topic!r} = {name!r}: must be text of the form "module:function"'
                )
        if self.engine.progress_format not in ("protobuf", "json"):
            raise SettingsError(f"engine.progress_format = {self.engine.progress_format!r}: must be protobuf or json")
        if not 1 <= self.limits.value_bytes <= MAX_VALUE_BYTES:
            raise SettingsError(
                f"limits.value_bytes = {self.limits.value_bytes}: must be between 1 and {MAX_VALUE_BYTES}; a larger "
                "value does not fit beside others into one record; outputs may be larger (limits.payload_bytes), of "
                "other values pass a reference to where the data lies"
            )
        if not 0 <= self.limits.inline_bytes <= MAX_VALUE_BYTES:
            raise SettingsError(
                f"limits.inline_bytes = {self.limits.inline_bytes}: must be between 0 and {MAX_VALUE_BYTES}, the most "
                "that a record takes of one value"
            )
        for name in ("payload_bytes", "task_payload_bytes"):
            if not 1 <= getattr(self.limits, name) <= MAX_PAYLOAD_BYTES:
                raise SettingsError(
                    f"limits.{name} = {getattr(self.limits, name)}: must be between 1 and {MAX_PAYLOAD_BYTES}; who "
                    "reads a value holds all of it in memory, so keep larger data elsewhere and pass where it lies"
                )
        if not 1 <= self.limits.inputs_bytes <= MAX_INPUTS_BYTES:
            raise SettingsError(
                f"limits.inputs_bytes = {self.limits.inputs_bytes}: must be between 1 and {MAX_INPUTS_BYTES}; all "
                "of it goes into one record of Kafka, so pass references to where large data lies"
            )
        if not 1 <= self.topics.partitions <= 9999:
            raise SettingsError(f"topics.partitions = {self.topics.partitions}: must be between 1 and 9999")
        weak = self.topics.replication < 3 or self.topics.min_insync_replicas < 2
        if weak and not self.topics.allow_weaker:
            raise SettingsError(
                f"topics.replication = {self.topics.replication}, topics.min_insync_replicas = "
                f"{self.topics.min_insync_replicas}: below 3 and 2, one lost disk loses acknowledged work; "
                "set topics.allow_weaker = true to accept that"
            )

    @classmethod
    def load(
        cls,
        flags: Mapping[str, Any] | None = None,
        *,
        folder: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Reads the settings. `flags`: dotted names ("kafka.bootstrap_servers") to values; None values do not count.

        Raises SettingsError with the name, the value, where it came from and the rule.
        """
        here = folder if folder is not None else Path.cwd()
        env = environ if environ is not None else os.environ
        layers: list[tuple[str, dict[str, Any]]] = []
        notes: list[str] = []
        file_layer = _from_files(here)
        env_layer = _from_environ(env)
        flag_layer = {name: value for name, value in (flags or {}).items() if value is not None}
        said = {*flag_layer, *env_layer, *(name for _, values in file_layer for name in values)}
        if not said & {"kafka.bootstrap_servers", "etcd.endpoints"}:
            stack = _from_stack(here)
            if stack:
                layers.append((str(STACK_FILE), stack))
                notes.append(f"using the local stack of {STACK_FILE} (no address is set)")
        layers += file_layer
        layers.append(("environment", env_layer))
        layers.append(("flags", flag_layer))
        merged: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for where, values in layers:
            for name, value in values.items():
                merged[name], origin[name] = value, where
        return replace(_build(cls, merged, origin), notes=tuple(notes))

    def with_values(self, **values: Any) -> Settings:
        """A copy with dotted names written with double underscores: `with_values(kafka__bootstrap_servers="...")`."""
        dotted = {name.replace("__", "."): value for name, value in values.items()}
        out = self
        top: dict[str, Any] = {}
        sections: dict[str, dict[str, Any]] = {}
        for name, value in dotted.items():
            section, _, key = name.partition(".")
            if key:
                sections.setdefault(section, {})[key] = value
            else:
                top[name] = value
        for section, changes in sections.items():
            top[section] = replace(getattr(out, section), **changes)
        return replace(out, **top)

    def environment(self) -> dict[str, str]:
        """The settings that differ from the defaults, as environment variables for a child process."""
        out: dict[str, str] = {}
        plain = type(self)()
        for name, kind in _names(type(self)).items():
            section, _, key = name.partition(".")
            mine = getattr(getattr(self, section), key) if key else getattr(self, section)
            default = getattr(getattr(plain, section), key) if key else getattr(plain, section)
            if mine != default:
                text = json.dumps(mine) if kind is dict else ",".join(mine) if kind is tuple else str(mine)
                out["INDEGREE_" + name.replace(".", "__").upper()] = text
        return out


def _names(cls: type[Settings]) -> dict[str, type]:
    """Dotted name to plain type, of every setting."""
    out: dict[str, type] = {}
    hints = get_type_hints(cls)
    for item in fields(cls):
        kind = hints[item.name]
        if is_dataclass(kind):
            inner = get_type_hints(kind)
            for sub in fields(kind):
                out[f"{item.name}.{sub.name}"] = getattr(inner[sub.name], "__origin__", inner[sub.name])
        elif item.name != "notes":
            out[item.name] = kind
    return out


def _build(cls: type[Settings], merged: Mapping[str, Any], origin: Mapping[str, str]) -> Settings:
    names = _names(cls)
    top: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    for name, raw in merged.items():
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"unknown setting {name!r} (from {origin[name]}){hint}")
        value = _convert(name, raw, names[name], origin[name])
        section, _, key = name.partition(".")
        if key:
            sections.setdefault(section, {})[key] = value
        else:
            top[name] = value
    plain = get_type_hints(cls)
    for section, values in sections.items():
        top[section] = plain[section](**values)
    return cls(**top)


def _convert(name: str, raw: Any, kind: type, where: str) -> Any:
    try:
        if kind is bool:
            if isinstance(raw, bool):
                return raw
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(raw).lower()]
        if kind is tuple:
            parts = raw if isinstance(raw, (list, tuple)) else str(raw).split(",")
            return tuple(str(part).strip() for part in parts if str(part).strip())
        if kind is dict:
            value = raw if isinstance(raw, Mapping) else json.loads(raw)
            return dict(value)
        if kind in (int, float):
            return kind(raw)
        if kind is str and name == "kafka.bootstrap_servers" and isinstance(raw, (list, tuple)):
            return ",".join(map(str, raw))
        return str(raw)
    except (KeyError, ValueError, TypeError):
        raise SettingsError(f"setting {name} = {raw!r} (from {where}): must be of type {kind.__name__}") from None


def _flatten(table: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            for key, inner in value.items():
                out[f"{name}.{key}"] = inner
        else:
            out[name] = value
    return out


def _from_files(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    out = []
    for name in ("pyproject.toml", "indegree.toml"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            if name == "pyproject.toml":
                continue  # somebody else's file; its faults are not ours to report
            raise SettingsError(f"{name}: {error}") from None
        if name == "pyproject.toml":
            table = table.get("tool", {}).get("indegree", {})
        out.append((name, _flatten(table)))
    return out


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    known = _names(Settings)
    sections = {name.partition(".")[0] for name in known if "." in name}
    out: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith("INDEGREE_"):
            continue
        name = variable.removeprefix("INDEGREE_").lower()
        section, _, key = name.partition("__")
        # INDEGREE_OUTPUT, INDEGREE_DEMO_KEEP and the like are not settings.
        if key and section in sections:
            out[f"{section}.{key}"] = value
        elif name == "cluster":
            out["cluster"] = value
    return out


def _from_stack(folder: Path) -> dict[str, Any]:
    """The addresses of the local stack, if one was brought up here. One broker: weaker durability, said so there."""
    path = folder / STACK_FILE
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    kafka, etcd = data.get("kafka"), data.get("etcd")
    if not isinstance(kafka, str) or not isinstance(etcd, str):
        return {}
    return {"kafka.bootstrap_servers": kafka, "etcd.endpoints": [etcd], **LOCAL}


# What a stack of one broker on this machine needs; it survives kill -9 of the broker, not a power loss.
LOCAL: dict[str, Any] = {
    "topics.replication": 1,
    "topics.min_insync_replicas": 1,
    "topics.allow_weaker": True,
    "engine.progress_format": "json",
}
