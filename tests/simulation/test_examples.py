"""The workflows of examples/ in `simulate`: what a person tries before there is a Kafka, in no time at all."""

from __future__ import annotations

from pathlib import Path

from examples.crawler.workflow import crawler
from examples.etl.run import land
from examples.etl.workflow import etl
from examples.fanout.workflow import region, world
from examples.mapreduce.run import FILES, WORDS, write
from examples.mapreduce.workflow import mapreduce
from examples.orders.workflow import orders
from examples.saga.run import EXPECTED
from examples.saga.workflow import journey
from examples.stage import HERE
from indegree import Workflow
from indegree.testing import simulate

DAY = "2026-11-25"


def of_file(name: str) -> Workflow:
    return Workflow.from_file(HERE / name / "workflow.yaml")


def test_etl_merges_what_has_landed(tmp_path: Path) -> None:
    params = {"folder": str(land(tmp_path / "day", 5)), "day": DAY}
    result = simulate(etl, params)
    assert result["merge"].output == {"day": DAY, "files": 5, "total": {"EUR": 50.0, "USD": 12.5}}
    assert result["load[4]"].state == "SUCCESS"


def test_mapreduce_tolerates_a_quarter_of_failures_and_no_more(tmp_path: Path) -> None:
    result = simulate(mapreduce, {"folder": str(write(tmp_path / "some", {3, 7}))})
    assert result["report"].output == {"files": FILES, "words": 10 * WORDS, "failed": ["03.txt", "07.txt"]}
    assert simulate(mapreduce, {"folder": str(write(tmp_path / "many", {0, 1, 2, 3}))}).state == "FAILED"


def test_saga_undoes_in_reverse_order_for_every_order_of_running(tmp_path: Path) -> None:
    for seed in range(5):
        for sold_out, expected in EXPECTED.items():
            ledger = tmp_path / f"ledger-{sold_out}-{seed}.txt"
            simulate(journey, {"ledger": str(ledger), "sold_out": sold_out}, seed=seed)
            assert ledger.read_text("utf-8").splitlines() == expected, seed


def test_approval_takes_an_answer_or_its_default() -> None:
    outputs = {"pay": "paid", "refuse": "refused"}
    flow = of_file("approval")
    yes = simulate(flow, {"amount": 4_000}, signals={"approve": {"approved": True, "limit": 5_000}}, outputs=outputs)
    assert (yes["pay"].output, yes["refuse"].state) == ("paid", "SKIPPED")
    silent = simulate(flow, {"amount": 4_000}, outputs=outputs)
    assert (silent["pay"].state, silent["refuse"].output, silent.elapsed_ms) == ("SKIPPED", "refused", 5_000)
    assert simulate(flow, {"amount": 20}, outputs=outputs)["ask"].state == "SKIPPED"


def test_nightly_reads_the_day_that_it_is_for() -> None:
    at = "2026-03-29T03:00:00+02:00"
    output = {"day": "2026-03-29"}
    trigger = {"scheduled_at": at, "timezone": "Europe/Berlin"}
    result = simulate(of_file("nightly"), trigger=trigger, outputs={"export": output, "publish": "ok"})
    assert (result.state, result["export"].output) == ("SUCCESS", output)


def test_an_order_is_shipped() -> None:
    result = simulate(orders, {"customer": "ada", "number": 1})
    assert result["ship"].output == {"customer": "ada", "number": 1}


def test_crawler_keeps_to_its_rate() -> None:
    links = [f"http://127.0.0.1/{page}" for page in range(20)]
    outputs = {"links": links, "fetch": 7}
    result = simulate(crawler, {"site": "http://127.0.0.1/"}, outputs=outputs, pools={"connections": 3})
    assert result["sizes"].output == dict.fromkeys(links, 7)
    assert result.elapsed_ms >= (20 - 8) / 8 * 1_000


def test_fanout_gathers_the_results_of_its_regions() -> None:
    result = simulate(world, {"names": ["up", "down"]}, workflows=[region])
    assert result["regions"].output == [{"region": "up", "sales": 12}, {"region": "down", "sales": 24}]
    assert result["best"].output == "down"


def test_ci_publishes_from_main_only_and_tells_whatever_happened() -> None:
    flow = of_file("ci")
    outputs = {"build": {"wheel": "app.whl"}}
    main = simulate(flow, {"branch": "main"}, outputs=outputs, fail={"speed": OSError("slow")})
    assert (main.state, main["publish"].state, main["speed"].state) == ("SUCCESS", "SUCCESS", "FAILED")
    assert simulate(flow, {"branch": "x"}, outputs=outputs)["publish"].reason == "condition"
    broken = simulate(flow, {"branch": "main"}, fail={"test[1]": OSError("1 test failed")})
    assert (broken.state, broken["build"].state, broken["notify"].state) == ("FAILED", "SKIPPED", "SUCCESS")


def test_sensor_takes_what_is_about_its_day() -> None:
    result = simulate(
        of_file("sensor"),
        {"day": DAY},
        records={"prices.ready": [{"day": "2026-11-24", "count": 3}, {"day": DAY, "count": 21}]},
        runs={"stock-import": [{"state": "SUCCESS", "params": {"day": DAY}}]},
        outputs={"report": {}},
    )
    assert result.state == "SUCCESS"
    assert result["prices"].output == {"day": DAY, "count": 21}
    assert result["rates"].output == {"eur": 1.08}
