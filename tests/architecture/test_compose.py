"""compose/compose.yml is a valid compose file, also as a whole: what it refers to is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose
from ruamel.yaml import YAML

from indegree.events.settings import Settings

FOLDER = Path(__file__).parents[2] / "compose"
TEXT = (FOLDER / "compose.yml").read_text(encoding="utf-8")


def read(text: str) -> dict[str, Any]:
    """The file as compose sees it: variables replaced, merge keys resolved."""
    loaded: dict[str, Any] = YAML(typ="safe").load(with_defaults(text))
    return loaded


def with_defaults(text: str) -> str:
    """What compose makes of `${NAME:-default}` when no such variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture
def compose() -> dict[str, Any]:
    return read(TEXT)


def test_the_file_follows_the_compose_specification():
    assert {"kafka", "etcd", "engine", "worker"} <= set(PyCompose.from_json(json.dumps(read(TEXT))).service_names())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("healthcheck:", "healthchek:"), ("service_healthy", "healthy"), ("interval: 5s", "interval: soon")],
)
def test_the_check_notices_a_mistake(right, wrong):
    with pytest.raises(ValueError, match=wrong.removeprefix("interval: ").rstrip(":")):
        PyCompose.from_json(json.dumps(read(TEXT.replace(right, wrong))))


def test_every_variable_has_a_default():
    assert re.sub(r"\$\{\w+:-[^}]*\}", "", TEXT).count("$") == 0


def test_services_wait_only_for_services_that_exist_and_are_checked(compose):
    services = compose["services"]
    for name, service in services.items():
        waits = service.get("depends_on", {})
        assert set(waits) <= set(services), name
        for other in waits if isinstance(waits, dict) else ():
            assert waits[other]["condition"] != "service_healthy" or "healthcheck" in services[other]


def test_volumes_and_mounted_files_exist(compose):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), f"{name} mounts {source}"
            else:
                assert source in compose["volumes"], f"{name} uses the volume {source}"
    assert (FOLDER.parent / compose["services"]["engine"]["build"]["dockerfile"]).is_file()


def test_every_port_is_published_on_the_loopback_address_only(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert ports != []
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("service", ["engine", "worker"])
def test_every_setting_is_one_that_indegree_knows(compose, service, tmp_path):
    environment = {name: str(value) for name, value in compose["services"][service]["environment"].items()}

    settings = Settings.load(folder=tmp_path, environ=environment)

    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.topics.replication == 1
