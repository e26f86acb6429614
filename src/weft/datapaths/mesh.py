"""Data path `mesh`: one L2 subnet over all hosts, as Weave has it, also for broadcast and multicast. Nothing is learnt.

Packet's way, 172.111.222.2 on node-1 to 172.111.222.3 on node-2:

1. The container asks by ARP for 172.111.222.3. Its interface is a port of the host's bridge `weft-NETWORK`; the question
   comes to the bridge's port `vxlan-256`, which answers it itself (`proxy`), out of the neighbour entry `172.111.222.3
   lladdr 02:42:ac:6f:de:03 PERMANENT`. No question of ARP or ND ever leaves the host.
2. The frame to that MAC: the bridge's table has it behind `vxlan-256`, and the table of that has
   `02:42:ac:6f:de:03 dst 192.168.1.254 self permanent`.
3. In UDP: 192.168.1.68 → 192.168.1.254 port 6784, VNI 256.
4. node-2's `vxlan-256` unpacks it into its bridge, which delivers.

Frames for many go to each host with containers of the network, a copy for each (head-end replication): the all-zero entry
has all of them. What came out of the tunnel is never sent into it again.

Where the kernel has Open vSwitch's datapath, `-O fastpath=ovs` has that carry the frames instead, as with Weave (`_ovs`).

To hosts that the tunnel does not reach, a program carries the frames (`_sleeve`): then the bridge's entry for a container
leads to another port, and the tunnel has none for its host. The tunnel's device answers for these containers all the same.

Bridge, device and entries are there as long as a container of the network is on the host. The host has a route to the
network by the bridge, so that it finds who sends under a false name, but no address there, and sends nothing. Its rules see
to it that a container which sends to the bridge's own MAC address gets no further than it may (`_isolation`). A container
that has no other way out gets a second interface for it (`_gateway`), unless the network is internal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from weft.alloc.bridges import bridge_name
from weft.base.errors import Invalid
from weft.base.names import check_ifname, stable_mac
from weft.base.net import FAMILIES
from weft.datapaths import (
    _bypass,
    _gateway,
    _isolation,
    _ovs,
    _parts,
    _rules,
    _short,
    _sleeve,
    _spoofing,
    _tunnel,
    guard,
)
from weft.datapaths._tunnel import OverVxlan
from weft.datapaths.change import NOT_AT_ONCE, fixed, later, option
from weft.datapaths.driver import Answer, Balancer, Driver, Gate, Host, Numbered, Problem, Site
from weft.datapaths.options import KERNEL_PORT, SECURED_PORT, Encrypt, LinkInBlocksOptions, Port, Underlay, Vni
from weft.datapaths.traits import SHARED_IN_BLOCKS, KnownBy, Switched, WayOut
from weft.hoststate import Address, Bridge, FdbEntry, Link, Neighbour, NftElement, Object, Sysctl, Vxlan, route
from weft.hoststate.firewall import FILTER, SRCNAT
from weft.hoststate.links import CHECKED
from weft.hoststate.paths import ALL
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import Masquerade, Reject
from weft.hoststate.rules.matches import DADDR, SADDR
from weft.model import Endpoint, Location, Network, Node

FIRST_VNI = 256
USUAL_MTU = 1376
"""Weave's: what is left of an underlay of 1460 octets by VXLAN and ESP, and by a program's datagrams as well."""
LINK_METRIC = 1024
"""Of the route by the bridge: behind the one that comes with an address on it."""

Interface = Annotated[
    str,
    option(
        'what the network\'s interface in containers is called, such as ethwe0; "": the first free of eth0, …',
        later("interfaces that are there keep their names"),
    ),
]

_NOT_HERE = _rules.base_chain(
    "linked-output",
    "filter",
    "output",
    FILTER,
    *(rule(DADDR[fam].among(f"linked{fam}"), SADDR[fam].not_among(f"linked{fam}"), Reject()) for fam in FAMILIES),
)
"""The host sends nothing into a network that it has no address in. An answer would take the container's way out, and its
question for the next hop there, in the name of the wrong address, would keep that way closed for seconds."""


FastPath = Annotated[
    Literal["vxlan", "ovs"],
    option(
        "what carries frames in the kernel: vxlan its tables, ovs Open vSwitch's datapath, as with Weave.",
        fixed(NOT_AT_ONCE),
    ),
]


class MeshOptions(OverVxlan, LinkInBlocksOptions, frozen=True, kw_only=True):
    """`vni`: 0 stands for a number that is yet to be chosen, which happens when the network is made."""

    vni: Vni = 0
    port: Port = KERNEL_PORT
    underlay: Underlay = "ipv4"
    encrypt: Encrypt = False
    interface: Interface = ""
    fastpath: FastPath = "vxlan"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fastpath == "ovs" and self.encrypt:
            raise Invalid(
                "fastpath=ovs with encrypt=true: what goes through Open vSwitch is not encrypted: leave one of them out"
            )
        if self.fastpath == "ovs" and self.port == KERNEL_PORT:  # which is the other networks'
            msgspec.structs.force_setattr(self, "port", _ovs.PORT)
        _tunnel.check(self.vni or FIRST_VNI, self.port)
        _tunnel.check_encrypted(self)
        if self.interface:
            check_ifname(self.interface)

    @property
    def features(self) -> tuple[str, ...]:
        return (_ovs.FEATURE,) if self.fastpath == "ovs" else ()

    def fitting(self, carried: int) -> int:
        return min(USUAL_MTU, super().fitting(carried))

    @property
    def tunnel_device(self) -> str:
        """No name as containers' ports have: it sends in others' names."""
        return f"vxlan-{self.vni}"


def _mark(site: Site) -> str:
    return f"weft:network/{site.network.name}"


def _bridge(site: Site) -> Link:
    """Its group: what it hands to the host has to come from the network's subnets."""
    mac = stable_mac("bridge", site.host.node.name, site.network.name)
    return Link(
        name=bridge_name(site.network),
        type=Bridge(),
        mtu=_tunnel.mtu(site),
        mac=mac,
        group=CHECKED,
        guards=_parts.guards(site),
        alias=_mark(site),
    )


