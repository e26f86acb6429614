"""Data path `overlay`: one L2 subnet over all hosts, as Docker has it. ARP and FDB are filled in ahead of need.

Packet's way, 10.20.0.2 on node-1 to 10.20.0.3 on node-2:

1. The container asks by ARP for 10.20.0.3. Its eth0 is a port of `br0`, in a namespace that node-1 has for this network
   alone; the question comes to br0's port `vxlan0`, which answers it itself (`proxy`), out of the neighbour entry
   `10.20.0.3 lladdr 02:42:0a:14:00:03 PERMANENT`. No ARP or ND message ever leaves the host. The same with v6.
2. The frame to that MAC goes to `vxlan0`, whose FDB has `02:42:0a:14:00:03 dst 192.168.1.254 self permanent`.
3. In UDP, out of the *host's* namespace, where vxlan0's socket is: 192.168.1.68 → 192.168.1.254 port 4789, VNI 256.
4. node-2's `vxlan0` unpacks it into its br0, which delivers.

Both entries are there for each remote container, on those hosts only that have a container of the network themselves.
The namespace is made with the host's first container and removed with its last. Broadcast and multicast end at vxlan0,
which has no entry for them; with `flood` it sends them to each host that has containers. Out of the network leads a second
interface (`_gateway`), unless it is internal.

`learning` is on as with Docker: beside permanent entries it teaches nothing, but the kernel then drops frames that claim
a known container's MAC and come from another host than its own (vxlan_snoop()).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from weft.base.names import stable_mac
from weft.datapaths import _bypass, _gateway, _parts, _rules, _short, _spoofing, _tunnel, guard
from weft.datapaths._tunnel import OverVxlan
from weft.datapaths.change import LIVE, fixed, option
from weft.datapaths.driver import Answer, Balancer, Driver, Gate, Host, Numbered, Problem, Site
from weft.datapaths.options import CommonOptions, Encrypt, Port, Underlay, Vni
from weft.datapaths.traits import ONE_SUBNET, KnownBy, Switched, WayOut
from weft.hoststate import HOST, Bridge, FdbEntry, Link, Neighbour, Object, Vxlan, netns, route
from weft.hoststate.paths import ALL, unfiltered
from weft.model import Endpoint, Location, Network, Node

FIRST_VNI = 256


Flood = Annotated[bool, option("broadcast and multicast reach the hosts that have containers.", LIVE)]
By = Annotated[
    Literal["nft", "ipvs"],
    option(
        "what spreads connections to a service over its members: nft the kernel's rules, ipvs its load balancer, "
        "as Docker's Swarm does.",
        fixed("the one knows nothing of connections that are open by the other, and they would be cut off"),
    ),
]


class OverlayOptions(OverVxlan, CommonOptions, frozen=True, kw_only=True):
    """`vni`: 0 stands for a number that is yet to be chosen, which happens when the network is made."""

    vni: Vni = 0
    port: Port = 4789
    underlay: Underlay = "ipv4"
    encrypt: Encrypt = False
    flood: Flood = False
    balancer: By = "nft"

    def __post_init__(self) -> None:
        super().__post_init__()
        _tunnel.check(self.vni or FIRST_VNI, self.port)
        _tunnel.check_encrypted(self)

    @property
    def features(self) -> tuple[str, ...]:
        return ("ip_vs",) if self.balancer == "ipvs" else ()

    @property
    def tunnel_device(self) -> str:
        return ""  # it is in the network's own namespace


def _namespace(site: Site) -> str:
    return netns(site.network.name).path


def _bridge(site: Site) -> Link:
    name = site.network.name
    mac = stable_mac("bridge", site.host.node.name, name)
    ns = _namespace(site)
    return Link(
        name="br0",
        type=Bridge(),
        mtu=_tunnel.mtu(site),
        mac=mac,
        guards=_spoofing.guards(site.host, ns),
        alias=f"weft:network/{name}",
        ns=ns,
    )


def network(site: Site) -> Answer:
    """Problems only: what this host cannot have is told before the first container comes."""
    if why := refusal(site.host, site.network, site.options):
        yield Problem(why)
    if _tunnel.mtu(site) < 1280 and 6 in site.network.families:
        yield Problem(f"MTU {_tunnel.mtu(site)} is too small for IPv6 (RFC 8200: 1280): leave the v6 subnet out")
    yield from _tunnel.unfit(site)
    yield from _spoofing.unchecked(site)


def refusal(host: Host, network: Network, options: OverlayOptions) -> str:
    if lacking := [name for name in options.features if name in host.lacking]:
        return (
            f"the kernel of {host.node.name} has no {lacking[0]}, which balancer={options.balancer} needs: load the module "
            f"there (modprobe {lacking[0]}), or make network {network.name} without -O balancer={options.balancer}"
        )
    return _tunnel.refusal(host, network, options)


def segment(site: Site) -> Answer:
    yield netns(site.network.name)
    yield from unfiltered(_namespace(site))
    yield _bridge(site)
    yield from _vtep(site)
    yield from guard.control(site.host)
    yield from _spoofing.checks(site.host, _namespace(site))
    yield from _bypass.rules(site, _namespace(site))
    if _short.on(site):
        yield from _short.network(site, "br0", _namespace(site))
    else:
        yield from _short.gaps(site.host, _namespace(site))
    yield from _tunnel.accepted(site.options.vni, site.options.port)
    if not site.network.internal:
        yield from _gateway.common(site)


def _vtep(site: Site) -> Iterator[Object]:
    """Nothing where the host has lost its address: containers of this host still reach each other."""
    options: OverlayOptions = site.options
    local = site.host.node.address(options.underlay_family)
    if local is None:
        return
    kind = Vxlan(
        vni=options.vni,
        port=options.port,
        local=str(local),
        dev="",
        learning=True,
        proxy=True,
        l2miss=True,
        l3miss=True,
        outside=HOST,
    )
    mark = f"weft:network/{site.network.name}"
    yield Link(name="vxlan0", type=kind, mtu=_tunnel.mtu(site), master="br0", alias=mark, ns=_namespace(site))
    yield from _short.way(site, "vxlan0", _namespace(site), switched=True)


def location(site: Site, node: Node, found: Location) -> Answer:
    options: OverlayOptions = site.options
    if site.host.node.address(options.underlay_family) is None:
        return
    remote, ns = node.address(options.underlay_family), _namespace(site)
    if remote is None:
        yield _tunnel.unreachable(node, options.underlay_family)
        return
    if problem := _tunnel.withheld(site, node):
        yield problem
        return
    yield FdbEntry(lladdr=found.mac, dst=str(remote), dev="vxlan0", ns=ns)
    for address in found.addresses:
        yield Neighbour(address=str(address), lladdr=found.mac, dev="vxlan0", ns=ns)
    if options.flood:
        yield FdbEntry(lladdr=ALL, dst=str(remote), dev="vxlan0", ns=ns)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _parts.port(site, ep, _tunnel.mtu(site), _bridge(site))
    yield from _gateway.port(site, ep)
    if site.options.flood and 4 in site.network.families:
        # Without this route multicast would follow the default route. The kernel itself adds ff00::/8 on every device.
        yield route(_rules.MULTICAST[4], dev=ep.interface, ns=ep.namespace.path)


def gates(network: Network, ep: Endpoint) -> tuple[Gate, ...]:
    """Within the network in its own namespace; to outside in the host's."""
    inner = Gate(ns=netns(network.name).path, addresses=_parts.on_bridge_addresses(ep), bridge="br0", device="br0")
    out = _gateway.reached(network, ep)
    return (inner, Gate(addresses=out.targets, bridge=out.dev, device=out.dev)) if out else (inner,)


def balancer(site: Site) -> Balancer:
    """In the network's own namespace, where containers ask br0 for the address as for any other of their subnet."""
    return Balancer(ns=_namespace(site), bridge="br0", carrier="br0", device="br0")


DRIVER = Driver(
    name="overlay",
    summary="one L2 subnet over all hosts, as Docker's overlay",
    options=OverlayOptions,
    addresses=ONE_SUBNET,
    known_by=KnownBy.LOCATIONS,
    switched=Switched.EVERYWHERE,
    way_out=WayOut(second_interface=True),
    numbered=Numbered(option="vni", claim="vni/", first=FIRST_VNI, last=_tunnel.LARGEST_VNI),
    features=(*_parts.FEATURES, "vxlan"),
    network=network,
    segment=segment,
    location=location,
    endpoint=endpoint,
    reached=_gateway.reached,
    also=_gateway.also,
    gates=gates,
    balancer=balancer,
    claims=_tunnel.claims,
    fixed=_tunnel.encrypted(port=4788),
    refusal=refusal,
)
