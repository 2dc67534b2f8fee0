"""What the machine itself does: processors, memory of a process, and how late an idle event loop is.

`python -m benchmarks.machine` is such a loop: it wakes every millisecond until its input closes, and prints its worst
delay. A silence or a hop is judged beside it: what an idle process could not avoid, a busy one cannot either.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

_WAKE_S = 0.001


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie. Raises IndexError for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def processors() -> int:
    return len(os.sched_getaffinity(0))


def peak_mib(pid: int) -> float:
    """Peak resident memory of a process since `reset_peak`, in MiB; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            lines = [line for line in status if line.startswith("VmHWM:")]
    except OSError:
        return 0.0
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def reset_peak(pid: int) -> None:
    """Begins the peak of a process anew (Linux: 5 into clear_refs)."""
    try:
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass  # then the peak counts from the start of the process, which is still a peak


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, in seconds; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            after_name = stat.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


class EmptyLoop:
    """An event loop with nothing to do, in a process of its own, while the `with` block runs.

    `worst_ms`: its worst delay, after the block; `median_ms` likewise.
    """

    worst_ms = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.machine"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it runs
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        out, _ = self._process.communicate(timeout=10)
        self.worst_ms = float(out or 0)

    def __str__(self) -> str:
        return f"{processors()} processors; worst delay of an empty event loop meanwhile: {self.worst_ms:.0f} ms"


async def _idle() -> float:
    loop, worst = asyncio.get_running_loop(), 0.0
    ended = loop.run_in_executor(None, sys.stdin.read)
    while not ended.done():
        before = time.perf_counter()
        await asyncio.sleep(_WAKE_S)
        worst = max(worst, time.perf_counter() - before - _WAKE_S)
    return worst


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return "\n".join(
        "  ".join(cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    print("running", flush=True)
    print(f"{asyncio.run(_idle()) * 1000:.1f}")
