"""Calls to an etcd cluster: one connection at a time, over to the next endpoint when it fails, signed with a token.

Which endpoints there are may change while it runs (a store mesh://): that is asked at each dial. They are dialled in the order
in which they come; those that failed a short while ago come last.

A connection is only used after the endpoint has answered a status request and has a leader, so a dead endpoint costs
its `DIAL_TIMEOUT` once, not every call. When a connection fails, everything on it ends (watches too: their users
list again), and the next call dials the next endpoint. A call whose fate is then unknown is made again only if that is
harmless (`Method.repeatable`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from weft.base.errors import Denied, Unavailable, WeftError
from weft.store.etcd_api import etcd_pb2 as pb
from weft.store.etcd_errors import explain, is_gone, is_not_enabled, is_stale

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

Metadata = tuple[tuple[str, str], ...]

DIAL_TIMEOUT = 1.5
"""Seconds for an endpoint to answer at all, TLS included."""

CALL_TIMEOUT = 2.5
"""Seconds per call."""

FORGIVEN = 30.0
"""Seconds after which an endpoint that failed is dialled in its turn again."""

REQUIRE_LEADER: Metadata = (("hasleader", "true"),)
"""A watch on a member that lost its leader is ended by etcd instead of falling silent (rpctypes/metadatafields.go)."""

_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a new dial is a new attempt, not the wait for an older one's backoff
    ("grpc.keepalive_time_ms", 10_000),  # etcd allows 5 s and up (--grpc-keepalive-min-time)
    ("grpc.keepalive_timeout_ms", 3_000),
)


@dataclass(frozen=True)
class Method(Generic[Q, R]):
    """`stream`: a stream, of which one request and one answer are used by `Link.call`."""

    path: str
    response: type[R]
    repeatable: bool = True
    stream: bool = False


RANGE: Method[pb.RangeRequest, pb.RangeResponse] = Method("/etcdserverpb.KV/Range", pb.RangeResponse)
TXN: Method[pb.TxnRequest, pb.TxnResponse] = Method("/etcdserverpb.KV/Txn", pb.TxnResponse, repeatable=False)
COMPACT: Method[pb.CompactionRequest, pb.CompactionResponse] = Method("/etcdserverpb.KV/Compact", pb.CompactionResponse)
WATCH: Method[pb.WatchRequest, pb.WatchResponse] = Method("/etcdserverpb.Watch/Watch", pb.WatchResponse, stream=True)
GRANT: Method[pb.LeaseGrantRequest, pb.LeaseGrantResponse] = Method(
    "/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantResponse
)
REVOKE: Method[pb.LeaseRevokeRequest, pb.LeaseRevokeResponse] = Method(
    "/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeResponse
)
KEEP_ALIVE: Method[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse] = Method(
    "/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveResponse, stream=True
)
AUTHENTICATE: Method[pb.AuthenticateRequest, pb.AuthenticateResponse] = Method(
    "/etcdserverpb.Auth/Authenticate", pb.AuthenticateResponse
)
STATUS: Method[pb.StatusRequest, pb.StatusResponse] = Method("/etcdserverpb.Maintenance/Status", pb.StatusResponse)


@dataclass(frozen=True)
class Login:
    user: str
    password: str


@dataclass(frozen=True)
class Tls:
    """PEM; empty `ca`: the authorities gRPC ships with; empty `cert` and `key`: no client certificate. `name`: what the
    servers' certificates are for, where that is not the host that is dialled."""

    ca: bytes = b""
    cert: bytes = b""
    key: bytes = b""
    name: str = ""


@dataclass(frozen=True)
class Secrets:
    """What a connection is made with. `tls`: None for none."""

    tls: Tls | None = None
    login: Login | None = None

    def credentials(self) -> grpc.ChannelCredentials | None:
        tls = self.tls
        return grpc.ssl_channel_credentials(tls.ca or None, tls.key or None, tls.cert or None) if tls else None

    def options(self) -> Sequence[tuple[str, int | str]]:
        """Of a channel."""
        name = self.tls.name if self.tls else ""
        return (*_OPTIONS, ("grpc.ssl_target_name_override", name)) if name else _OPTIONS


Drop = Callable[[], Awaitable[None]]
Endpoints = Callable[[], Awaitable[Sequence[str]]]
"""HOST:PORT of each, the best first; asked at each dial. Raises Unavailable: why there is none."""


async def _nothing() -> None:
    """There is nothing to give up."""


