"""Rules for a host that routes between two containers, made by chance: nft's, and iptables'. They ask for what the flows of
`support.routed_three` have, so that most of them matter to some flow. None of them depends on anything but the packet."""

from __future__ import annotations

import re
from random import Random
from typing import ClassVar

from support.routed_three import HOST, LEFT, NOBODY, RIGHT

PORTS = (53, 80, 81, 443, 8080)
_V4 = [a for a in (*LEFT, *RIGHT, *HOST, *NOBODY) if "." in a]
_V6 = [a for a in (*LEFT, *RIGHT, *HOST, *NOBODY) if ":" in a]
_FREE = "127.0.0.1"
"""What the witness needs goes through."""
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_VERDICTS = (
    "accept",
    "accept",
    "drop",
    "counter",
    "meta mark set {n}",
    "meta mark set meta mark | 0x10",
    "ct mark set {n}",
)

_MATCHES = ("addressed", "addressed", "ported", "ported", "concatenated", "other", "other", "other")
"""Methods."""


def _protocols(match: str) -> set[str]:
    """What kinds of protocol it asks for."""
    words = set(re.findall(r"\w+", match))
    network = {"network"} if words & {"ip", "ip6", "nfproto", "icmp", "icmpv6"} else set()
    return network | ({"transport"} if words & {"tcp", "udp", "th", "icmp", "icmpv6", "l4proto", "nexthdr"} else set())


