"""Retries: is a failure tried again, and after how long?

Why: two faults are common elsewhere: the delay overflows before it is capped, and the last failure waits one more
delay.

How: delay * backoff**(attempt - 1) is compared with its cap in logarithms first, so that nothing is computed that could
overflow. Jitter takes off up to its share of the delay; it is derived from a hash of run, task and attempt, so that the
same failure has the same delay in every engine and in every test.

It must never raise, whatever the numbers of the policy are.
"""

from __future__ import annotations

import hashlib
import math

from indegree.events.definition_model import RetryPolicy
from indegree.v1.value_pb2 import Error


def is_retried(policy: RetryPolicy, attempt: int, reason: str, error: Error | None) -> bool:
    """True if another attempt follows attempt number `attempt`, which failed.

    `errors` and `exit_codes` narrow failures of the task's own code (reason `error`); a timeout or a lost worker is
    always tried again while attempts are left. `permanent` never is.
    """
    if attempt >= policy.max_attempts:
        return False
    if error is not None and error.permanent:
        return False
    if reason != "error" or not (policy.errors or policy.exit_codes):
        return True
    if error is None:
        return False
    if policy.exit_codes and error.HasField("exit_code") and error.exit_code in policy.exit_codes:
        return True
    if not policy.errors:
        return False
    names = [error.type, *error.bases]
    return any(_names(wanted, name) for wanted in policy.errors for name in names)


def _names(wanted: str, name: str) -> bool:
    """`OSError` names `builtins.OSError` and `OSError`; a dotted name must be equal."""
    return name == wanted or ("." not in wanted and name.rpartition(".")[2] == wanted)


def delay_ms(policy: RetryPolicy, run_id: str, task_id: str, attempt: int, cap_ms: int) -> int:
    """Milliseconds between the failure of attempt number `attempt` and the next one.

    `cap_ms` counts where the policy has no maximum of its own.
    """
    cap = policy.max_delay_ms if policy.max_delay_ms is not None else cap_ms
    delay = _backoff(policy.delay_ms, policy.backoff, attempt - 1, cap)
    if policy.jitter > 0 and delay > 0:
        delay -= int(delay * min(policy.jitter, 1.0) * _share(run_id, task_id, attempt))
    return max(0, delay)


def _backoff(delay: int, factor: float, steps: int, cap: int) -> int:
    if delay <= 0:
        return 0
    if factor <= 1 or steps <= 0:
        return min(delay, cap)
    if math.log(delay) + steps * math.log(factor) >= math.log(max(cap, 1)) + 1e-9:
        return cap
    return min(int(delay * factor**steps), cap)


def _share(run_id: str, task_id: str, attempt: int) -> float:
    """0 <= share < 1, evenly spread over runs, tasks and attempts."""
    text = f"{run_id}\0{task_id}\0{attempt}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") / 2**48
