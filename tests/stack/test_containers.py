"""The stack of compose/compose.yml in real containers, where a Docker daemon answers; else these are not run."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from docker.errors import DockerException
from testcontainers.compose import DockerCompose

from indegree.stack import Addresses
from indegree.stack.ports import choose

pytestmark = [pytest.mark.docker, pytest.mark.slow]
FOLDER = Path(__file__).parents[2] / "compose"


def why_not() -> str | None:
    """Why containers cannot be started here, or None when they can."""
    try:
        docker.from_env(timeout=5).ping()
    except DockerException as error:
        return f"no Docker daemon answers: {' '.join(str(error).split())[:120]}"
    if shutil.which("docker") is None:
        return "a Docker daemon answers, but there is no command `docker`"
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    return None if plugin.returncode == 0 else "the command `docker` has no plugin `compose`"


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Kafka and etcd of compose.yml, on free ports, in a project of their own that is gone afterwards."""
    if reason := why_not():
        pytest.skip(reason)
    # A project of its own, so that taking it down with its data can never be about a user's.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    project = f"indegree-test-{uuid.uuid4().hex[:8]}"
    text = (FOLDER / "compose.yml").read_text(encoding="utf-8")
    assert text.count("\nname: indegree\n") == 1
    folder = tmp_path_factory.mktemp("compose")
    (folder / "compose.yml").write_text(text.replace("\nname: indegree\n", f"\nname: {project}\n"), encoding="utf-8")
    ports = choose(["kafka", "etcd"], asked={}, last={})
    (folder / "ports.env").write_text(f"KAFKA_PORT={ports['kafka']}\nETCD_PORT={ports['etcd']}\n", encoding="utf-8")
    compose = DockerCompose(
        folder, "compose.yml", services=["kafka", "etcd"], env_file=str(folder / "ports.env"), keep_volumes=False
    )
    with compose:
        yield Addresses(kafka=f"127.0.0.1:{ports['kafka']}", etcd=f"127.0.0.1:{ports['etcd']}")
    monkeypatch.undo()


def test_the_broker_in_a_container_takes_topics(containers):
    admin = AdminClient({"bootstrap.servers": containers.kafka})

    admin.create_topics([NewTopic("indegree.events", 8, 1)])["indegree.events"].result(timeout=30)

    assert len(admin.list_topics(timeout=10).topics["indegree.events"].partitions) == 8
