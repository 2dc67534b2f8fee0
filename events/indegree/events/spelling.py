"""Suggestions for misspelt names, so that every "unknown X" error can say "did you mean Y".

Why: people meet these errors while they write a workflow, and the nearest known name is nearly always the cure.

How: the standard library's sequence matcher over a bounded number of candidates of a similar length.

It must never decide anything: a suggestion is text in an error message and is never used in place of the given name.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MAX_CANDIDATES = 2_000
"""A workflow may have 100,000 tasks and the matcher takes about 10 us each: an error message is not worth a second."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None."""
    if len(name) > 200:
        return None
    spread = max(2, len(name) // 3)
    folded: dict[str, str] = {}
    for candidate in known:
        if abs(len(candidate) - len(name)) <= spread:
            folded.setdefault(candidate.lower().replace("-", "_"), candidate)
            if len(folded) >= _MAX_CANDIDATES:
                break
    found = get_close_matches(name.lower().replace("-", "_"), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or an empty text: made to be appended to a message."""
    found = nearest(name, known)
    return f"; did you mean {found!r}?" if found is not None else ""


def listing(names: Iterable[str], most: int = 12) -> str:
    """`a, b, c` cut after `most` names, for messages that show what would have been right."""
    shown = list(names)
    tail = f", ... ({len(shown)} in all)" if len(shown) > most else ""
    return ", ".join(shown[:most]) + tail
