"""The same path as Weft makes it, wired by hand: what a careful administrator would type, with ip(8) and bridge(8).

One container each on two hosts, on a VXLAN path and on a plain route. With `masquerade`, also the nftables rules without
which such a host is of little use: containers reach the outside, tunnel packets are not connection-tracked.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.lab import Host, Lab

SUBNET = {"vxlan": "10.71", "host-gw": "10.72"}
"""The first half of each network, a /16. Host number N has N.0/24 of it."""
_MTU = {"vxlan": 1450, "host-gw": 1500}
_VNI, _PORT = 71, 8472
_MASQUERADE = """
table inet wired {
  set cluster { type ipv4_addr; flags interval; elements = { 10.71.0.0/16, 10.72.0.0/16 } }
  chain raw-prerouting { type filter hook prerouting priority raw; udp dport 8472 notrack; }
  chain raw-output { type filter hook output priority raw; udp dport 8472 notrack; }
  chain postrouting {
    type nat hook postrouting priority srcnat; ip saddr @cluster ip daddr != @cluster masquerade fully-random;
  }
}
"""


_FLANNEL = """
table ip flannel-ipv4 {{
  chain raw-prerouting {{ type filter hook prerouting priority raw; udp dport 8472 notrack; }}
  chain raw-output {{ type filter hook output priority raw; udp dport 8472 notrack; }}
  chain forward {{ type filter hook forward priority filter; ip saddr {all} accept; ip daddr {all} accept; }}
  chain postrtg {{
    type nat hook postrouting priority srcnat;
    meta mark & 0x4000 == 0x4000 return
    ip saddr {own} ip daddr {all} return
    ip saddr {all} ip daddr {own} return
    ip saddr != {own} ip daddr {all} return
    ip saddr {all} ip daddr != 224.0.0.0/4 masquerade fully-random
    ip saddr != {all} ip daddr {all} masquerade fully-random
  }}
}}
"""
"""What flanneld (0.28, `--ip-masq`) writes, but for `notrack`: for tunnel packets it is what a careful administrator adds."""


OVERLAY = ("10.73.0.2", "10.73.0.3")
"""Of the containers `overlay` on the two hosts of `wire_overlay`."""
_OVERLAY_RULES = """
table inet wired {
  chain raw-prerouting { type filter hook prerouting priority raw; udp dport 4789 notrack; }
  chain raw-output { type filter hook output priority raw; udp dport 4789 notrack; }
  chain postrouting {
    type nat hook postrouting priority srcnat; ip saddr 172.30.0.0/16 oifname != "hand-gw" masquerade fully-random;
  }
}
"""


@dataclass(frozen=True)
class End:
    """A host of the pair. `number`: which /24 is its own. `underlay`: its address on eth0."""

    host: Host
    number: int
    underlay: str

    def mac(self) -> str:
        return f"02:00:00:00:71:{self.number:02x}"


def wire(lab: Lab, names: tuple[str, str], *, masquerade: bool) -> None:
    one, two = (End(lab.host(n), i, str(lab.topology.place(n).addresses[0].ip)) for i, n in enumerate(names, 1))
    for me, peer in ((one, two), (two, one)):
        lines = [line for driver in SUBNET for line in _gateway(me, driver)]
        me.host.must("containers", ["ip", "-batch", "-"], input="\n".join(f"netns add {d}" for d in SUBNET))
        me.host.must("links", ["ip", "-batch", "-"], input="\n".join([*lines, *_vxlan(me), *_peer(me, peer)]))
        me.host.must("fdb", ["bridge", "fdb", "add", peer.mac(), "dev", "hand.71", "dst", peer.underlay, "self"])
        me.host.must("forwarding", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        for driver in SUBNET:
            me.host.must(driver, ["ip", "-n", driver, "-batch", "-"], input="\n".join(_container(me, driver)))
        if masquerade:
            me.host.must("rules", ["nft", "-f", "-"], input=_MASQUERADE)


def wire_flannel(lab: Lab, names: tuple[str, str]) -> None:
    """What flanneld and the CNI plugin `bridge` make for backend vxlan: the devices of driver vxlan, and flannel's rules."""
    wire(lab, names, masquerade=False)
    for number, name in enumerate(names, 1):
        own, everything = (f"{SUBNET['vxlan']}.{rest}" for rest in (f"{number}.0/24", "0.0/16"))
        lab.host(name).must("rules", ["nft", "-f", "-"], input=_FLANNEL.format(own=own, all=everything))


