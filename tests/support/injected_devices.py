"""Faults of devices, bridges, neighbours and routes. What is Weft's own is broken while no agent runs (`alone`)."""

from __future__ import annotations

from typing import Any

from support.injected import ACROSS, ALL, BRIDGED, ROUTED, Injected

SWITCHED = ("vx", "gw", "ov", "br")
NOBODYS = "192.168.1.77"


def _does(*inject: str, undo: tuple[str, ...] = (), alone: bool = True, **more: Any) -> dict[str, Any]:
    return {"inject": inject, "undo": undo, "alone": alone, **more}


def _down(where: str, dev: str) -> dict[str, Any]:
    kept = f"{where}: sysctl -qw net.ipv6.conf.{dev}.keep_addr_on_down=1"
    return _does(kept, f"{where}: ip link set {dev} down", undo=(f"{where}: ip link set {dev} up",))


def _off(where: str, name: str, on: str = "1", off: str = "0") -> dict[str, Any]:
    return _does(f"{where}: sysctl -qw {name}={off}", undo=(f"{where}: sysctl -qw {name}={on}",))


def _unported(where: str, dev: str) -> dict[str, Any]:
    return _does(f"{where}: ip link set {dev} nomaster", undo=(f"{where}: ip link set {dev} master {{bridge}}",))


CASES: tuple[Injected, ...] = (
    # Devices.
    Injected("link-down", BRIDGED, name="a", **_down("a", "eth0")),
    Injected("link-down", BRIDGED, name="b", **_down("b", "eth0")),
    Injected("link-down", SWITCHED, name="port-a", **_down("p", "{v}")),
    Injected("link-down", SWITCHED, name="port-b", **_down("q", "{w}")),
    # Its neighbour entries go with it, and only an agent knows them.
    Injected(
        "link-down",
        ("ov",),
        name="tunnel",
        alone=True,
        mends=False,
        inject=("n: ip link set vxlan0 down", "a: ip neigh flush dev eth0"),
        undo=(
            "n: ip link set vxlan0 up",
            "n: ip neigh replace {b} lladdr {bmac} dev vxlan0 nud permanent protocol 87",
        ),
    ),
    Injected("bridge-down", SWITCHED, **_down("p", "{bridge}")),
    Injected("not-in-bridge", SWITCHED, **_unported("p", "{v}")),
    Injected("not-in-bridge", SWITCHED, name="far", **_unported("q", "{w}")),
    Injected(
        "port-isolated",
        ("br",),
        **_does(
            "1: bridge link set dev {v} isolated on && bridge link set dev {w} isolated on",
            undo=("1: bridge link set dev {v} isolated off && bridge link set dev {w} isolated off",),
        ),
    ),
    Injected(
        "port-isolated",
        ("ov",),
        **_does(
            "n: bridge link set dev {v} isolated on && bridge link set dev vxlan0 isolated on",
            undo=("n: bridge link set dev {v} isolated off && bridge link set dev vxlan0 isolated off",),
        ),
    ),
    Injected(
        "stale-fdb",
        BRIDGED,
        **_does(
            "p: bridge fdb replace {bmac} dev {v} master static sticky",
            undo=("p: bridge fdb del {bmac} dev {v} master",),
        ),
    ),
    Injected(
        "stale-fdb",
        ("vx", "gw"),
        name="back",
        **_does(
            "1: ip link add theirs0 type veth peer theirs1 && ip link set theirs1 up && ip link set theirs0 master {bridge} up"
            " && bridge fdb replace {amac} dev theirs0 master static sticky",
            undo=("1: ip link del theirs0",),
        ),
    ),
    Injected(
        "port-mtu",
        BRIDGED,
        flow=("--size", "1400"),
        **_does("q: ip link set {w} mtu 1280", undo=("q: ip link set {w} mtu {mtu}",)),
    ),
    # Neighbours.
    Injected("neighbour-failed", ("vx", "gw", "br"), to="{nobody}", mends=False, **_does()),
    Injected("arp-off", ALL, **_does("b: ip link set eth0 arp off", undo=("b: ip link set eth0 arp on",))),
    Injected(
        "gateway-silent",
        ("rt",),
        **_does(
            "1: sysctl -qw net.ipv4.conf.{v}.proxy_arp=0",
            "a: ip neigh flush dev eth0",
            undo=("1: sysctl -qw net.ipv4.conf.{v}.proxy_arp=1",),
        ),
    ),
    Injected(
        "gateway-silent",
        ("rt",),
        name="v6",
        family=6,
        **_does(
            "1: ip address del {gw}/64 dev {v}",
            "a: ip neigh flush dev eth0",
            undo=("1: ip address add {gw}/64 dev {v} nodad",),
        ),
    ),
    # Addresses.
    Injected(
        "address-missing",
        BRIDGED,
        **_does("b: ip address del {b}/{plen} dev eth0", undo=("b: ip address add {b}/{plen} dev eth0",)),
    ),
    Injected(
        "address-missing",
        ROUTED,
        name="v6",
        family=6,
        **_does("b: ip address del {b}/{plen} dev eth0", undo=("b: ip address add {b}/{plen} dev eth0 nodad",)),
    ),
    # Routes.
    Injected(
        "no-route-in-container",
        ROUTED,
        **_does("a: ip route del default", undo=("a: ip route replace default via {gw} dev eth0 proto 87",)),
    ),
    Injected(
        "no-route-in-container",
        ROUTED,
        name="v6",
        family=6,
        **_does("a: ip -6 route del default", undo=("a: ip -6 route replace default via {gw} dev eth0 proto 87",)),
    ),
    Injected(
        "no-route-in-container",
        ROUTED,
        name="back",
        **_does("b: ip route del default", undo=("b: ip route replace default via {bgw} dev eth0 proto 87",)),
    ),
    Injected(
        "no-route", ("vx", "gw"), mends=False, **_does("1: ip route del {net}", undo=("1: ip route replace {route}",))
    ),
    Injected(
        "no-route",
        ("vx", "gw"),
        name="back",
        mends=False,
        **_does("2: ip route del {net2}", undo=("2: ip route replace {route2}",)),
    ),
    Injected("forwarding-off", ROUTED, **_off("1", "net.ipv4.ip_forward")),
    Injected("forwarding-off", ROUTED, name="far", **_off("2", "net.ipv4.ip_forward")),
    Injected("forwarding-off", ROUTED, name="v6", family=6, **_off("1", "net.ipv6.conf.all.forwarding")),
    Injected(
        "next-hop-dead",
        ROUTED,
        mends=False,
        **_does(f"1: ip route add {{b}}/32 via {NOBODYS} dev eth0", undo=("1: ip route del {b}/32",)),
    ),
    Injected(
        "wrong-next-hop",
        ROUTED,
        **_does("1: ip route add {b}/32 via 172.30.0.2 dev weft_gw", undo=("1: ip route del {b}/32",)),
    ),
    Injected(
        "rule-diverts",
        ROUTED,
        **_does(
            "1: ip route add default via 192.168.1.1 dev eth0 table 99 && ip rule add from {a} lookup 99 priority 100",
            undo=("1: ip rule del priority 100; ip route flush table 99",),
        ),
    ),
    Injected(
        "local-route-missing",
        ("rt",),
        **_does("2: ip route del {b} dev {w}", undo=("2: ip route add {b} dev {w} proto 87",)),
    ),
    Injected("no-carrier", ACROSS, mends=False, **_does("cable: down", undo=("cable: up",))),
)