class Nft:
    """A table of nft as text."""

    families: ClassVar[tuple[str, ...]] = ("inet", "inet", "ip", "ip6")

    verdicts: ClassVar[tuple[str, ...]] = _VERDICTS

    def __init__(self, random: Random, name: str) -> None:
        self.random = random
        self.name = name
        self.family = random.choice(self.families)
        self.sets: list[str] = []

    def text(self) -> str:
        users = [f"user{n}" for n in range(self.random.randint(0, 3))]
        chains = [self._chain(name, users[n + 1 :]) for n, name in enumerate(users)]
        chains += [self._base(f"base{n}", users) for n in range(self.random.randint(1, 3))]
        chains += [
            self._nat(hook) for hook in ("prerouting", "postrouting", "output", "input") if self.random.random() < 0.4
        ]
        body = "\n".join([*self.sets, *reversed(chains[: len(users)]), *chains[len(users) :]])
        return f"table {self.family} {self.name} {{\n{body}\n}}\n"

    def _chain(self, name: str, users: list[str], head: str = "") -> str:
        rules = [self.rule(users, base=bool(head)) for _ in range(self.random.randint(1, 5))]
        return f"chain {name} {{\n{head}" + "".join(f"  {rule}\n" for rule in rules) + "}"

    def _base(self, name: str, users: list[str]) -> str:
        hook = self.random.choice((*_HOOKS, "forward", "forward"))
        priority = self.random.choice((-300, -150, -90, 0, 0, 10, 110))
        policy = self.random.choice(("accept", "accept", "accept", "drop"))
        head = f"  type filter hook {hook} priority {priority}; policy {policy};\n{self._free()}"
        return self._chain(name, users, head)

    def _free(self) -> str:
        return "" if self.family == "ip6" else f"  ip daddr {_FREE} accept\n"

    # -- rules ---------------------------------------------------------------------------------------------------------

    def rule(self, users: list[str], *, base: bool = False) -> str:
        random = self.random
        asked = self._matches(random.randint(0 if base else 1, 2))
        does = random.choice(self.verdicts).format(n=random.randint(1, 3))
        if users and random.random() < 0.4:
            does = f"{random.choice(('jump', 'jump', 'goto'))} {random.choice(users)}"
        elif random.random() < 0.15:
            does = random.choice(("return", "reject" if base is None else "drop"))
        if not asked and does in ("drop", "return"):
            does = "counter"
        if random.random() < 0.1:
            return self._verdict_map(users)
        return " ".join([*asked, does])

    def _matches(self, most: int) -> list[str]:
        """That can all be true: nft refuses a rule that asks for two protocols."""
        found: list[str] = []
        for _ in range(most):
            one = self.match()
            if not any(_protocols(one) & _protocols(other) for other in found):
                found.append(one)
        return found

    def _six(self) -> bool:
        return self.family == "ip6" or (self.family in ("inet", "bridge") and self.random.random() < 0.5)

    def address(self, *, six: bool) -> str:
        return self.random.choice(_V6 if six else _V4)

    def prefix(self, *, six: bool) -> str:
        return self.random.choice(
            ("fd01::/64", "fd02::/64", "fd00::/8", "fd02::2/127")
            if six
            else ("10.1.0.0/24", "10.2.0.0/24", "10.0.0.0/8", "10.2.0.2/31", "10.0.0.0/14")
        )

    def match(self) -> str:
        return str(getattr(self, self.random.choice(_MATCHES))())

    def addressed(self) -> str:
        six = self._six()
        word = "ip6" if six else "ip"
        field = self.random.choice(("saddr", "daddr"))
        sign = self.random.choice(("", "", "!= "))
        kind = self.random.randint(0, 4)
        if kind == 0:
            return f"{word} {field} {sign}{self.address(six=six)}"
        if kind == 1:
            return f"{word} {field} {sign}{self.prefix(six=six)}"
        if kind == 2:
            named = self._set("ipv6_addr" if six else "ipv4_addr", self._ranges(six=six), interval=True)
            return f"{word} {field} {sign}@{named}"
        if kind == 3:
            some = ", ".join(sorted({self.address(six=six) for _ in range(3)}))
            return f"{word} {field} {sign}{{ {some} }}"
        low, high = sorted(self.random.sample(range(1, 5), 2))
        base = self.random.choice(("fd01::", "fd02::") if six else ("10.1.0.", "10.2.0."))
        return f"{word} {field} {sign}{base}{low}-{base}{high}"

    def _ranges(self, *, six: bool) -> list[str]:
        found = ["fd01::2-fd01::5", "fd02::/65"] if six else ["10.1.0.2-10.1.0.9", "10.2.0.0/30", "10.9.0.0/16"]
        return self.random.sample(found, self.random.randint(1, len(found)))

    def _set(self, kind: str, elements: list[str], *, interval: bool = False, data: str = "") -> str:
        name = f"set{len(self.sets)}"
        word = "map" if data else "set"
        flags = " flags interval;" if interval else ""
        leads = f" : {data}" if data else ""
        self.sets.append(f"{word} {name} {{ type {kind}{leads};{flags} elements = {{ {', '.join(elements)} }} }}")
        return name

    def ported(self) -> str:
        random = self.random
        protocol, field = random.choice(("tcp", "udp", "th")), random.choice(("dport", "dport", "sport"))
        before = "meta l4proto { tcp, udp } " if protocol == "th" else ""
        what = random.choice(
            (str(random.choice(PORTS)), "1-100", "!= 80-443", "{ 53, 80-90, 8080 }", "< 100", "!= { 80, 81 }")
        )
        return f"{before}{protocol} {field} {what}"

    def concatenated(self) -> str:
        six = self._six()
        word, kind = ("ip6", "ipv6_addr") if six else ("ip", "ipv4_addr")
        if self.random.random() < 0.5:
            some = sorted({f"{self.address(six=six)} . {self.random.choice(PORTS)}" for _ in range(4)})
            name = self._set(f"{kind} . inet_service", some)
        else:
            name = self._set(f"{kind} . inet_service", [f"{self.prefix(six=six)} . 50-100"], interval=True)
        return f"{word} daddr . {self.random.choice(('tcp', 'udp'))} dport @{name}"

    def _verdict_map(self, users: list[str]) -> str:
        does = ["accept", "drop", "continue", *(f"jump {user}" for user in users)]
        some = ", ".join(f"{port} : {self.random.choice(does)}" for port in self.random.sample(PORTS, 3))
        return f"{self.random.choice(('tcp', 'udp'))} dport vmap {{ {some} }}"

    def other(self) -> str:
        n = self.random.randint(1, 3)
        words = [
            "meta l4proto tcp", "meta l4proto { udp, icmp, ipv6-icmp }", 'iifname "to-left"', 'oifname "to-r*"',
            'iifname != "to-right"', f"meta mark {n}", "meta mark & 0x10 == 0x10", "ct state new", "ct state established",
            "ct state != established", "ct direction reply", f"ct mark {n}", "ct status dnat", "meta length < 40",
            "tcp flags syn / syn,ack", "tcp flags & (syn | ack) == syn | ack", "meta pkttype host", "fib daddr type local",
            'iifname { "to-left", "lo" }', "meta l4proto . th dport { tcp . 80, udp . 53 }",
        ]  # fmt: skip
        if self.family != "ip6":
            words += [
                "ip ttl 64",
                "ip ttl < 64",
                "icmp type echo-request",
                "ip protocol != tcp",
                "ct original ip daddr 10.9.0.1",
            ]
            words += ["ip saddr & 0.0.0.1 == 0.0.0.1", "ip dscp cs0", "ip saddr . ip daddr { 10.1.0.2 . 10.2.0.2 }"]
        if self.family != "ip":
            words += ["ip6 hoplimit 64", "icmpv6 type echo-request", "ip6 nexthdr udp", "ct reply ip6 saddr fd02::2"]
        return self.random.choice(words)

    # -- NAT -----------------------------------------------------------------------------------------------------------

    def _nat(self, hook: str) -> str:
        priority = {"prerouting": "dstnat", "output": "-100", "postrouting": "srcnat", "input": "100"}[hook]
        rules = [self._translating(hook) for _ in range(self.random.randint(1, 3))]
        head = f"  type nat hook {hook} priority {priority}; policy accept;\n{self._free()}"
        return f"chain nat_{hook} {{\n{head}" + "".join(f"  {rule}\n" for rule in rules) + "}"

    def _asking_no_network(self) -> str:
        one = self.match()
        return "" if "network" in _protocols(one) else f"{one} "

    def _translating(self, hook: str) -> str:
        random, six = self.random, self._six()
        word = "ip6" if six else "ip"
        asked = f"meta nfproto ipv{6 if six else 4} " if self.family == "inet" else ""
        far = RIGHT[2:] if six else RIGHT[:2]
        to = f" {word}" if self.family == "inet" else ""
        if hook in ("postrouting", "input"):
            ours = random.choice([a for a in (*HOST, *NOBODY) if (":" in a) is six])
            asked += self._asking_no_network()
            return asked + random.choice(
                ("masquerade", f"snat{to} to {ours}") if hook == "postrouting" else (f"snat{to} to {ours}",)
            )
        chosen = random.choice(far)
        port = random.choice(PORTS)
        with_port = f"[{chosen}]:{port}" if six else f"{chosen}:{port}"
        tcp = f"meta l4proto {random.choice(('tcp', 'udp'))} "
        dst = f"{word} daddr {random.choice([a for a in NOBODY if (':' in a) is six])} "
        kinds = [f"{dst}dnat{to} to {chosen}", f"{dst}{tcp}dnat{to} to {with_port}", f"{asked}{tcp}redirect to :{port}"]
        some = ", ".join(f"{one} : {random.choice(far)}" for one in random.sample(PORTS, 3))
        kinds.append(f"{dst}tcp dport {random.choice(PORTS)} dnat{to} to tcp dport map {{ {some} }}")
        return random.choice(kinds)