def _several_ways(network: Network) -> bool:
    """What Open vSwitch carries has one way only."""
    return network.options.get("fastpath") != "ovs"


def refusal(host: Host, network: Network, options: MeshOptions) -> str:
    """Where the kernel cannot encrypt, the program can, with the secret."""
    if lacking := [name for name in options.features if name in host.lacking]:
        return (
            f"the kernel of {host.node.name} has no {lacking[0]}, which fastpath=ovs needs: load the module there (modprobe "
            f"openvswitch), or make network {network.name} without -O fastpath=ovs"
        )
    if why := _tunnel.addressless(host, network, options):
        return why
    return "" if host.keyed else _tunnel.unencrypted(host, network, options)


def network(site: Site) -> Answer:
    """Problems only: what this host cannot have is told before the first container comes."""
    if why := refusal(site.host, site.network, site.options):
        yield Problem(why)
    yield from _parts.too_small(site, _tunnel.mtu(site))
    yield from _tunnel.unfit(site)
    yield from _spoofing.unchecked(site)


def segment(site: Site) -> Answer:
    bridge = _bridge(site)
    yield bridge
    if 6 in site.network.families:
        yield Sysctl(name=f"net/ipv6/conf/{bridge.name}/accept_dad", value="0")
        yield _parts.link_local_of(bridge.name, bridge.mac or "")
    for subnet in site.network.subnets:
        yield route(str(subnet), dev=bridge.name, metric=LINK_METRIC)
    yield from _vtep(site, bridge)
    yield from _closed(site, bridge)
    if not site.network.internal:
        yield from _gateway.common(site)


def _vtep(site: Site, bridge: Link) -> Iterator[Object]:
    """Nothing where the host has lost its address: containers of this host still reach each other."""
    options: MeshOptions = site.options
    local = site.host.node.address(options.underlay_family)
    if local is None:
        return
    if options.fastpath == "ovs":
        yield from _ovs.segment(site, bridge)
        return
    kind = Vxlan(vni=options.vni, port=options.port, local=str(local), dev="", proxy=True, udp6zerocsumrx=True)
    yield Link(
        name=options.tunnel_device,
        type=kind,
        mtu=_tunnel.mtu(site),
        master=bridge.name,
        isolated=True,
        learning=False,
        alias=_mark(site),
    )
    yield from _short.way(site, options.tunnel_device, switched=True)
    yield from _tunnel.accepted(options.vni, options.port)


def _closed(site: Site, bridge: Link) -> Iterator[Object]:
    """What the host's rules have to know of the network."""
    yield from _parts.forwarding(site)
    yield from _parts.accept_forwarding(site.host)
    yield from guard.control(site.host)
    yield guard.checked()
    yield from _rules.sets("cluster")
    for subnet in site.network.subnets:
        yield NftElement(set=f"cluster{subnet.version}", value=str(subnet))
    yield from _rules.sets("linked")
    for subnet in site.network.subnets:
        yield NftElement(set=f"linked{subnet.version}", value=str(subnet))
    yield _NOT_HERE
    yield from _isolation.here(site)
    yield from _bypass.rules(site)
    yield from _short.network(site, bridge.name)
    yield from _isolation.via(bridge.name, site.network.subnets)
    yield from _spoofing.checks(site.host)


