"""The broker's jars: only what kafka.lock names is ever used, and what is finished is never fetched again."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from indegree.stack import JarError
from indegree.stack.jars import Jar, ensure, fault, lock_text, read_lock


def jar(name: str, content: bytes) -> Jar:
    return Jar("org.example", name, "1.0", hashlib.sha256(content).hexdigest(), len(content))


class Shelf:
    """A source of jars for these tests: what it holds, and what was asked of it."""

    def __init__(self, **content: bytes | list[bytes | Exception]) -> None:
        self.content = content
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, jar, scratch, advance):
        with self._lock:
            self.asked.append(jar.artifact)
            answer = self.content[jar.artifact]
            if isinstance(answer, list):
                answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        scratch.mkdir(parents=True)
        path = scratch / jar.filename
        path.write_bytes(answer)
        advance(len(answer))
        return path


def test_the_packaged_lock_names_34_jars_of_38_megabytes():
    jars = read_lock(lock_text())

    assert len(jars) == 34
    assert 37e6 < sum(each.size_bytes for each in jars) < 39e6


def test_missing_jars_are_fetched_and_verified(tmp_path):
    wanted = [jar("a", b"first"), jar("b", b"second")]

    paths = ensure(wanted, tmp_path, fetch=Shelf(a=b"first", b=b"second"))

    assert [path.read_bytes() for path in paths] == [b"first", b"second"]


def test_a_finished_jar_is_not_fetched_again(tmp_path):
    wanted = [jar("a", b"first")]
    ensure(wanted, tmp_path, fetch=Shelf(a=b"first"))
    shelf = Shelf()

    ensure(wanted, tmp_path, fetch=shelf)

    assert shelf.asked == []


def test_a_jar_with_another_hash_in_the_cache_is_fetched_again(tmp_path):
    wanted = [jar("a", b"first")]
    [path] = ensure(wanted, tmp_path, fetch=Shelf(a=b"first"))
    path.write_bytes(b"forged"[:5])  # the same size
    shelf = Shelf(a=b"first")

    ensure(wanted, tmp_path, fetch=shelf)

    assert shelf.asked == ["a"]
    assert path.read_bytes() == b"first"


def test_a_source_that_gives_another_jar_is_refused_by_coordinate_and_way_out(tmp_path):
    wanted = [jar("a", b"first")]

    with pytest.raises(JarError) as refusal:
        ensure(wanted, tmp_path, fetch=Shelf(a=b"forged"), pause_s=0)

    assert "org.example:a:1.0" in str(refusal.value)
    assert "6 bytes, kafka.lock says 5" in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    assert "INDEGREE_MAVEN_MIRROR" in str(refusal.value)
    assert not (tmp_path / "jars" / "a-1.0.jar").exists()


def test_a_wrong_answer_once_is_only_another_try(tmp_path):
    shelf = Shelf(a=[b"forge", ConnectionError("reset"), b"first"])

    [path] = ensure([jar("a", b"first")], tmp_path, fetch=shelf, pause_s=0)

    assert path.read_bytes() == b"first"
    assert len(shelf.asked) == 3


def test_after_a_failed_start_only_what_is_missing_is_fetched(tmp_path):
    wanted = [jar("a", b"first"), jar("b", b"second")]
    offline: list[bytes | Exception] = [ConnectionError("no route") for _ in range(3)]
    with pytest.raises(JarError, match="no route"):
        ensure(wanted, tmp_path, fetch=Shelf(a=b"first", b=offline), pause_s=0.01)
    assert fault(wanted[0], tmp_path / "jars" / "a-1.0.jar") is None
    shelf = Shelf(b=b"second")

    ensure(wanted, tmp_path, fetch=shelf)

    assert shelf.asked == ["b"]


def test_scraps_of_a_fetch_that_died_are_removed(tmp_path):
    scraps = tmp_path / "fetching-of-a-dead-process"
    scraps.mkdir()
    (scraps / "half").write_bytes(b"fir")

    ensure([jar("a", b"first")], tmp_path, fetch=Shelf(a=b"first"))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["jars", "lock"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")

    with pytest.raises(JarError, match="INDEGREE_CACHE"):
        ensure([jar("a", b"first")], blocked, fetch=Shelf())


def test_without_a_network_the_words_say_what_to_do(tmp_path, monkeypatch):
    # given a mirror that refuses connections, through the real downloader
    monkeypatch.setenv("INDEGREE_MAVEN_MIRROR", "http://127.0.0.1:9")

    with pytest.raises(JarError) as refusal:
        ensure(read_lock(lock_text())[:1], tmp_path, pause_s=0.01)

    text = str(refusal.value)
    assert "org.hdrhistogram:HdrHistogram:2.2.2" in text
    assert str(Path(tmp_path)) in text
    assert "no network" in text


@pytest.mark.parametrize("line", ["a:b:1", "a:b abc 1", f"a:b:1 {'0' * 64} many", f"a:b:1 {'0' * 63} 1"])
def test_a_broken_lock_line_is_named_by_its_number(line):
    with pytest.raises(JarError, match="line 2"):
        read_lock(f"# a comment\n{line}\n")
