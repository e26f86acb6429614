"""The devices by which hosts probe each other, and where their frames go: as long as there is a network whose driver has
several ways between hosts (`Driver.several_ways`). They are the host's own and belong to no network.

    weft_probe    a VXLAN on the port of these networks, with a number of its own: what passes here passes for them
    weft_probes   a TAP of the sleeve, its network 0; its frames go straight to the other host, never by a relay

Neither is a port of any bridge, or has an address: the only frames in them are those of `weft.paths`. A host is known in
both by the same MAC address, which is made of its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weft.base.names import stable_mac
from weft.base.net import FAMILIES, Family
from weft.datapaths import _tunnel, guard
from weft.datapaths.driver import Answer, Host, Path
from weft.datapaths.options import KERNEL_PORT, SLEEVE_PORT
from weft.hoststate import FdbEntry, Link, Sleeve, SleeveHost, SleeveStation, Tap, Vxlan
from weft.hoststate.tunnels import sleeve_overhead
from weft.model import Network, Node

KERNEL, SLEEVE = "weft_probe", "weft_probes"
"""No network's devices can be called so."""
_PROBES = 0
"""The sleeve's network that is for probes."""
USUAL_MTU = 1376
"""Of networks with several ways, unless they say otherwise: all ways carry it where the underlay carries what is usual."""
_OVERHEAD: Mapping[str, Mapping[Family, int]] = {
    KERNEL: _tunnel.OVERHEAD,
    SLEEVE: {fam: sleeve_overhead(fam, encrypted=True) for fam in FAMILIES},
}
_MARK = "weft:paths"


def mac(node: str) -> str:
    return stable_mac("probe", node)


def carries(me: Node, node: Node, networks: Iterable[Network]) -> dict[str, int]:
    """By device, the size of the largest packets that are to pass to this node. What no network sends is not asked for."""
    fam = _tunnel.underlay(me)
    if node.address(fam) is None:
        return {}
    asked = max((network.mtu or USUAL_MTU for network in networks), default=USUAL_MTU)
    room = {dev: min(me.mtu, node.mtu) - overhead[fam] for dev, overhead in _OVERHEAD.items()}
    numbered = me.number and node.number
    return {dev: min(size, asked) for dev, size in room.items() if dev == KERNEL or numbered}


def devices(host: Host, number: int) -> Answer:
    """This host's own. `number`: this node's, 0 while it has none: there is no sleeve then."""
    node, fam = host.node, _tunnel.underlay(host.node)
    local = str(node.address(fam))
    yield from guard.control(host)
    yield from guard.cluster_tunnel(KERNEL_PORT)
    yield from guard.cluster_tunnel(SLEEVE_PORT)
    yield from _tunnel.accepted(_tunnel.PROBED_VNI, KERNEL_PORT)
    yield Link(
        name=KERNEL,
        type=Vxlan(vni=_tunnel.PROBED_VNI, port=KERNEL_PORT, local=local, dev=node.uplink, udp6zerocsumrx=True),
        mtu=node.mtu - _OVERHEAD[KERNEL][fam],
        mac=mac(node.name),
        guards=guard.chains(host),
        alias=_MARK,
    )
    if number:
        mtu = node.mtu - _OVERHEAD[SLEEVE][fam]
        yield Link(name=SLEEVE, type=Tap(), mtu=mtu, mac=mac(node.name), guards=guard.chains(host), alias=_MARK)
        yield Sleeve(dev=SLEEVE, network=_PROBES, number=number, local=local, port=SLEEVE_PORT, mtu=mtu)
        yield SleeveStation(dev=SLEEVE, mac=mac(node.name), number=number)


def other(host: Host, number: int, node: Node, via: Node | None) -> Answer:
    """Another host, which sleeves reach by the node `via` where that is not None. Nothing where the two have no addresses of
    one family: they are no neighbours."""
    remote = node.address(_tunnel.underlay(host.node))
    if remote is None:
        return
    yield FdbEntry(lladdr=mac(node.name), dst=str(remote), dev=KERNEL)
    if number and node.number:
        yield SleeveStation(dev=SLEEVE, mac=mac(node.name), number=node.number, direct=True)
        path = host.paths.get(node.name, Path())
        mtu = path.mtu if path.way == "sleeve" else 0
        yield SleeveHost(number=node.number, remote=str(remote), via=via.number if via else 0, mtu=mtu)
