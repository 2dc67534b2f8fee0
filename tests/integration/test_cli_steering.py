"""Steering on a real cluster: pause, signal, rerun, skip, mark, backfill, delayed starts, hot versions, quarantine."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from indegree.engine import commands, features, starts  # noqa: F401 - features fill the table
from indegree.ownership.etcd import Etcd
from indegree.ownership.membership import Keys, Quarantine
from indegree.sdk.client import Client
from indegree.sdk.client_errors import Refused
from tests.conftest import SharedStack
from tests.integration.cli_road import Road, road
from tests.integration.stream_road import wait_until
from tests.integration.test_cli import lines

pytestmark = pytest.mark.integration

FILES = {
    "approval": """
id: approval
tasks:
  - {id: approve, wait_for: {signal: approve}, timeout: 1h}
  - {id: bill, command: 'echo ${{ approve.amount }}', output: json}
""",
    "mending": """
id: mending
params: {flag: {type: string, required: true}}
tasks:
  - {id: first, command: 'echo 1', output: json}
  - {id: second, depends_on: [first], command: 'test -e ${{ params.flag }}'}
  - {id: third, depends_on: [second], command: 'echo 3', output: json}
""",
    "marked": """
id: marked
tasks:
  - {id: broken, command: 'exit 3'}
  - {id: uses, command: 'echo ${{ broken.n }}', output: json}
""",
    "nightly": """
id: nightly
triggers:
  - cron: {schedule: "0 2 * * *", timezone: UTC, catch_up: none}
tasks:
  - {id: day, command: 'echo ${{ trigger.date }}', output: text}
""",
    "mapped": """
id: mapped
tasks:
  - {id: list, command: "echo '[0,1,2,3,4,5,6,7,8,9,10,11]'", output: json}
  - {id: load, foreach: list, command: 'echo at ${{ item }}; test ${{ item }} -ne 7'}
hooks: {on_failure: [{id: page, command: 'echo paged'}]}
""",
    "parallel": """
id: parallel
params: {flag: {type: string, required: true}}
tasks:
  - {id: quick, command: 'echo 1', output: json}
  - {id: below, depends_on: [quick], command: 'true'}
  - {id: long, command: 'until test -e ${{ params.flag }}; do sleep 0.1; done'}
""",
    "versioned": """
id: versioned
tasks:
  - {id: a, command: 'echo NUMBER', output: json}
