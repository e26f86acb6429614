"""Faults that are injected into a lab, and what a diagnosis of them has to say: the true cause is known to who injects.

A line of `inject` and `undo` is "WHERE: COMMAND". WHERE is a container, `a` (who sends) or `b` (who is sent to), or a host: `1`
is a's, `2` is b's; `n` is the network's own namespace on a's; `p` and `q` are where the other ends of their veths are;
`cable` is that of a's host. In commands stand {words}: see `Bench.words`. Agents mend what is theirs: such faults
are injected where none runs (`alone`), and traced with what the other host exports.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_interface, ip_network
from typing import Any

from support.reach import UNDERLAY, Container, shown, weft
from support.waiting import until
from weft.lab import Lab

ALL = ("vx", "ov", "gw", "rt", "br")
ROUTED = ("vx", "gw", "rt")
ACROSS = ("vx", "ov", "gw", "rt")
BRIDGED = ("ov", "br")
PORT = 8080
NOBODY = "02:00:00:00:00:99"


@dataclass(frozen=True)
class Injected:
    """`kind`: of the catalogue. `by`: "trace", or "doctor" of a's host. `flow`: options of the trace; what is tried for real
    is a connection where it has a port, else a ping, or `harm`, a command in `a`. `to`: another target than b. `mends`: there
    is a command that does so."""

    kind: str
    drivers: Sequence[str]
    inject: Sequence[str]
    undo: Sequence[str]
    name: str = ""
    by: str = "trace"
    flow: Sequence[str] = ()
    family: int = 4
    mends: bool = True
    alone: bool = False
    to: str = ""
    harm: str = ""

    @property
    def label(self) -> str:
        return f"{self.kind}{'-' + self.name if self.name else ''}"


def _table(
    hook: str, rules: str, *, family: str = "inet", where: str = "1", extra: str = "priority 0"
) -> dict[str, Any]:
    """A table of somebody's, with a chain that does this."""
    made = f"nft 'table {family} theirs {{ chain c {{ type filter hook {hook} {extra}; {rules.rstrip(';')}; }}; }};'"
    return {"inject": (f"{where}: {made}",), "undo": (f"{where}: nft delete table {family} theirs",)}


def _sysctl(where: str, name: str, value: str, before: str = "0") -> dict[str, Any]:
    return {"inject": (f"{where}: sysctl -qw {name}={value}",), "undo": (f"{where}: sysctl -qw {name}={before}",)}


def _ip(where: str, what: str, back: str) -> dict[str, Any]:
    return {"inject": (f"{where}: ip {what}",), "undo": (f"{where}: ip {back}",)}


TCP = ("--proto", "tcp", "--port", str(PORT))

