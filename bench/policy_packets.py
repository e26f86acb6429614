"""What policy costs packets: between two containers of one host, routed, with rules that Weft makes and with the same by hand.

Runs inside a namespace of its own (a lab's host): `python -m bench.policy_packets ROUNDS COUNT ADDRESSES` prints JSON. All
are measured in turns, so that whatever else the machine does falls on each of them alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench import connects, model, pingpong
from bench.policies import PORT, Cluster, allowing
from bench.traffic import PINGPONG_PORT, PYTHON
from weft.base.errors import Failed
from weft.hoststate import NftChain, NftElement, NftSet
from weft.hoststate.firewall import FILTER, Hook
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, DROP, RETURN, Dispatch
from weft.hoststate.rules.matches import CT_STATE, DADDR, SADDR, TCP_DPORT
from weft.kernel.linux import LinuxKernel
from weft.reconcile.protocol import Create, Op

CLIENT, SERVER = 0, 1
"""Numbers of endpoints of node-1."""
TRACKED, COUNTS = "conntrack, one rule", (1, 10, 100, 1000)


class Round(msgspec.Struct):
    """By what is in force: connections per second, and microseconds of the median round trip."""

    connections: dict[str, float]
    round_trips: dict[str, float]


class Place:
    """A container: a namespace with a veth to the host."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address

    def wire(self) -> None:
        host = f"v-{self.name}"
        for words in (
            f"ip netns add {self.name}",
            f"ip link add {host} type veth peer name eth0 netns {self.name}",
            f"ip link set {host} up",
            f"ip route add {self.address}/32 dev {host}",
            f"sysctl -qw net.ipv4.conf.{host}.proxy_arp=1 net.ipv4.neigh.{host}.proxy_delay=0",
            f"ip -n {self.name} link set lo up",
            f"ip -n {self.name} link set eth0 up",
            f"ip -n {self.name} addr add {self.address}/32 dev eth0",
            f"ip -n {self.name} route add 169.254.1.1 dev eth0",
            f"ip -n {self.name} route add default via 169.254.1.1",
        ):
            subprocess.run(words.split(), check=True)

    def words(self, script: str, *args: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *PYTHON, script, *args]

    @contextmanager
    def serving(self, script: str, port: int) -> Iterator[None]:
        with subprocess.Popen(self.words(script, "serve", str(port)), stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            server.stdout.readline()
            try:
                yield
            finally:
                server.kill()

    def ask(self, script: str, *args: str) -> str:
        return subprocess.run(self.words(script, *args), check=True, stdout=subprocess.PIPE, text=True).stdout


def by_weft(policies: int, addresses: int) -> list[Op]:
    """Policies that all select the server; only the last of them lets the client in."""
    cluster = Cluster()
    labels = {n: {"app": f"a{n % policies}"} for n in range(addresses)}
    labels[CLIENT], labels[SERVER] = {"app": f"a{policies - 1}"}, {"app": "server"}
    cluster.put(range(addresses), labels)
    for port in (PORT, PINGPONG_PORT):
        cluster.policies(
            allowing(port * 10_000 + n, 'app == "server"', f'app == "a{n}"', port) for n in range(policies)
        )
    return list(cluster.ops())


def in_a_row(policies: int, addresses: int) -> list[Op]:
    """The same as one would write it by hand: a rule and a set for each policy."""
    ops: list[Op] = []
    rules = [rule(CT_STATE.is_("established", "related"), ACCEPT)]
    server = str(model.endpoint(1, SERVER).addresses[0].ip)
    for n in range(policies):
        ops.append(Create(NftSet(name=f"s{n}", type=("ipv4_addr",))))
        rules += [rule(SADDR[4].among(f"s{n}"), TCP_DPORT.is_(PORT, PINGPONG_PORT), RETURN)]
    for n in range(addresses):
        address = str(model.endpoint(1 + n // 100, n % 100).addresses[0].ip)
        which = policies - 1 if n == CLIENT else n % policies
        ops.append(Create(NftElement(set=f"s{which}", value=address)))
    chain = NftChain(name="server", rules=(*rules[1:], rule(DROP)))
    hook = Hook(type="filter", hook="forward", priority=FILTER)
    to_it = NftSet(name="to", type=("ipv4_addr",), to=("verdict",))
    base = NftChain(name="base", hook=hook, rules=(rules[0], rule(Dispatch(DADDR[4], "to"))))
    leads = NftElement(set="to", value=server, to="jump server")
    return [*ops, Create(chain), Create(to_it), Create(leads), Create(base)]


def tracked() -> list[Op]:
    hook = Hook(type="filter", hook="forward", priority=FILTER)
    return [Create(NftChain(name="base", hook=hook, rules=(rule(CT_STATE.is_("established", "related"), ACCEPT),)))]


class Bench:
    def __init__(self, kernel: LinuxKernel, count: int, addresses: int) -> None:
        self._kernel, self._count = kernel, count
        self._client, self._server = (
            Place(name, str(model.endpoint(1, n).addresses[0].ip)) for name, n in (("c", CLIENT), ("s", SERVER))
        )
        self.variants = {TRACKED: tracked()}
        self.variants |= {f"{n:,} policies": by_weft(n, addresses) for n in COUNTS}
        self.variants |= {f"{n:,} rules by hand": in_a_row(n, addresses) for n in COUNTS[2:]}

    def rounds(self, rounds: int) -> list[Round]:
        subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        subprocess.run(["ip", "route", "add", "169.254.1.1/32", "dev", "lo"], check=True)
        for place in (self._client, self._server):
            place.wire()
        with ExitStack() as stack:
            stack.enter_context(self._server.serving(connects.__file__, PORT))
            stack.enter_context(self._server.serving(pingpong.__file__, PINGPONG_PORT))
            return [self._round(n) for n in range(rounds)]

    def _round(self, number: int) -> Round:
        names = list(self.variants)
        names = names[number % len(names) :] + names[: number % len(names)]
        found = Round({}, {})
        for name in names:
            ops = self.variants[name]
            self._apply(ops)
            where = self._server.address
            seconds = float(self._client.ask(connects.__file__, "ask", where, str(PORT), str(self._count)))
            found.connections[name] = self._count / seconds
            said = self._client.ask(pingpong.__file__, "ask", where, str(PINGPONG_PORT), str(self._count))
            found.round_trips[name] = json.loads(said)[50] / 1000
            subprocess.run(["nft", "delete", "table", "inet", "weft"], check=True)
        return found

    def _apply(self, ops: list[Op]) -> None:
        if failures := self._kernel.apply(ops):
            raise Failed(failures[0].reason)


def main(rounds: int, count: int, addresses: int) -> list[Round]:
    with tempfile.TemporaryDirectory() as folder:
        return Bench(LinuxKernel({}, Path(folder)), count, addresses).rounds(rounds)


if __name__ == "__main__":
    print(msgspec.json.encode(main(*map(int, sys.argv[1:4]))).decode())