def location(site: Site, node: Node, found: Location) -> Answer:
    options: MeshOptions = site.options
    if site.host.node.address(options.underlay_family) is None:
        return
    remote, dev = node.address(options.underlay_family), options.tunnel_device
    if remote is None:
        yield _tunnel.unreachable(node, options.underlay_family)
        return
    if options.fastpath == "ovs":
        yield from _ovs.entries(site, node, found, _bridge(site))
        return
    by_program, problem = _sleeve.chosen(site, node), _tunnel.withheld(site, node)
    if problem and not by_program:
        yield problem
        return
    for address in found.addresses:
        yield Neighbour(address=str(address), lladdr=found.mac, dev=dev)
    if by_program:
        yield from _sleeve.entries(site, node, found.mac, _bridge(site))
        return
    yield FdbEntry(lladdr=found.mac, dev=dev, bridge=bridge_name(site.network))
    yield FdbEntry(lladdr=found.mac, dst=str(remote), dev=dev)
    yield FdbEntry(lladdr=ALL, dst=str(remote), dev=dev)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    if ep.of_host:
        yield from _exposed(site, ep)
        return
    bridge = _bridge(site)
    yield from _parts.port(site, ep, _tunnel.mtu(site), bridge)
    for address in ep.addresses:
        # Permanent, so that no ARP or ND message of another container can change who gets what the host sends this one.
        yield Neighbour(address=str(address.ip), lladdr=ep.mac, dev=bridge.name)
    yield from _gateway.port(site, ep)
    if 4 in site.network.families:
        # Without this route multicast would follow the default route. The kernel itself adds ff00::/8 on every device.
        yield route(_rules.MULTICAST[4], dev=ep.interface, ns=ep.namespace.path)


def _exposed(site: Site, ep: Endpoint) -> Answer:
    """The host's own address. Other hosts have the bridge's MAC address for it, as a container's."""
    for address in ep.addresses:
        yield Address(address=str(address), dev=bridge_name(site.network))
    yield from _bypass.tracked(site, (address.ip for address in ep.addresses))
    if site.network.internal:
        return
    subnets = [address.network for address in ep.addresses]
    yield from _parts.masquerading(site.host, subnets)
    yield from _rules.sets("exposed")
    for subnet in subnets:
        yield NftElement(set=f"exposed{subnet.version}", value=str(subnet))
    inward = [
        rule(DADDR[fam].among(f"exposed{fam}"), SADDR[fam].not_among(f"exposed{fam}"), Masquerade(random=True))
        for fam in FAMILIES
    ]
    yield _rules.base_chain("exposed-postrouting", "nat", "postrouting", SRCNAT, *inward)


def gates(network: Network, ep: Endpoint) -> tuple[Gate, ...]:
    """Within the network on its bridge; to outside on the second interface's. The host's own packets are not asked about."""
    if ep.of_host:
        return ()
    (inner,) = _parts.on_bridge_gates(network, ep)
    out = _gateway.reached(network, ep)
    return (inner, Gate(addresses=out.targets, bridge=out.dev, device=out.dev)) if out else (inner,)


def balancer(site: Site) -> Balancer:
    """Containers ask the bridge for the address as for any other of their subnet."""
    return msgspec.structs.replace(_parts.on_bridge_balancer(site), carrier=bridge_name(site.network), linked=True)


DRIVER = Driver(
    name="mesh",
    summary="one L2 subnet over all hosts with broadcast and multicast, as Weave's",
    options=MeshOptions,
    addresses=SHARED_IN_BLOCKS,
    known_by=KnownBy.LOCATIONS,
    switched=Switched.EVERYWHERE,
    way_out=WayOut(second_interface=True, only_way=True),
    numbered=Numbered(option="vni", claim="vni/", first=FIRST_VNI, last=_tunnel.LARGEST_VNI),
    features=(*_parts.FEATURES, "vxlan"),
    linked=True,
    exposes=True,
    several_ways=_several_ways,
    network=network,
    segment=segment,
    location=location,
    endpoint=endpoint,
    reached=_gateway.reached,
    also=_gateway.also,
    gates=gates,
    balancer=balancer,
    claims=_tunnel.claims,
    fixed=_tunnel.encrypted(port=SECURED_PORT),
    refusal=refusal,
)
