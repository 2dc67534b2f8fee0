"""Small parts: what is read from pipes, what is kept, what is remembered."""

from __future__ import annotations

import random

import pytest

from indegree.v1.task_pb2 import Result
from indegree.worker.attempt import Key
from indegree.worker.capture import Capture
from indegree.worker.memory import Memory
from indegree.worker.messages import Messages
from indegree.worker.pipes import LastLine
from indegree.worker.plain_text import cut_end, cut_middle
from indegree.worker.secret_values import Masking


@pytest.mark.parametrize("seed", range(20))
def test_the_last_line_is_found_however_the_output_is_cut(seed: int) -> None:
    source = random.Random(seed)
    text = "".join(source.choice(["a", "bb", "\n", "\n\n", " ", "ccc\n"]) for _ in range(source.randrange(30)))
    data = text.encode()
    lines = [line for line in data.split(b"\n") if line.strip()]
    reader = LastLine(100)
    while data:
        size = source.randrange(1, 8)
        reader.write(data[:size])
        data = data[size:]
    assert reader.line() == ((lines[-1], len(lines[-1])) if lines else (b"", 0)), f"seed {seed}"


def test_a_last_line_over_the_limit_tells_its_whole_length() -> None:
    reader = LastLine(4)
    for _ in range(3):
        reader.write(b"xyz")
    assert reader.line()[1] == 9
    reader.write(b"\n")
    assert reader.line()[1] == 9
    reader.write(b"long line\nok\n")
    assert reader.line() == (b"ok", 2)


def test_a_capture_keeps_the_end_and_no_part_of_a_secret_at_the_cut() -> None:
    for shift in range(12):
        capture = Capture(20, Masking(["topsecret"]))
        capture.write("x" * 50 + "topsecret" + "y" * (12 + shift))
        text = capture.tail()
        assert text.startswith("[... cut ...]\n")
        assert "secret" not in text
        assert "cret" not in text
        assert text.endswith("y" * 12)


def test_text_is_cut_at_whole_characters_with_a_mark() -> None:
    assert cut_end("üü", 100) == ("üü", False)
    text, cut = cut_end("ü" * 10, 5)
    assert (text.startswith("üü\n[..."), cut) == (True, True)
    text, cut = cut_middle("a" * 50 + "b" * 50, 20)
    assert text.startswith("a" * 10 + "\n[...")
    assert text.endswith("b" * 10)


def test_messages_are_whole_however_they_arrive_and_a_broken_one_ends_the_reading() -> None:
    heard: list[tuple[bytes, bytes]] = []
    messages = Messages(lambda kind, data: heard.append((kind, data)), 100)
    for byte in b"P\x00\x00\x00\x02[]R\x00\x00\x00\x00":
        messages.write(bytes([byte]))
    assert heard == [(b"P", b"[]"), (b"R", b"")]
    messages.write(b"P\xff\xff\xff\xff" + b"x" * 50)
    messages.write(b"R\x00\x00\x00\x00")
    assert len(heard) == 2


def test_memory_is_bounded_by_number_and_bytes_and_keeps_no_returned() -> None:
    memory = Memory(3, 1000)
    keys = [Key(f"r{number}", 0, 1, 0) for number in range(6)]
    for key in keys[:4]:
        memory.keep(key, Result(kind=Result.SUCCEEDED, run_id=key.run_id))
    assert [memory.result(key) is not None for key in keys[:4]] == [False, True, True, True]
    big = Result(kind=Result.SUCCEEDED)
    big.output.json = b"x" * 900
    memory.keep(keys[4], big)
    memory.keep(keys[5], big)
    assert memory.result(keys[4]) is None
    memory.keep(keys[0], Result(kind=Result.RETURNED))
    assert memory.result(keys[0]) is None
    memory.stop(keys[0], "cancelled")
    assert [memory.stopped(keys[0]), memory.stopped(keys[0])] == ["cancelled", None]
