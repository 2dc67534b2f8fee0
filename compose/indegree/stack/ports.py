"""Ports on 127.0.0.1: free ones, the ones of last time, or the ones that were asked for.

Why: two stacks, and the test runs of several people, share a machine. Ports are kept between starts when they can be,
so that addresses in a shell or a settings file stay true.

How: all ports of a stack are bound at the same time and released together, so they differ. Between release and use
another process may take one; the broker then fails to start, its log says so, and the caller may simply start again.

It must never listen on anything but the loopback address.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from .errors import PortInUse

HOST = "127.0.0.1"


def choose(names: Sequence[str], *, asked: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """A port for each name. `asked` is an order: PortInUse when one is taken. `last` is a wish."""
    sockets: list[socket.socket] = []
    chosen: dict[str, int] = {}
    try:
        for name in names:
            if name in asked:
                bound = _bind(asked[name])
                if bound is None:
                    raise PortInUse(
                        f"port {asked[name]} for {name} is in use on {HOST}; stop what uses it (`ss -ltnp`), or leave "
                        "the port out and a free one is taken"
                    )
            else:
                bound = (_bind(last[name]) if name in last else None) or _bind(0)
                if bound is None:
                    raise PortInUse(f"no free port is left on {HOST}")
            sockets.append(bound)
            chosen[name] = bound.getsockname()[1]
    finally:
        for each in sockets:
            each.close()
    return chosen


def _bind(port: int) -> socket.socket | None:
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port whose last user is gone may still have connections in TIME_WAIT; servers bind over those, so do we.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
        probe.listen(1)
    except OSError:
        probe.close()
        return None
    return probe
