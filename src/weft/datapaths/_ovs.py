"""The fast path of driver mesh through Open vSwitch's datapath in the kernel, as Weave has it: flows instead of tables.

Packet's way: container → the network's bridge → `ovs-256`, one end of a pair, whose other end `ovs-256-dp` is a port of the
datapath `weft.dp` → the flow for the frame's MAC address: `set(tunnel(tun_id=0x100,dst=192.168.1.254,ttl=64,df))`, out by the
port `vxlan-6791`, a VXLAN device that puts into the outer header what it is told (`external`) → on the other host: the flow for
what comes by `vxlan-6791` with this number: out by `ovs-256-dp` → its bridge → container.

What is for many has a flow with an output for each host. So ARP and ND go to all hosts with containers, and each is answered by
the container that is asked for. A frame without a flow is dropped; no program is asked.

One datapath and one device are for all such networks, and a UDP port is either theirs or that of networks without Open vSwitch.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.datapaths import _tunnel
from weft.datapaths.driver import Site
from weft.hoststate import FdbEntry, Link, Object, OvsDatapath, OvsOutput, OvsVport, Veth, Vxlan
from weft.hoststate.ovs_datapath import GROUPS
from weft.model import Location, Node

FEATURE = "ovs-datapath"
PORT = 6791
"""UDP, unless a network names another."""
DATAPATH = "weft.dp"
ALIAS = "weft:ovs"
TUNNEL_MTU = 65535
"""Of the tunnel's device: what fits is each network's matter."""


def _ends(site: Site) -> tuple[str, str]:
    """The one on the bridge, the one in the datapath."""
    vni = site.options.vni
    return f"ovs-{vni}", f"ovs-{vni}-dp"


def _tunnel_device(site: Site) -> str:
    return f"vxlan-{site.options.port}"


def segment(site: Site, bridge: Link) -> Iterator[Object]:
    """In place of the tunnel's device on the bridge."""
    options, (outer, inner), tunnel = site.options, _ends(site), _tunnel_device(site)
    pair = Veth(peer=inner, peer_ns=""), Veth(peer=outer, peer_ns="", primary=False)
    yield Link(
        name=outer, type=pair[0], mtu=bridge.mtu, master=bridge.name, isolated=True, learning=False, alias=bridge.alias
    )
    yield Link(name=inner, type=pair[1], mtu=bridge.mtu, alias=bridge.alias)
    kind = Vxlan(vni=0, port=options.port, local="", dev="", udp6zerocsumrx=True, external=True)
    yield Link(name=tunnel, type=kind, mtu=TUNNEL_MTU, alias=ALIAS)
    yield OvsDatapath(name=DATAPATH)
    yield from (OvsVport(datapath=DATAPATH, dev=dev) for dev in (inner, tunnel))
    yield OvsOutput(datapath=DATAPATH, dev=tunnel, vni=options.vni, family=options.underlay_family, to=inner)
    yield from _tunnel.accepted(options.vni, options.port)


def entries(site: Site, node: Node, found: Location, bridge: Link) -> Iterator[Object]:
    """For a container on another host, and for what is for many."""
    options = site.options
    outer, inner = _ends(site)
    yield FdbEntry(lladdr=found.mac, dev=outer, bridge=bridge.name)
    local, remote = (n.address(options.underlay_family) for n in (site.host.node, node))
    for lladdr in (found.mac, GROUPS):
        yield OvsOutput(
            datapath=DATAPATH,
            dev=inner,
            to=_tunnel_device(site),
            lladdr=lladdr,
            remote=str(remote),
            local=str(local),
            number=options.vni,
        )
