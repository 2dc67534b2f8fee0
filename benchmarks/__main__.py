"""`python -m benchmarks NAME`: dispatches to one module a benchmark."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Benchmarks on a local stack of their own."
    )
    names = parser.add_subparsers(dest="name", required=True)
    quick = names.add_parser("quick", help="tasks/s and hop, beside the raw floors of the same run (about 30 s)")
    quick.add_argument("--runs", type=int, default=10_000, metavar="N", help="diamonds (default 10,000)")
    scale = names.add_parser("scale", help="many runs, a wide run, a long chain; proven by the checker")
    scale.add_argument("--runs", type=int, default=10_000, metavar="N", help="diamonds (default 10,000)")
    scale.add_argument("--wide", type=int, default=100_000, metavar="N", help="tasks of the wide run (default 100,000)")
    scale.add_argument("--chain", type=int, default=10_000, metavar="N", help="length of the chain (default 10,000)")
    kills = names.add_parser("kills", help="kill -9 of an owner under load, again and again; proven by the checker")
    kills.add_argument("--n", type=int, default=20, metavar="N", help="kills (default 20)")
    kills.add_argument("--rate", type=int, default=100, metavar="N", help="runs started a second (default 100)")
    kills.add_argument("--ttl", type=float, default=2.0, metavar="S", help="lease TTL (default 2 s)")
    features = names.add_parser(
        "features", help="maps, triggers, keys, pools, sub-workflows, signals; and across kills"
    )
    features.add_argument("--scale", type=float, default=1.0, metavar="X", help="share of the full size (default 1)")
    for parser_of_one in (quick, scale, kills, features):
        parser_of_one.add_argument("--partitions", type=int, default=8, metavar="N", help="default 8")
        parser_of_one.add_argument(
            "--stack", default="", metavar="KAFKA,ETCD", help="a stack that runs, instead of an own"
        )
    arguments = parser.parse_args()
    if arguments.name == "quick":
        from benchmarks.quick import run as run_quick

        return run_quick(arguments.runs, arguments.partitions, arguments.stack)
    if arguments.name == "scale":
        from benchmarks.scale import run as run_scale

        return run_scale(arguments.runs, arguments.wide, arguments.chain, arguments.partitions, arguments.stack)
    if arguments.name == "features":
        from benchmarks.features import run as run_features

        return run_features(arguments.scale, arguments.partitions, arguments.stack)
    from benchmarks.kills import run as run_kills

    return run_kills(arguments.n, arguments.rate, arguments.ttl, arguments.partitions, arguments.stack)


if __name__ == "__main__":
    sys.exit(main())
