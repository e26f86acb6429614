"""Dumps of hosts as a kernel would give them, made from what the data paths ask for: the reference lab's four nodes, with
one container `c1` … `c4` on each. What the kernel adds by itself (local and connected routes, a bridge's own FDB entries)
is added here too. The uplinks are veths whose other end nobody has dumped, as in the lab.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

import msgspec

from support import lab
from support.parts import all_of_endpoint
from weft.api import dump as d
from weft.base.names import stable_mac
from weft.base.net import IPAddress, IPInterface, family
from weft.datapaths._encap import tunnelled
from weft.datapaths.driver import Site, gather
from weft.datapaths.registry import driver
from weft.datapaths.routed import NEXT_HOPS
from weft.datapaths.traits import KnownBy
from weft.hoststate import (
    Address,
    Bridge,
    FdbEntry,
    Ipip,
    Link,
    Neighbour,
    Object,
    Route,
    Sysctl,
    Tunnel,
    TunnelPrefix,
    Vxlan,
)
from weft.hoststate.cloud import CloudRoute
from weft.hoststate.links import CHECKED, Tun
from weft.model import Endpoint, Network
from weft.model.endpoint import Namespace
from weft.trace import Start

NODES = ("node-1", "node-2", "node-3", "node-4")
_NEXT_HOPSS = {"192.168.1": "192.168.1.1", "192.168.0": "192.168.0.1", "fd01:a:": "fd01:a::1", "fd01:b:": "fd01:b::1"}
Dumps = dict[str, d.HostDump]


def container(node: str) -> str:
    return f"c{node[-1]}"


def path(node: str) -> str:
    return f"/run/netns/{container(node)}"


@dataclass
class Builder:
    """One namespace. `routed`: families for which forwarding is on."""

    path: str = ""
    name: str = ""
    routed: tuple[int, ...] = ()
    links: dict[str, d.LinkDump] = field(default_factory=dict)
    addresses: list[d.AddressDump] = field(default_factory=list)
    routes: list[d.RouteDump] = field(default_factory=list)
    neighbours: list[d.NeighbourDump] = field(default_factory=list)
    fdb: list[d.FdbDump] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link("lo", "loopback", mac="00:00:00:00:00:00", mtu=65536)
        self.address("lo", "127.0.0.1/8")
        self.address("lo", "::1/128")

    def link(self, name: str, kind: str = "", **more: Any) -> None:
        values = {"up": True, "carrier": True, "forwarding": self.routed, **more}
        self.links[name] = d.LinkDump(name=name, ifindex=len(self.links) + 1, kind=kind, **values)

    def address(self, dev: str, text: str) -> None:
        interface = ip_interface(text)
        self.addresses.append(d.AddressDump(dev=dev, address=text))
        local = d.RouteDump(
            prefix=f"{interface.ip}/{interface.max_prefixlen}", table=255, type="local", dev=dev, proto=2
        )
        self.routes.append(local)
        if interface.network.prefixlen < interface.max_prefixlen:
            src = str(interface.ip) if interface.version == 4 else ""
            self.routes.append(d.RouteDump(prefix=str(interface.network), dev=dev, proto=2, src=src))

    def dump(self) -> d.NamespaceDump:
        rules = [(0, 255), (32766, 254)]
        return d.NamespaceDump(
            path=self.path,
            name=self.name,
            links=tuple(self.links.values()),
            addresses=tuple(self.addresses),
            routes=tuple(self.routes),
            rules=tuple(d.RuleDump(priority=p, family=f, table=t) for f in (4, 6) for p, t in rules),
            neighbours=tuple(self.neighbours),
            fdb=tuple(self.fdb),
        )


@dataclass
class HostBuilder:
    """A host: its own namespace and its containers'."""

    name: str
    network: Network
    spaces: dict[str, Builder] = field(default_factory=dict)
    clouds: set[d.CloudRouteDump] = field(default_factory=set)
    tunnels: dict[str, d.TunnelDump] = field(default_factory=dict)

    def __post_init__(self) -> None:
        node = lab.node(self.name)
        self.spaces[""] = host = Builder(routed=(4, 6))
        self.spaces[path(self.name)] = Builder(path(self.name), container(self.name))
        host.link("eth0", "veth", mac=stable_mac("eth0", self.name), peer=d.PeerDump(namespace="?", ifindex=9))
        for address in node.addresses:
            host.address("eth0", str(address))
            gateway = next(g for start, g in _NEXT_HOPSS.items() if str(address).startswith(start))
            host.routes.append(
                d.RouteDump(prefix="0.0.0.0/0" if address.version == 4 else "::/0", via=gateway, dev="eth0")
            )
            host.neighbours.append(
                d.NeighbourDump(dev="eth0", address=gateway, lladdr="02:00:00:00:00:fe", state="reachable")
            )
        used, site = driver(self.network.driver), lab.site(self.network, node)
        objects = list(gather(used.network(site)).objects)
        for peer in NODES:
            if peer != self.name:
                objects += gather(used.peer(site, lab.node(peer), lab.lease(self.network, lab.node(peer)))).objects
        objects += gather(all_of_endpoint(site, endpoint(self.network, self.name))).objects
        for obj in objects:
            self.add(obj)
        if used.known_by is KnownBy.BGP:
            self._bgp(site)
        for link in host.links.values():
            if link.master:
                host.fdb.append(d.FdbDump(dev=link.name, lladdr=link.mac, master=link.master))

    def _bgp(self, site: Site) -> None:
        """The routes to blocks on the segment that need no tunnel, as BIRD brings them; routers know none of the others."""
        for peer in (lab.node(name) for name in NODES if name != self.name):
            for block in lab.lease(self.network, peer).subnets:
                fam = family(block)
                if peer.shares_segment(site.host.node, fam) and not tunnelled(site.options, site.host.node, peer, fam):
                    via = str(peer.address(fam))
                    self.spaces[""].routes.append(d.RouteDump(prefix=str(block), via=via, dev="eth0", proto=12))

    def add(self, obj: Object) -> None:
        match obj:
            case CloudRoute():
                self.clouds.add(d.CloudRouteDump(obj.where, obj.destination, obj.to))
            case Tunnel(dev=dev, local=local, port=port):
                self.tunnels[dev] = d.TunnelDump(dev=dev, local=local, port=port, prefixes={})
            case TunnelPrefix(dev=dev):
                self.tunnels[dev].prefixes[obj.prefix] = obj.remote
            case Link():
                self._link(obj)
            case Address():
                self.spaces[obj.ns].address(obj.dev, obj.address)
            case Route():
                flags = ("onlink",) if obj.onlink else ()
                same = ("prefix", "table", "type", "via", "dev", "metric", "proto", "scope", "src")
                self.spaces[obj.ns].routes.append(
                    d.RouteDump(flags=flags, **{name: getattr(obj, name) for name in same})
                )
            case Neighbour():
                entry = d.NeighbourDump(dev=obj.dev, address=obj.address, lladdr=obj.lladdr, state="permanent")
                self.spaces[obj.ns].neighbours.append(entry)
            case FdbEntry():
                state = "noarp" if obj.bridge else "permanent"
                self.spaces[obj.ns].fdb.append(
                    d.FdbDump(dev=obj.dev, lladdr=obj.lladdr, dst=obj.dst, master=obj.bridge, state=state)
                )
            case Sysctl() if obj.name.endswith("/proxy_arp"):
                links, name = self.spaces[obj.ns].links, obj.name.split("/")[-2]
                links[name] = msgspec.structs.replace(links[name], proxying=(4,))
            case Sysctl():
                known = ("forward", "disable_ipv6", "accept_ra", "accept_dad", "addr_gen_mode", "proxy_delay")
                assert any(word in obj.name for word in known)

    def _link(self, link: Link) -> None:
        mac = link.mac or stable_mac(self.name, link.name)
        more: dict[str, Any] = {"mac": mac, "mtu": link.mtu, "alias": link.alias, "master": link.master}
        match link.type:
            case Bridge():
                self.spaces[link.ns].link(link.name, "bridge", **more)
            case Vxlan(vni, port, local, dev):
                vxlan = d.VxlanDump(vni=vni, port=port, local=local, dev=dev)
                self.spaces[link.ns].link(link.name, "vxlan", vxlan=vxlan, **more)
            case Ipip(local, remote):
                more |= {"ipip": d.IpipDump(local=local, remote=remote), "noarp": True, "mac": ""}
                self.spaces[link.ns].link(link.name, "ipip", **more)
            case Tun():
                self.spaces[link.ns].link(link.name, "tun", noarp=True, **{**more, "mac": ""})
            case veth:
                if link.group == CHECKED:  # what the kernel makes of its MAC
                    self.spaces[link.ns].address(link.name, f"{NEXT_HOPS[6]}/64")
                peer = d.PeerDump(namespace=veth.peer_ns, name=veth.peer)
                self.spaces[link.ns].link(link.name, "veth", peer=peer, **more)

    def dump(self) -> d.HostDump:
        namespaces = tuple(space.dump() for space in self.spaces.values())
        table = driver(self.network.driver).table(lab.lease(self.network, lab.node(self.name)))
        prefixes = tuple(map(str, self.network.subnets))
        clouds = (d.CloudDump(prefixes, table, "eth0", tuple(sorted(self.clouds, key=str))),) if table else ()
        return d.HostDump(node=self.name, namespaces=namespaces, clouds=clouds, tunnels=tuple(self.tunnels.values()))


