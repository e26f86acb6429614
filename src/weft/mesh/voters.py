"""What hosts tell one another of the voters, which keep the store: a fact of a few octets that each writes of itself.

Whoever reads it takes it for what it is, a word of somebody who may be wrong: it leads clients to voters, and tells a host that
it may become one. Whether somebody is a voter, and of which cluster, only the voters decide, among themselves.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

import msgspec

from weft.base.numbers import HIGHEST_PORT
from weft.mesh import ports
from weft.mesh.membership import Member

FACT = "voter"
"""Under which a member tells it."""

Role = Literal["leader", "voter", "learner", "silent", ""]
"""`silent`: a voter that hears no leader. "": none."""

State = Literal["waiting", "client", "joining", "voter"]


class Cluster(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Which voters belong together. `generation`: how often somebody had to begin anew with the data of one voter (`weft mesh
    recover`), and `by`: a number drawn then, by which two who did so at once are told apart. `number`: etcd's own number of
    the cluster, which stays."""

    number: str
    generation: int = 0
    by: str = ""

    def __str__(self) -> str:
        return f"{self.number}-{self.generation}{self.by}" if self.generation else self.number

    def replaces(self, other: Cluster) -> bool:
        """Whether this one came of the other, which is over therefore."""
        return self.number == other.number and self.generation > other.generation


class Said(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """`able`: it can run a voter. `member`: etcd's number of its voter. `zone`: voters are spread over zones. `invites`: the
    name of the host that is to begin as a learner now. `leaving`: it wants to go, and others are to vote in its stead."""

    cluster: Cluster | None = None
    able: bool = False
    role: Role = ""
    member: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_PORT)] = ports.VOTER
    zone: str = ""
    invites: str = ""
    leaving: bool = False

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class Voter(msgspec.Struct, frozen=True, kw_only=True):
    """One of those that keep the store, as its host tells. `healthy`: its host is alive, and it has a leader. `since`: seconds
    of `time.monotonic()` here, when its host came to stand as it does."""

    name: str
    address: IPv4Address | IPv6Address
    port: int
    role: Literal["leader", "voter", "learner"]
    healthy: bool
    since: float

    @property
    def endpoint(self) -> str:
        return endpoint(self.address, self.port)


def state(voter: Voter) -> str:
    """In a word. One that is not well is no leader, whatever it was before, and does not count towards a majority."""
    return voter.role if voter.healthy else "silent"


class VotersStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`cluster`: "" where none is known. `state`: what this host is: "waiting" for a cluster, "client", "joining", "voter".
    `why`: a sentence."""

    cluster: str = ""
    state: State = "waiting"
    why: str = ""
    voters: tuple[Voter, ...] = ()


_DECODER = msgspec.json.Decoder(Said)


def said(member: Member) -> Said:
    """Nothing, where it says nothing that can be read."""
    try:
        return _DECODER.decode(member.facts.get(FACT, ""))
    except (msgspec.DecodeError, UnicodeError):
        return Said()


def endpoint(address: IPv4Address | IPv6Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
