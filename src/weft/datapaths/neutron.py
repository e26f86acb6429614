"""Data path `neutron`: containers beside virtual machines on OpenStack's networks, as Kuryr has it.

A container's interface is a port of Neutron's, with its MAC address and addresses. Neutron's agent runs on the host, makes
the bridge `br-int` of Open vSwitch, and gives each of its ports a VLAN tag and flows as soon as it knows whose it is.
Packet's way from a container on node-1 to another one, or a virtual machine, on node-2:

1. eth0 → veth → `tap5a5b2ee2-0b` (the first eleven characters of the port's id), a port of br-int. Its record in the switch's
   database says `external_ids:iface-id=5a5b2ee2-0b2a-…`, which is all that Neutron's agent needs to know.
2. The agent's flows in br-int: what the port may send (its own MAC address and addresses), its security groups, and the
   network's tag on this host. The network's other ports here are one flow away.
3. br-int → patch → `br-tun`: the tag becomes the network's VXLAN number, and the packet goes to the hosts that have such ports.
4. node-2: br-tun → br-int with the tag that the network has there → the flows again, inwards → that port: TAP or veth, the
   rest is the same.

Out of the network leads the subnet's gateway, a router of Neutron's wherever that is. Where the agent keeps security groups
by iptables (`iptables_hybrid`; Neutron says so of each port it binds there), rules have to see the packets, so a Linux bridge
of the port's own lies between, and the agent's rules match its port `tap…` (physdev):

    eth0 → veth → `tap…`, a port of the bridge `qbr…` → its port `qvb…` → veth → `qvo…`, a port of br-int

Who may talk to whom, and what is sent in others' names, is up to Neutron in both cases: Weft's policy and checks are not
asked.

The host itself is not on this network, and no frame of a container's may make its kernel answer. With Open vSwitch in user
space, and on the bridge qbr, the kernel sees them all. So these devices have no IPv6, answer no ARP, and take nothing that was
sent to everybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.base.net import IPAddress, family, parse_address, parse_network
from weft.datapaths import _limits, _parts
from weft.datapaths.change import fixed
from weft.datapaths.driver import Answer, Driver, Host, Problem, Site
from weft.datapaths.neutron_options import GATEWAYS, OPENVSWITCH, NeutronOptions, listed
from weft.datapaths.traits import PORTS, KnownBy, Switched, WayOut
from weft.hoststate import Bridge, Link, Object, OvsPort, Sysctl, Veth, route
from weft.model import Endpoint, Network

INTEGRATION = "br-int"
_DEAF = {
    "net/ipv6/conf/{}/disable_ipv6": "1",
    "net/ipv4/conf/{}/arp_ignore": "8",
    "net/ipv4/conf/{}/drop_unicast_in_l2_multicast": "1",
}


def network(site: Site) -> Answer:
    """Neutron has it, and its agent. Problems only: what this host cannot have is told before the first container comes."""
    if why := refusal(site.host, site.network, site.options):
        yield Problem(why)


def refusal(host: Host, network: Network, _options: NeutronOptions) -> str:
    if OPENVSWITCH not in host.lacking:
        return ""
    return (
        f"{host.node.name} has no Open vSwitch that answers, which network {network.name} needs: install and start it there "
        "(apt install openvswitch-switch neutron-openvswitch-agent)"
    )


def endpoint(site: Site, ep: Endpoint) -> Answer:
    """Its interface as a port of the switch, and what the container knows of its network."""
    if not ep.data.get("port"):
        yield Problem(f"endpoint {ep.name} has no port in Neutron: detach it and attach it again")
        return
    match ep.data.get("plug", "ovs"):
        case "ovs":
            yield from _pair(site, ep, "")
            yield _port(ep, tap(ep))
        case "hybrid":
            yield from _between(site, ep)
            yield from _pair(site, ep, _device("qbr", ep))
            yield _port(ep, _device("qvo", ep))
        case other:
            yield Problem(
                f"Neutron bound the port of {ep.name} as '{other}', which Weft cannot plug: it takes mechanism driver "
                "openvswitch, with an agent on this host"
            )
            return
    yield from _addresses(ep)
    yield from _routes(ep)


def _device(kind: str, ep: Endpoint) -> str:
    """As Nova and Kuryr name it, and Neutron's agents look for it."""
    return f"{kind}{ep.data['port'][:11]}"


