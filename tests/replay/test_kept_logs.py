"""Kept event logs replay to what they always meant, and deciding the same again writes the same bytes.

A failure here after a change of the engine means that logs in the field would be read differently: give the new meaning
a new kind, or decide by something that old logs do not hold.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest

from indegree.engine.invariants import check, image
from indegree.v1.event_pb2 import Event, Frame
from tests.engine.road import replayed
from tests.replay.scenarios import SCENARIOS

LOGS = Path(__file__).parent / "logs"


def kept(name: str) -> list[bytes]:
    lines = (LOGS / f"{name}.log").read_text().splitlines()
    return [base64.b64decode(line) for line in lines if not line.startswith("#")]


def inflated(data: bytes) -> Frame:
    """A frame with its definitions inflated: other builds of zlib compress differently."""
    frame = Frame.FromString(data)
    for event in frame.events:
        if event.kind == Event.DEFINITION_RECORDED:
            event.data = zlib.decompress(event.data)
    return frame


@pytest.mark.parametrize("name", SCENARIOS)
def test_deciding_the_same_again_writes_the_same_log(name: str) -> None:
    again = SCENARIOS[name]().log
    assert [inflated(data) for data in again] == [inflated(data) for data in kept(name)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kept_log_replays_to_the_state_and_progress_of_the_run_that_wrote_it(name: str) -> None:
    road = SCENARIOS[name]()
    core, progress = replayed(kept(name))
    check(core.state)
    assert image(core.state) == image(road.core.state)
    assert progress == road.progress


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_frame_is_written_in_one_way(name: str) -> None:
    assert all(Frame.FromString(data).SerializeToString() == data for data in kept(name))


def test_every_kept_log_has_its_scenario() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(SCENARIOS)