class OfBridge(Nft):
    """For what a bridge passes on: no NAT, and nothing is asked of conntrack."""

    families = ("bridge",)
    verdicts = _VERDICTS[:-1]

    def _nat(self, hook: str) -> str:
        return ""

    def other(self) -> str:
        words = [
            "ether type ip", "ether type ip6", "meta l4proto udp", 'iifname "to-left"', 'oifname "to-r*"', "meta mark 1",
            "ip ttl 64", "ip6 hoplimit 64", "tcp flags syn / syn,ack", "icmp type echo-request", "meta protocol ip",
        ]  # fmt: skip
        return self.random.choice(words)


def bridge(random: Random) -> str:
    return "".join(OfBridge(random, f"b{n}").text() for n in range(random.randint(1, 2)))


def nft(random: Random) -> str:
    return "".join(Nft(random, f"t{n}").text() for n in range(random.randint(1, 3)))


# -- iptables ----------------------------------------------------------------------------------------------------------

_TABLES = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


def iptables(random: Random, *, six: bool) -> str:
    """For iptables-restore, both back ends."""
    parts = [
        _iptables_table(random, table, chains, six=six) for table, chains in _TABLES.items() if random.random() < 0.6
    ]
    if random.random() < 0.7:
        parts.append(_iptables_nat(random, six=six))
    return "".join(parts)


