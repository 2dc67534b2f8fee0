"""A narrow connection to etcd: the few calls that ownership needs, with honest failures.

Why not a client library: each one that was tried has a flaw that costs a cluster (an ended lease that nobody is told
of, a lock that is entered without being held, one endpoint, no TLS, a token that is never renewed). So only the
generated stubs of aetcd are used, on ``grpc.aio`` channels of our own, and the semantics are here.

How it works:

* **Endpoints** are tried in turn, but never within one call: a call that fails moves the connection on, so the caller's
  next try goes elsewhere. One channel an endpoint, made when first used; one that let a call time out is replaced,
  since a connection that is half open would eat every later call as well.
* **Every unary call has a time limit.** gRPC's own retries are off. The one repetition is after etcd refused a token
  unseen (it was too old): nothing was carried out, so a second try with a fresh token is no second write.
* **A watch only wakes.** It may die, hang or skip; the truth is a fresh read.

What it must never do: retry a write, guess the outcome of one, or hand out a wake-up as if it were a fact.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from aetcd import rpc

from indegree.ownership.errors import (
    BadEtcdSetting,
    EtcdError,
    EtcdRefused,
    EtcdUnreachable,
    LeaseNotFound,
    OutcomeUnknown,
)
from indegree.ownership.operations import (
    Absent,
    Compare,
    CreatedAt,
    Delete,
    HeldUnder,
    KeyValue,
    Lease,
    ModifiedAt,
    Put,
    Snapshot,
    Write,
)

_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a replaced channel must not find the old connection again
    ("grpc.initial_reconnect_backoff_ms", 100),  # an etcd that is back is to be seen within a second;
    ("grpc.min_reconnect_backoff_ms", 100),  # gRPC's own way grows to two minutes
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),  # etcd closes connections that ping more often than every 5 s
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.max_receive_message_length", 64 << 20),
]
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT: "Correct the call or its settings.",
    grpc.StatusCode.NOT_FOUND: "It has ended, or never was.",
    grpc.StatusCode.ALREADY_EXISTS: "Choose another id.",
    grpc.StatusCode.PERMISSION_DENIED: "Give the user a role with read and write on the prefix /indegree/.",
    grpc.StatusCode.UNAUTHENTICATED: "Set etcd.user and etcd.password, or correct them.",
    grpc.StatusCode.FAILED_PRECONDITION: "A user is set here: enable authentication in etcd, or remove it.",
    grpc.StatusCode.OUT_OF_RANGE: "Read again.",
    grpc.StatusCode.UNIMPLEMENTED: "etcd 3.4 or newer is needed.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Compact and defragment etcd, or raise its quota.",
}
"""Answers that mean that etcd saw the call and did not carry it out. Every other code leaves the outcome open."""
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old")


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for TLS: our own authority (else the system's), and a client certificate with its key where etcd wants
    one."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises BadEtcdSetting that names the one that cannot be read."""
        if (self.certificate_file is None) != (self.key_file is None):
            raise BadEtcdSetting(
                f"etcd.certificate_file is {self.certificate_file!r} and etcd.key_file is {self.key_file!r}: "
                "a client certificate needs both; set the other one too, or neither"
            )
        return grpc.ssl_channel_credentials(
            root_certificates=_content("etcd.ca_file", self.ca_file),
            private_key=_content("etcd.key_file", self.key_file),
            certificate_chain=_content("etcd.certificate_file", self.certificate_file),
        )


