"""The local stack: a real Kafka broker and a real etcd on this machine, without Docker and without an installed Java.

Reading order: `jars` (the broker's files, verified), `ports`, `process` (children that end for certain), `kafka` and
`etcd` (one part each), `local` (both as one thing), `commands` (`indegree stack up|status|env|down`).

It imports nothing of the rest of indegree, and nothing of the rest needs it in production.
"""

from .errors import JarError, NotReady, PortInUse, StackError
from .local import Addresses, Stack, Status, read_addresses

__all__ = ["Addresses", "JarError", "NotReady", "PortInUse", "Stack", "StackError", "Status", "read_addresses"]
