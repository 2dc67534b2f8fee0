"""For users' tests: `simulate` runs a workflow on the real engine, without Kafka, in no time."""

from __future__ import annotations

from indegree.testing.result import SimulatedRun, TaskResult
from indegree.testing.simulate import NeverEnds, StartRefused, simulate

__all__ = ["NeverEnds", "SimulatedRun", "StartRefused", "TaskResult", "simulate"]