class Etcd:
    """A connection to one etcd cluster.

    ``endpoints`` are ``host:port``, ``http://host:port`` or ``https://host:port`` (with https, or with ``tls``, all of
    them are spoken to by TLS). ``timeout_s`` limits each call that names no limit of its own. ``user`` and
    ``password`` are exchanged for a token, which is renewed when it is ``token_age_s`` old (etcd's simple tokens live
    300 s unused).

    Every method raises EtcdUnreachable or EtcdRefused; writes raise OutcomeUnknown where no answer came.
    Made without IO; connects at the first call; to be used on one event loop.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 2.0,
        user: str = "",
        password: str = "",
        tls: Tls | None = None,
        token_age_s: float = 120.0,
    ) -> None:
        if not endpoints:
            raise BadEtcdSetting("etcd.endpoints is empty: name at least one, for instance 127.0.0.1:2379")
        if timeout_s <= 0:
            raise BadEtcdSetting(f"etcd.timeout_s is {timeout_s}: it must be above 0")
        if bool(user) != bool(password):
            raise BadEtcdSetting("etcd.user and etcd.password go together: set both, or neither")
        secure = tls is not None or any(e.startswith("https://") for e in endpoints)
        self.endpoints: tuple[str, ...] = tuple(_address(e, secure) for e in endpoints)
        self.timeout_s = timeout_s
        self._tls = (tls or Tls()) if secure else None
        self._user, self._password, self._token_age_s = user, password, token_age_s
        self._current = 0  # index of the endpoint that the next call goes to
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._token: tuple[str, float] | None = None  # the token and the monotonic time it was issued at
        self._authenticating = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all channels; calls that are under way fail. May be called twice."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close(None)
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    # -- keys

    async def get_prefix(self, prefix: str, *, timeout_s: float | None = None) -> Snapshot:
        """Read all keys that begin with ``prefix``, linearizably: what any earlier acknowledged write wrote is seen."""
        key = prefix.encode()
        reply = await self._unary("range", "KV", "Range", rpc.RangeRequest(key=key, range_end=_after(key)), timeout_s)
        items = tuple(
            KeyValue(kv.key.decode("utf-8", "replace"), kv.value, kv.create_revision, kv.mod_revision, kv.lease)
            for kv in reply.kvs
        )
        return Snapshot(reply.header.revision, items)

    async def put(self, key: str, value: bytes, *, lease: int = 0, timeout_s: float | None = None) -> None:
        """Write one key whatever it was."""
        await self._unary("put", "KV", "Put", _put(Put(key, value, lease)), timeout_s, write=True)

    async def delete(self, key: str, *, timeout_s: float | None = None) -> bool:
        """Delete one key; False: there was none."""
        request = rpc.DeleteRangeRequest(key=key.encode())
        reply = await self._unary("delete", "KV", "DeleteRange", request, timeout_s, write=True)
        return bool(reply.deleted)

    async def delete_prefix(self, prefix: str, *, timeout_s: float | None = None) -> int:
        """Delete all keys that begin with ``prefix``; how many there were."""
        request = rpc.DeleteRangeRequest(key=prefix.encode(), range_end=_after(prefix.encode()))
        reply = await self._unary("delete", "KV", "DeleteRange", request, timeout_s, write=True)
        return int(reply.deleted)

    async def txn(self, compare: Sequence[Compare], then: Sequence[Write], *, timeout_s: float | None = None) -> bool:
        """Carry out ``then`` at once if all of ``compare`` holds, else nothing. True: carried out.

        Raises OutcomeUnknown when no answer came: read back. Raises LeaseNotFound when a lease in ``then`` has ended.
        """
        request = rpc.TxnRequest(compare=[_compare(c) for c in compare], success=[_operation(w) for w in then])
        reply = await self._unary("txn", "KV", "Txn", request, timeout_s, write=True)
        return bool(reply.succeeded)

    # -- leases

    async def lease_grant(self, ttl_s: int, *, timeout_s: float | None = None) -> Lease:
        """A new lease. One whose answer is lost ends by itself after its TTL, so no outcome needs to be read back."""
        reply = await self._unary(
            "lease grant", "Lease", "LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl_s, ID=0), timeout_s
        )
        return Lease(reply.ID, float(reply.TTL))

    async def lease_keepalive(self, lease: int, *, timeout_s: float | None = None) -> float:
        """Renew a lease: its TTL in seconds from some moment after this call began; 0.0: etcd does not know it (any
        more).

        etcd offers this as a stream only; one is opened for each call, so that each has a time limit and its own
        answer.
        """
        limit = self.timeout_s if timeout_s is None else timeout_s

        async def ask(stub: Any, metadata: _Metadata) -> float:
            requests = iter([rpc.LeaseKeepAliveRequest(ID=lease)])
            call = stub(requests, timeout=limit, metadata=metadata)
            try:
                async for reply in call:
                    return float(reply.TTL)
                return 0.0  # ended in good order without an answer: etcd has nothing to say about this lease
            finally:
                call.cancel()

        return float(await self._call("lease keepalive", "Lease", "LeaseKeepAlive", ask, limit, write=False))

    async def lease_revoke(self, lease: int, *, timeout_s: float | None = None) -> None:
        """End a lease and delete its keys. Raises LeaseNotFound when it has ended already."""
        await self._unary(
            "lease revoke", "Lease", "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease), timeout_s, write=True
        )

    # -- the rest

    async def watch_prefix(self, prefix: str) -> AsyncGenerator[None, None]:
        """Yield once when the watch stands, and then whenever something under ``prefix`` may have changed.

        Blocks between changes for as long as it takes; raises EtcdUnreachable when the watch breaks or does not come up
        within the time limit. Changes may be missed: read.
        """
        endpoint = self.endpoints[self._current]
        metadata = await self._metadata(endpoint, self.timeout_s)
        create = rpc.WatchCreateRequest(key=prefix.encode(), range_end=_after(prefix.encode()))

        async def requests() -> AsyncIterator[Any]:
            yield rpc.WatchRequest(create_request=create)
            await asyncio.Event().wait()  # ending the requests would end the watch

        call = rpc.WatchStub(self._channel(endpoint)).Watch(requests(), metadata=metadata)
        replies = aiter(call)
        try:
            limit: float | None = self.timeout_s
            while True:
                try:
                    async with asyncio.timeout(limit):
                        reply = await anext(replies, None)
                except TimeoutError as error:
                    self._move_on(endpoint, hangs=True)
                    raise self._unreachable(endpoint, "watch", f"no answer within {limit} s") from error
                except grpc.aio.AioRpcError as error:
                    raise self._failure(endpoint, "watch", error, write=False) from error
                except asyncio.CancelledError:
                    if _cancelled_by_caller():
                        raise
                    raise self._unreachable(endpoint, "watch", "the connection was closed") from None
                if reply is None or reply.canceled:
                    why = (
                        "the watch ended"
                        if reply is None
                        else f"the watch was cancelled: {reply.cancel_reason or 'no reason given'}"
                    )
                    raise self._unreachable(endpoint, "watch", why)
                limit = None
                yield None
        finally:
            call.cancel()

    async def version(self, *, timeout_s: float | None = None) -> str:
        """The version of the etcd server that answers; the cheapest way to see whether one does."""
        reply = await self._unary("status", "Maintenance", "Status", rpc.StatusRequest(), timeout_s)
        return str(reply.version)

    # -- inside

    async def _unary(
        self, what: str, service: str, method: str, request: Any, timeout_s: float | None, write: bool = False
    ) -> Any:
        limit = self.timeout_s if timeout_s is None else timeout_s

        async def ask(stub: Any, metadata: _Metadata) -> Any:
            return await stub(request, timeout=limit, metadata=metadata)

        return await self._call(what, service, method, ask, limit, write)

    async def _call(
        self, what: str, service: str, method: str, ask: Callable[[Any, _Metadata], Any], limit: float, write: bool
    ) -> Any:
        fresh = False
        while True:
            endpoint = self.endpoints[self._current]
            metadata = await self._metadata(endpoint, limit)
            stub = getattr(getattr(rpc, service + "Stub")(self._channel(endpoint)), method)
            try:
                return await ask(stub, metadata)
            except grpc.aio.AioRpcError as error:
                if self._user and not fresh and any(text in (error.details() or "") for text in _STALE_TOKEN):
                    self._token, fresh = None, True
                    continue
                raise self._failure(endpoint, what, error, write) from error
            except asyncio.CancelledError:
                if _cancelled_by_caller():
                    raise
                kind = OutcomeUnknown if write else EtcdUnreachable
                raise kind(endpoint, what, "the connection was closed", self.endpoints) from None

    def _failure(self, endpoint: str, what: str, error: grpc.aio.AioRpcError, write: bool) -> EtcdError:
        code, details = error.code(), error.details() or "no details"
        if code in _REFUSALS:
            if code is grpc.StatusCode.NOT_FOUND and "lease not found" in details:
                return LeaseNotFound(endpoint, what, details, _REFUSALS[code])
            return EtcdRefused(endpoint, what, details, _REFUSALS[code])
        self._move_on(endpoint, hangs=code is grpc.StatusCode.DEADLINE_EXCEEDED)
        kind = OutcomeUnknown if write else EtcdUnreachable
        return kind(endpoint, what, f"{code.name.lower().replace('_', ' ')} ({details})", self.endpoints)

    def _unreachable(self, endpoint: str, what: str, why: str) -> EtcdUnreachable:
        return EtcdUnreachable(endpoint, what, why, self.endpoints)

    def _move_on(self, endpoint: str, hangs: bool) -> None:
        """The next call goes to the next endpoint; a channel that hangs is replaced once its other calls are over."""
        if self.endpoints[self._current] == endpoint:
            self._current = (self._current + 1) % len(self.endpoints)
        channel = self._channels.pop(endpoint, None) if hangs else None
        if channel is not None:
            task = asyncio.ensure_future(channel.close(self.timeout_s))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        channel = self._channels.get(endpoint)
        if channel is None:
            if self._tls is None:
                channel = grpc.aio.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
            else:
                channel = grpc.aio.secure_channel(endpoint, self._tls.credentials(), options=_CHANNEL_OPTIONS)
            self._channels[endpoint] = channel
        return channel

    async def _metadata(self, endpoint: str, limit: float) -> _Metadata:
        if not self._user:
            return None
        async with self._authenticating:
            now = time.monotonic()
            if self._token is None or now - self._token[1] > self._token_age_s:
                request = rpc.AuthenticateRequest(name=self._user, password=self._password)
                try:
                    reply = await rpc.AuthStub(self._channel(endpoint)).Authenticate(request, timeout=limit)
                except grpc.aio.AioRpcError as error:
                    raise self._failure(endpoint, "authenticate", error, write=False) from error
                self._token = (reply.token, now)
            return (("token", self._token[0]),)


_Metadata = tuple[tuple[str, str], ...] | None


def _cancelled_by_caller() -> bool:
    """grpc.aio ends the calls of a closed channel with CancelledError: told from a real one by the task's own count."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _address(endpoint: str, secure: bool) -> str:
    scheme, separator, rest = endpoint.rpartition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    if (separator and scheme not in ("http", "https")) or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadEtcdSetting(
            f"etcd endpoint {endpoint!r} is not host:port, http://host:port or https://host:port: correct it"
        )
    if scheme == "http" and secure:
        raise BadEtcdSetting(
            f"etcd endpoint {endpoint!r} is without TLS while TLS is set: write https:// or leave the TLS files out"
        )
    return f"{host}:{port}"


def _content(name: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadEtcdSetting(
            f"{name} {path!r} cannot be read ({error.strerror}): correct the path or its permissions"
        ) from error


def _after(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with ``prefix`` (etcd's range end). Our prefixes end in '/', never in
    0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _put(put: Put) -> Any:
    return rpc.PutRequest(key=put.key.encode(), value=put.value, lease=put.lease)


def _operation(write: Write) -> Any:
    match write:
        case Put():
            return rpc.RequestOp(request_put=_put(write))
        case Delete(key):
            return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key.encode()))


def _compare(compare: Compare) -> Any:
    kind = rpc.Compare
    key = compare.key.encode()
    match compare:
        case Absent():
            return kind(key=key, result=kind.EQUAL, target=kind.CREATE, create_revision=0)
        case CreatedAt(_, revision):
            return kind(key=key, result=kind.EQUAL, target=kind.CREATE, create_revision=revision)
        case ModifiedAt(_, revision):
            return kind(key=key, result=kind.EQUAL, target=kind.MOD, mod_revision=revision)
        case HeldUnder(_, lease):
            return kind(key=key, result=kind.EQUAL, target=kind.LEASE, lease=lease)
