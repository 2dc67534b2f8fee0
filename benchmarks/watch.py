"""Follows the event log from outside: which runs ended, who owns which partition, when something last happened.

Frames are few and the reader is librdkafka's, so that watching takes little from what is measured.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, TopicPartition

from indegree.events.frames import InForce, Verdict
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.v1.event_pb2 import Event, Frame


@dataclass(slots=True)
class Seen:
    """One partition. `last_ms`: the broker's time of its last frame with events; `epoch_events`: frames with events of
    the present epoch."""

    rule: InForce = field(default_factory=InForce)
    last_ms: int = 0
    epoch_events: int = 0


class Watch:
    """Call `poll` often. `ended`: run id to state; `tasks`: how many succeeded; `outputs`: numbers they returned.

    `kinds`: events of each kind.
    """

    def __init__(self, settings: Settings) -> None:
        topic = Topics(settings.cluster).events
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": f"{settings.cluster}-watch",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 4_194_304,
            }
        )
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(settings.topics.partitions)])
        self.partitions = {p: Seen() for p in range(settings.topics.partitions)}
        self.ended: dict[str, str] = {}
        self.outputs: list[int] = []
        self.kinds: Counter[int] = Counter()
        self.tasks = 0

    def poll(self, timeout_s: float = 0.1) -> None:
        for message in self._consumer.consume(500, timeout=timeout_s):
            if message.error() or message.value() is None:
                continue
            seen = self.partitions[message.partition() or 0]
            frame = Frame.FromString(message.value() or b"")
            match seen.rule.judge(frame):
                case Verdict.ANNOUNCEMENT:
                    seen.epoch_events = 0
                case Verdict.IN_FORCE if frame.events:
                    seen.last_ms = message.timestamp()[1]
                    seen.epoch_events += 1
                    self._events(frame)
                case _:
                    pass

    def _events(self, frame: Frame) -> None:
        run_id = ""
        for event in frame.events:
            run_id = event.run_id or run_id
            self.kinds[event.kind] += 1
            if event.kind == Event.TASK_SUCCEEDED:
                self.tasks += 1
                if event.value.json.isdigit():
                    self.outputs.append(int(event.value.json))
            elif event.kind == Event.RUN_FINISHED:
                self.ended[run_id] = event.state

    def until(self, reached: Callable[[], bool], within_s: float, what: str) -> None:
        """Polls until `reached()`. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not reached in {within_s:.0f} s ({len(self.ended)} runs ended)")
            self.poll()

    def owners(self) -> dict[int, str]:
        return {p: seen.rule.owner for p, seen in self.partitions.items()}

    def close(self) -> None:
        self._consumer.close()
