"""What a rule sees of a packet, and what comes of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from weft.base.net import IPAddress

ConnectionState = Literal["new", "established", "related", "invalid", "untracked"]
Action = Literal["accept", "drop", "reject", "queue", "stolen", "depends"]
"""depends: a rule that cannot be judged from here decides; `Verdict.doubts` say which."""


class Tuple(msgspec.Struct, frozen=True):
    """One direction of a connection. Of ICMP both ports are its identifier."""

    protocol: int
    src: IPAddress
    dst: IPAddress
    sport: int = 0
    dport: int = 0

    def turned(self) -> Tuple:
        return Tuple(self.protocol, self.dst, self.src, self.dport, self.sport)


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What conntrack says of the packet. `reply`: it goes against the first one's direction. `original`: the first packet's
    tuple as it was sent; `answer`: that of packets that come back, so the two differ by what is translated.
    `status`: bits of IPS_* (linux/netfilter/nf_conntrack_common.h)."""

    state: ConnectionState
    original: Tuple | None = None
    answer: Tuple | None = None
    reply: bool = False
    mark: int = 0
    zone: int = 0
    status: int = 0


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` as `ip -d link` names it; `type`: ARPHRD_*; `master`: the bridge it is a port of."""

    name: str
    index: int = 0
    kind: str = ""
    type: int = 1
    group: int = 0
    master: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """`octets`: from the network header on. `link`: the Ethernet header, b"" where there is none. `protocol`: EtherType.
        `physin`, `physout`: ports of a bridge, where a bridged packet is shown to rules for IP. `local`: types of addresses
        ("local", "broadcast", …) as the namespace's routes have them, for those that rules may ask about. `uid`: of the sending
        program, where it is known. `route`: what a look at the routes says (`fib` of nft, `rpfilter` of iptables): device and
        type by which the source would be answered, None where that is not known. `draws`: which outcome each lottery has
    (numgen, `statistic` of iptables …), in the order in which the packet meets them; what is missing is 0.
    `answer`: it answers a first packet, also where conntrack does not know it (yet)."""

    octets: bytes
    link: bytes = b""
    protocol: int = 0x0800
    iif: Device | None = None
    oif: Device | None = None
    physin: Device | None = None
    physout: Device | None = None
    mark: int = 0
    connection: Connection | None = None
    local: dict[IPAddress, str] = {}
    uid: int | None = None
    route: tuple[str, str] | None = None
    draws: tuple[int, ...] = ()
    answer: bool = False


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """A rule, or (`handle` 0) the policy of a chain. `program`: "nft", "iptables", "iptables-legacy". `text`: the rule as its
    program would write it, as far as it is understood. `owner`: whose it seems to be ("weft", "docker", "firewalld", "ufw",
    "kube-proxy", "podman", …, "" for a person's). `show`, `remedy`: commands that show it, and that undo
    what it does."""

    program: str
    family: str
    table: str
    chain: str
    handle: int = 0
    text: str = ""
    comment: str = ""
    owner: str = ""
    hook: str = ""
    show: str = ""
    remedy: str = ""


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that cannot be judged. `why`: what it asks for. `action`: what it would do."""

    where: Where
    why: str
    action: str = ""


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: "dnat", "snat", "masquerade", "redirect". `address`, `port`: None where they stay; of masquerade and redirect the
    address is up to the device. `ports`: a range that it is taken out of."""

    kind: Literal["dnat", "snat", "masquerade", "redirect"]
    where: Where
    address: IPAddress | None = None
    port: int | None = None
    ports: tuple[int, int] | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`where`: the rule or policy that decided, None where no chain is asked. `seen`: the packet afterwards (rules set marks,
    and rewrite). `passed`: rules that matched on the way and did something. `drawn`: of each lottery on the way how many
    outcomes it has. `flowtable`: to which the flow was added, "" for none."""

    action: Action
    seen: Seen
    where: Where | None = None
    translation: Translation | None = None
    passed: tuple[Where, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    notrack: bool = False
    flowtable: str = ""
    drawn: tuple[int, ...] = ()
