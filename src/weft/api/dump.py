"""A host's kernel state as the agent tells it: all of what moves packets there, not only Weft's own part.

Fields that have their default value are left out in JSON: hosts have tens of thousands of these. Addresses, prefixes and
MACs are text in the kernel's canonical form, as in `weft.hoststate`; "" stands for none.
"""

from __future__ import annotations

import msgspec

from weft.api.types import Reply

ALONE = "host"
"""In place of paths of endpoints' namespaces, where a dump is asked for: only the host's own, and Weft's."""


class Entry(Reply, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything in a dump."""


class PeerDump(Entry, frozen=True):
    """A veth's other end. `namespace` is the path of one that is in the dump too, or of another container's on that host; "?"
    of one that nobody knows."""

    namespace: str
    name: str = ""
    ifindex: int = 0


class VxlanDump(Entry, frozen=True):
    """`dev`: the underlay device it is tied to. `port`: UDP. `local`: the address tunnel packets are sent from. `outside`: the
    namespace they come and go in, "?" of one that is not in the dump, None for the device's own. `proxy`: it answers ARP
    and ND itself, out of its neighbour entries."""

    vni: int
    port: int
    local: str = ""
    dev: str = ""
    outside: str | None = None
    proxy: bool = False


class IpipDump(Entry, frozen=True):
    """`local`: the address tunnel packets are sent from, and taken at. `remote`: where they go, "" for where a route's next
    hop says."""

    local: str = ""
    remote: str = ""


class VlanDump(Entry, frozen=True):
    """A VLAN that a port of a bridge, or the bridge itself, takes part in. `pvid`: that of frames that come without a tag;
    `untagged`: its frames leave without one."""

    vid: int
    pvid: bool = False
    untagged: bool = False


class PortDump(Entry, frozen=True):
    """A bridge's port (bridge-link(8)). `state`: of STP, "disabled", "listening", "learning", "forwarding" or "blocking".
    `flood`: frames to MACs that are not in the table leave by it. `suppress`: it is told no questions for neighbours that the
    bridge can answer (neigh_suppress). `locked`: only MACs in the table may send by it."""

    state: str = "forwarding"
    isolated: bool = False
    hairpin: bool = False
    learning: bool = True
    flood: bool = True
    suppress: bool = False
    locked: bool = False
    vlans: tuple[VlanDump, ...] = ()


class BridgeDump(Entry, frozen=True):
    """`filtering`: frames are kept to their VLANs (vlan_filtering). `stp`: a spanning tree is made. `nf_call`: families whose
    rules for IP see what is bridged here, whatever the sysctl says. `vlans`: those of the bridge as a device."""

    filtering: bool = False
    stp: bool = False
    nf_call: tuple[int, ...] = ()
    vlans: tuple[VlanDump, ...] = ()


class ConfDump(Entry, frozen=True):
    """Switches of IPv4 at a device, with what conf/all adds. `rp_filter`: 0, 1 strict, 2 loose; the greater of the two
    (IN_DEV_RPFILTER). `accept_local`: packets from addresses of this host may come in. `route_localnet`: 127.0.0.0/8 is no
    martian. `valid_mark`: the mark has a say in the check of the source. `shared`: proxy_arp_pvlan."""

    rp_filter: int = 0
    accept_local: bool = False
    route_localnet: bool = False
    valid_mark: bool = False
    shared: bool = False


class ProgramDump(Entry, frozen=True):
    """What sees packets of a device before or after the rules do. `at`: "xdp", "ingress", "egress", or "queue" for what they
    wait in. `text`: how it is shown by its tool. `judged`: "" where nobody can say what it does; "accept", "drop"."""

    at: str
    name: str = ""
    id: int = 0
    text: str = ""
    judged: str = ""


class LinkDump(Entry, frozen=True):
    """`kind` as `ip -d link` names it ("veth", "bridge"), "loopback" for lo, "" for an ordinary device. `up`: IFF_UP, by
    the administrator. `carrier`: IFF_LOWER_UP. `noarp`: IFF_NOARP. `lower`: the device a VLAN or macvlan is on.
    `forwarding`: families (4, 6) of which packets received here are routed on. `proxying`: families of which questions for
    neighbours are answered here on behalf of others (proxy_arp). `switch`: the bridge of Open vSwitch that it is a port of.
    `mtu` in octets. `vlan`: the id of a VLAN device. `mode` of a macvlan or ipvlan. `port`: where it is a bridge's.
    `disabled`: families that are off at it (disable_ipv6). `group`: of ip-link(8). `type`: ARPHRD_*."""

    name: str
    ifindex: int
    kind: str = ""
    mtu: int = 1500
    mac: str = ""
    up: bool = False
    carrier: bool = False
    noarp: bool = False
    master: str = ""
    lower: str = ""
    peer: PeerDump | None = None
    vxlan: VxlanDump | None = None
    ipip: IpipDump | None = None
    alias: str = ""
    forwarding: tuple[int, ...] = ()
    proxying: tuple[int, ...] = ()
    switch: str = ""
    vlan: int = 0
    mode: str = ""
    port: PortDump | None = None
    bridge: BridgeDump | None = None
    conf: ConfDump = ConfDump()
    disabled: tuple[int, ...] = ()
    programs: tuple[ProgramDump, ...] = ()
    group: int = 0
    type: int = 1


class AddressDump(Entry, frozen=True):
    """`address` with its prefix length. `flags`: of "tentative", "dadfailed", "deprecated"."""

    dev: str
    address: str
    flags: tuple[str, ...] = ()


class NextHopDump(Entry, frozen=True):
    """One of several next hops of a route. `flags`: of "onlink", "dead", "linkdown"."""

    via: str = ""
    dev: str = ""
    flags: tuple[str, ...] = ()


class RouteDump(Entry, frozen=True):
    """`type`: "unicast", "local", "unreachable", … `flags`: of "onlink", "dead", "linkdown". `nexthops`: where there are
    several; then `via` and `dev` are ""."""

    prefix: str
    table: int = 254
    type: str = "unicast"
    via: str = ""
    dev: str = ""
    metric: int = 0
    proto: int = 0
    scope: str = "global"
    src: str = ""
    flags: tuple[str, ...] = ()
    nexthops: tuple[NextHopDump, ...] = ()


class RuleDump(Entry, frozen=True):
    """A rule of routing policy (ip-rule(8)). `action`: "lookup", "goto", "nop", "blackhole", "unreachable", "prohibit".
    `mask`: the bits of a packet's mark that must be as in `mark`.
    `suppress`: longest prefix length of a found route that is passed over, -1 for none. `more`: it has selectors that are
    not told here (ports, uid, tunnel id)."""

    priority: int
    family: int
    action: str = "lookup"
    table: int = 0
    target: int = 0
    src: str = ""
    dst: str = ""
    iif: str = ""
    oif: str = ""
    mark: int = 0
    mask: int = 0
    invert: bool = False
    suppress: int = -1
    more: bool = False


class NeighbourDump(Entry, frozen=True):
    """`state`: "permanent", "reachable", "stale", "delay", "probe", "noarp", "failed", "incomplete", "none"."""

    dev: str
    address: str
    lladdr: str = ""
    state: str = "none"


class FdbDump(Entry, frozen=True):
    """An entry of a bridge's table (`master` names the bridge, `dev` the port) or of a VXLAN device's own (`master` is "",
    `dst` the VTEP). `state` as with neighbours; a bridge's "permanent" entry is the address of one of its own devices."""

    dev: str
    lladdr: str
    dst: str = ""
    master: str = ""
    vlan: int = 0
    state: str = "permanent"


class NftRuleDump(Entry, frozen=True):
    """`expressions`: NFTA_RULE_EXPRESSIONS as the kernel wrote it, which `weft.filters` decodes where a packet comes to the
    rule. `userdata`: NFTA_RULE_USERDATA (nft's comment is in there)."""

    handle: int
    expressions: bytes = b""
    userdata: bytes = b""


class NftChainDump(Entry, frozen=True):
    """`type`: "filter", "nat", "route", "" for a chain that is only jumped to. `hook` as nft names it, `policy`: "accept" or
    "drop". `devices`: those that an ingress or egress chain is for."""

    name: str
    type: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()
    rules: tuple[NftRuleDump, ...] = ()


class NftElementDump(Entry, frozen=True):
    """Octets of the element's key, the end of a key that is an interval of several fields, and of what it leads to, all as a
    register holds them; of a verdict map: the attributes of NFTA_DATA_VERDICT; of a map of objects: the object's name.
    `flags`: of NFT_SET_ELEM_*. `expressions`: those that it has for itself and that may decide (limit, quota, ct count)."""

    key: bytes = b""
    end: bytes = b""
    data: bytes = b""
    verdict: bytes = b""
    object: str = ""
    flags: int = 0
    expressions: bytes = b""


class NftSetDump(Entry, frozen=True):
    """`flags`: of NFT_SET_*. `key_length`, `data_length` in octets; `key_type` as nft numbers types; `fields`: lengths of the
    fields of a key that has several. `object_type`: NFT_OBJECT_* of what a map of objects leads to."""

    name: str
    flags: int = 0
    key_type: int = 0
    key_length: int = 0
    data_type: int = 0
    data_length: int = 0
    object_type: int = 0
    fields: tuple[int, ...] = ()
    elements: tuple[NftElementDump, ...] = ()


class NftFlowtableDump(Entry, frozen=True):
    """`devices`: packets of its flows that come in by one of these go past the rules."""

    name: str
    devices: tuple[str, ...] = ()


class NftTableDump(Entry, frozen=True):
    """`family`: "ip", "ip6", "inet", "bridge", "arp", "netdev". `dormant`: its chains are asked for nothing."""

    family: str
    name: str
    dormant: bool = False
    chains: tuple[NftChainDump, ...] = ()
    sets: tuple[NftSetDump, ...] = ()
    flowtables: tuple[NftFlowtableDump, ...] = ()


class XtablesDump(Entry, frozen=True):
    """A table of the old iptables. `family`: 4, 6. `entries`: as IPT_SO_GET_ENTRIES gives them; `hooks`, `underflows`: by the
    hook's number, offsets into them, -1 where the table has no chain."""

    family: int
    name: str
    entries: bytes = b""
    hooks: tuple[int, ...] = ()
    underflows: tuple[int, ...] = ()


class IpsetDump(Entry, frozen=True):
    """`index`: by which matches of iptables call it. `members` as ipset(8) writes them. `netmask`: bits of a packet's
    address that are looked up, 0 for all."""

    index: int
    name: str
    type: str
    family: int = 4
    netmask: int = 0
    members: tuple[str, ...] = ()


class ConnectionDump(Entry, frozen=True):
    """An entry of conntrack. `src` … `dport`: of packets as they were first sent; `reply_…`: of answers, as they come. Of ICMP
    the ports are its identifier. `status`: bits of IPS_*. `state`: of TCP."""

    protocol: int
    src: str
    dst: str
    reply_src: str
    reply_dst: str
    sport: int = 0
    dport: int = 0
    reply_sport: int = 0
    reply_dport: int = 0
    mark: int = 0
    zone: int = 0
    status: int = 0
    state: str = ""
    timeout: int = 0
    packets: int = -1
    octets: int = -1
    reply_packets: int = -1
    reply_octets: int = -1


class IpvsDestinationDump(Entry, frozen=True):
    address: str
    port: int
    weight: int = 1
    forward: str = "masq"


class IpvsServiceDump(Entry, frozen=True):
    """`mark`: that of its packets, where it has no address (then `protocol` is 0)."""

    protocol: int = 0
    address: str = ""
    port: int = 0
    mark: int = 0
    scheduler: str = ""
    destinations: tuple[IpvsDestinationDump, ...] = ()


class FiltersDump(Entry, frozen=True):
    """All that judges packets in a namespace. `generation`: of its nftables, the same at the beginning and at the end of the
    dump. `connections`: those that were asked for. `unread`: what could not be read, in plain words."""

    nft: tuple[NftTableDump, ...] = ()
    xtables: tuple[XtablesDump, ...] = ()
    ipsets: tuple[IpsetDump, ...] = ()
    ipvs: tuple[IpvsServiceDump, ...] = ()
    connections: tuple[ConnectionDump, ...] = ()
    generation: int = 0
    unread: tuple[str, ...] = ()


class SocketDump(Entry, frozen=True):
    """One that listens, or takes datagrams. `protocol`: IP's number. `address`: "" for any of both families, "0.0.0.0" or "::"
    for any of one. `dev`: the device it is tied to. `waiting`: connections to be accepted, of at most `room`; of UDP octets.
    `dropped`: datagrams, or packets, for want of room."""

    protocol: int
    port: int
    address: str = ""
    dev: str = ""
    waiting: int = 0
    room: int = 0
    dropped: int = 0


class NamespaceDump(Entry, frozen=True):
    """`path` opens it, "" is the host's own. `name`: the endpoint's in it. `sysctls` that have a say in a packet's way, by name
    with dots. `sockets`: None where nobody looked. `counters`: how full tables are and what was dropped since the namespace was
    made, by names like "Tcp.InErrs" and "conntrack.drop" (`weft.kernel.host.switches`)."""

    path: str = ""
    name: str = ""
    links: tuple[LinkDump, ...] = ()
    addresses: tuple[AddressDump, ...] = ()
    routes: tuple[RouteDump, ...] = ()
    rules: tuple[RuleDump, ...] = ()
    neighbours: tuple[NeighbourDump, ...] = ()
    fdb: tuple[FdbDump, ...] = ()
    filters: FiltersDump = FiltersDump()
    sysctls: dict[str, str] = msgspec.field(default_factory=dict)
    sockets: tuple[SocketDump, ...] | None = None
    counters: dict[str, int] = msgspec.field(default_factory=dict)


class CloudRouteDump(Entry, frozen=True):
    """A route to this host's containers in a table of a cloud's router, as it was found last. `to`: what it leads to there."""

    table: str
    prefix: str
    to: str


class CloudDump(Entry, frozen=True):
    """A network whose packets a cloud's router carries between hosts. `prefixes`: the network's. `table`: the one by which this
    host's own packets go. `dev`: by which others' come in."""

    prefixes: tuple[str, ...]
    table: str
    dev: str
    routes: tuple[CloudRouteDump, ...] = ()


class TunnelDump(Entry, frozen=True):
    """What a program goes by that carries the packets of the TUN device `dev` in UDP, from `local` and its `port`. `prefixes`:
    the host that each is sent to and taken from; those of this host itself are "here". Or frames of the TAP device of the
    mesh's `network`, and `stations`: by MAC address the host each goes to, after the one that sends it on, if there has to be
    one. `overhead`: octets that a datagram is longer than the packet."""

    dev: str
    local: str
    port: int
    prefixes: dict[str, str]
    network: int | None = None
    stations: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    overhead: int = 0


class HostDump(Reply, frozen=True, kw_only=True):
    """`node`: the host's name. `namespaces`: its own first, then those of its endpoints. `clouds`: what is known of routers
    that are no hosts of Weft's. `tunnels`: those that a program carries."""

    node: str
    namespaces: tuple[NamespaceDump, ...]
    clouds: tuple[CloudDump, ...] = ()
    tunnels: tuple[TunnelDump, ...] = ()

    def namespace(self, path: str) -> NamespaceDump | None:
        return next((n for n in self.namespaces if n.path == path), None)


__all__ = [
    "ALONE",
    "AddressDump",
    "BridgeDump",
    "CloudDump",
    "CloudRouteDump",
    "ConfDump",
    "ConnectionDump",
    "FdbDump",
    "FiltersDump",
    "HostDump",
    "IpipDump",
    "IpsetDump",
    "IpvsDestinationDump",
    "IpvsServiceDump",
    "LinkDump",
    "NamespaceDump",
    "NeighbourDump",
    "NextHopDump",
    "NftChainDump",
    "NftElementDump",
    "NftFlowtableDump",
    "NftRuleDump",
    "NftSetDump",
    "NftTableDump",
    "PeerDump",
    "PortDump",
    "ProgramDump",
    "RouteDump",
    "RuleDump",
    "SocketDump",
    "TunnelDump",
    "VlanDump",
    "VxlanDump",
    "XtablesDump",
]
