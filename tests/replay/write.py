"""Writes the logs of scenarios that have none yet: `python -m tests.replay.write`.

An existing log is never written again: the meaning of a released event does not change. A log that was never released
may be removed by hand first.
"""

from __future__ import annotations

import base64
from pathlib import Path

from indegree.engine.story import lines
from indegree.v1.event_pb2 import Frame
from tests.replay.scenarios import SCENARIOS

LOGS = Path(__file__).parent / "logs"


def main() -> None:
    for name, build in SCENARIOS.items():
        path = LOGS / f"{name}.log"
        if path.exists():
            continue
        road = build()
        frames = [Frame.FromString(data) for data in road.log]
        runs = dict.fromkeys(e.run_id for f in frames for e in f.events if e.kind == 1)
        words = [f"# {line.text(frames[0].time_ms)}" for run in runs for line in lines(frames, run)]
        data = [base64.b64encode(frame).decode() for frame in road.log]
        path.write_text("\n".join([f"# {name}, in words:", *words, "# one frame a line:", *data]) + "\n")
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
