"""What etcd's voters are asked, one of them at a time: how it is, who belongs to it, and to take somebody in or out.

`weft.store.etcd_link` looks for whichever voter answers and has a leader; here it matters who answers, and one without a leader
has something to say, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import Message

from weft.base.errors import WeftError
from weft.store.etcd_api import etcd_pb2 as pb
from weft.store.etcd_errors import explain, is_gone
from weft.store.etcd_link import STATUS, Connection, Method, Secrets, Tls

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

SECONDS = 2.0
"""For an answer; changes of who belongs to it have to be agreed upon."""
STATUS_SECONDS = 1.0

LIST: Method[pb.MemberListRequest, pb.MemberListResponse] = Method(
    "/etcdserverpb.Cluster/MemberList", pb.MemberListResponse
)
ADD: Method[pb.MemberAddRequest, pb.MemberAddResponse] = Method("/etcdserverpb.Cluster/MemberAdd", pb.MemberAddResponse)
REMOVE: Method[pb.MemberRemoveRequest, pb.MemberRemoveResponse] = Method(
    "/etcdserverpb.Cluster/MemberRemove", pb.MemberRemoveResponse
)
UPDATE: Method[pb.MemberUpdateRequest, pb.MemberUpdateResponse] = Method(
    "/etcdserverpb.Cluster/MemberUpdate", pb.MemberUpdateResponse
)
PROMOTE: Method[pb.MemberPromoteRequest, pb.MemberPromoteResponse] = Method(
    "/etcdserverpb.Cluster/MemberPromote", pb.MemberPromoteResponse
)
LEAD: Method[pb.MoveLeaderRequest, pb.MoveLeaderResponse] = Method(
    "/etcdserverpb.Maintenance/MoveLeader", pb.MoveLeaderResponse
)


class Being(msgspec.Struct, frozen=True, kw_only=True):
    """How one voter is. `leader`: whom it follows; 0: nobody. `term`, `index`: how far its log goes. `alarms`: what etcd says
    is wrong with it."""

    cluster: str
    member: int
    leader: int
    learner: bool
    term: int
    index: int
    alarms: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        return bool(self.leader) and self.leader == self.member


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One member. `peer`, `client`: its URLs; `client` is "" and `started` False before it came for the first time."""

    number: int
    peer: str
    client: str
    learner: bool
    started: bool

    @property
    def endpoint(self) -> str:
        return self.client.partition("://")[2]


class Council:
    """One for each event loop. Each call raises WeftError, where that voter does not answer or refuses."""

    def __init__(self, tls: Tls) -> None:
        self._secrets = Secrets(tls)
        self._connections: dict[str, Connection] = {}

    async def being(self, endpoint: str) -> Being:
        said = await self._call(endpoint, STATUS, pb.StatusRequest(), STATUS_SECONDS)
        return Being(
            cluster=f"{said.header.cluster_id:x}",
            member=said.header.member_id,
            leader=said.leader,
            learner=said.isLearner,
            term=said.raftTerm,
            index=said.raftIndex,
            alarms=tuple(said.errors),
        )

    async def members(self, endpoint: str) -> tuple[Listed, ...]:
        """As that voter knows them."""
        found = (await self._call(endpoint, LIST, pb.MemberListRequest())).members
        return tuple(
            Listed(
                number=one.ID,
                peer=next(iter(one.peerURLs), ""),
                client=next(iter(one.clientURLs), ""),
                learner=one.isLearner,
                started=bool(one.clientURLs),
            )
            for one in found
        )

    async def add(self, endpoint: str, peer: str) -> None:
        await self._call(endpoint, ADD, pb.MemberAddRequest(peerURLs=[peer], isLearner=True))

    async def promote(self, endpoint: str, number: int) -> None:
        await self._call(endpoint, PROMOTE, pb.MemberPromoteRequest(ID=number))

    async def remove(self, endpoint: str, number: int) -> None:
        await self._call(endpoint, REMOVE, pb.MemberRemoveRequest(ID=number))

    async def move(self, endpoint: str, number: int, peer: str) -> None:
        """That member is elsewhere now."""
        await self._call(endpoint, UPDATE, pb.MemberUpdateRequest(ID=number, peerURLs=[peer]))

    async def lead(self, endpoint: str, number: int) -> None:
        """`endpoint`: of the leader."""
        await self._call(endpoint, LEAD, pb.MoveLeaderRequest(targetID=number))

    async def close(self) -> None:
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()

    async def _call(self, endpoint: str, method: Method[Q, R], request: Q, seconds: float = SECONDS) -> R:
        connection = self._connections.get(endpoint)
        if connection is None or connection.lost:
            connection = self._connections[endpoint] = Connection(endpoint, self._secrets)
        try:
            return await connection.call(method, request, (), seconds)
        except grpc.aio.AioRpcError as error:
            if is_gone(error):
                await self._drop(connection)
            raise explain(error, endpoint) from error

    async def _drop(self, connection: Connection) -> None:
        """A new one is a new attempt."""
        if self._connections.get(connection.endpoint) is connection:
            del self._connections[connection.endpoint]
        await connection.close()


async def try_for(council: Council, endpoint: str) -> Being | None:
    """How it is, where it answers."""
    with contextlib.suppress(WeftError):
        return await council.being(endpoint)
    return None


async def beings(council: Council, endpoints: dict[int, str]) -> dict[int, Being]:
    """Of all that answer, asked at once."""
    asked = [endpoint for endpoint in endpoints.values() if endpoint]
    answers = dict(zip(asked, await asyncio.gather(*(try_for(council, one) for one in asked)), strict=True))
    return {number: being for number, one in endpoints.items() if (being := answers.get(one)) is not None}
