"""Devices and their addresses.

Every object has `ns`: "" is the host's own network namespace, else a path that opens one (/run/netns/x, /proc/1/ns/net).
Devices are named, never numbered: an ifindex is only unique inside one namespace and only `weft.kernel` knows it.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

OWNER = "weft"
"""Ownership mark of a device: its alias (IFLA_IFALIAS) is this word, or begins with it and a colon."""

TAKEN = "weft:taken/"
"""How the alias of a device begins that an engine takes to a container's namespace: there it is the engine's."""

CHECKED, UNCHECKED = 87, 88
"""Groups (IFLA_GROUP) of the host's devices that containers' packets come in by, for rules to tell them by. CHECKED: only
packets with a source address to which the answer would go out by the same device are taken; UNCHECKED: any."""

GATEWAY_ALIAS = "weft:gateway"
"""Alias of containers' second interfaces, and of the bridge they are on: the same on every host."""

NAMED = "/run/netns/"
"""Where ip-netns(8) keeps the names of namespaces."""
NETNS_PREFIX, NETNS_ALIAS = "weft-", "weft:netns"
"""Ownership mark of a namespace: how its name begins, and the alias of its loopback device."""


class Netns(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A network namespace of our own, under a name as ip-netns(8) gives it. What is in it goes with it. People name
    namespaces, too, so the name alone does not make it ours: its loopback device carries our alias."""

    kind: ClassVar[str] = "netns"

    path: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("netns", self.ns, self.path)


def netns(name: str) -> Netns:
    return Netns(path=f"{NAMED}{NETNS_PREFIX}{name}")


class Veth(msgspec.Struct, frozen=True, gc=False, tag="veth"):
    """One end of a pair (veth(4)). The `primary` end is the one whose creation makes both, the other end straight in its
    namespace; the other end's own Link then only sets attributes. `given`: the other end is for somebody else to take:
    it is made with this end's MTU, and where it is and what it is called afterwards is not looked at."""

    peer: str
    peer_ns: str
    primary: bool = True
    given: bool = False


class Bridge(msgspec.Struct, frozen=True, gc=False, tag="bridge"):
    """A Linux bridge without STP."""


class Vxlan(msgspec.Struct, frozen=True, gc=False, tag="vxlan"):
    """A VTEP (RFC 7348). `local` is the underlay address packets are sent from, over the device `dev` ("": as routed);
    `port` is UDP. `outside`: the namespace in which the UDP packets come and go, None for the device's own. `proxy`: it
    answers ARP and ND itself, out of its neighbour entries. `l2miss`, `l3miss`: it tells of what it has no entry for.
    `udp6zerocsumrx`: over IPv6 it takes packets without a checksum (RFC 6935). `external`: where a packet goes and with which
    number is said by whoever sends it there, so `vni` is 0, and nobody else has the port."""

    vni: int
    port: int
    local: str
    dev: str
    learning: bool = False
    proxy: bool = False
    l2miss: bool = False
    l3miss: bool = False
    udp6zerocsumrx: bool = False
    external: bool = False
    outside: str | None = None


class Ipip(msgspec.Struct, frozen=True, gc=False, tag="ipip"):
    """A tunnel of IPv4 in IPv4 (RFC 2003). `local`: the underlay address packets are sent from and taken at; `remote`: where
    they go, "" for wherever a route's next hop says. `ttl`: of the outer header, 0: the inner one's. `pmtudisc`: the outer
    header says not to fragment."""

    local: str
    remote: str = ""
    ttl: int = 0
    pmtudisc: bool = True


class Vlan(msgspec.Struct, frozen=True, gc=False, tag="vlan"):
    """What of the device `dev` is tagged with the number `id` (IEEE 802.1Q)."""

    dev: str
    id: int


class Macvlan(msgspec.Struct, frozen=True, gc=False, tag="macvlan"):
    """A device with a MAC address of its own on the wire of `dev`, its parent. `mode`: who of one parent's devices reaches
    whom, as ip-link(8) has it. `outside`: the parent's namespace."""

    dev: str
    mode: str
    outside: str = ""


class Ipvlan(msgspec.Struct, frozen=True, gc=False, tag="ipvlan"):
    """A device with the MAC address of `dev`, its parent, which tells its packets by their IP addresses. `mode`: "l2", "l3" or
    "l3s" (kernel ipvlan.rst). `outside`: the parent's namespace."""

    dev: str
    mode: str
    outside: str = ""


class Ifb(msgspec.Struct, frozen=True, gc=False, tag="ifb"):
    """An intermediate functional block: frames redirected to it (`weft.hoststate.Redirect`) pass its queue and go back to
    where they came from. All else that is sent there is dropped."""


class Tun(msgspec.Struct, frozen=True, gc=False, tag="tun"):
    """A device whose packets a program reads and writes (`weft.tunnel`). It stays when the program goes (IFF_PERSIST); what it
    is sent meanwhile is dropped."""


class Tap(msgspec.Struct, frozen=True, gc=False, tag="tap"):
    """The same with whole frames: it can be a port of a bridge."""


class Wireguard(msgspec.Struct, frozen=True, gc=False, tag="wireguard"):
    """A device that encrypts what it is sent, for the peer whose addresses these are (`weft.hoststate.encryption`)."""


LinkKind = Veth | Bridge | Vxlan | Ipip | Ifb | Vlan | Macvlan | Ipvlan | Tun | Tap | Wireguard


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A device of ours. What is None is left as the kernel has it. `mtu` in octets; `master` the bridge it is a port of,
    `hairpin`: a frame may leave that by the port it came in through, `isolated`: it exchanges frames only with the bridge
    itself and with ports that are not, `learning`: the bridge learns from its frames who is behind it. `group`: a number
    that rules may ask for. `guards`: the keys of rules without which the device is not made. `lent`: a container engine has
    it, whose further plugins may give it another MTU, MAC address or `master` than it was made with. `taken`: an engine takes
    it to where it is not looked at, or has done so: once it is gone it is not made again."""

    kind: ClassVar[str] = "link"

    name: str
    type: LinkKind
    mtu: int | None = None
    mac: str | None = None
    master: str = ""
    hairpin: bool = False
    isolated: bool = False
    learning: bool = True
    group: int = 0
    guards: tuple[tuple[str, ...], ...] = ()
    lent: bool = False
    taken: bool = False
    up: bool = True
    alias: str = OWNER
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", self.ns, self.name)

    @property
    def ours(self) -> bool:
        return self.alias == OWNER or self.alias.startswith(OWNER + ":")


class Address(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`address` with its prefix length, as "10.1.0.1/24". v6 addresses are usable at once (IFA_F_NODAD): they come from
    an allocator, which has made sure that they are unique. Ownership mark: IFA_PROTO is `PROTO` (Linux 5.18); a wanted
    address on a device of ours is ours without it. `routed`: False for one that was read, and of whose routes
    (`weft.hoststate.connected`) one is missing."""

    kind: ClassVar[str] = "address"

    address: str
    dev: str
    proto: int = 87
    ns: str = ""
    routed: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        return ("address", self.ns, self.dev, self.address)
