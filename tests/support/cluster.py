"""A lab with Weft running in it, as fault tests want it: networks, containers, and the agents' word on how they are."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

from support.traffic import Pair
from support.waiting import until
from weft.api import types as t
from weft.base.errors import Failed, NotFound, Unavailable
from weft.client import Client
from weft.client.connection import ask
from weft.datapaths.registry import DRIVERS
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.lab.lab import WEFT
from weft.model import Network

NODES = ("node-1", "node-2", "node-3", "node-4")
NETWORKS = {
    "vx": Network(name="vx", driver="vxlan", subnets=(ip_network("10.41.0.0/16"), ip_network("fd41::/48"))),
    "hg": Network(name="hg", driver="host-gw", subnets=(ip_network("10.42.0.0/16"), ip_network("fd42::/48"))),
    "dr": Network(
        name="dr",
        driver="vxlan",
        subnets=(ip_network("10.43.0.0/16"), ip_network("fd43::/48")),
        options={"direct-routing": True, "vni": 3},
    ),
}
PATIENCE = 20.0
"""Seconds for the agents to agree on something. It takes them a tenth; the rest is for a busy machine."""

PATHS = (
    ("node-1/vx1", "node-2/vx2", 4),
    ("node-1/vx1", "node-4/vx4", 6),
    ("node-2/hg2", "node-1/hg1", 4),
    ("node-1/hg1", "node-2/hg2", 6),
)
"""(from, to, family): traffic that runs through what `populate` makes."""

_count = itertools.count()


class Cluster:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    # What the agents say.

    def client(self, host: str, timeout: float = 30) -> Client:
        return Client(str(self.lab.host(host).socket), timeout=timeout)

    def status(self, host: str) -> t.Status:
        return self.client(host).status()

    def metric(self, host: str, name: str) -> float:
        answer = ask(str(self.lab.host(host).socket), 10, "GET", "/metrics", None)
        found = re.search(rf"^{name} (\S+)$", answer.body.decode(), re.MULTILINE)
        assert found, f"no metric {name}"
        return float(found[1])

    def unsettled(self, host: str) -> str:
        """Why it cannot be said that this node has everything as it should be; "" when it can."""
        try:
            status = self.status(host)
        except (Unavailable, Failed) as error:
            return str(error)
        if status.state != "converged":
            return f"{host} is {status.state}: {status.store.reason} {[x.object + ': ' + x.reason for x in status.troubles]}"
        waiting = [n.name for n in status.networks if not n.subnets and not DRIVERS[n.driver].addresses.blocks]
        return f"{host} has no subnet in {waiting}" if waiting else ""

    def settled(self, hosts: Iterable[str] = NODES, seconds: float = PATIENCE) -> float:
        """Waits until these nodes have everything as it should be; the seconds it took."""
        hosts = tuple(hosts)

        def unsettled() -> str:
            return next(filter(None, map(self.unsettled, hosts)), "")

        return until(lambda: not unsettled(), seconds, unsettled)

    def subnets(self, node: str) -> Mapping[str, tuple[str, ...]]:
        """What a node holds, by network."""
        return {name: tuple(map(str, held)) for name, held in self.client("node-1").node(node).subnets.items()}

    # What can be done.

    def weft(self, host: str, *words: str) -> tuple[int, str]:
        """Exit status, and all it said."""
        result = self.lab.host(host).run([*WEFT, *words], timeout=60)
        return result.returncode, result.stdout + result.stderr

    def sh(self, host: str, script: str) -> str:
        return self.lab.host(host).run(["bash", "-c", script], check=True, timeout=60).stdout

    def start(self, host: str) -> None:
        agent = self.lab.agent(host)
        agent.start()
        agent.wait_ready()

    def end(self, host: str, how: signal.Signals = signal.SIGKILL) -> None:
        assert self.lab.agent(host).end(how), f"no agent on {host}"

    def block(self, host: str) -> None:
        """Nothing gets through between the host and etcd, in silence."""
        chains = "; ".join(
            f"add chain inet blocked {hook} {{ type filter hook {hook} priority 0; }}; add rule inet blocked {hook} tcp "
            f"{port} 2379 drop"
            for hook, port in (("output", "dport"), ("input", "sport"))
        )
        self.lab.host(host).run(["nft", f"add table inet blocked; {chains}"], check=True)

    def off(self, host: str) -> None:
        """As if its power were cut: its agent is dead, and nothing comes from it any more. `unblock` switches it on."""
        self.end(host)
        chains = "; ".join(
            f"add chain inet blocked {hook} {{ type filter hook {hook} priority 0; policy drop; }}"
            for hook in ("input", "output", "forward")
        )
        self.lab.host(host).run(["nft", f"add table inet blocked; {chains}"], check=True)

    def unblock(self, host: str) -> None:
        self.sh(host, "nft delete table inet blocked 2>/dev/null; true")

    def mend(self) -> None:
        """What a failed test may have left: agents and a store that do not run, or are kept apart."""
        for host in NODES:
            self.unblock(host)
        etcd = self.lab.etcd()
        if etcd is not None and etcd.process() is None:
            etcd.start()
            etcd.wait_ready()
        for host in NODES:
            if self.lab.agent(host).process() is None:
                self.lab.agent(host).start()
        for host in NODES:
            self.lab.agent(host).wait_ready()
        self.settled()

    def network(self, name: str, hosts: Iterable[str] = NODES) -> None:
        """Made on the first of `hosts`, standing on all of them."""
        hosts = tuple(hosts)
        self.client(hosts[0]).create_network(NETWORKS[name])
        self.everywhere(name, hosts)

    def everywhere(self, name: str, hosts: Iterable[str] = NODES) -> None:
        hosts = tuple(hosts)

        def leased(host: str) -> bool:
            try:
                leases = self.client(host).network(name).leases
            except NotFound:
                return False
            return {lease.node for lease in leases} >= set(hosts)

        until(lambda: all(map(leased, hosts)), PATIENCE, f"{name} on {', '.join(hosts)}")
        self.settled(hosts)

    def container(self, host: str, name: str, network: str) -> t.EndpointInfo:
        """Made and attached; "HOST/NAME" for the lab."""
        self.sh(host, f"ip netns add {name} && ip -n {name} link set lo up")
        return self.client(host).attach(t.Attach(target=name, network=network))

    def inside(self, target: str) -> Inside:
        return self.lab.inside(target)

    def pair(self, source: str, target: str, family: int = 4) -> Pair:
        """`source`, `target`: HOST/CONTAINER."""
        host, _, name = target.partition("/")
        infos = self.client(host).endpoints(node=host)
        addresses = [a.ip for e in infos if e.container == name for a in e.addresses]
        address = next(str(a) for a in addresses if a.version == family)
        return Pair(self.inside(source), self.inside(target), address)


def settings(folder: Path, **values: object) -> Callable[[str, str], list[str]]:
    """How agents are started, with a configuration file of these settings (in kebab case, with _ for -)."""
    path = folder / "weft.toml"
    shown = {True: "true", False: "false"}
    lines = [
        f"{n.replace('_', '-')} = {shown.get(v, v) if isinstance(v, bool) else repr(v)}" for n, v in values.items()
    ]
    path.write_text("\n".join(lines) + "\n")

    def command(host: str, url: str) -> list[str]:
        words = ["--node", host, "--store", url, "--iface", "eth0", "--config", str(path)]
        return [*WEFT, "agent", "run", *words]

    return command


@contextmanager
def cluster(folder: Path, *, store: str = "etcd", agents: bool = True, **values: object) -> Iterator[Cluster]:
    """The reference lab; `values`: settings of the agents."""
    name = f"faults-{os.getpid()}-{next(_count)}"
    with Lab.up(name=name, store=store, agents=agents, command=settings(folder, **values)) as lab:
        yield Cluster(lab)


def populate(cluster: Cluster) -> None:
    """Networks vx (VXLAN) and hg (host-gw) with a container each on node-1, node-2 and node-4."""
    cluster.settled()
    for network in ("vx", "hg"):
        cluster.network(network)
        for number in (1, 2, 4):
            cluster.container(f"node-{number}", f"{network}{number}", network)
    cluster.settled()
