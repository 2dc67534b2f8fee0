"""`python -m tests.checker`: exit code 0 if all is proven, 1 if not, 3 if Kafka or the cluster is not there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from confluent_kafka import KafkaException

from tests.checker import check


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.checker", description="Proves a cluster's log from Kafka alone."
    )
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--cluster", required=True, metavar="NAME")
    parser.add_argument("--expect-runs", type=Path, metavar="FILE", help="run ids, one a line, that must have ended")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--all", action="store_true", help="fail if a run has not ended (the default)")
    ends.add_argument("--running-ok", action="store_true", help="tolerate runs that have not ended")
    arguments = parser.parse_args()
    expected = arguments.expect_runs.read_text(encoding="utf-8").split() if arguments.expect_runs else ()
    try:
        verdict = check(arguments.kafka, arguments.cluster, running_ok=arguments.running_ok, expect_runs=expected)
    except (KafkaException, TimeoutError) as error:
        print(f"checker: cannot read {arguments.cluster} at {arguments.kafka}: {error}", file=sys.stderr)
        return 3
    print(verdict.report())
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