def endpoint(network: Network, node: str) -> Endpoint:
    addresses = []
    for subnet in lab.lease(network, lab.node(node)).subnets:
        addresses.append(ip_interface(f"{subnet.network_address + 2}/{subnet.prefixlen}"))
    return Endpoint(
        id=f"{NODES.index(node):016x}",
        name=container(node),
        network=network.name,
        node=node,
        container=container(node),
        namespace=Namespace(path=path(node), cookie=1),
        interface="eth0",
        mac=stable_mac("container", node),
        addresses=tuple(addresses),
    )


def reference(driver_name: str, **changed: object) -> Dumps:
    """All four hosts with one dual-stack network."""
    network = lab.network(driver_name, (4, 6), **changed)
    return {name: HostBuilder(name, network).dump() for name in NODES}


def address(node: str, fam: int = 4) -> IPAddress:
    """Of the container on that node."""
    found: list[IPInterface] = list(endpoint(lab.network("vxlan", (4, 6)), node).addresses)
    return next(a.ip for a in found if a.version == fam)


def start(node: str, fam: int = 4) -> Start:
    """The container on that node."""
    return Start(host=node, ns=path(node), source=address(node, fam))


# -- taking things apart -----------------------------------------------------------------------------------------------


def change(dumps: Mapping[str, d.HostDump], host: str, ns: str, **fields: Any) -> Dumps:
    """With these fields of one namespace replaced."""
    old = dumps[host]
    spaces = tuple(msgspec.structs.replace(n, **fields) if n.path == ns else n for n in old.namespaces)
    return {**dumps, host: msgspec.structs.replace(old, namespaces=spaces)}


