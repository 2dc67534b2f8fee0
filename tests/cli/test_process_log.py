"""The log of engine and worker while Kafka is away: a line when it begins, a count now and then, no noise."""

from __future__ import annotations

import logging

from indegree.cli.process_log import Repeats


def record(name: str, level: int, message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, values, None)


def test_a_flood_of_a_library_is_one_line() -> None:
    repeats = Repeats()
    passed = [repeats.filter(record("aiokafka.client", logging.ERROR, "cannot connect to %s", n)) for n in range(1_653)]
    assert passed == [True] + [False] * 1_652


def test_after_the_window_the_next_line_carries_the_count() -> None:
    repeats = Repeats(window_s=0.0)
    first = record("aiokafka", logging.ERROR, "cannot connect to %s", 1)
    assert repeats.filter(first)
    repeats._left_out["aiokafka", ""] = 41
    later = record("aiokafka", logging.ERROR, "cannot connect to %s", 1)
    assert repeats.filter(later)
    assert later.getMessage() == "cannot connect to 1 (41 more like it since the last line)"


def test_our_own_information_and_different_warnings_all_pass() -> None:
    repeats = Repeats()
    assert all(repeats.filter(record("indegree.worker", logging.INFO, "started %d", n)) for n in range(3))
    assert repeats.filter(record("indegree.stream", logging.WARNING, "the log is away"))
    assert repeats.filter(record("indegree.stream", logging.WARNING, "the lease is lost"))
    assert not repeats.filter(record("indegree.stream", logging.WARNING, "the lease is lost"))


def test_an_exception_of_ours_always_passes() -> None:
    repeats = Repeats()
    for _ in range(3):
        fault = record("indegree.stream", logging.ERROR, "a fault")
        fault.exc_info = (ValueError, ValueError("x"), None)
        assert repeats.filter(fault)


def test_services_that_start_and_clients_that_are_dropped_are_no_news() -> None:
    repeats = Repeats()
    assert not repeats.filter(record("indegree.stream.engine", logging.INFO, "[^--Engine]: Stopping..."))
    assert not repeats.filter(record("asyncio", logging.ERROR, "Unclosed AIOKafkaConsumer\nconsumer: <x>"))
