"""Every limit of a worker in one value, so that an error can name the number and the setting it comes from.

The runner and its lanes get a `Bounds`, never the whole settings: that keeps them free of Kafka and easy to test.
Sizes are in bytes of UTF-8, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from indegree.events.settings import Settings


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one worker."""

    # One output (setting limits.payload_bytes), and above which it is stored by reference: the smaller one of
    # limits.inline_bytes and limits.value_bytes.
    payload_bytes: int = 67_108_864
    inline_bytes: int = 4_096
    # Inputs of one attempt that are references, in sum (setting limits.task_payload_bytes).
    task_payload_bytes: int = 67_108_864
    # Captured output that goes into a result (setting worker.log_bytes).
    log_bytes: int = 16_384
    # A message of an error, its traceback, its chain of causes. Together with the log they stay far below what a
    # record may hold, so recording a failure cannot fail for its size.
    message_bytes: int = 8_192
    traceback_bytes: int = 16_384
    causes: int = 10
    # Between SIGTERM and SIGKILL, and how long a cancelled coroutine may clean up (setting worker.kill_after_s).
    kill_after_s: float = 5.0
    # A task that has waited so long while all slots were taken goes back (setting worker.hand_back_s).
    hand_back_s: float = 0.2
    # Between two heartbeats of an attempt (setting worker.heartbeat_s).
    heartbeat_s: float = 5.0
    # `started` is reported after this time unless the outcome is there. The promise is 50 ms; a tick is 20 ms.
    started_after_s: float = 0.025
    # New progress is reported at most this often.
    progress_every_s: float = 0.5
    # Outcomes that are kept, to answer a repeated record without running it again.
    remembered: int = 20_000
    remembered_bytes: int = 33_554_432

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """The limits that the settings state."""
        return cls(
            payload_bytes=settings.limits.payload_bytes,
            inline_bytes=min(settings.limits.inline_bytes, settings.limits.value_bytes),
            task_payload_bytes=settings.limits.task_payload_bytes,
            log_bytes=settings.worker.log_bytes,
            kill_after_s=settings.worker.kill_after_s,
            hand_back_s=settings.worker.hand_back_s,
            heartbeat_s=settings.worker.heartbeat_s,
        )
