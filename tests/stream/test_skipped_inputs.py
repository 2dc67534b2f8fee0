"""A partition checks that what it is given begins where its log goes on. See live_road.py for what is real."""

from __future__ import annotations

import pytest

from indegree.stream.transport import Batch, InputsSkipped
from tests.engine.road import workflow
from tests.stream.live_road import LiveRoad

DEFINITION = workflow({"id": "a"})


async def test_a_batch_that_begins_behind_the_position_ends_the_ownership_and_decides_nothing() -> None:
    road = await LiveRoad.open(DEFINITION)
    await road.start()
    frames, at = len(road.log.frames), list(road.core.state.next)
    road.broker.put(road.topics.triggers, b"skipped")
    road.broker.put(road.topics.triggers, b"read")
    (skipped, read) = road.broker.records[road.topics.triggers][1:]
    with pytest.raises(InputsSkipped, match="inputs from 1 to 1 were not handed over"):
        await road.live.step(Batch(road.topics.triggers, [read], begin=read.offset))
    assert (len(road.log.frames), list(road.core.state.next)) == (frames, at)
    assert not road.live.serving
    assert skipped.offset == 1


@pytest.mark.parametrize("begin", [0, 1])
async def test_a_batch_that_reaches_back_or_has_a_gap_of_its_own_is_decided(begin: int) -> None:
    road = await LiveRoad.open(DEFINITION)
    await road.start()
    for _ in range(2):  # offset 1 is not in the batch: a transaction's marker has it
        road.broker.put(road.topics.triggers, b"not a start")
    await road.live.step(Batch(road.topics.triggers, road.broker.records[road.topics.triggers][2:], begin=begin))
    assert road.core.state.next[0] == 3
    await road.close()
