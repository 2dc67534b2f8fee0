"""What must be there before an engine starts: etcd answers, and its page's port is free.

Why: an engine that waits in silence for an etcd that nobody started, or that ends with a traceback because its port is
taken, costs a person an hour. Once it runs, etcd may go away and come back: that is the session's business.

How: both are tried before anything is started. The port may still be taken by somebody else between the look and the
start; then Faust says so in its own words.

It must never leave anything behind: what it opens it closes.
"""

from __future__ import annotations

import asyncio
import socket

from indegree.events.settings import Settings
from indegree.ownership.errors import EtcdUnreachable
from indegree.ownership.etcd import Etcd, Tls
from indegree.ownership.membership import Membership

_ETCD_WITHIN_S = 5.0  # a supervisor starts us again; a person wants to know soon
_AGAIN_S = 0.3


class PortInUse(ValueError):
    """The engine's page cannot be served where the setting says."""


def connect_etcd(settings: Settings) -> Etcd:
    """The connection that the settings describe. No IO yet."""
    etcd = settings.etcd
    tls = None
    if etcd.cafile or etcd.certfile:
        tls = Tls(etcd.cafile or None, etcd.certfile or None, etcd.keyfile or None)
    return Etcd(etcd.endpoints, timeout_s=etcd.timeout_s, user=etcd.username, password=etcd.password, tls=tls)


async def etcd_answers(settings: Settings, within_s: float = _ETCD_WITHIN_S) -> None:
    """Returns once etcd has answered. Raises EtcdUnreachable when it has not within `within_s`, EtcdRefused at once."""
    etcd = connect_etcd(settings)
    deadline = asyncio.get_running_loop().time() + within_s
    try:
        while True:
            try:
                await Membership.read(etcd, settings.cluster)
                return
            except EtcdUnreachable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_AGAIN_S)
    finally:
        await etcd.close()


def page_port(settings: Settings) -> int:
    """The port that is set, or a free one. Raises PortInUse."""
    host, port = settings.engine.host, settings.engine.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: one in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"port {port} on {host} cannot be used ({error.strerror}); set engine.port (--port) to another one, or "
                "leave it out for a free one"
            ) from error
        return int(probe.getsockname()[1])
