"""Hosts of the reference lab in namespaces of the test's own, with what a driver (`routed`, or the network's own) wants of
each put there by the real reconciler. What BGP would do is done by hand: `spread`.

node-1, node-2 and node-3 are on one segment, node-4 is behind a router, as in `support.lab`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from msgspec.structs import replace

from support import lab
from support.namespaces import Home, Namespace
from support.parts import all_of_endpoint
from weft.compile import isolation
from weft.datapaths import guard
from weft.datapaths._encap import tunnelled
from weft.datapaths.driver import Site, gather
from weft.datapaths.registry import DRIVERS, parse_options
from weft.hoststate import Contribution, Union
from weft.hoststate.links import NAMED
from weft.hoststate.union import Source
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing.secrets import Keys
from weft.model import Endpoint, Gateway, Lease, Network, PublishedPort
from weft.model import Namespace as Inside
from weft.model.endpoint import endpoint_id
from weft.reconcile.reconciler import Reconciler, Report

_GATEWAYS = {"a": ("192.168.1.1/24", "fd01:a::1/64"), "b": ("192.168.0.1/24", "fd01:b::1/64")}
_VTEP = "02:00:00:00:87:01"
_BIRD = "12"
"""rtm_protocol of BIRD's routes."""


class Router:
    """The two segments' switch and the router between them, which knows nothing of containers."""

    def __init__(self, home: Home) -> None:
        self.ns = home.new()
        self.ns.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0")
        for segment, addresses in _GATEWAYS.items():
            self.ns.sh(f"ip link add seg-{segment} type bridge")
            self.ns.sh(f"ip link set seg-{segment} up")
            for address in addresses:
                self.ns.run("ip", "addr", "add", address, "dev", f"seg-{segment}", *["nodad"] * (":" in address))


class Host:
    """`control`: its node's ports; `said`: what else its node says; `keys`: of what it encrypts; `facts`: what else there is
    to know of it (`weft.datapaths.driver.Host`)."""

    def __init__(
        self,
        home: Home,
        router: Router,
        name: str,
        net: Network,
        run: Path,
        named: Path = Path(NAMED),
        control: tuple[int, ...] = (),
        keys: Keys | None = None,
        said: Mapping[str, object] | None = None,
        **facts: object,
    ) -> None:
        self.home, self.name, self.ns, self.run, self.named = home, name, home.new(), run, named
        self.node, self.keys = lab.node(name, control=control, **(said or {})), keys
        self.site: Site = lab.site(as_made(net), self.node, **facts)
        self.union = Union()
        self.sites: dict[str, Site] = {}
        self.containers: dict[str, Namespace] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self._plug(router, "b" if name == "node-4" else "a")
        self.join(self.site)
        self._start()

    def join(self, site: Site) -> None:
        """One more network."""
        driver, name = DRIVERS[site.network.driver], site.network.name
        self.sites[name] = site
        self.want(Source("isolation", ""), gather(isolation.answer(self._networks(), self.sites.get)))
        self.want(Source("network", name), gather(driver.network(site)))
        self.want(Source("segment", name), gather(driver.segment(site)))
        self.want(Source("tunnel", name), gather(guard.cluster_tunnel(site.options.udp_port)))

    def _networks(self) -> dict[str, Network]:
        return {name: site.network for name, site in self.sites.items()}

    def _plug(self, router: Router, segment: str) -> None:
        port = f"p-{self.name}"
        self.ns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", router.ns.path)
        router.ns.sh(f"ip link set {port} master seg-{segment} up")
        self.ns.sh("sysctl -qw net.ipv6.conf.eth0.accept_dad=0")  # else nothing is asked for by ND in the first second
        self.ns.sh("ip link set eth0 up")
        for address in self.node.addresses:
            self.ns.run("ip", "addr", "add", str(address), "dev", "eth0", *["nodad"] * (address.version == 6))
        for text in _GATEWAYS[segment]:
            self.ns.run("ip", *["-6"] * (":" in text), "route", "add", "default", "via", text.partition("/")[0])

    def _start(self) -> None:
        with self.ns.entered():
            self.kernel = LinuxKernel(self.union.desired, self.run, named=self.named, keys=self.keys)
        self.reconciler = Reconciler(self.kernel, self.union.desired, time.monotonic)
        self.reconciler.complete = True

    def restart(self) -> None:
        """As an agent's: nothing is remembered."""
        self.kernel.close()
        self._start()

    def close(self) -> None:
        self.kernel.close()

    def want(self, source: Source, contribution: Contribution | None) -> None:
        self.union.set(source, contribution)

    def converge(self) -> Report:
        """Raises AssertionError where something cannot be had."""
        with self.ns.entered():
            report = self.reconciler.resync()
        assert report.failures == (), report.failures
        return report

    def knows(self, other: Host) -> None:
        self.want(Source("node", "", other.name), gather(guard.known_node(self.node, other.node)))
        driver = DRIVERS[self.site.network.driver]
        self.want(Source("peer", other.name), gather(driver.peer(self.site, other.node, other.site.lease)))

    def spread(self, other: Host) -> None:
        """The routes that BGP would bring: to blocks that need no tunnel."""
        for block in other.site.lease.subnets:
            fam = 4 if block.version == 4 else 6
            if not tunnelled(self.site.options, self.node, other.node, fam):
                via = str(other.node.address(fam))
                self.ns.run("ip", "route", "add", str(block), "via", via, "dev", "eth0", "proto", _BIRD)

    def addresses(self, number: int = 2) -> list[str]:
        """Of this number in the host's blocks, v4's first."""
        return _numbered(self.site, number)

    def attach(
        self,
        name: str,
        number: int,
        *floating: str,
        site: Site | None = None,
        ports: tuple[PublishedPort, ...] = (),
        owner: str = "",
    ) -> Endpoint:
        """A container with the addresses of this number, in another network if `site` says so."""
        self.containers[name] = inside = self.home.new()
        site = site or self.site
        driver, gateway = DRIVERS[site.network.driver], None
        if driver.way_out.second_interface and not site.network.internal:
            ways = {4: f"172.30.0.{number}/16", 6: f"fd57:4546:54::{number}/64"}
            ours = tuple(ip_interface(ways[fam]) for fam in site.network.families)
            gateway = Gateway(interface="eth1", addresses=ours)
        endpoint = Endpoint(
            id=endpoint_id(site.network.name, self.name, number, "eth0"),
            name=name,
            network=site.network.name,
            node=self.name,
            container=name,
            namespace=Inside(path=inside.path, cookie=number),
            interface="eth0",
            mac=f"02:42:00:00:{int(self.name[-1]):02x}:{number:02x}",
            addresses=tuple(ip_interface(f"{a}{_length(site, a)}") for a in _numbered(site, number)),
            gateway=gateway,
            ports=ports,
            owner=owner,
        )
        return self.float(endpoint, *floating, site=site)

    def float(self, endpoint: Endpoint, *floating: str, site: Site | None = None) -> Endpoint:
        """It has these floating addresses, and no others."""
        site = site or self.site
        changed = replace(endpoint, floating=tuple(map(ip_address, floating)))
        self.endpoints[endpoint.name] = changed
        self.want(Source("endpoint", endpoint.name), gather(all_of_endpoint(site, changed)))
        networks = self._networks() | {site.network.name: site.network}
        apart = gather(isolation.answer_endpoint(changed, networks))
        self.want(Source("isolation-endpoint", endpoint.name), apart)
        return changed