def _iptables_table(random: Random, table: str, chains: tuple[str, ...], *, six: bool) -> str:
    lines = [f"*{table}"]
    lines += [
        f":{chain} {random.choice(('ACCEPT', 'ACCEPT', 'ACCEPT', 'DROP')) if table == 'filter' else 'ACCEPT'}"
        for chain in chains
    ]
    lines += [":USER -"]
    lines += [f"-A {chain} -d {'::1' if six else _FREE} -j ACCEPT" for chain in chains]
    for chain in (*chains, *chains, "USER", "USER"):
        lines.append(f"-A {chain} {_iptables_match(random, chain, six=six)} {_iptables_target(random, table, chain)}")
    return "\n".join([*lines, "COMMIT", ""])


def _iptables_target(random: Random, table: str, chain: str) -> str:
    targets = ["-j ACCEPT", "-j ACCEPT", "-j DROP", "-j RETURN", ""]
    if table == "mangle":
        targets += [f"-j MARK --set-xmark {random.randint(1, 3)}/0xff", "-j CONNMARK --save-mark"]
    if chain != "USER":
        targets += ["-j USER", "-g USER"]
    return random.choice(targets)


def _iptables_match(random: Random, chain: str, *, six: bool) -> str:
    some = [a for a in (*LEFT, *RIGHT, *HOST, *NOBODY) if (":" in a) is six]
    prefixes = ["fd01::/64", "fd02::/64", "fd02::2/127"] if six else ["10.1.0.0/24", "10.2.0.0/24", "10.2.0.2/31"]
    sign = random.choice(("", "", "! "))
    words = [
        f"{sign}-s {random.choice(some)}", f"{sign}-d {random.choice(some)}", f"{sign}-s {random.choice(prefixes)}",
        f"{sign}-d {random.choice(prefixes)}", f"-p {random.choice(('tcp', 'udp'))} {sign}--dport {random.choice(PORTS)}",
        "-p tcp --dport 50:100", "-p udp -m multiport --dports 53,80:90", f"-p {'ipv6-icmp' if six else 'icmp'}",
        "-m conntrack --ctstate NEW", "-m conntrack --ctstate ESTABLISHED", "-m conntrack --ctdir REPLY",
        f"-m mark --mark {random.randint(1, 3)}/0xff", "-p tcp --syn", "-m conntrack --ctstate DNAT",
        f"-m iprange --src-range {'fd01::2-fd01::5' if six else '10.1.0.2-10.1.0.9'}", "-m comment --comment chance",
        "-m pkttype --pkt-type unicast",
    ]  # fmt: skip
    if chain in ("PREROUTING", "INPUT", "FORWARD"):
        words.append(f"{sign}-i to-left")
    if chain in ("FORWARD", "OUTPUT", "POSTROUTING"):
        words.append(f"{sign}-o to-r+")
    return random.choice(words)


def _iptables_nat(random: Random, *, six: bool) -> str:
    far = random.choice([a for a in RIGHT if (":" in a) is six])
    vip = random.choice([a for a in NOBODY if (":" in a) is six])
    port = random.choice(PORTS)
    to = f"[{far}]:{port}" if six else f"{far}:{port}"
    lines = ["*nat", ":PREROUTING ACCEPT", ":OUTPUT ACCEPT", ":POSTROUTING ACCEPT"]
    dnat = [f"-d {vip} -j DNAT --to-destination {far}", f"-d {vip} -p tcp -j DNAT --to-destination {to}"]
    dnat += [
        f"-p udp --dport 53 -d {vip} -j DNAT --to-destination {to}",
        f"-p tcp --dport 81 -j REDIRECT --to-ports {port}",
    ]
    snat = [
        "-o to-right -j MASQUERADE",
        f"-s {random.choice([a for a in LEFT if (':' in a) is six])} -j SNAT --to-source {vip}",
    ]
    lines += [f"-A {chain} {rule}" for chain in ("PREROUTING", "OUTPUT") for rule in random.sample(dnat, 2)]
    if random.random() < 0.6:
        lines.append(f"-A POSTROUTING {random.choice(snat)}")
    return "\n".join([*lines, "COMMIT", ""])
