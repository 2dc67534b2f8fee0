"""Run ids, names, and the partitions that they give."""

import hashlib

import pytest

from indegree.events import run_ids


def test_run_id_begins_with_its_time_and_ends_in_its_partition() -> None:
    run_id = run_ids.make_run_id(1795601730123, "0123456789ab", 7)
    assert run_id == "20261125T101530.123Z-0123456789AB-0007"
    assert run_ids.is_run_id(run_id)
    assert (run_ids.time_of_run(run_id), run_ids.partition_of_run(run_id)) == (1795601730123, 7)


def test_redelivered_record_gives_the_same_digits() -> None:
    assert run_ids.record_digits("t", 3, 99) == run_ids.record_digits("t", 3, 99)
    assert run_ids.record_digits("t", 3, 99) != run_ids.record_digits("t", 3, 100)


@pytest.mark.parametrize(
    "text", ["", "run-1", "20261125T101530.123Z-0123456789AB-7", "20261125T101530.123Z-0123456789ab-0007"]
)
def test_other_text_is_no_run_id_and_the_error_says_the_form(text: str) -> None:
    with pytest.raises(run_ids.InvalidId, match="is not of the form"):
        run_ids.partition_of_run(text)


def test_month_thirteen_is_no_time() -> None:
    with pytest.raises(run_ids.InvalidId, match="UTC time"):
        run_ids.time_of_run("20261325T101530.123Z-0123456789AB-0007")


def test_partition_of_a_key_is_the_published_formula() -> None:
    digest = hashlib.sha256(b"idempotency\0orders\0batch-7").digest()
    assert run_ids.partition_of_key("idempotency", "orders", "batch-7", 8) == int.from_bytes(digest[:8], "big") % 8


@pytest.mark.parametrize(
    ("text", "good"),
    [("a", True), ("model.x", True), ("-a", False), ("a b", False), ("a" * 101, False), ("", False), ("a\n", False)],
)
def test_ids_follow_their_rule(text: str, good: bool) -> None:
    assert run_ids.is_id(text) is good
