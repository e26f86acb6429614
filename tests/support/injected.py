"""Faults that are injected into a lab, and what a diagnosis of them has to say: the true cause is known to who injects.

A line of `inject` and `undo` is "WHERE: COMMAND". WHERE is a container, `a` (who sends) or `b` (who is sent to), or a host: `1`
is a's, `2` is b's; `n` is the network's own namespace on a's. In commands {a} and {b} are addresses, {a2} and {b2} those of the
hosts' uplinks, {gw} is a's gateway. Only what Weft's agents leave alone is injected: what is theirs they mend themselves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.reach import UNDERLAY, Container, weft
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
    is a connection where it has a port, else a ping. `mends`: there is a command that does so."""

    kind: str
    drivers: Sequence[str]
    inject: Sequence[str]
    undo: Sequence[str]
    name: str = ""
    by: str = "trace"
    flow: Sequence[str] = ()
    family: int = 4
    mends: bool = True

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


@dataclass
class Bench:
    """A lab with a pair of containers in each network."""

    lab: Lab
    pairs: dict[str, tuple[Container, Container]] = field(default_factory=dict)

    def words(self, driver: str, family: int) -> dict[str, str]:
        a, b = self.pairs[driver]
        return {
            "a": a.address(family),
            "b": b.address(family),
            "a2": UNDERLAY[a.host][4],
            "b2": UNDERLAY[b.host][4],
            "gw": str(next(iter(g for g in a.endpoint.gateways if g.version == family), "")),
        }

    def do(self, driver: str, family: int, lines: Sequence[str], *, check: bool = True) -> None:
        a, b = self.pairs[driver]
        places = {"a": a.inside, "b": b.inside, "2": self.lab.host(b.host)}
        words = self.words(driver, family)
        for line in lines:
            where, _, command = line.partition(": ")
            for name, value in words.items():
                command = command.replace(f"{{{name}}}", value)
            within = ["ip", "netns", "exec", f"weft-{driver}"] if where == "n" else []
            done = places.get(where, self.lab.host(a.host)).run([*within, "sh", "-c", command])
            assert done.returncode == 0 or not check, (command, done.stderr)

    def passes(self, driver: str, case: Injected) -> bool:
        """Whether a real packet does."""
        a, b = self.pairs[driver]
        if case.kind == "resolver-unreachable":
            command = "ping -c1 -W0.3 127.0.0.1"
        elif case.flow:
            command = f"timeout 0.5 bash -c 'exec 3<>/dev/tcp/{b.address(case.family)}/{case.flow[-1]}'"
        elif case.kind == "duplicate-address":
            command = (
                f"! ip route get {b.address(case.family)} | grep -q ^local && ping -c1 -W0.3 {b.address(case.family)}"
            )
        else:
            command = f"ping -c1 -W0.3 {b.address(case.family)}"
        return a.inside.run(["sh", "-c", command]).returncode == 0

    def diagnosed(self, driver: str, case: Injected) -> tuple[list[dict[str, str]], float]:
        """What is named, each with `fault`, `fix` and `host`; and the seconds that it took."""
        a, b = self.pairs[driver]
        began = time.monotonic()
        if case.by == "trace":
            words = ["trace", f"{a.host}/{a.name}", f"{b.host}/{b.name}", "--family", str(case.family), *case.flow]
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


def tried(bench: Bench, driver: str, case: Injected) -> tuple[str, float]:
    """What was wrong with the diagnosis, "" for nothing; and the seconds that it took."""
    bench.do(driver, case.family, case.inject)
    try:
        if bench.passes(driver, case):
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
