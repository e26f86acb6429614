"""Replies of the agent's API about a store mesh://. The rules of `weft.api.types` hold here, too."""

from __future__ import annotations

from weft.api.types import Reply
from weft.base.net import IPAddress


class MeshMember(Reply, frozen=True, kw_only=True):
    """One host, as the node asked knows it. `standing`: "alive", "suspect" (it does not answer, and may yet), "dead" or "left".
    `since`: when it came to stand so. `reached`: whether the node asked reaches it itself. `voter`: whether a voter is
    there."""

    name: str
    address: IPAddress
    standing: str
    since: float
    reached: bool = True
    this: bool = False
    voter: bool = False


class MeshVoter(Reply, frozen=True, kw_only=True):
    """One of those that keep the store. `state`: "leader", "voter", "learner": it takes over the data, and has no vote yet; or
    "silent": its host is away, or it hears no leader, or does not answer. `standing`, `reached`: as of its host's
    `MeshMember`."""

    name: str
    address: IPAddress
    port: int
    state: str
    standing: str
    reached: bool = True


class MeshStatus(Reply, frozen=True, kw_only=True):
    """`named`: the hosts of the store's URL. `cluster`: the identity of the voters' cluster; "" where none is known. `waiting`:
    why no voter is known, or none is reached; "" where one is. `through`: where this node's store is asked now, HOST:PORT.
    `problems`: what is amiss, a line each."""

    node: str
    named: tuple[str, ...]
    cluster: str = ""
    waiting: str = ""
    through: str = ""
    members: tuple[MeshMember, ...] = ()
    voters: tuple[MeshVoter, ...] = ()
    problems: tuple[str, ...] = ()


class MeshPeer(Reply, frozen=True, kw_only=True):
    """How packets get to another node, where networks have several ways (driver mesh). `state`: "established"; "silent": its
    probes came, and come no more; "unheard". `active`: the two share such a network. `way`: "kernel", "sleeve", or "relay"
    `via` a third node; `theirs`: by which the other one sends. `encrypted`: by what are packets of networks that ask for it:
    "wireguard", "esp", "sleeve", "trusted" where they need not be, "" where no network asks for it, or nothing can; what
    the sleeve encrypts goes by it, whatever `way` is. `clear`: there are networks that do not ask for it. `mtu`: the largest
    packet known to pass, 0: not known. `rtt`: of a probe, in milliseconds. `since`: when it came to be this way.
    `switches`: how often it changed. `why`: what keeps it from the best way, a line each."""

    name: str
    address: IPAddress | None
    state: str
    active: bool
    way: str
    via: str = ""
    theirs: str = ""
    encrypted: str = ""
    clear: bool = False
    mtu: int = 0
    rtt: float | None = None
    since: float = 0.0
    switches: int = 0
    why: tuple[str, ...] = ()