def fixed(endpoints: Sequence[str]) -> Endpoints:
    """Always these."""

    async def same() -> Sequence[str]:
        return endpoints

    return same


class ConnectionLost(Unavailable):
    """The connection was given up, because of another call's failure, while this one was on its way."""


class Connection:
    """A channel to one endpoint. `lost`: it has been given up, and its calls were cancelled."""

    def __init__(self, endpoint: str, secrets: Secrets) -> None:
        self.endpoint = endpoint
        self.lost = False
        credentials, options = secrets.credentials(), secrets.options()
        self.channel = (
            grpc.aio.insecure_channel(endpoint, options=options)
            if credentials is None
            else grpc.aio.secure_channel(endpoint, credentials, options=options)
        )

    def usable(self) -> bool:
        return not self.lost and self.channel.get_state() is grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        self.lost = True
        await self.channel.close(None)

    async def call(self, method: Method[Q, R], request: Q, metadata: Metadata, deadline: float) -> R:
        """Raises grpc.aio.AioRpcError, or Unavailable when it is closed meanwhile. `deadline`: seconds."""
        if method.stream:
            async with contextlib.aclosing(self.stream(method, request, metadata, deadline)) as answers:
                async for answer in answers:
                    return answer
            raise Unavailable(f"etcd at {self.endpoint} gave no answer: try again")
        unary = self.channel.unary_unary(method.path, type(request).SerializeToString, method.response.FromString)
        with self._explained():
            response: R = await unary(request, timeout=deadline, metadata=metadata)
        return response

    async def stream(
        self, method: Method[Q, R], request: Q, metadata: Metadata, deadline: float | None = None
    ) -> AsyncGenerator[R, None]:
        """The answers to one request. Raises as `call` does."""
        open_stream = self.channel.stream_stream(
            method.path, type(request).SerializeToString, method.response.FromString
        )
        ended = asyncio.Event()
        with self._explained():
            # Not by call.write(): that waits for ever if the channel is closed before the call's metadata are sent.
            call = open_stream(_once(request, ended), metadata=metadata, timeout=deadline)
            try:
                async for answer in call:
                    yield answer
            finally:
                ended.set()
                call.cancel()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """A cancelled call is no cancelled task: it happens when the connection was given up."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.lost or (task is not None and task.cancelling()):
                raise
            raise self.gone() from None
        except grpc.aio.UsageError:  # the channel was closed before the call began
            raise self.gone() from None

    def gone(self) -> ConnectionLost:
        return ConnectionLost(f"the connection to etcd at {self.endpoint} was lost: try again")


async def _once(request: Q, ended: asyncio.Event) -> AsyncGenerator[Q, None]:
    """The request; the stream stays open for answers until the call has ended. Then this has to end as well: gRPC forgets
    about a generator that waits, and asyncio complains about the task in which it does so."""
    yield request
    await ended.wait()


class Link:
    """Calls to any one of `endpoints`. Nothing is dialled before the first call."""

    def __init__(
        self,
        endpoints: Endpoints,
        secrets: Callable[[], Secrets],
        use: Callable[[str, Drop], None] = lambda endpoint, drop: None,
        why: Callable[[Sequence[str]], str] = "; ".join,
    ) -> None:
        """`secrets`: as they are now. What it raises is raised by the call that needed a connection. `use`: told of the
        endpoint that calls go to from now on, "" while there is none, and by what it is given up: the next call dials anew.
        `why`: what is said where no endpoint answered, of the reasons of each."""
        self._endpoints, self._secrets, self._use, self._why = endpoints, secrets, use, why
        self._token: str | None = None
        self._signs_in = False
        """There was a login when it was last looked for."""
        self._signing = asyncio.Lock()
        self._failed: dict[str, float] = {}
        """Endpoints that failed, and when."""
        self._count = 0
        """How many endpoints there were at the last dial."""
        self._current: Connection | None = None
        self._dialling: asyncio.Task[Connection] | None = None
        self._closed = False

    async def call(self, method: Method[Q, R], request: Q) -> R:
        """Raises what `etcd_errors.explain` says, and Unavailable when no endpoint answers."""
        renewed = False
        for attempt in itertools.count():
            connection = await self._connect()
            left = attempt <= self._count  # each may fail once, and a token be too old
            token, sent = self._token, False
            try:
                metadata = await self._sign(connection)
                sent = True
                return await connection.call(method, request, metadata, CALL_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                if is_stale(error) and self._signs_in and not renewed:
                    if self._token == token:  # else another call has signed in meanwhile
                        self.forget_token()
                    renewed = True
                    continue
                if is_gone(error):
                    await self._give_up(connection)
                    if left and (method.repeatable or not sent):
                        continue
                raise explain(error, connection.endpoint) from error
            except ConnectionLost:
                if not left or (sent and not method.repeatable):
                    raise
        raise AssertionError("never ends")

    async def stream(self, method: Method[Q, R], request: Q) -> AsyncGenerator[R, None]:
        """Answers until the stream breaks, which raises as `call` does; nothing is tried again."""
        connection = await self._connect()
        try:
            metadata = REQUIRE_LEADER + await self._sign(connection)
            async with contextlib.aclosing(connection.stream(method, request, metadata)) as answers:
                async for answer in answers:
                    yield answer
        except grpc.aio.AioRpcError as error:
            if is_stale(error):
                self.forget_token()
            if is_gone(error):
                await self._give_up(connection)
            raise explain(error, connection.endpoint) from error
        raise connection.gone()

    def forget_token(self) -> None:
        """Sign in again at the next call."""
        self._token = None

    async def close(self) -> None:
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.gather(self._dialling, return_exceptions=True)
        if self._current is not None:
            await self._current.close()

    async def _connect(self) -> Connection:
        """The current connection, or a new one; all who wait for it wait for the same dial."""
        if self._closed:
            raise Unavailable("the etcd store is closed")
        if self._current is not None and self._current.usable():
            return self._current
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dial(), name="weft-etcd-dial")
            self._dialling.add_done_callback(self._dialled)
        return await asyncio.shield(self._dialling)

    def _dialled(self, task: asyncio.Task[Connection]) -> None:
        self._dialling = None
        if not task.cancelled():
            task.exception()  # seen, even if all who waited have gone

    async def _dial(self) -> Connection:
        if self._current is not None:
            await self._give_up(self._current)
        reasons = []
        endpoints = await self._endpoints()
        self._count = len(endpoints)
        for endpoint in self._in_turn(endpoints):
            try:
                self._current = await self._open(endpoint)
            except Unavailable as error:
                reasons.append(str(error))
                self._note(endpoint)
            else:
                self._use(endpoint, partial(self._give_up, self._current))
                return self._current
        raise Unavailable(self._why(reasons))

    def _in_turn(self, endpoints: Sequence[str]) -> list[str]:
        """Those that failed come last, the one that failed last at the end."""
        old = asyncio.get_running_loop().time() - FORGIVEN
        self._failed = {endpoint: at for endpoint, at in self._failed.items() if at > old}
        return sorted(endpoints, key=lambda endpoint: self._failed.get(endpoint, 0.0))

    def _note(self, endpoint: str) -> None:
        self._failed[endpoint] = asyncio.get_running_loop().time()

    async def _open(self, endpoint: str) -> Connection:
        connection = Connection(endpoint, self._secrets())
        try:
            status = await connection.call(STATUS, pb.StatusRequest(), (), DIAL_TIMEOUT)
            if not status.leader:
                raise Unavailable(f"etcd at {endpoint} has no leader: see that most of its members run")
        except grpc.aio.AioRpcError as error:
            await connection.close()
            raise explain(error, endpoint) from error
        except (WeftError, asyncio.CancelledError):
            await connection.close()
            raise
        return connection

    async def _give_up(self, connection: Connection) -> None:
        if self._current is connection:
            self._current = None
            self._note(connection.endpoint)
            self._use("", _nothing)
        await connection.close()

    async def _sign(self, connection: Connection) -> Metadata:
        async with self._signing:
            if self._token is None:
                login = self._secrets().login
                self._signs_in = login is not None
                self._token = await self._authenticate(connection, login) if login else ""
            return (("token", self._token),) if self._token else ()

    async def _authenticate(self, connection: Connection, login: Login) -> str:
        """A token, "" from an etcd that has no users (as etcd's own clients do)."""
        if connection.lost:
            raise connection.gone()
        request = pb.AuthenticateRequest(name=login.user, password=login.password)
        try:
            return (await connection.call(AUTHENTICATE, request, (), CALL_TIMEOUT)).token
        except grpc.aio.AioRpcError as error:
            if is_not_enabled(error):
                return ""
            if is_gone(error):
                raise
            raise Denied(f"etcd at {connection.endpoint} refused user '{login.user}': {error.details()}") from error