CASES: tuple[Injected, ...] = (
    # Filters of somebody else's.
    Injected("forward-policy", ROUTED, **_table("forward", "policy drop;")),
    Injected("forward-policy", ROUTED, name="far", **_table("forward", "policy drop;", where="2")),
    Injected("rule-drops", ROUTED, flow=TCP, **_table("forward", f"tcp dport {PORT} drop")),
    Injected(
        "rule-drops", ALL, name="in-container", flow=TCP, **_table("input", f"tcp dport {PORT} reject", where="b")
    ),
    Injected("rule-drops", ALL, name="way-out", **_table("output", "ip daddr {b} drop", where="a")),
    Injected(
        "rule-drops",
        ROUTED,
        name="iptables",
        inject=("1: iptables -t mangle -I FORWARD -d {b} -j DROP",),
        undo=("1: iptables -t mangle -F FORWARD",),
    ),
    Injected(
        "rule-drops",
        ("gw", "rt"),
        name="legacy",
        inject=("1: iptables-legacy -t mangle -I FORWARD -d {b} -j DROP",),
        undo=("1: iptables-legacy -t mangle -F FORWARD",),
    ),
    Injected("bridge-rule-drops", ("br",), **_table("forward", "ip daddr {b} drop", family="bridge")),
    Injected("bridge-rule-drops", ("ov",), **_table("forward", "ip daddr {b} drop", family="bridge", where="n")),
    Injected("underlay-filtered", ("vx",), **_table("input", "udp dport 8472 drop", where="2")),
    Injected("underlay-filtered", ("ov",), **_table("input", "udp dport 4789 drop", where="2")),
    # Routes and rules.
    Injected("blackhole", ALL, **_ip("a", "route add blackhole {b}/32", "route del blackhole {b}/32")),
    Injected("blackhole", ROUTED, name="host", **_ip("1", "route add blackhole {b}/32", "route del blackhole {b}/32")),
    Injected(
        "blackhole",
        ("vx", "ov"),
        name="underlay",
        **_ip("1", "route add blackhole {b2}/32", "route del blackhole {b2}/32"),
    ),
    Injected("prohibited", ALL, **_ip("a", "route add prohibit {b}/32", "route del prohibit {b}/32")),
    Injected(
        "prohibited", ROUTED, name="host", **_ip("1", "route add unreachable {b}/32", "route del unreachable {b}/32")
    ),
    # Neighbours.
    Injected(
        "stale-neighbour",
        ROUTED,
        **_ip("a", f"neigh replace {{gw}} lladdr {NOBODY} dev eth0 nud permanent", "neigh del {gw} dev eth0"),
    ),
    Injected(
        "stale-neighbour",
        BRIDGED,
        name="peer",
        **_ip("a", f"neigh replace {{b}} lladdr {NOBODY} dev eth0 nud permanent", "neigh del {b} dev eth0"),
    ),
    Injected(
        "stale-neighbour",
        ACROSS,
        name="underlay",
        **_ip("1", f"neigh replace {{b2}} lladdr {NOBODY} dev eth0 nud permanent", "neigh del {b2} dev eth0"),
    ),
    # In containers.
    Injected("echo-ignored", ALL, **_sysctl("b", "net.ipv4.icmp_echo_ignore_all", "1")),
    Injected("echo-ignored", ("vx", "rt"), name="v6", family=6, **_sysctl("b", "net.ipv6.icmp.echo_ignore_all", "1")),
    Injected(
        "duplicate-address", ALL, by="doctor", **_ip("a", "address add {b}/32 dev lo", "address del {b}/32 dev lo")
    ),
    Injected(
        "shaping",
        ALL,
        inject=("a: tc qdisc replace dev eth0 root blackhole",),
        undo=("a: tc qdisc del dev eth0 root",),
    ),
    Injected(
        "tc-drops",
        ALL,
        by="doctor",
        inject=(
            "a: tc qdisc add dev eth0 clsact",
            "a: tc filter add dev eth0 ingress protocol all u32 match u32 0 0 action mirred egress redirect dev lo",
        ),
        undo=("a: tc qdisc del dev eth0 clsact",),
    ),
    Injected("resolver-unreachable", ALL, by="doctor", **_ip("a", "link set lo down", "link set lo up")),
    Injected(
        "arp-ignored",
        ("br",),
        by="doctor",
        inject=("a: sysctl -qw net.ipv4.conf.all.arp_ignore=8", "b: ip neigh flush dev eth0"),
        undo=("a: sysctl -qw net.ipv4.conf.all.arp_ignore=0",),
    ),
    # What no command mends.
    Injected("port-closed", ALL, flow=("--proto", "tcp", "--port", "81"), inject=(), undo=(), mends=False),
)


