"""What a worker process does before it runs anything: loading modules, its page, watching files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indegree.events.settings import Settings
from indegree.worker import Worker
from indegree.worker.loading import CannotLoad, load
from indegree.worker.reloading import SourceFiles
from indegree.worker.serve import summary
from indegree.worker.web import Page, PortInUse


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, with modules of this test alone."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("start_"):
            del sys.modules[name]


def test_a_module_brings_its_workflows_and_the_functions_that_they_name(folder: Path) -> None:
    (folder / "start_lib.py").write_text("def shared():\n    return 1\n")
    (folder / "start_flow.py").write_text(
        "from indegree import Workflow\nimport start_lib\n"
        "one = Workflow('one')\ntwo = Workflow('two')\n"
        "one.add(start_lib.shared, id='a')\n@two.task\ndef b():\n    return 2\n"
    )
    loaded = load(["start_flow"])
    assert [workflow.id for workflow in loaded.workflows] == ["one", "two"]
    assert sorted(loaded.functions) == ["start_flow:b", "start_lib:shared"]
    assert [workflow.id for workflow in load(["start_flow:two"]).workflows] == ["two"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("start_missing", "there is no module 'start_missing'"),
        ("flows/start.py", "give the module's name, such as 'flows.start'"),
        ("start_needy", "needs 'no_such_library'"),
        ("start_broken", "cannot be imported: ZeroDivisionError"),
        ("start_broken:x", "cannot be imported"),
        ("start_plain:x", "module 'start_plain' has no 'x'; it holds no workflow"),
        ("start_plain:y", "start_plain:y is no workflow, it is a int"),
    ],
)
def test_what_cannot_be_loaded_is_named(folder: Path, target: str, words: str) -> None:
    (folder / "start_needy.py").write_text("import no_such_library\n")
    (folder / "start_broken.py").write_text("1 / 0\n")
    (folder / "start_plain.py").write_text("y = 1\n")
    with pytest.raises(CannotLoad) as caught:
        load([target])
    assert words in str(caught.value)


async def test_a_port_in_use_is_named_with_the_setting() -> None:
    worker = Worker(Settings())
    first = Page(worker, 0)
    address = await first.start()
    try:
        with pytest.raises(PortInUse, match=r"worker\.port"):
            await Page(worker, int(address.rpartition(":")[2])).start()
    finally:
        await first.stop()


def test_a_worker_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="slots = 0"):
        Worker(Settings(), slots=0)


async def test_a_broken_file_is_not_loaded_and_a_mended_one_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("indegree.worker.reloading.LOOK_S", 0.02)
    source = folder / "start_watched.py"
    source.write_text("x = 1\n")
    files = SourceFiles(["start_watched"], folder)
    changed = asyncio.create_task(files.changed())
    source.write_text("x = = 2\n")
    async with asyncio.timeout(10):
        while "is not loaded" not in caplog.text:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    assert not changed.done()
    source.write_text("x = 22\n")
    assert await asyncio.wait_for(changed, 10) == source


def test_a_worker_sums_up_what_it_ran_and_is_silent_when_it_ran_nothing() -> None:
    kinds = ("succeeded", "error", "timeout", "worker_lost", "rejected", "returned", "stopped")
    before = dict.fromkeys(kinds, 3)
    assert summary(before, before) == ""
    assert summary(before, {**before, "returned": 9}) == "", "what was handed back did not run"
    now = {**before, "succeeded": 121, "error": 4, "timeout": 4}
    assert summary(before, now) == "120 tasks in 10 s: 118 ok, 2 failed"