def tap(ep: Endpoint) -> str:
    return _device("tap", ep) if ep.data.get("port") else ep.host_interface


def _mtu(site: Site, ep: Endpoint) -> int | None:
    return int(text) if (text := ep.data.get("mtu", "")) else site.network.mtu


def _mark(ep: Endpoint) -> str:
    return f"weft:endpoint/{ep.network}/{ep.name}"


def _pair(site: Site, ep: Endpoint, bridge: str) -> Iterator[Object]:
    """`bridge`: that the host's end is a port of."""
    ns, mark, mtu = ep.namespace.path, _mark(ep), _mtu(site, ep)
    yield from _deaf(site, tap(ep))
    yield Link(name=tap(ep), type=Veth(peer=ep.interface, peer_ns=ns), mtu=mtu, master=bridge, alias=mark)
    inside = Veth(peer=tap(ep), peer_ns="", primary=False)
    yield Link(name=ep.interface, type=inside, mtu=mtu, mac=ep.mac, alias=mark, lent=bool(ep.owner), ns=ns)
    yield from _limits.limits(ep.bandwidth, tap(ep), mtu=mtu or 1500, mark=mark, ns="")


def _between(site: Site, ep: Endpoint) -> Iterator[Object]:
    """The bridge that is the port's own, and the pair from there to the switch. (Without STP a bridge forwards at once,
    whatever its forward delay.)"""
    bridge, inner, outer = (_device(kind, ep) for kind in ("qbr", "qvb", "qvo"))
    mark, mtu = _mark(ep), _mtu(site, ep)
    for name in (bridge, inner, outer):
        yield from _deaf(site, name)
    yield Link(name=bridge, type=Bridge(), mtu=mtu, alias=mark)
    yield Link(name=inner, type=Veth(peer=outer, peer_ns=""), mtu=mtu, master=bridge, alias=mark)
    yield Link(name=outer, type=Veth(peer=inner, peer_ns="", primary=False), mtu=mtu, alias=mark)


def _port(ep: Endpoint, name: str) -> OvsPort:
    bridge = ep.data.get("bridge") or INTEGRATION
    return OvsPort(bridge=bridge, name=name, iface_id=ep.data["port"], mac=ep.mac, vm_uuid=ep.id)


def _deaf(site: Site, dev: str) -> Iterator[Sysctl]:
    for name, value in _DEAF.items():
        if site.host.ipv6 or "/ipv6/" not in name:
            yield Sysctl(name=name.format(dev), value=value, lasting=False)


def _addresses(ep: Endpoint) -> Iterator[Object]:
    for address in ep.addresses:
        yield from _parts.inside(str(address), ep.interface, ep.namespace.path)
    if 6 in ep.families:
        yield _parts.link_local_of(ep.interface, ep.mac, ep.namespace.path)


def _routes(ep: Endpoint) -> Iterator[Object]:
    """The subnets' host routes ("CIDR via NEXTHOP, …"), and their gateways."""
    for text in listed(ep.data.get("routes", "")):
        prefix, _, hop = text.partition(" via ")
        yield route(str(parse_network(prefix)), via=hop, dev=ep.interface, ns=ep.namespace.path)
    for gateway in _gateways(ep) if ep.default_route else ():
        yield _parts.default_route(family(gateway), str(gateway), ep.interface, ep)


def _gateways(ep: Endpoint) -> Iterator[IPAddress]:
    return (parse_address(text) for key in GATEWAYS if (text := ep.data.get(key, "")))


DRIVER = Driver(
    name="neutron",
    summary="ports of OpenStack Neutron's networks, beside virtual machines, as Kuryr",
    options=NeutronOptions,
    addresses=PORTS,
    known_by=KnownBy.LOCATIONS,
    switched=Switched.ELSEWHERE,
    way_out=WayOut(told=GATEWAYS),
    features=("bridge", "veth"),
    changes=dict.fromkeys(("internal", "mtu"), fixed("Neutron has the network as it was made")),
    network=network,
    endpoint=endpoint,
    host_end=tap,
    refusal=refusal,
)
