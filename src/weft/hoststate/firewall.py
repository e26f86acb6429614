"""Rules: Weft's own nftables tables, all of the name `weft`. Its chains where iptables is in use: `weft.hoststate.iptables`.

What a rule says is in `weft.hoststate.rules`. What is found on a host knows its rules by their marks only (`FoundRule`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from weft.hoststate.iptables import IptablesChain
from weft.hoststate.rules import Rules

TABLE = "weft"
"""Ownership mark: everything in the tables of this name is ours, nothing outside is."""
Family = Literal["inet", "bridge", "netdev", "ip", "ip6"]


class Table(msgspec.Struct, frozen=True, gc=False):
    family: Family
    name: str = TABLE

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


INET, BRIDGE = Table("inet"), Table("bridge")


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """Where the packets of a base chain come from. `type`: "filter", "nat" or "route"; `hook`: "prerouting", "forward" …;
    `priority`: chains with lower ones come first; `devices`: whose packets, for the family `netdev`."""

    type: str
    hook: str
    priority: int
    policy: Literal["accept", "drop"] = "accept"
    devices: tuple[str, ...] = ()


RAW, MANGLE, DSTNAT, FILTER, SRCNAT = -300, -150, -100, 0, 100
"""Priorities (linux/netfilter_ipv4.h). RAW is before connection tracking."""
BRIDGE_FILTER = -200
"""Of the family bridge (linux/netfilter_bridge.h)."""

_PRIORITIES = {RAW: "raw", MANGLE: "mangle", DSTNAT: "dstnat", FILTER: "filter", 50: "security", SRCNAT: "srcnat"}
_BRIDGE_PRIORITIES = {-300: "dstnat", BRIDGE_FILTER: "filter", 100: "out", 300: "srcnat"}
_ONLY = {"dstnat": ("prerouting",), "srcnat": ("postrouting",), "out": ("output",)}
"""The hooks at which nft takes a name."""


def hook_text(hook: Hook, family: Family) -> str:
    """As it stands between the braces of a chain."""
    devices = f" devices = {{ {', '.join(map(_quoted, hook.devices))} }}" if hook.devices else ""
    priority = _priority(hook, family)
    return f"type {hook.type} hook {hook.hook}{devices} priority {priority}; policy {hook.policy};"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _priority(hook: Hook, family: Family) -> str:
    """By name if it is near to one that has a name."""
    names = _BRIDGE_PRIORITIES if family == "bridge" else _PRIORITIES
    for value, name in names.items():
        if abs(away := hook.priority - value) <= 10 and hook.hook in _ONLY.get(name, (hook.hook,)):
            return f"{name} {'-' if away < 0 else '+'} {abs(away)}" if away else name
    return str(hook.priority)


def priority_of(text: str, family: Family) -> int:
    """What nft calls so: "filter", "srcnat - 1", "-100"."""
    names = {name: value for value, name in (_BRIDGE_PRIORITIES if family == "bridge" else _PRIORITIES).items()}
    name, _, away = text.partition(" ")
    return names[name] + int(away.replace(" ", "") or 0) if name in names else int(text)


class NftSet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`type`: the parts of a key: "ipv4_addr", "inet_service" …, or what has no type by name: a place in the packet
    ("@th,96,24"), or DRAWN. `flags`: ("interval",) for prefixes. `timeout`: seconds after which an element vanishes, 0: never;
    else what is in it is up to whoever puts it there.
    `to`: the parts of what each element leads to, which makes it a map (rules name it as they name a set, `@name`)."""

    kind: ClassVar[str] = "nft-set"

    name: str
    type: tuple[str, ...]
    flags: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    timeout: int = 0
    table: Table = INET
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-set", self.ns, str(self.table), self.name)


