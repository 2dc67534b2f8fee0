"""Logs of the real core, with failures, cancels, takeovers and an old owner's late frames, are proven right."""

from __future__ import annotations

import pytest

from tests.checker import prove
from tests.checker.memory import Cluster


@pytest.mark.parametrize("seed", range(150))
def test_a_random_workflow_under_random_trouble_is_proven(seed: int) -> None:
    cluster = Cluster(seed)
    records = cluster.run()
    verdict = prove(records, expect_runs=cluster.run_ids)
    assert verdict.ok, f"seed {seed}: {cluster.definition.canonical().decode()}\n{verdict.report()}"
    assert len(verdict.runs) == len(cluster.run_ids)
