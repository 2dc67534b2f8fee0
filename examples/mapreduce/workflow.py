"""Words are counted file by file and summed; a share of the files may be unreadable, and the report says which."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from indegree import Permanent, Retry, Workflow

mapreduce = Workflow("mapreduce", params={"folder": str})


@mapreduce.task
def files(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("*.txt"))


@mapreduce.task(foreach="files", allow_failure={"share": 0.25}, retry=Retry(max_attempts=3, delay="100ms"))
def count(item: str) -> dict[str, int]:
    """The map. A file that is no text never will be: no second attempt. Outputs over 4 KiB are passed by reference."""
    try:
        text = Path(item).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Permanent(f"{Path(item).name} is no text: {error.reason}") from error
    return dict(Counter(text.split()))


@mapreduce.task
def total(count: list[dict[str, int] | None]) -> dict[str, int]:
    """The reduce. None stands where an instance failed."""
    words: Counter[str] = Counter()
    for part in count:
        words.update(part or {})
    return dict(words)


@mapreduce.task(args={"failed": "${{ tasks.count.errors }}"})
def report(files: list[str], total: dict[str, int], failed: list[dict[str, Any]]) -> dict[str, Any]:
    """What was counted, and what was not."""
    return {
        "files": len(files),
        "words": sum(total.values()),
        "failed": [Path(files[error["index"]]).name for error in failed],
    }
