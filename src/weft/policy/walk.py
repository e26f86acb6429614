"""What the compiled rules of an endpoint make of a packet: which rule of which chain decides. `weft.policy.evaluate` says what
policies mean; here it is what was made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from weft.base.net import Family, contains, family, parse_network
from weft.hoststate.rules.actions import Jump, Verdict
from weft.hoststate.rules.actions import Reject as Refusal
from weft.hoststate.rules.matches import Limit, Match
from weft.hoststate.rules.rule import Rule
from weft.policy.program import Line, Program, SetSpec
from weft.policy.verdict import PORTED, PROTOCOLS, End, Packet, number

Members = Callable[[SetSpec, tuple[str, ...]], bool]
"""Whether a key, of an address or of address, protocol and port, is in a set."""
_NAMES = {number: name for name, number in reversed(PROTOCOLS.items())}


class Stop(msgspec.Struct, frozen=True):
    """Where a packet's way through a program ends. `line`: None at the end of a chain, which allows."""

    chain: str
    place: int
    line: Line | None
    allowed: bool


def walk(program: Program, source: End, target: End, packet: Packet, members: Members) -> Stop | None:
    """None where nothing is asked."""
    chains = {chain.name: chain for chain in program.chains}
    chain = program.chains[0] if program.chains else None
    asked = _Asked(source, target, packet, {s.name(f): s for s in program.sets for f in (4, 6)}, members)
    while chain is not None:
        for place, line in enumerate(chain.lines):
            if not asked.fits(line.rule):
                continue
            last = line.rule.actions[-1]
            if isinstance(last, Jump):
                chain = chains[last.chain]
                break
            if isinstance(last, Verdict | Refusal):
                return Stop(chain.name, place, line, isinstance(last, Verdict) and last.name != "drop")
        else:
            return Stop(chain.name, len(chain.lines), None, True)
    return None


class _Asked:
    """A packet that begins a connection. `sets`: by name."""

    def __init__(self, source: End, target: End, packet: Packet, sets: Mapping[str, SetSpec], members: Members) -> None:
        self._sets, self._members = sets, members
        self._family: Family = family(source.address)
        protocol = number(packet.protocol)
        self._protocol = _NAMES.get(protocol, str(protocol)) if isinstance(protocol, int) else protocol
        self._values = dict(self._fields(source, target, packet, protocol))

    def _fields(self, source: End, target: End, packet: Packet, protocol: int | str) -> Iterator[tuple[str, str]]:
        ip, icmp = ("ip", "icmp") if self._family == 4 else ("ip6", "icmpv6")
        yield from ((f"{ip} saddr", str(source.address)), (f"{ip} daddr", str(target.address)))
        yield from (("meta nfproto", f"ipv{self._family}"), ("meta l4proto", self._protocol), ("ct state", "new"))
        if protocol in PORTED and packet.port is not None:
            yield from ((f"{self._protocol} dport", str(packet.port)), ("th dport", str(packet.port)))
        if protocol == PROTOCOLS["tcp"]:
            yield "tcp flags", "syn/fin,syn,rst,ack"
        if protocol == PROTOCOLS[icmp] and packet.icmp_type is not None:
            yield from ((f"{icmp} type", str(packet.icmp_type)), (f"{icmp} code", str(packet.icmp_code or 0)))

    def fits(self, rule: Rule) -> bool:
        return all(isinstance(match, Limit) or self._match(match) for match in rule.matches)

    def _match(self, match: Match) -> bool:
        """What a packet does not have fits nothing, negated or not."""
        if not all(name in self._values for name in match.fields):
            return False
        values = tuple(self._values[name] for name in match.fields)
        if match.among:
            found = self._members(self._sets[match.among], values)
        else:
            found = any(self._is(match.fields[0], wanted, values[0]) for wanted in match.values)
        return found != match.negated

    def _is(self, name: str, wanted: str, value: str) -> bool:
        if name.endswith("addr"):
            return contains(parse_network(wanted), parse_network(value).network_address)
        if name == "meta l4proto":
            return number(wanted) == number(value)
        if name.endswith("port"):
            first, _, last = wanted.partition("-")
            return int(first) <= int(value) <= int(last or first)
        return wanted == value
