"""What an engine owns, in words: `owns partitions 0-5 (epoch 3), 6, 7 (epoch 1); gave 8-9`.

Why: partitions come and go in bursts of hundreds; a log line for each says less than one for all.

Pure: it is handed numbers and gives text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holdings:
    """Partition numbers with their epochs, ascending."""

    epochs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, epochs: Iterable[tuple[int, int]]) -> Holdings:
        return cls(tuple(sorted(epochs)))

    def since(self, before: Holdings) -> str:
        """What is owned now, and what of `before` is not owned any more."""
        numbers = [number for number, _ in self.epochs]
        gave = sorted({number for number, _ in before.epochs} - set(numbers))
        if not numbers:
            return f"owns no partition any more; gave {ranges(gave)}"
        word = "partition" if len(numbers) == 1 else "partitions"
        values = [epoch for _, epoch in self.epochs]
        low, high = min(values), max(values)
        of = f"epoch {low}" if low == high else f"epochs {low} to {high}"
        return f"owns {word} {ranges(numbers)} ({of})" + (f"; gave {ranges(gave)}" if gave else "")


def ranges(numbers: Iterable[int]) -> str:
    """`0-3, 5, 7-8` for ascending numbers."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
