"""Where settings come from, and what is refused."""

import json
from pathlib import Path

import pytest

from indegree.events.settings import Settings, SettingsError

WEAK = {"topics.replication": 1, "topics.min_insync_replicas": 1, "topics.allow_weaker": True}


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "indegree.toml").write_text(
        'cluster = "from-file"\n[kafka]\nbootstrap_servers = "file:1"\n[worker]\nslots = 3\n'
    )
    env = {"INDEGREE_KAFKA__BOOTSTRAP_SERVERS": "env:1", "INDEGREE_WORKER__SLOTS": "4", "INDEGREE_OUTPUT": "x"}
    got = Settings.load({"worker.slots": 5, "cluster": None}, folder=tmp_path, environ=env)
    assert (got.cluster, got.kafka.bootstrap_servers, got.worker.slots, got.engine.lease_ttl_s) == (
        "from-file",
        "env:1",
        5,
        5.0,
    )


def test_local_stack_is_used_when_no_address_is_set_and_says_so(tmp_path: Path) -> None:
    (tmp_path / ".indegree").mkdir()
    (tmp_path / ".indegree" / "stack.json").write_text(json.dumps({"kafka": "127.0.0.1:1", "etcd": "127.0.0.1:2"}))
    got = Settings.load(folder=tmp_path, environ={})
    assert (got.kafka.bootstrap_servers, got.etcd.endpoints, got.topics.replication) == (
        "127.0.0.1:1",
        ("127.0.0.1:2",),
        1,
    )
    assert "local stack" in got.notes[0]
    other = Settings.load({"kafka.bootstrap_servers": "k:1"}, folder=tmp_path, environ={})
    assert (other.kafka.bootstrap_servers, other.notes) == ("k:1", ())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"kafka.bootstrap_server": "x"}, "did you mean 'kafka.bootstrap_servers'"),
        ({"worker.slots": "many"}, "worker.slots = 'many' .from flags.: must be of type int"),
        ({"cluster": "My Cluster"}, "a-z, 0-9"),
        ({"topics.replication": 1}, "topics.allow_weaker"),
        ({"engine.lease_ttl_s": 1}, "smallest lease of etcd is 2"),
        ({"limits.value_bytes": 1_000_000}, "must be between 1 and 262144"),
    ],
)
def test_wrong_setting_names_value_and_rule(flags: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.load(flags, folder=tmp_path, environ={})


def test_environment_of_a_child_gives_the_same_settings(tmp_path: Path) -> None:
    mine = Settings.load(
        {"cluster": "c1", "etcd.endpoints": ["a:1", "b:2"], "kafka.options": {"x": 1}, **WEAK},
        folder=tmp_path,
        environ={},
    )
    assert Settings.load(folder=tmp_path, environ=mine.environment()) == mine


def test_passwords_are_not_shown() -> None:
    assert "hunter2" not in repr(Settings.load({"kafka.sasl_password": "hunter2"}, environ={}))
