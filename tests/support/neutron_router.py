"""A lab whose router is one of Neutron's: it forwards by its subnets and by the extra routes that a real neutron-server knows,
and drops what a port must not send or take: addresses that are neither its own nor in its allowed address pairs. So packets
tell whether routes and pairs are right.

Neutron's API is at the router's address on the first segment.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from support import ec2
from support.neutron_server import NeutronServer
from support.openstack_hosts import Hosts, Proxy, clouds_yaml, hosts
from support.vpc import inside
from weft.lab import Lab, reference
from weft.lab.build import UPLINK, device
from weft.lab.inside import Inside
from weft.lab.lab import agent_command
from weft.lab.topology import ROUTER

POLL = 0.1

_PORTS = """
add table inet ports
delete table inet ports
table inet ports {{
  chain forward {{
    type filter hook forward priority -10
    {}
  }}
}}
"""


class Router:
    """Does as Neutron says, when somebody has written to it."""

    def __init__(self, lab: Lab, cloud: Hosts, proxy: Proxy) -> None:
        self._router, self._cloud, self._lab = lab.host(ROUTER), cloud, lab
        self._macs = {name: _mac(lab.host(name)) for name in cloud.ports}
        self._proxy, self._seen = proxy, -1
        self._there: set[tuple[str, str]] = set()
        self._drops: tuple[str, ...] = ()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Router:
        segments = {self._lab.topology.place(name).segment for name in self._cloud.ports}
        quiet = [f"net.ipv4.conf.{dev}.send_redirects=0" for dev in ("all", *(device("to-", s) for s in segments))]
        self._router.must("redirects", ["sysctl", "-qw", *quiet])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(POLL):
            now = self._cloud.written + self._proxy.written
            if now != self._seen:
                self._follow()
                self._seen = now

    def _follow(self) -> None:
        wanted = {(to, hop) for to, hops in self._cloud.routes().items() for hop in hops}
        lines = [f"route del {to} via {hop}" for to, hop in sorted(self._there - wanted)]
        lines += [f"route append {to} via {hop}" for to, hop in sorted(wanted - self._there)]
        if lines:
            self._router.must("routes", ["ip", "-force", "-batch", "-"], input="\n".join(lines))
            self._there = wanted
        found = self._cloud.server.list("ports", network_id=self._cloud.network)
        pairs = {port["id"]: port["allowed_address_pairs"] for port in found if port["port_security_enabled"]}
        drops = tuple(
            line
            for name, id in self._cloud.ports.items()
            if id in pairs
            for line in self._checks(name, [p["ip_address"] for p in pairs[id]])
        )
        if drops != self._drops:
            self._router.must("ports", ["nft", "-f", "-"], input=_PORTS.format("\n".join(drops)))
            self._drops = drops

    def _checks(self, name: str, pairs: list[str]) -> Iterator[str]:
        """For what comes from this host's port, and for what goes to it."""
        addresses = self._lab.topology.place(name).addresses
        for family, word in ((4, "ip"), (6, "ip6")):
            own = [str(a.ip) for a in addresses if a.version == family]
            may = ", ".join([*own, *(p for p in pairs if ip_network(p).version == family)])
            local = "" if family == 4 else "ip6 saddr != fe80::/10 "
            yield f"ether saddr {self._macs[name]} {local}{word} saddr != {{ {may} }} drop"
            yield f"rt {word} nexthop {own[0]} {word} daddr != {{ {may} }} drop"


def _mac(host: Inside) -> str:
    return host.run(["cat", f"/sys/class/net/{UPLINK}/address"], check=True).stdout.strip()


class Cloud:
    """The lab, with all that plays OpenStack for it."""

    def __init__(self, lab: Lab, hosts: Hosts, proxy: Proxy) -> None:
        self.lab, self.hosts, self.proxy = lab, hosts, proxy


@contextlib.contextmanager
def cloud(
    name: str, server: NeutronServer, directory: Path, environment: pytest.MonkeyPatch, *, resync: int = 3
) -> Iterator[Cloud]:
    """The reference lab: node-1 to node-3 in one subnet of the router's, node-4 in another one."""
    settings = directory / "weft.toml"
    settings.write_text(f'resync = {resync}.0\npresence-ttl = 6.0\nopenstack-cloud = "lab"\n')
    topology, proxy = reference(), Proxy(server.url)
    places = {p.name: [str(a) for a in p.addresses] for p in topology.hosts}
    segments = {p.segment for p in topology.hosts}
    gateways = {
        str(ip_interface(a).network): str(a.ip)
        for s, addresses in topology.router.items()
        if s in segments
        for a in addresses
    }
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(hosts(server, places, gateways))
        environment.setenv("OS_CLIENT_CONFIG_FILE", str(clouds_yaml(directory, "http://192.168.1.1:9696")))
        lab = stack.enter_context(Lab.up(topology, name=name, agents=False))
        lab.agent_command = lambda host, url: [*agent_command(host, url), "--config", str(settings)]
        with inside(lab.host(ROUTER)):
            api = ec2.listening("192.168.1.1", 9696)
        stack.enter_context(ec2.served(proxy, api))
        stack.enter_context(Router(lab, found, proxy))
        agents = [lab.agent(node) for node in places]
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.wait_ready(60)
        yield Cloud(lab, found, proxy)
