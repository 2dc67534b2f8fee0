"""`./dev example [NAME]`: one complete example on a real Kafka and a real etcd, from nothing to its verdict.

Why: a person wants to see one run before reading it.

How: where INDEGREE_KAFKA__BOOTSTRAP_SERVERS and INDEGREE_ETCD__ENDPOINTS name a stack, that one is used, under a
cluster name of the example's own; else one is started in a temporary folder. Exit code: 0 it did what it promises, 1 it
did not (its logs are kept, and it is said where), 2 there is no such example, 3 no stack.

It must never leave a process, and no folder unless it says so.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from examples.stage import HERE, cluster_name, cluster_settings, examples, play
from indegree.events.spelling import did_you_mean
from indegree.stack import Stack, StackError

KAFKA, ETCD = "INDEGREE_KAFKA__BOOTSTRAP_SERVERS", "INDEGREE_ETCD__ENDPOINTS"


def main(arguments: list[str]) -> int:
    known = examples()
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: ./dev example NAME\n")
        for name, text in known.items():
            print(f"  {name:10} {text}")
        return 0
    name = arguments[0]
    if name not in known or len(arguments) > 1:
        print(
            f"error: there is no example {' '.join(arguments)!r}{did_you_mean(name, known)}; `./dev example` lists all",
            file=sys.stderr,
        )
        return 2
    folder = Path(tempfile.mkdtemp(prefix=f"indegree-{name}-"))
    stack = None
    code = 1
    print(f"{name}: {known[name]}", flush=True)
    try:
        kafka, etcd = os.environ.get(KAFKA), os.environ.get(ETCD)
        if not kafka or not etcd:
            stack = Stack(folder / "stack")
            addresses = stack.start()
            kafka, etcd = addresses.kafka, addresses.etcd
        play(name, cluster_settings(kafka, etcd, cluster_name(name)), folder, lambda text: print(text, flush=True))
        print(f"all of it as examples/{name}/README.md says")
        code = 0
    except KeyboardInterrupt:
        print("\ninterrupted; engine and worker are stopped", file=sys.stderr)
        code = 130
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 3
    except Exception as error:  # noqa: BLE001 - whatever it was, the example did not show what it promises
        print(
            f"error: {type(error).__name__}: {error}\nlogs of its engine and worker: {folder / 'logs'}", file=sys.stderr
        )
    finally:
        if stack is not None:
            stack.stop()
            shutil.rmtree(folder / "stack", ignore_errors=True)
        if code in (0, 130):
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    os.chdir(HERE.parent)
    sys.exit(main(sys.argv[1:]))