class NftFlowtable(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Open connections that a rule puts in here go from device to device of its own, past all rules (kernel
    nf_flowtable.rst)."""

    kind: ClassVar[str] = "nft-flowtable"

    name: str
    table: Table = INET
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-flowtable", self.ns, str(self.table), self.name)


class NftFlowDevice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of a flowtable's devices. It need not be ours; it has to be there, and is no longer one when it goes."""

    kind: ClassVar[str] = "nft-flow-device"

    flowtable: str
    dev: str
    table: Table = INET
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-flow-device", self.ns, str(self.table), self.flowtable, self.dev)

    @property
    def holder(self) -> tuple[str, ...]:
        """The key of its flowtable."""
        return ("nft-flowtable", self.ns, str(self.table), self.flowtable)


VERDICTS = ("jump ", "goto ")
"""How what an element leads to begins, where that is a chain."""


class NftElement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One element of a set: "10.1.0.0/16", "8472", "10.1.0.0/16 . 10.1.0.0/16"; of a map also what it leads to."""

    kind: ClassVar[str] = "nft-element"

    set: str
    value: str
    to: str = ""
    table: Table = INET
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-element", self.ns, str(self.table), self.set, self.value)

    @property
    def holder(self) -> tuple[str, ...]:
        """The key of its set."""
        return ("nft-set", self.ns, str(self.table), self.set)

    @property
    def chains(self) -> frozenset[tuple[str, ...]]:
        """The key of the chain that it leads to, of a map of verdicts."""
        if not self.to.startswith(VERDICTS):
            return _NONE
        return frozenset({("nft-chain", self.ns, str(self.table), self.to.partition(" ")[2])})


_NONE: frozenset[tuple[str, ...]] = frozenset()

HELD = "held"
"""How the sets are called that say which flows to a service may go on: address, protocol and port that they were sent to,
address and port of the member. Where an element goes, its flows are ended."""
WATCHED: dict[int, str] = {4: "watched4", 6: "watched6"}
WATCHED_FOR = 30
"""How the sets are called, by the family of their addresses, of those whose packets take no short way since somebody looks at
them; and how many seconds one is in there at most. Who looks puts them in (`weft.kernel.live.aside`)."""
PORTS = {protocol: f"{protocol} dport" for protocol in ("tcp", "udp", "sctp")}
"""The part of a set's type that is a port, where another part has no type by name: `nft` then takes it for one of this
protocol."""
DRAWN = "numgen random mod 2"
"""The part of a set's type that is a number made by a rule, below whatever bound."""

_LIKE = {
    "ipv4_addr": "ip saddr",
    "ipv6_addr": "ip6 saddr",
    "inet_service": "th dport",
    "inet_proto": "meta l4proto",
    "ifname": "iifname",
    "ether_addr": "ether saddr",
    "mark": "meta mark",
}
"""Fields of each type: a set with a part that has no type by name takes all its parts from fields (`typeof`). None of one
protocol alone: nft would let the first rule of the transaction that uses such a set fit that protocol only."""


def element_text(obj: NftElement) -> str:
    """As it stands between the braces."""
    return f"{obj.value} : {obj.to}" if obj.to else obj.value


def set_text(obj: NftSet) -> str:
    """As it stands behind `add`."""
    flags = f" flags {','.join(obj.flags)};" if obj.flags else ""
    timeout = f" timeout {obj.timeout}s;" if obj.timeout else ""
    parts, leads, word = obj.type, obj.to, "type"
    if any(part == DRAWN or part.startswith("@") for part in parts):
        parts, leads, word = _fields(parts), _fields(leads), "typeof"
    to = f" : {' . '.join(leads)}" if leads else ""
    return f"{noun(obj)} {obj.table} {obj.name} {{ {word} {' . '.join(parts)}{to};{flags}{timeout} }}"


def _fields(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_LIKE.get(part, part) for part in parts)


def noun(obj: NftSet) -> str:
    return "map" if obj.to else "set"


class NftChain(msgspec.Struct, frozen=True, kw_only=True):
    """`hook`: None for a chain that others jump to."""

    kind: ClassVar[str] = "nft-chain"

    name: str
    table: Table = INET
    hook: Hook | None = None
    rules: Rules = ()
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-chain", self.ns, str(self.table), self.name)

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(rule.mark for rule in self.rules)

    @property
    def sets(self) -> set[tuple[str, ...]]:
        """The keys of the sets that its rules look up."""
        return {("nft-set", self.ns, str(self.table), name) for rule in self.rules for name in rule.sets}

    @property
    def jumps(self) -> set[tuple[str, ...]]:
        """The keys of the chains that its rules lead to."""
        return {(*self.key[:-1], name) for rule in self.rules for name in rule.jumps}

    @property
    def flowtables(self) -> set[tuple[str, ...]]:
        """The keys of the flowtables that its rules add to."""
        return {("nft-flowtable", self.ns, str(self.table), name) for rule in self.rules for name in rule.flowtables}


def flowtable_text(obj: NftFlowtable) -> str:
    """As it stands behind `add`, without its devices."""
    return f"flowtable {obj.table} {obj.name} {{ hook ingress priority 0; }}"


def flow_device_text(obj: NftFlowDevice) -> str:
    """As it stands behind `add` and `delete`: what is listed comes to the flowtable's devices, or goes."""
    return f"flowtable {obj.table} {obj.flowtable} {{ devices = {{ {_quoted(obj.dev)} }}; }}"


def chain_text(chain: NftChain) -> str:
    """As it stands behind `add`, without its rules."""
    hook = f" {{ {hook_text(chain.hook, chain.table.family)} }}" if chain.hook is not None else ""
    return f"chain {chain.table} {chain.name}{hook}"


Chain = NftChain | IptablesChain


def same_rules(found: Chain, wanted: Chain) -> bool:
    """Whether two chains of one key are alike, as far as marks tell."""
    return msgspec.structs.replace(found, rules=()) == msgspec.structs.replace(wanted, rules=()) and (
        found.marks == wanted.marks
    )
