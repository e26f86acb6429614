"""A marked packet that is sent for real, and what a host saw of it. Times are nanoseconds of that host's own clock."""

from __future__ import annotations

from typing import Literal

from weft.api.dump import Entry
from weft.api.types import Reply, Request
from weft.base.net import Family

Protocol = Literal["tcp", "udp", "icmp"]
Point = Literal["in", "queue", "out", "drop"]
"""A packet comes in by a device; is put into a device's queue; leaves it, to the wire or to a veth's other end; ends here."""


class WatchRequest(Request, frozen=True, kw_only=True):
    """`token`: 16 hex digits, which the packet carries at its end and where its content begins. `namespaces`: paths of those of
    endpoints here, in which rules are watched besides the host's own. `aside`: addresses whose packets take no short way
    meanwhile. `seconds`: after which nobody watches any more."""

    token: str
    protocol: Protocol = "icmp"
    family: Family = 4
    namespaces: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    seconds: float = 10.0


class PacketSeen(Entry, frozen=True):
    """`namespace`: its path, "" for the host's own; `place`: the endpoint's name in it. `head`: its octets from the network
    header on, at most 128. `length`: as this point counts, with the link's header or without. `reason`, `function`: of a drop,
    as the kernel names them, "" where it does not tell."""

    at: int
    point: Point
    namespace: str
    place: str = ""
    device: str = ""
    length: int = 0
    head: bytes = b""
    reason: str = ""
    function: str = ""


class RuleSeen(Entry, frozen=True):
    """A rule of nftables that the packet matched, or (`handle` 0) the end of a chain: `type` "rule", "return", "policy".
    `verdict` as nft writes it, `to`: the chain that it leads to. Of those that decided against the packet also `text`, as nft
    writes it, `comment`, and `owner`, whose it seems to be ("" for a person's)."""

    namespace: str
    family: str
    table: str
    chain: str
    handle: int
    type: str
    verdict: str
    to: str = ""
    text: str = ""
    comment: str = ""
    owner: str = ""


class Watched(Reply, frozen=True, kw_only=True):
    """`packets`, `rules`: so far, in order. `means`: of "tracepoints", "capture", "nftables". `unseen`: what cannot be seen on
    this host, and why, a sentence each."""

    id: str
    packets: tuple[PacketSeen, ...] = ()
    rules: tuple[RuleSeen, ...] = ()
    means: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class ProbeRequest(Request, frozen=True, kw_only=True):
    """`namespace`: path of an endpoint's here, "" for the host's own. `source`, `sport`: "" and 0 for what the kernel chooses.
    `size`: of the packet with its IP header, in octets. `mark`: of its socket (SO_MARK). `seconds` to wait for an answer."""

    token: str
    target: str
    namespace: str = ""
    source: str = ""
    protocol: Protocol = "icmp"
    port: int = 0
    sport: int = 0
    size: int = 64
    mark: int = 0
    seconds: float = 1.0


class Probed(Reply, frozen=True, kw_only=True):
    """`answer`: "reply" (the other side answers), "refused" (it says that nothing listens), "error" (somebody sent an ICMP
    error), "unsent" (this kernel did not send it), "nothing" within the time. `text` says it in plain words. `sender`: who sent
    the answer. `seconds` until then. `mtu`: what an ICMP error about the size says is the most, 0 else."""

    source: str
    sport: int
    answer: Literal["reply", "refused", "error", "unsent", "nothing"]
    text: str
    sender: str = ""
    seconds: float = 0.0
    mtu: int = 0
