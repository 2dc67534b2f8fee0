"""The pages in docs/ do what they say: their examples run, their commands exist, their links lead somewhere.

A block marked `LANGUAGE file=NAME` is a file of the page; one marked `python test` is run where those files are.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from indegree.cli.main import cli
from indegree.events.settings import Settings
from indegree.sdk import from_file
from tests.worker.harness import bench, output, shell

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^ {4,}|`)(?:[A-Z_]+=\S+ )?indegree ([^`\n]+)", re.MULTILINE)
SETTING = re.compile(r"\b(kafka|etcd|engine|worker|topics|limits|triggers|telemetry)\.(?!md\b)([a-z_]+)")
LINK = re.compile(r"\]\(([^)#\s]+)(#[\w-]+)?\)")


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, mark and text of each fenced block."""
    return [(match[1], match[2], match[3]) for match in BLOCK.finditer((DOCS / page).read_text("utf-8"))]


def write_files(page: str, folder: Path) -> list[Path]:
    """Puts the files of a page into a folder."""
    found = []
    for _, mark, text in blocks(page):
        if mark.startswith("file="):
            found.append(folder / mark.removeprefix("file="))
            found[-1].write_text(text, "utf-8")
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if any(mark == "test" for _, mark, _ in blocks(page))])
def test_the_example_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = [file.stem for file in files if file.suffix == ".py"]
    try:
        for _, mark, text in blocks(page):
            if mark == "test":
                exec(compile(text, page, "exec"), {"__name__": "page"})
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def test_every_subject_has_an_example_and_stands_in_the_index() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    for page in PAGES:
        assert page == "README.md" or f"({page})" in index
    without = {page for page in PAGES if not any(mark.startswith("file=") for _, mark, _ in blocks(page))}
    assert without == {"README.md", "coming-from.md", "observability.md"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_that_are_there(page: str) -> None:
    for target, heading in LINK.findall((DOCS / page).read_text("utf-8")):
        if "://" not in target:
            assert (DOCS / target).exists(), (page, target, heading)


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_pages_are_those_of_the_cli(page: str) -> None:
    for text in COMMAND.findall((DOCS / page).read_text("utf-8")):
        words = shlex.split(text, comments=True)
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(click.Context(command), words[0])
            if found is None:
                break
            command, words = found, words[1:]
        assert command is not cli, f"{page}: indegree {text}: no such command"
        options = {name for parameter in command.params for name in parameter.opts}
        for word in words:
            if word.startswith("-") and "=" not in word:
                assert word in options, f"{page}: indegree {text}: no such option {word}"


@pytest.mark.parametrize("page", PAGES)
def test_settings_of_the_pages_are_settings(page: str) -> None:
    settings = Settings.load({}, environ={})
    for section, name in SETTING.findall((DOCS / page).read_text("utf-8")):
        assert hasattr(getattr(settings, section), name), f"{page}: there is no setting {section}.{name}"


async def test_a_secret_reaches_the_command_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = from_file(write_files("secrets.md", tmp_path)[0]).definition().tasks[0]
    assert task.command is not None
    sent = shell(task.command.source, output=task.output, secrets=task.secrets)
    async with bench() as worker:
        refused = await worker.run(sent)
        assert "set INDEGREE_SECRET_TOKEN" in refused.error.message
        monkeypatch.setenv("INDEGREE_SECRET_TOKEN", "hunter2-hunter2")
        sent.attempt = 2
        result = await worker.run(sent)
        assert (output(result), result.log) == ("sent with ***", "sent with ***\n")
