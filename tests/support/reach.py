"""A lab with agents, from the outside: networks and containers in it, what its kernels show, who reaches whom."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from support import fast_mode
from support.waiting import until
from weft.api import types as t
from weft.base.errors import WeftError
from weft.client import Client
from weft.datapaths.registry import DRIVERS
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.model import Network
from weft.model.network import OptionValue

NODES = ("node-1", "node-2", "node-3", "node-4")
UNDERLAY = {
    "node-1": {4: "192.168.1.68", 6: "fd00:192:168:1::68"},
    "node-2": {4: "192.168.1.254", 6: "fd00:192:168:1::254"},
    "node-3": {4: "192.168.1.245", 6: "fd00:192:168:1::245"},
    "node-4": {4: "192.168.0.33", 6: "fd00:192:168::33"},
}
OUTSIDE = {4: "203.0.113.10", 6: "2001:db8:203::10"}
_TTL = re.compile(r"(?:ttl|hlim)=(\d+)")


def client(lab: Lab, host: str) -> Client:
    """Of that host's agent, from outside of the lab."""
    return Client(str(lab.host(host).socket))


def weft(lab: Lab, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, in a host."""
    return lab.host(host).run([*lab.weft, *words], timeout=90)


def refused(lab: Lab, words: str, status: int = 1, host: str = "node-1") -> str:
    """What the command says, which is one line and all there is."""
    done = weft(lab, host, *shlex.split(words))
    assert done.returncode == status, done
    assert done.stdout == ""
    assert done.stderr.startswith("weft: ") and done.stderr.endswith("\n") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("weft: ").rstrip("\n")


def shown(inside: Inside, command: str) -> Any:
    """What `ip -j …` and the like print."""
    return json.loads(inside.run(command.split(), check=True, timeout=30).stdout or "[]")


# ------------------------------------------------------------------------------------------------- networks, nodes


def converged(lab: Lab, hosts: Sequence[str] = NODES) -> None:
    """Waits until each of these nodes holds a subnet in every network, all know of all, and the kernels have it."""
    until(lambda: not _missing(lab, hosts), 30, lambda: f"convergence: {_missing(lab, hosts)}")


def _missing(lab: Lab, hosts: Sequence[str]) -> str:
    for host in hosts:
        agent = client(lab, host)
        for network in agent.networks():
            if not DRIVERS[network.driver].addresses.leased:
                continue
            unknown = set(hosts) - {lease.node for lease in network.leases if lease.alive}
            if unknown:
                return f"{host} knows no live lease of {', '.join(sorted(unknown))} in {network.name}"
        status = agent.status()
        if status.state != "converged":
            return f"{host} is {status.state}: {status.troubles}"
    return ""


def make_network(
    lab: Lab,
    name: str,
    driver: str,
    *subnets: str,
    host: str = "node-1",
    hosts: Sequence[str] = NODES,
    internal: bool = False,
    **options: str,
) -> Network:
    """And waits for it on all nodes, which are `hosts`; where that fails, it is taken away again, for whoever tries once more.
    `options` with `_` for `-`."""
    given: dict[str, OptionValue] = {key.replace("_", "-"): value for key, value in options.items()}
    network = Network(
        name=name,
        driver=driver,
        subnets=tuple(map(ip_network, subnets)),
        internal=internal,
        options=fast_mode.options(driver, given),
    )
    client(lab, host).create_network(network)
    try:
        converged(lab, hosts)
    except BaseException:
        with suppress(WeftError):  # what failed first says more
            client(lab, host).remove_network(name, force=True)
        raise
    fast_mode.switch(client(lab, host), name, driver, given)
    return network


# ------------------------------------------------------------------------------------------------------ containers


@dataclass(frozen=True)
class Container:
    name: str
    host: str
    inside: Inside
    endpoint: t.EndpointInfo

    def address(self, family: int) -> str:
        return str(next(a.ip for a in self.endpoint.addresses if a.version == family))

    def subnet(self, family: int) -> str:
        return str(next(a.network for a in self.endpoint.addresses if a.version == family))

    def gateway(self, family: int) -> str:
        return str(next(a for a in self.endpoint.gateways if a.version == family))


def run(lab: Lab, host: str, name: str, network: str) -> Container:
    lab.run(host, name, network=network)
    found = client(lab, host).endpoint(f"{host}/{name}")
    return Container(name, host, lab.host(host).container(name), found)


def attached(lab: Lab, host: str, name: str, network: str, *options: str) -> Container:
    """A container in a named namespace. `options`: of `weft attach`."""
    lab.host(host).run(["ip", "netns", "add", name], check=True)
    lab.host(host).run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    said = weft(lab, host, "attach", name, "--network", network, *options)
    assert said.returncode == 0, said.stderr
    return Container(name, host, lab.host(host).container(name), client(lab, host).endpoint(f"{host}/{name}"))


def run_everywhere(lab: Lab, network: str, hosts: Sequence[str] = NODES) -> list[Container]:
    """One container on each of these hosts, called NETWORK-HOSTNUMBER, in their order."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda host: run(lab, host, f"{network}-{host[-1]}", network), hosts))


def namespaces(inside: Inside, names: Sequence[str]) -> None:
    """Empty containers, all at once."""
    inside.must("containers", ["ip", "-batch", "-"], input="\n".join(f"netns add {name}" for name in names))


# ------------------------------------------------------------------------------------------------------------ ping


@dataclass(frozen=True)
class Pong:
    """`ttl`: of the answer; 0 without one. `text`: all that ping said."""

    ttl: int
    text: str

    @property
    def ok(self) -> bool:
        return self.ttl > 0


def ping(source: Inside, address: str, *options: str, wait: int = 5) -> Pong:
    """One packet. `wait`: seconds for the answer."""
    done = source.run(["ping", "-n", "-c", "1", "-W", str(wait), *options, address], timeout=wait + 20)
    ttl = _TTL.search(done.stdout) if done.returncode == 0 else None
    return Pong(int(ttl[1]) if ttl else 0, done.stdout + done.stderr)


# -------------------------------------------------------------------------------------------- who a server sees us as

_SERVER = """
import socket, sys
with socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("listening", flush=True)
    while True:
        connection, peer = server.accept()
        with connection:
            connection.sendall(peer[0].removeprefix("::ffff:").encode())
"""


class PeerServer:
    """A TCP server that tells each client the address it came from."""

    PORT = 7001

    def __init__(self, inside: Inside) -> None:
        self._process = inside.popen(["python3", "-c", _SERVER, str(self.PORT)])

    def __enter__(self) -> PeerServer:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n", self._process.communicate()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def seen_as(source: Inside, address: str) -> str:
    """By the `PeerServer` at `address`; "" where none is reached."""
    script = f"exec 3<>/dev/tcp/{address}/{PeerServer.PORT} && cat <&3"
    return source.run(["timeout", "5", "bash", "-c", script], timeout=20).stdout