def without(dumps: Mapping[str, d.HostDump], host: str, ns: str, table: str, which: Callable[[Any], bool]) -> Dumps:
    """Without the entries of a table that `which` says; there must be some."""
    space = dumps[host].namespace(ns)
    assert space is not None
    entries = getattr(space, table)
    kept = tuple(entry for entry in entries if not which(entry))
    assert len(kept) < len(entries), f"no such entry in {table} of {host}{ns}"
    return change(dumps, host, ns, **{table: kept})


def with_link(dumps: Mapping[str, d.HostDump], host: str, ns: str, name: str, **fields: Any) -> Dumps:
    """With these fields of one device replaced."""
    space = dumps[host].namespace(ns)
    assert space is not None
    assert any(link.name == name for link in space.links)
    links = tuple(msgspec.structs.replace(x, **fields) if x.name == name else x for x in space.links)
    return change(dumps, host, ns, links=links)


def with_entry(dumps: Mapping[str, d.HostDump], host: str, ns: str, table: str, entry: Any) -> Dumps:
    space = dumps[host].namespace(ns)
    assert space is not None
    return change(dumps, host, ns, **{table: (*getattr(space, table), entry)})


def link_down(dumps: Mapping[str, d.HostDump], host: str, ns: str, name: str) -> Dumps:
    """As `ip link set NAME down` leaves it: its routes go; its other end, if a veth's, loses its carrier."""
    there = with_link(dumps, host, ns, name, up=False, carrier=False)
    routes = tuple(r for n in there[host].namespaces if n.path == ns for r in n.routes)
    there = change(there, host, ns, routes=tuple(r for r in routes if r.dev != name or r.table != 254))
    link = next(x for n in there[host].namespaces if n.path == ns for x in n.links if x.name == name)
    if link.peer is not None and link.peer.namespace != "?":
        there = with_link(there, host, link.peer.namespace, link.peer.name, carrier=False)
    return there
