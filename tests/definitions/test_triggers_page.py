"""The example of docs/triggers.md does what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

from indegree.engine.core import PartitionCore
from indegree.engine.intake import Route, Taken
from indegree.events.settings import Settings
from indegree.sdk import from_yaml
from indegree.v1.event_pb2 import Event, Frame

PAGE = (Path(__file__).parents[2] / "docs" / "triggers.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_workflow_of_the_page_is_started_by_the_records_that_it_asks_for() -> None:
    definition = from_yaml(block("yaml")).definition()
    core = PartitionCore(0, 1)
    core.announced(1, 1_000)
    core.intake_began("orders.ready", 0, {"orders": 0})
    values = [{"rows": 0}, {"rows": 3, "region": "us", "batch_id": "b"}, {"rows": 3, "region": "us", "batch_id": "b"}]
    records = [Taken(i, 1_000, json.dumps(value).encode()) for i, value in enumerate(values)]
    core.intake("orders.ready", 0, records, [Route.of(definition, [0])])
    frames: list[Frame] = []
    while (cut := core.cut()) is not None:
        frames.append(cut[0])
    started = [event for frame in frames for event in frame.events if event.kind == Event.RUN_STARTED]
    assert [json.loads(event.value.json) for event in started] == [{"region": "us", "rows": 3}]


def test_the_settings_of_the_page_are_settings(tmp_path: Path) -> None:
    (tmp_path / "indegree.toml").write_text(block("toml"))
    settings = Settings.load(folder=tmp_path, environ={})
    assert settings.triggers.decoders == {"orders.*": "ourcompany.decoders:order"}
