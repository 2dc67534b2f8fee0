"""The same idea in Python: which words of a text are the longest?

    indegree run examples/hello/hello.py -p text="the quick brown fox"

A task is a plain function. A parameter that is named like a task is that task's output, and the edge to it.
"""

from __future__ import annotations

from indegree import Retry, Workflow

hello = Workflow("hello-python", params={"text": "every task fires when its in-degree reaches zero", "top": 3})


@hello.task
def words(text: str) -> list[str]:
    """text: a run parameter."""
    return text.split()


@hello.task
def count(words: list[str]) -> int:
    """words: the output of the task above, which therefore comes first."""
    return len(words)


@hello.task(retry=Retry(max_attempts=3, delay="1s"))
def longest(words: list[str], top: int) -> list[str]:
    """Runs at the same time as `count`."""
    return sorted(words, key=lambda word: (-len(word), word))[:top]


@hello.task
def report(count: int, longest: list[str]) -> str:
    """Waits for both."""
    return f"{count} words; the longest: {', '.join(longest)}"