@dataclass(eq=False)
class Bench:
    """A lab with a pair of containers in each network."""

    lab: Lab
    pairs: dict[str, tuple[Container, Container]] = field(default_factory=dict)

    @cache  # noqa: B019 (as long as the lab)
    def words(self, driver: str, family: int) -> dict[str, str]:
        """Addresses: of the two (a, b), their hosts (a2, b2), gateways (gw, bgw), and one that nobody has. The devices that
        their veths lead to (v, w), MTU and bridge; their MACs; the hosts' routes to each other's network (route, route2)."""
        a, b = self.pairs[driver]
        (v, bridge, mtu), (w, _, _) = self._port(driver, a), self._port(driver, b)
        there, back = self._route(a.host, b.address(family), family), self._route(b.host, a.address(family), family)
        subnet = ip_interface(f"{a.address(family)}/{ip_network(a.subnet(family)).prefixlen}").network
        return {
            "a": a.address(family),
            "b": b.address(family),
            "a2": UNDERLAY[a.host][4],
            "b2": UNDERLAY[b.host][4],
            "gw": str(next(iter(g for g in a.endpoint.gateways if g.version == family), "")),
            "bgw": str(next(iter(g for g in b.endpoint.gateways if g.version == family), "")),
            "nobody": str(subnet[min(200, subnet.num_addresses - 1)]),
            "plen": str(subnet.prefixlen),
            "v": v,
            "w": w,
            "bridge": bridge,
            "mtu": mtu,
            "amac": shown(a.inside, "ip -j link show eth0")[0]["address"],
            "bmac": shown(b.inside, "ip -j link show eth0")[0]["address"],
            "route": there,
            "net": there.partition(" ")[0],
            "network": driver,
            "weft": " ".join(self.lab.weft),
            "route2": back,
            "net2": back.partition(" ")[0],
        }

    def _port(self, driver: str, one: Container) -> tuple[str, str, str]:
        """The other end of a container's veth: name, bridge, MTU."""
        index = shown(one.inside, "ip -j link show eth0")[0]["link_index"]
        within = f"ip netns exec weft-{driver} " if driver == "ov" else ""
        links = shown(self.lab.host(one.host), f"{within}ip -j link")
        found = next(link for link in links if link["ifindex"] == index)
        return found["ifname"], found.get("master", ""), str(found["mtu"])

    def _route(self, host: str, address: str, family: int) -> str:
        done = self.lab.host(host).run(["ip", f"-{family}", "route", "show", "match", address])
        lines = [line for line in done.stdout.splitlines() if "/" in line.split()[0]]
        return max(lines, key=lambda line: int(line.split()[0].rpartition("/")[2]), default="default")

    def do(self, driver: str, family: int, lines: Sequence[str], *, check: bool = True) -> None:
        a, b = self.pairs[driver]
        places = {"a": a.inside, "b": b.inside, **dict.fromkeys(("2", "q"), self.lab.host(b.host))}
        for line in lines:
            where, _, command = self._filled(line, driver, family).partition(": ")
            if where == "cable":
                self.lab.link(a.host, command == "up", cable=True)
                continue
            own = where == "n" or (where in ("p", "q") and driver == "ov")
            within = ["ip", "netns", "exec", f"weft-{driver}"] if own else []
            done = places.get(where, self.lab.host(a.host)).run([*within, "sh", "-c", command])
            assert done.returncode == 0 or not check, (command, done.stderr)

    def _filled(self, text: str, driver: str, family: int) -> str:
        for name, value in self.words(driver, family).items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def passes(self, driver: str, case: Injected) -> bool:
        """Whether a real packet does."""
        a, b = self.pairs[driver]
        to = self._filled(case.to or "{b}", driver, case.family)
        if case.harm:
            command = self._filled(case.harm, driver, case.family)
        elif case.kind == "resolver-unreachable":
            command = "ping -c1 -W0.3 127.0.0.1"
        elif "--size" in case.flow:
            command = f"ping -c1 -W0.3 -M do -s {int(case.flow[-1]) - 28} {to}"
        elif case.flow:
            command = f"timeout 0.5 bash -c 'exec 3<>/dev/tcp/{b.address(case.family)}/{case.flow[-1]}'"
        elif case.kind == "duplicate-address":
            command = (
                f"! ip route get {b.address(case.family)} | grep -q ^local && ping -c1 -W0.3 {b.address(case.family)}"
            )
        else:
            command = f"ping -c1 -W0.3 {to}"
        return a.inside.run(["sh", "-c", command]).returncode == 0

    def diagnosed(self, driver: str, case: Injected) -> tuple[list[dict[str, str]], float]:
        """What is named, each with `fault`, `fix` and `host`; and the seconds that it took."""
        a, b = self.pairs[driver]
        exported = self._exported(b.host) if case.alone and a.host != b.host else []
        began = time.monotonic()
        if case.by == "trace":
            one, two = (a.name, b.address(case.family)) if case.alone else (f"{a.host}/{a.name}", f"{b.host}/{b.name}")
            to = self._filled(case.to, driver, case.family) or two
            words = ["trace", one, to, "--family", str(case.family), *case.flow, *exported]
            done = weft(self.lab, a.host, *words, "-o", "json")
            took = time.monotonic() - began
            found = json.loads(done.stdout) if done.stdout else {}
            paths = [found.get(way) or {} for way in ("there", "back")]
            outcomes = [path.get("outcome") or {} for path in paths]
            return [o for o in outcomes if o.get("fault")] or [{"fault": "", "text": str(outcomes) + done.stderr}], took
        done = weft(self.lab, a.host, "doctor", "-o", "json")
        took = time.monotonic() - began
        found = json.loads(done.stdout)
        return [f for f in found if f.get("fault") and f["result"] != "ok"], took

    def _exported(self, host: str) -> list[str]:
        """What the other host exports, for a trace where no agent runs."""
        path = self.lab.host(host).own / "export.json.gz"
        done = weft(self.lab, host, "trace", "export", "-o", str(path))
        assert done.returncode == 0, done.stderr
        return ["--with", str(path)]


def tried(bench: Bench, driver: str, case: Injected) -> tuple[str, float]:
    """What was wrong with the diagnosis, "" for nothing; and the seconds that it took."""
    try:
        bench.do(driver, case.family, case.inject)
        try:  # a policy takes a moment to get to the other host
            until(lambda: not bench.passes(driver, case), 5, "the fault")
        except AssertionError:
            return "the fault does no harm", 0.0
        found, took = bench.diagnosed(driver, case)
        said = next((each for each in found if each["fault"] == case.kind), None)
        if said is None:
            return f"named {[(f['fault'], f.get('text') or f.get('detail')) for f in found]}", took
        if not case.mends:
            return "", took
        if not said.get("fix"):
            return f"no fix: {said}", took
        done = bench.lab.host(said["host"]).run(["sh", "-c", said["fix"]])
        try:
            until(lambda: bench.passes(driver, case), 10, "the fix")
        except AssertionError:
            return f"`{said['fix']}` does not mend it: {done.stderr.strip()}", took
        return "", took
    finally:
        bench.do(driver, case.family, case.undo, check=False)
