"""A lab whose router is a VPC's: it forwards between the hosts by what is in EC2's route tables, and drops what a network
interface must not send or take while its source/destination check is on. So packets tell whether routes are right.

EC2's API is at the router's address on the first segment, the metadata service at 169.254.169.254 of each host.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from moto.ec2.models import ec2_backends  # type: ignore[import-untyped]

from support import ec2
from support.ec2 import ACCOUNT, KEYS, METADATA, REGION, Metadata, Strict, Vpc
from support.namespaces import entered
from weft.lab import Lab, reference
from weft.lab.build import UPLINK, device
from weft.lab.inside import Inside
from weft.lab.lab import agent_command
from weft.lab.topology import ROUTER

FIRST_TABLE = 101
"""Of the kernel, for the first segment's route table."""
POLL = 0.1

_CHECKED = """
add table inet vpc
delete table inet vpc
table inet vpc {{
  chain forward {{
    type filter hook forward priority -10
    {}
  }}
}}
"""


class Router:
    """Does as the tables say, a tenth of a second later."""

    def __init__(self, lab: Lab, vpc: Vpc) -> None:
        self._router, self._vpc, self._lab = lab.host(ROUTER), vpc, lab
        self._macs = {name: _mac(lab.host(name)) for name in vpc.instances}
        self._segments = {lab.topology.place(name).segment for name in vpc.instances}
        self._tables = {segment: FIRST_TABLE + n for n, segment in enumerate(sorted(self._segments))}
        self._there: set[tuple[int, str, str]] = set()
        self._checked: frozenset[str] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Router:
        devices = {segment: device("to-", segment) for segment in self._segments}
        rules = [f"rule add pref 100 iif {devices[segment]} lookup {n}" for segment, n in self._tables.items()]
        for family in ("-4", "-6"):
            self._router.must("rules", ["ip", family, "-batch", "-"], input="\n".join(rules))
        quiet = [f"net.ipv4.conf.{dev}.send_redirects=0" for dev in ("all", *devices.values())]
        self._router.must("redirects", ["sysctl", "-qw", *quiet])  # a VPC's router sends none
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(POLL):
            self._follow()

    def _follow(self) -> None:
        wanted = set(self._wanted())
        lines = [f"route del {to} via {hop} table {n}" for n, to, hop in sorted(self._there - wanted)]
        lines += [f"route replace {to} via {hop} table {n}" for n, to, hop in sorted(wanted - self._there)]
        if lines:
            self._router.must("routes", ["ip", "-force", "-batch", "-"], input="\n".join(lines))
            self._there = wanted
        enis = ec2_backends[ACCOUNT][REGION].enis
        checked = frozenset(n for n, i in self._vpc.instances.items() if enis[i.interface].source_dest_check)
        if checked != self._checked:
            self._router.must("checks", ["nft", "-f", "-"], input=_CHECKED.format("\n".join(self._drops(checked))))
            self._checked = checked

    def _wanted(self) -> Iterator[tuple[int, str, str]]:
        hosts = {one.interface: name for name, one in self._vpc.instances.items()}
        for segment, number in self._tables.items():
            for route in tuple(ec2_backends[ACCOUNT][REGION].route_tables[self._vpc.tables[segment]].routes):
                text = route.destination_ipv6_cidr_block or route.destination_cidr_block
                name = hosts.get(route.interface.id) if route.interface is not None else None
                if name is not None and route.state == "active":
                    yield number, text, self._address(name, ip_network(text).version)

    def _address(self, name: str, family: int) -> str:
        return next(str(a.ip) for a in self._lab.topology.place(name).addresses if a.version == family)

    def _drops(self, checked: frozenset[str]) -> Iterator[str]:
        for name in sorted(checked):
            own = self._address(name, 4)
            yield f"ether saddr {self._macs[name]} ip saddr != {own} drop"
            yield f"rt ip nexthop {own} ip daddr != {own} drop"


def _mac(host: Inside) -> str:
    return host.run(["cat", f"/sys/class/net/{UPLINK}/address"], check=True).stdout.strip()


@contextlib.contextmanager
def inside(host: Inside) -> Iterator[None]:
    """The calling thread is in the network namespace of a lab's host."""
    fd = os.open(f"/proc/{host.holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with entered(fd):
            yield
    finally:
        os.close(fd)


class Cloud:
    """The lab, with all that plays EC2 for it."""

    def __init__(self, lab: Lab, strict: Strict, vpc: Vpc) -> None:
        self.lab, self.strict, self.vpc = lab, strict, vpc


@contextlib.contextmanager
def cloud(name: str, directory: Path, environment: pytest.MonkeyPatch, *, resync: int = 3) -> Iterator[Cloud]:
    """The reference lab: node-1 to node-3 in one subnet with the VPC's main table, node-4 in another one with its own."""
    settings = directory / "weft.toml"
    settings.write_text(f"resync = {resync}.0\npresence-ttl = 6.0\n")
    strict = Strict()
    with contextlib.ExitStack() as stack:
        for key, value in KEYS.items():
            environment.setenv(key, value)
        topology = reference()
        hosts = {p.name: (p.segment, str(next(a for a in p.addresses if a.version == 4))) for p in topology.hosts}
        operator = stack.enter_context(ec2.served(strict.plain, ec2.listening("127.0.0.1")))
        vpc = ec2.make_vpc(ec2.client_of(operator), hosts)
        lab = stack.enter_context(Lab.up(topology, name=name, agents=False))
        lab.agent_command = lambda host, url: [*agent_command(host, url), "--config", str(settings)]
        with inside(lab.host(ROUTER)):
            api = ec2.listening("192.168.1.1")
        environment.setenv("AWS_ENDPOINT_URL", stack.enter_context(ec2.served(strict, api)))
        for node in hosts:
            lab.host(node).run(["ip", "address", "add", f"{METADATA}/32", "dev", "lo", "scope", "host"], check=True)
            with inside(lab.host(node)):
                sock = ec2.listening(METADATA, 80)
            stack.enter_context(ec2.served(Metadata(vpc, node), sock))
        stack.enter_context(Router(lab, vpc))
        agents = [lab.agent(node) for node in hosts]
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.wait_ready(60)
        yield Cloud(lab, strict, vpc)