def as_made(net: Network) -> Network:
    """With what its record gets when it is made."""
    return replace(net, options={"reach": "self", **net.options})


def other_site(host: Host, driver: str, name: str, *subnets: str, **changed: object) -> Site:
    """A network with subnets of its own, of which the host has a /24 and a /64 (or all of it, or a block)."""
    net = as_made(lab.network(driver, name=name, subnets=tuple(map(ip_network, subnets)), **changed))
    kind = DRIVERS[driver]
    lengths = {4: 26, 6: 122} if kind.addresses.blocks else {4: 24, 6: 64}
    mine = tuple(next(s.subnets(new_prefix=lengths[s.version])) for s in net.subnets)
    held = mine if kind.addresses.leased else net.subnets
    lease = Lease(network=name, node=host.name, subnets=held, data={"vtep-mac": _VTEP})
    return Site(host.site.host, net, parse_options(net), lease)


def _numbered(site: Site, number: int) -> list[str]:
    return [str(block[number]) for block in site.lease.subnets]


def _length(site: Site, address: str) -> str:
    """Where containers are routed one by one, they have no neighbours."""
    if site.network.driver == "routed":
        return ""
    return next(f"/{s.prefixlen}" for s in site.lease.subnets if ip_address(address) in s)


@contextmanager
def hosts(home: Home, net: Network, names: list[str], run: Path, **facts: object) -> Iterator[dict[str, Host]]:
    """They know each other, and have one container each, `c1` on node-1 and so on. `facts`: as of Host."""
    router = Router(home)
    found = {name: Host(home, router, name, net, run / name, **facts) for name in names}
    try:
        for one in found.values():
            one.attach(f"c{one.name[-1]}", 2)
            for other in found.values():
                if other is not one:
                    one.knows(other)
            one.converge()
        for one in found.values():
            for other in found.values():
                if other is not one:
                    one.spread(other)
        yield found
    finally:
        for one in found.values():
            one.close()


def ping(source: Namespace, address: object, *options: str) -> str:
    """What ping(8) said; empty if there was no answer."""
    said = source.run("ping", "-c1", "-W2", *options, str(address), check=False)
    return said if "1 received" in said else ""


class Listener:
    """Frames on a device, as octets with their Ethernet header (or the packet, where the device has none)."""

    def __init__(self, ns: Namespace, device: str) -> None:
        with ns.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind((device, 3))
        self._socket.setblocking(False)

    def frames(self) -> list[bytes]:
        """All since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65535))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@contextmanager
def listening(ns: Namespace, device: str) -> Iterator[Listener]:
    listener = Listener(ns, device)
    try:
        yield listener
    finally:
        listener.close()


def protocols(frames: list[bytes]) -> list[tuple[int, str]]:
    """(protocol number, destination) of the IPv4 packets among Ethernet frames."""
    return [(f[23], str(ip_address(f[30:34]))) for f in frames if f[12:14] == b"\x08\x00"]
