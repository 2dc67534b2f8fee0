"""What the checker found: faults, counts, and who owned which partition when. Plain data with a printed form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_KEPT = 5  # faults of one kind that are kept in full: the first ones say what happened, thousands hide it


@dataclass(frozen=True, slots=True)
class Takeover:
    """One announcement in force. Times: the broker's, milliseconds since the epoch; None where there is no such frame.

    `last_ms`: the last frame with events of the epoch before; `first_ms`: the first frame with events of this one.
    """

    partition: int
    epoch: int
    owner: str
    announced_ms: int
    last_ms: int | None = None
    first_ms: int | None = None
    closed: bool = False  # the owner before said that it had finished (a handover, not a crash)

    @property
    def silence_ms(self) -> int | None:
        """From the last event before it to the first event after it."""
        return None if self.last_ms is None or self.first_ms is None else self.first_ms - self.last_ms


@dataclass(slots=True)
class Verdict:
    """`faults`: kind to texts (the first few of each kind); `counts`: what was seen; `runs`: run id to how it ended."""

    faults: dict[str, list[str]] = field(default_factory=dict)
    fault_counts: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    takeovers: list[Takeover] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.fault_counts

    def bad(self, kind: str, text: str) -> None:
        self.fault_counts[kind] += 1
        kept = self.faults.setdefault(kind, [])
        if len(kept) < _KEPT:
            kept.append(text)

    def report(self) -> str:
        """A short text for people; its last line is the verdict."""
        lines = [f"  {name}: {number:,}" for name, number in self.counts.items() if number]
        for partition in sorted({takeover.partition for takeover in self.takeovers}):
            mine = [t for t in self.takeovers if t.partition == partition]
            lines.append(f"  partition {partition}: " + " -> ".join(map(_owner, mine)))
        for kind, texts in self.faults.items():
            lines.append(f"FAULT {kind} ({self.fault_counts[kind]:,})")
            lines += [f"    {text}" for text in texts]
            if self.fault_counts[kind] > len(texts):
                lines.append(f"    ... {self.fault_counts[kind] - len(texts):,} more")
        total = self.fault_counts.total()
        lines.append(f"checker: {'ALL GOOD' if self.ok else f'{total:,} FAULTS'} ({self.seconds:.1f} s)")
        return "\n".join(lines)


def _owner(takeover: Takeover) -> str:
    name = f"{takeover.owner} epoch {takeover.epoch}"
    if takeover.closed:
        return f"{name} (handed over)"
    return name if takeover.silence_ms is None else f"{name} ({takeover.silence_ms} ms without an event)"
