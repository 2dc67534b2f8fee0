"""Every limit of the core: its number, its name, and the words of its error.

Why: a limit that is met must name itself and its setting, or nobody can change it.

The shell fills this from the settings; a test or the simulator takes the defaults. Limits are read when something is
decided, never when it is replayed, except the two windows at the end: engines of one cluster should agree on those.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in milliseconds."""

    frame_bytes: int = 512 * 1024
    """An open frame is full at this size. One event may reach over it: at most by `value_bytes` and its log lines."""
    frame_events: int = 5_000
    step_tasks: int = 256
    """Decidable tasks (or due timers) that one call decides: some 5 ms, so that other partitions get their turn."""
    silent_inputs: int = 500
    """After so many inputs without an event an empty frame moves the input position on."""

    value_bytes: int = 262_144
    """One output, or all parameters of a start, as JSON (setting limits.value_bytes)."""
    inputs_bytes: int = 1_048_576
    """All arguments, command, environment and standard input of one attempt, with what else its record holds of the
    definition (setting limits.inputs_bytes)."""
    payload_bytes: int = 64 * 1024 * 1024
    """One value in the payloads topic (setting limits.payload_bytes)."""
    task_payload_bytes: int = 64 * 1024 * 1024
    """All values of one attempt that lie in the payloads topic (setting limits.task_payload_bytes)."""
    gathered_bytes: int = 65_536
    """What a mapped task gathered is one inline value up to this size; above it lies in the payloads topic."""
    instances: int = 100_000
    """Instances of one mapped task (setting limits.instances)."""
    child_depth: int = 20
    """How deep sub-workflows may lie in each other (setting limits.child_depth)."""
    signals: int = 1_000
    """Signals of one run that nobody has taken yet."""
    pool_default: int = 1
    """The limit of a pool that nobody has set."""
    json_depth: int = 100
    definition_part_bytes: int = 256 * 1024
    """A part of a definition on the log; a frame with one part stays below the record limit of 2 MiB."""
    reason_chars: int = 1_000
    """Reasons that quote what users sent are cut here."""
    name_chars: int = 200
    """Names of people, requests, workers, labels, versions. A start or command with a longer one is refused."""
    key_bytes: int = 1_024
    """An idempotency key, and what is kept of the key of a start's record."""
    error_bytes: int = 65_536
    """An error as a worker reports it; a larger one is cut. Workers of ours stay far below."""
    log_bytes: int = 65_536
    """Captured output as a worker reports it; of a longer one the end is kept."""

    heartbeat_timeout_ms: int = 30_000
    """A RUNNING attempt that nothing was heard of for so long is lost (setting engine.heartbeat_timeout_s)."""
    start_timeout_ms: int = 5_000
    """An attempt that a worker was sent and has not begun within this time goes to another, or there again (setting
    engine.start_timeout_s)."""
    rejected_delay_ms: int = 1_000
    """First delay before a rejected attempt is sent again; doubles with each rejection."""
    rejected_max_delay_ms: int = 60_000
    retry_max_delay_ms: int = 30 * 86_400_000
    """Cap of a retry delay whose policy names none."""
    stops_interval_ms: int = 1_000
    """Stops that answer stale heartbeats alone cause at most one frame in this time."""

    history_ms: int = 30 * 86_400_000
    """How long an idempotency key and the id of a finished run are remembered (setting engine.history_days)."""
    finished_max: int = 100_000
    """Ids of finished runs remembered at most, the oldest go first: only repeats of client-made ids need them."""

    def too_large(self, size: int) -> str:
        """Why an output fails its task."""
        return (
            f"result too large: {size} > {self.value_bytes} bytes (limits.value_bytes); return a path or a URL instead"
        )

    def payload_too_large(self, size: int) -> str:
        """Why an output that lies in the payloads topic fails its task."""
        return (
            f"result too large: {size} > {self.payload_bytes} bytes (limits.payload_bytes); return a path or a URL "
            "instead"
        )

    def payloads_too_large(self, task_id: str, size: int) -> str:
        """Why a task whose referenced inputs are too large in sum fails."""
        return (
            f"the referenced inputs of task {task_id!r} are {size} bytes in sum, the limit is "
            f"{self.task_payload_bytes} (limits.task_payload_bytes); hand over paths or URLs instead"
        )

    def inputs_too_large(self, task_id: str, size: int) -> str:
        """Why a task whose arguments are too large in sum fails."""
        return (
            f"the inputs of task {task_id!r} are {size} bytes in sum, the limit is {self.inputs_bytes} "
            "(limits.inputs_bytes); hand over paths or URLs instead"
        )
