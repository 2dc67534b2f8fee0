"""Twelve files, of which two are no text: the run succeeds without them. Then four: too many, and it fails."""

from __future__ import annotations

from pathlib import Path

from examples.mapreduce.workflow import mapreduce
from examples.stage import Stage
from indegree.sdk.client_events import StoredValue

FILES, WORDS = 12, 2_000


def show(stage: Stage) -> None:
    stage.deploy(mapreduce)
    stage.worker("examples.mapreduce.workflow")

    run = stage.client.start("mapreduce", {"folder": str(write(stage.folder / "some", {3, 7}))})
    stage.shows("two unreadable files of twelve are tolerated", stage.wait(run), "SUCCESS")
    expected = {"files": FILES, "words": (FILES - 2) * WORDS, "failed": ["03.txt", "07.txt"]}
    stage.shows("the report counts all others and names the two", run["report"].output, expected)
    stage.shows("a file's words went by reference", isinstance(run["count[0]"].value, StoredValue), True)
    stage.shows("and are there for whoever asks", len(run["count[0]"].output), WORDS)
    stage.shows("what can never succeed was tried once", run["count[3]"].attempts, 1)

    run = stage.client.start("mapreduce", {"folder": str(write(stage.folder / "many", {0, 3, 7, 11}))})
    stage.shows("four are more than a quarter", stage.wait(run), "FAILED")
    stage.shows("and nothing is reported", run["report"].state, "SKIPPED")


def write(folder: Path, broken: set[int]) -> Path:
    """Files of so many different words; those that are broken are no UTF-8."""
    folder.mkdir()
    for number in range(FILES):
        text = " ".join(f"word{place}" for place in range(WORDS)).encode()
        (folder / f"{number:02}.txt").write_bytes(b"\xff\xfe" + text if number in broken else text)
    return folder
