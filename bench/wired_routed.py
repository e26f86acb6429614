"""What driver `routed` makes, wired by hand with ip(8) and bridge(8): no bridge, one host route for each container.

One container, `routed`, on each of two hosts. `across`: the hosts are on different segments, and the route to the other's
block goes through a VXLAN device; else it is a plain route, which BGP would bring.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from weft.lab import Host, Lab

CONTAINER = "routed"
_BLOCK = "10.74.{}.{}"
_GATEWAY = "169.254.1.1"
_NEAR, _DEVICE = "to-routed", "hand.74"
_HOST_MAC = "ee:ee:ee:ee:ee:ee"
_MTU = {False: 1500, True: 1450}
"""By `across`."""
_MASQUERADE = """
table inet wired-routed {
  chain raw-prerouting { type filter hook prerouting priority raw; udp dport 4789 notrack; }
  chain raw-output { type filter hook output priority raw; udp dport 4789 notrack; }
  chain postrouting {
    type nat hook postrouting priority srcnat; ip saddr 10.74.0.0/16 ip daddr != 10.74.0.0/16 masquerade fully-random;
  }
}
"""


@dataclass(frozen=True)
class End:
    """A host of the pair. `number`: its block is 10.74.NUMBER.0/26. `underlay`: its address on eth0."""

    host: Host
    number: int
    underlay: str

    @property
    def block(self) -> str:
        return f"{_BLOCK.format(self.number, 0)}/26"

    def mac(self, what: int) -> str:
        return f"02:00:00:74:{what:02x}:{self.number:02x}"


def address(number: int) -> str:
    """Of the container on host number 1 or 2."""
    return _BLOCK.format(number, 2)


def wire(lab: Lab, names: tuple[str, str], *, masquerade: bool, across: bool = False) -> None:
    one, two = (End(lab.host(n), i, str(lab.topology.place(n).addresses[0].ip)) for i, n in enumerate(names, 1))
    for me, peer in ((one, two), (two, one)):
        me.host.must("container", ["ip", "netns", "add", CONTAINER])
        me.host.must("links", ["ip", "-batch", "-"], input="\n".join([*_near(me, across), *_far(me, peer, across)]))
        if across:
            me.host.must("fdb", ["bridge", "fdb", "add", peer.mac(2), "dev", _DEVICE, "dst", peer.underlay, "self"])
        switches = (f"net.ipv4.conf.{_NEAR}.proxy_arp=1", f"net.ipv4.neigh.{_NEAR}.proxy_delay=0")
        me.host.must("sysctl", ["sysctl", "-qw", "net.ipv4.ip_forward=1", *switches])
        me.host.must("inside", ["ip", "-n", CONTAINER, "-batch", "-"], input="\n".join(_inside(me)))
        if masquerade:
            me.host.must("rules", ["nft", "-f", "-"], input=_MASQUERADE)


def _near(me: End, across: bool) -> Iterator[str]:
    mtu, own = _MTU[across], address(me.number)
    peer = f"peer name eth0 mtu {mtu} address {me.mac(1)} netns {CONTAINER}"
    yield f"link add {_NEAR} mtu {mtu} address {_HOST_MAC} type veth {peer}"
    yield f"link set {_NEAR} up"
    yield f"neighbour add {own} lladdr {me.mac(1)} dev {_NEAR} nud permanent"
    yield f"route add {own}/32 dev {_NEAR} scope link"
    yield f"route add {_GATEWAY}/32 dev lo"  # so that it is answered for, whatever the default route
    yield f"route add blackhole {me.block}"


def _far(me: End, peer: End, across: bool) -> Iterator[str]:
    if not across:
        yield f"route add {peer.block} via {peer.underlay} dev eth0"
        return
    tunnel = f"type vxlan id 74 dstport 4789 local {me.underlay} dev eth0 nolearning"
    yield f"link add {_DEVICE} mtu {_MTU[across]} address {me.mac(2)} {tunnel}"
    yield f"link set {_DEVICE} up"
    yield f"neighbour add {peer.underlay} lladdr {peer.mac(2)} dev {_DEVICE} nud permanent"
    yield f"route add {peer.block} via {peer.underlay} dev {_DEVICE} onlink src {me.underlay}"


def _inside(me: End) -> Iterator[str]:
    yield "link set lo up"
    yield "link set eth0 up"
    yield f"address add {address(me.number)}/32 dev eth0"
    yield f"route add {_GATEWAY} dev eth0 scope link"
    yield f"route add default via {_GATEWAY} dev eth0"