def wire_overlay(lab: Lab, names: tuple[str, str], *, tracked: bool = False) -> None:
    """One L2 subnet: on each host a namespace with a bridge and a VXLAN device, entries for the other's container, and the
    rules that the way out (a second interface, which nothing is measured of) takes. `tracked`: tunnel packets are
    connection-tracked, as Docker leaves them."""
    underlay = [str(lab.topology.place(name).addresses[0].ip) for name in names]
    for number, name in enumerate(names):
        host, other = lab.host(name), 1 - number
        tunnel = "type vxlan id 73 dstport 4789 proxy l2miss l3miss"
        lines = [
            "netns add hand",
            "netns add overlay",
            f"link add vxlan0 mtu 1450 {tunnel} local {underlay[number]}",
            "link set vxlan0 netns hand",
        ]
        host.must("namespaces", ["ip", "-batch", "-"], input="\n".join(lines))
        inside = [
            "link add br0 mtu 1450 type bridge",
            "link set br0 up",
            "link set vxlan0 master br0 up",
            f"link add to-overlay mtu 1450 type veth peer name eth0 mtu 1450 address {_mac(number)} netns overlay",
            "link set to-overlay master br0 up",
            f"neighbour add {OVERLAY[other]} lladdr {_mac(other)} dev vxlan0 nud permanent",
        ]
        host.must("bridge", ["ip", "-n", "hand", "-batch", "-"], input="\n".join(inside))
        entry = ["fdb", "add", _mac(other), "dev", "vxlan0", "dst", underlay[other], "self", "permanent"]
        host.must("fdb", ["bridge", "-n", "hand", *entry])
        container = ["link set lo up", "link set eth0 up", f"address add {OVERLAY[number]}/16 dev eth0"]
        host.must("container", ["ip", "-n", "overlay", "-batch", "-"], input="\n".join(container))
        rules = "\n".join(line for line in _OVERLAY_RULES.splitlines() if not (tracked and "notrack" in line))
        host.must("rules", ["nft", "-f", "-"], input=rules)


def _mac(number: int) -> str:
    """As Docker makes it of the address."""
    return f"02:42:0a:49:00:{number + 2:02x}"


def address(driver: str, number: int) -> str:
    """Of the container on host number 1 or 2."""
    return f"{SUBNET[driver]}.{number}.2"


def _gateway(me: End, driver: str) -> list[str]:
    bridge, mtu = f"hand-{driver}", _MTU[driver]
    return [
        f"link add {bridge} mtu {mtu} type bridge",
        f"link set {bridge} up",
        f"address add {SUBNET[driver]}.{me.number}.1/24 dev {bridge}",
        f"link add to-{driver} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {driver}",
        f"link set to-{driver} master {bridge} up",
        f"route add unreachable {SUBNET[driver]}.0.0/16 metric 4000000000",
    ]


def _vxlan(me: End) -> list[str]:
    tunnel = f"type vxlan id {_VNI} dstport {_PORT} local {me.underlay} dev eth0 nolearning"
    return [
        f"link add hand.71 mtu {_MTU['vxlan']} address {me.mac()} {tunnel}",
        "link set hand.71 up",
        f"address add {SUBNET['vxlan']}.{me.number}.0/32 dev hand.71",
    ]


def _peer(me: End, peer: End) -> list[str]:
    via = f"{SUBNET['vxlan']}.{peer.number}.0"
    return [
        f"neighbour add {via} lladdr {peer.mac()} dev hand.71 nud permanent",
        f"route add {SUBNET['vxlan']}.{peer.number}.0/24 via {via} dev hand.71 onlink",
        f"route add {SUBNET['host-gw']}.{peer.number}.0/24 via {peer.underlay} dev eth0",
    ]


def _container(me: End, driver: str) -> list[str]:
    return [
        "link set lo up",
        "link set eth0 up",
        f"address add {SUBNET[driver]}.{me.number}.2/24 dev eth0",
        f"route add default via {SUBNET[driver]}.{me.number}.1",
    ]