""",
}


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    with road(stack.kafka, stack.etcd, tmp_path_factory.mktemp("steering")) as found:
        for name, text in FILES.items():
            (found.folder / f"{name}.yaml").write_text(text)
            if name != "versioned":
                good(found.command("workflow", "deploy", f"{name}.yaml"))
        good(found.command("workflow", "deploy", "client_flows"))
        yield found


def good(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def shown(place: Road, run_id: str) -> dict[str, Any]:
    [found] = lines(place.command("show", run_id, "--json"))
    return found


def task(place: Road, run_id: str, name: str) -> dict[str, Any]:
    return next((task for task in shown(place, run_id)["tasks"] if task["id"] == name), {})


def test_a_workflow_is_paused_and_goes_on(place: Road) -> None:
    said = good(place.command("pause", "--workflow", "diamond", "--reason", "wrong bucket"))
    assert "workflow 'diamond' is paused on all 4 partitions" in said
    again = place.command("pause", "--workflow", "diamond")
    assert again.returncode == 2
    assert "is paused already" in again.stderr
    assert "wrong bucket" in again.stderr
    run_id = good(place.command("trigger", "diamond")).strip()
    late = place.command("follow", run_id, "--timeout", "1")
    assert late.returncode == 5
    [done] = lines(place.command("resume", "--workflow", "diamond", "--json"))
    assert (done["workflow"], "goes on" in done["done"]) == ("diamond", True)
    assert "SUCCESS" in good(place.command("follow", run_id))


def test_a_run_is_paused_by_the_beginning_of_its_id_and_says_by_whom(place: Road) -> None:
    run_id = good(place.command("trigger", "slow", "-p", "seconds=8")).strip()
    good(place.command("pause", run_id, "--reason", "look first"))
    found = shown(place, run_id)
    assert (found["state"], found["reason"], bool(found["actor"])) == ("PAUSED", "look first", True)
    text = good(place.command("show", run_id))
    assert f"look first, by {found['actor']}" in text
    listed = {line["run_id"]: line["state"] for line in lines(place.command("runs", "--state", "PAUSED", "--json"))}
    assert listed[run_id] == "PAUSED"
    good(place.command("resume", run_id))
    assert place.command("resume", run_id).returncode == 2
    assert "SUCCESS" in good(place.command("follow", run_id))


def test_a_signal_ends_a_wait_with_its_payload_and_who_sent_it(place: Road) -> None:
    run_id = good(place.command("trigger", "approval")).strip()
    wait_until(lambda: task(place, run_id, "approve").get("state") == "WAITING", "it waits")
    assert "waits for signal approve" in good(place.command("show", run_id))
    good(place.command("signal", run_id, "approve", "-p", "amount=12.5", "-p", "by=ann"))
    assert "SUCCESS" in good(place.command("follow", run_id))
    approve = task(place, run_id, "approve")
    assert (approve["output"], bool(approve["actor"])) == ({"amount": 12.5, "by": "ann"}, True)
    assert task(place, run_id, "bill")["output"] == 12.5
    assert place.command("signal", run_id, "approve").returncode == 2


def test_a_task_of_a_run_under_way_begins_again_with_what_hangs_below_it(place: Road) -> None:
    flag = place.folder / "goes-on"
    run_id = good(place.command("trigger", "parallel", "-p", f"flag={flag}")).strip()
    wait_until(lambda: task(place, run_id, "below").get("state") == "SUCCESS", "the quick ones are done")
    assert "quick" in good(place.command("rerun", run_id, "quick", "--reason", "once more"))
    flag.touch()
    assert "SUCCESS" in good(place.command("follow", run_id))
    story = lines(place.command("follow", run_id, "--json"))
    begun = [(line["task_id"], line.get("generation", 0)) for line in story if line.get("state") == "QUEUED"]
    assert sorted(begun) == [("below", 0), ("below", 1), ("long", 0), ("quick", 0), ("quick", 1)]


def test_a_failed_run_is_rerun_from_what_failed_and_keeps_the_rest(place: Road) -> None:  # CASES row 27
    flag = place.folder / "flag"
    run_id = good(place.command("trigger", "mending", "-p", f"flag={flag}", "--wait"), 1).strip()
    again = place.command("rerun", run_id, "--failed", "--wait", "--json")
    assert lines(again)[0]["state"] == "FAILED"
    assert again.returncode == 1
    flag.touch()
    done = place.command("rerun", run_id, "--failed", "--wait", "--reason", "flag is there")
    assert f"{run_id} SUCCESS" in good(done)
    found = {t["id"]: t for t in shown(place, run_id)["tasks"]}
    assert {name: t["state"] for name, t in found.items()} == dict.fromkeys(found, "SUCCESS")
    assert (found["first"]["attempts"], found["first"]["output"]) == (1, 1)
    history = good(place.command("show", run_id, "--history"))
    assert history.count("first#1") == 2 or history.count("first#1") == 3, "queued, perhaps running, success: once"


def test_a_failed_task_is_marked_as_success_and_the_run_goes_on(place: Road) -> None:
    run_id = good(place.command("trigger", "marked", "--wait"), 1).strip()
    good(place.command("mark", run_id, "broken", "--output", '{"n": 5}', "--reason", "done by hand"))
    wait_until(lambda: shown(place, run_id)["state"] == "SUCCESS", "it goes on")
    assert task(place, run_id, "uses")["output"] == 5
    assert task(place, run_id, "broken")["actor"]


def test_a_waiting_task_is_skipped_by_hand(place: Road) -> None:
    run_id = good(place.command("trigger", "approval")).strip()
    wait_until(lambda: task(place, run_id, "approve").get("state") == "WAITING", "it waits")
    good(place.command("skip", run_id, "approve", "--reason", "nobody is there"))
    wait_until(lambda: shown(place, run_id)["state"] != "RUNNING", "it ends")
    approve = task(place, run_id, "approve")
    assert (approve["state"], approve["reason"], bool(approve["actor"])) == ("SKIPPED", "by_hand", True)
    unknown = place.command("skip", run_id, "aprove")
    assert unknown.returncode == 2


def test_a_backfill_runs_each_time_once_and_waits_for_the_end(place: Road) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    span = ["--start", (today - timedelta(days=3)).isoformat(), "--end", today.isoformat()]
    [done] = lines(place.command("backfill", "nightly", *span, "--concurrency", "2", "--wait", "--json"))
    assert (done["started"], done["known"], done["failed"], done["state"]) == (3, 0, [], "ended")
    runs = lines(place.command("runs", "--workflow", "nightly", "--json"))
    days = {task(place, run["run_id"], "day")["output"] for run in runs}
    assert days == {(today - timedelta(days=n)).date().isoformat() for n in (1, 2, 3)}
    [again] = lines(place.command("backfill", "nightly", *span, "--wait", "--json"))
    assert (again["started"], again["known"]) == (0, 3)
    assert place.command("backfill", "diamond", *span).returncode == 2
    assert place.command("backfill", "nightly", "--cancel").returncode == 2, "none is under way"


def test_many_instances_are_one_line_and_a_failed_one_shows_what_it_said(place: Road) -> None:
    run_id = good(place.command("trigger", "mapped", "--wait"), 1).strip()
    shown_text = good(place.command("show", run_id))
    assert "[12/12 done, 1 failed]" in shown_text
    assert "load[7] failed after 1 attempt(s)" in shown_text
    assert "  | at 7" in shown_text
    assert "load[3]" not in shown_text
    assert "12 instances" in good(place.command("follow", run_id), 1)
    assert good(place.command("logs", run_id, "load[7]")).count("── load[7], attempt 1, FAILED") == 1
    assert good(place.command("logs", run_id, "load")).count("── load[") == 12
    assert "paged" in good(place.command("logs", run_id, "page"))
    assert len(shown(place, run_id)["tasks"]) == 15, "--json has all"


def test_a_delayed_start_is_accepted_now_and_begins_then(place: Road) -> None:
    begins = datetime.now(UTC) + timedelta(seconds=3)
    run_id = good(place.command("trigger", "diamond", "--at", begins.isoformat())).strip()
    assert shown(place, run_id)["state"] == "PENDING"
    assert "SUCCESS" in good(place.command("follow", run_id))
    [root] = [t for t in shown(place, run_id)["tasks"] if t["id"] == "a"]
    assert root["started_ms"] >= begins.timestamp() * 1000 - 1


def test_a_newly_active_version_is_run_within_a_second_and_running_runs_keep_theirs(place: Road) -> None:
    text = FILES["versioned"]
    slow = "id: versioned\ntasks:\n  - {id: nap, command: 'sleep 3'}\n  - {id: a, depends_on: [nap], command: 'true'}\n"
    (place.folder / "versioned.yaml").write_text(slow)
    [first] = lines(place.command("workflow", "deploy", "versioned.yaml", "--json"))
    with Client(place.settings) as client:
        early = client.start("versioned")
        early.accepted(30)
        (place.folder / "versioned.yaml").write_text(text.replace("NUMBER", "2"))
        [second] = lines(place.command("workflow", "deploy", "versioned.yaml", "--json", "--no-activate"))
        for version in (second["version"], first["version"], second["version"]):
            client.activate("versioned", version)
            begun = time.monotonic()
            run = client.start("versioned")
            run.accepted(30)
            assert run.version == version
            assert time.monotonic() - begun < 1.0
        assert early.wait(30) == "SUCCESS"
        assert early.version == first["version"]
        back = client.rollback("versioned")
        assert (back.version, back.active) == (first["version"], True)
        assert client.start("versioned").wait(30) == "SUCCESS"
    told = lines(place.command("workflow", "history", "versioned", "--json"))
    assert [(line["what"], line["version"] == first["version"]) for line in told] == [
        ("deployed", True),
        ("activated", True),
        ("deployed", False),
        ("activated", False),
        ("activated", True),
        ("activated", False),
        ("rolled_back", True),
    ]
    assert all(line["actor"] and line["time_ms"] for line in told)


def test_a_rollback_without_a_version_before_is_refused(place: Road) -> None:
    done = place.command("workflow", "rollback", "approval")
    assert done.returncode == 2
    assert "was active before the present one" in done.stderr


def test_the_client_steers_with_the_same_names(place: Road) -> None:
    with Client(place.settings) as client:
        run = client.start("approval")
        assert "is PAUSED" in run.pause("a moment")
        assert "is RUNNING" in run.resume()
        run.signal("approve", {"amount": 3})
        assert run.wait(30) == "SUCCESS"
        assert "paused on all" in client.pause(queue="heavy", reason="full")
        with pytest.raises(Refused, match="is paused already"):
            client.pause(queue="heavy")
        assert "goes on" in client.resume(queue="heavy")
        with pytest.raises(Refused, match=r"no such run|has ended"):
            run.signal("approve")


def test_a_pool_is_set(place: Road) -> None:
    assert good(place.command("pools", "set", "gpu", "2"))


def test_a_command_about_a_run_that_was_never_there_is_exit_2(place: Road) -> None:
    for command in (["pause"], ["signal", "go"], ["skip", "a"], ["rerun", "a"]):
        done = place.command(command[0], "20261125T101530.123Z-0123456789AB-0001", *command[1:])
        assert (done.returncode, "no record of run" in done.stderr) == (2, True), done.stderr


def test_a_quarantine_is_named_by_doctor_and_lifted(place: Road) -> None:
    async def forbid() -> None:
        etcd = Etcd(place.settings.etcd.endpoints)
        try:
            value = Quarantine("three recoveries failed", "e1", time.time()).encode()
            await etcd.put(Keys(place.settings.cluster).quarantine(2), value)
        finally:
            await etcd.close()

    def owner() -> str:
        rows = lines(place.command("partitions", "list", "--json"))
        return next((str(row["owner"]) for row in rows if row["partition"] == 2), "")

    asyncio.run(forbid())
    wait_until(lambda: not owner(), "its owner gives it up")
    found = lines(place.command("doctor", "--json"))
    assert "`indegree partitions lift 2`" in next(line["way_out"] for line in found if "quarantine" in line["text"])
    assert place.command("partitions", "lift", "1").returncode == 2
    assert "partition 2 may be owned again" in good(place.command("partitions", "lift", "2"))
    wait_until(owner, "an engine takes it again")
