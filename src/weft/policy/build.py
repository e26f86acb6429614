"""From the policies that select an endpoint to the program that its traffic has to pass.

A rule of a policy becomes rules of the kernel: one for each family, each alternative of peers and each of traffic; what is
excluded becomes negated matches. Where a thing that consists of several parts is excluded, there are as many alternatives
as it has parts: not (A and B) is (not A) or (not B)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, product

import msgspec

from weft.base.names import digest
from weft.base.net import FAMILIES, Family
from weft.hoststate.rules import Rule as Kernel
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import COUNTER, DROP, RETURN, Action, Jump, Log, Reject
from weft.hoststate.rules.matches import CT_STATE, DADDR, L4PROTO, SADDR, TH_DPORT, Limit, Match, field
from weft.policy.model import Direction, Identity, NamedPort, Peer, Policy, PortRange, Rule, Tier, Traffic, Who
from weft.policy.program import Chain, Line, Lookup, Origin, Program, SetSpec, Use
from weft.policy.world import Stack

GROUP = 22342
"""Of NFLOG, for what the action `log` tells."""
SOME = Limit(rate=100, burst=200)
"""So much of it at most."""

MOST_PORTS = 7
"""In one rule, since iptables takes 15 of which a range is two."""

MANY = 8
"""So many lines are tried one by one: a lookup costs as much as a few of them."""
_ALLOW = (COUNTER, RETURN)

Matches = tuple[Match, ...]
Alternatives = list[Matches]
"""One of them has to fit; of each, all matches."""

_PROTOCOLS = {"icmpv6": "ipv6-icmp"}
_NFPROTO = field("meta nfproto")
_ANYTHING: Alternatives = [()]
_SYN = field("tcp flags").is_not("syn/fin,syn,rst,ack")
_MIDWAY = (
    rule(CT_STATE.is_("invalid"), COUNTER, DROP),
    rule(CT_STATE.is_("new"), _SYN, COUNTER, Reject("tcp-reset")),
)
"""No connection begins in its middle: else the answers of one that is not allowed could pass as the beginning of
another."""


class Builder:
    """Of one endpoint's traffic in one direction. `reach`: the names of the networks whose endpoints it can have to do
    with; None: of all."""

    def __init__(self, direction: Direction, ports: Sequence[NamedPort], reach: tuple[str, ...] | None) -> None:
        self.direction, self.ports, self.reach = direction, ports, reach
        self._end = SADDR if direction == "ingress" else DADDR
        """Where the other end's address stands."""
        self.sets: dict[SetSpec, None] = {}

    def program(self, stack: Stack) -> Program:
        """The tiers from last to first, since each leads to the next."""
        chains: list[Chain] = []
        for place, (tier, policies) in reversed(list(enumerate(stack))):
            onward = Jump(chains[0].name, back=False) if chains else RETURN
            lines = [*self._lines(policies, onward), self._default(tier, onward)]
            if place == 0:
                lines[:0] = _midway(tier.name, self.direction)
            chains.insert(0, self._chain(lines))
        return Program(tuple(chains), tuple(self.sets))

    def _chain(self, lines: list[Line]) -> Chain:
        said = (text for line in lines for text in (*map(str, msgspec.structs.astuple(line.origin)), line.rule.mark))
        name = f"p{self.direction[0]}-{digest('chain', *said).hex()[:16]}".replace("pe-", "po-")
        return Chain(
            name, tuple(_named(line, name, n) for n, line in enumerate(lines)), tuple(self._lookups(name, lines))
        )

    def _lookups(self, chain: str, lines: list[Line]) -> Iterator[Lookup]:
        """What allows can be tried in any order, up to the next line that does something else."""
        members = {spec.name(fam): spec.label for spec in self.sets if spec.kind == "addresses" for fam in FAMILIES}
        for same, run in groupby(enumerate(lines), key=lambda it: it[1].rule.actions == _ALLOW):
            covered, uses, first = list[int](), list[Use](), dict[Origin, int]()
            for n, line in run if same else ():
                if found := list(_uses(first.setdefault(line.origin, n), line.rule, members)):
                    covered.append(n)
                    uses += found
            if len(covered) > MANY:
                yield Lookup(digest("lookup", chain, str(covered[0])).hex()[:16], tuple(covered), tuple(uses))

    def _default(self, tier: Tier, onward: Action) -> Line:
        action = DROP if tier.default == "deny" else onward
        return Line(rule(COUNTER, action), Origin(tier.name, "", self.direction, 0, tier.default))

    def _lines(self, policies: Iterable[Policy], onward: Action) -> Iterator[Line]:
        for policy in policies:
            for n, said in enumerate(policy.rules(self.direction) or ()):
                origin = Origin(policy.tier, policy.id, self.direction, n, said.action)
                for matches in self._matches(said):
                    yield Line(rule(*matches, *_done(said, onward)), origin)

    def _matches(self, said: Rule) -> Iterator[Matches]:
        """Those of a rule of the policy; what they say of neither family is said once."""
        of = {fam: dict.fromkeys(self._matches_of(said, fam)) for fam in FAMILIES}
        for fam, other in zip(FAMILIES, reversed(FAMILIES), strict=True):
            for matches in of[fam]:
                if any(_speaks_of_family(m) for m in matches):
                    yield matches
                elif matches not in of[other]:
                    yield (_NFPROTO.is_(f"ipv{fam}"), *matches)
                elif fam == FAMILIES[0]:
                    yield matches

    def _matches_of(self, said: Rule, fam: Family) -> Iterator[Matches]:
        ends = [m for peer in said.peers or (None,) for m in self._end_with(peer, said.traffic, fam)]
        excluded = [_negated(self._peer(peer, fam)) for peer in said.no_peers]
        excluded += [_negated(self._traffic(it, fam, Who())) for it in said.no_traffic]
        for parts in product(ends, *excluded):
            yield tuple(match for matches in parts for match in matches)

    def _end_with(self, peer: Peer | None, traffic: Iterable[Traffic], fam: Family) -> Iterator[Matches]:
        """One peer, None being anybody, with what is meant of its traffic."""
        ends = _ANYTHING if peer is None else self._peer(peer, fam)
        who = Who() if peer is None else peer.who
        sent = [m for it in traffic for m in self._traffic(it, fam, who)] if traffic else _ANYTHING
        return ((*end, *matches) for end, matches in product(ends, sent))

    # -- peers ---------------------------------------------------------------------------------------------------------

    def _peer(self, peer: Peer, fam: Family) -> Alternatives:
        matches: list[Match] = []
        for condition in self._conditions(peer, fam):
            if condition is None:
                return []
            matches.append(condition)
        return [tuple(matches)]

    def _conditions(self, peer: Peer, fam: Family) -> Iterator[Match | None]:
        """All of which hold; None where one cannot hold in this family."""
        end = self._end[fam]
        if peer.who is not None:
            yield end.among(self._set(SetSpec(kind="addresses", who=self._within(peer.who)), fam))
        for cidrs, wanted in ((peer.cidrs, True), (peer.excepts, False)):
            some = tuple(sorted(str(cidr) for cidr in cidrs if cidr.version == fam))
            if wanted and cidrs and not some:
                yield None
            elif len(some) == 1:
                yield end.is_(*some) if wanted else end.is_not(*some)
            elif some:
                name = self._set(SetSpec(kind="prefixes", cidrs=some), fam)
                yield end.among(name) if wanted else end.not_among(name)
        if peer.nodes is not None:
            yield end.among(self._set(SetSpec(kind="prefixes", nodes=peer.nodes), fam))
        if peer.sets is not None:
            yield end.among(self._set(SetSpec(kind="prefixes", sets=peer.sets), fam))

    def _within(self, who: Who) -> Who:
        """Only of networks that the endpoint can have to do with: others may have the same addresses."""
        if self.reach is None:
            return who
        networks = tuple(sorted(set(who.networks) & set(self.reach))) if who.networks else self.reach
        return msgspec.structs.replace(who, networks=networks or ("-",))

    def _set(self, spec: SetSpec, fam: Family) -> str:
        named = msgspec.structs.replace(spec, label=digest("set", repr(spec)).hex()[:16])
        self.sets[named] = None
        return named.name(fam)

    # -- traffic -------------------------------------------------------------------------------------------------------

    def _traffic(self, it: Traffic, fam: Family, who: Who | None) -> Alternatives:
        """Ports that have names are the receiver's own, whoever it is. `who`: the peer's; None: it is given by addresses,
        which have no names."""
        if not _possible(it.protocol, fam):
            return []
        same = (L4PROTO.is_(_PROTOCOLS.get(it.protocol, it.protocol)),) if it.protocol else ()
        if it.icmp_type is not None:
            kind = "icmp" if fam == 4 else "icmpv6"
            code = (field(f"{kind} code").is_(it.icmp_code),) if it.icmp_code is not None else ()
            return [(*same, field(f"{kind} type").is_(it.icmp_type), *code)]
        if not it.ports:
            return [same]
        numbers = [p for p in it.ports if isinstance(p, PortRange)]
        names = [p for p in it.ports if isinstance(p, str)]
        found: Alternatives = []
        if self.direction == "ingress":
            own = {p.port for p in self.ports for name in names if (p.name, p.protocol) == (name, it.protocol)}
            numbers += [PortRange(port, port) for port in sorted(own)]
        elif who is not None:
            for name in names:
                spec = SetSpec(kind="named-ports", who=self._within(who), port=name, protocol=it.protocol)
                key = DADDR[fam] + L4PROTO + TH_DPORT
                found.append((*same, key.among(self._set(spec, fam))))
        port = field(f"{it.protocol or 'th'} dport")
        for start in range(0, len(numbers), MOST_PORTS):
            some = (_range(p) for p in numbers[start : start + MOST_PORTS])
            found.append((*same, port.is_(*some)))
        return found


def program(identity: Identity, stack: Stack, direction: Direction, reach: tuple[str, ...] | None) -> Program:
    """What the traffic of an endpoint has to pass."""
    return Builder(direction, identity.ports, reach).program(stack)


def unasked(direction: Direction) -> Program:
    """Of a direction that no policy speaks of, where one speaks of the other: what answers a connection that was not allowed
    must not pass as the beginning of one."""
    return Program((Chain(f"p{'i' if direction == 'ingress' else 'o'}-midway", tuple(_midway("", direction))),))


def _midway(tier: str, direction: Direction) -> list[Line]:
    return [Line(said, Origin(tier, "", direction, n, "midway")) for n, said in enumerate(_MIDWAY)]


def _uses(n: int, said: Kernel, members: Mapping[str, str]) -> Iterator[Use]:
    """Of a line that compares an address with a set, and asks for single ports; nothing for others."""
    match said.matches:
        case (
            Match(fields=(_,), among=among, negated=False),
            Match(fields=("meta l4proto",), values=(protocol,), negated=False),
            Match(fields=(port,), values=numbers, negated=False),
        ) if among in members and port == f"{protocol} dport" and all(number.isdecimal() for number in numbers):
            yield from (Use(n, members[among], protocol, int(number)) for number in numbers)


def _named(line: Line, chain: str, n: int) -> Line:
    """What is logged says which rule it was."""
    actions = tuple(Log(f"{chain}:{n}", GROUP) if isinstance(a, Log) else a for a in line.rule.actions)
    if actions == line.rule.actions:
        return line
    return Line(msgspec.structs.replace(line.rule, actions=actions), line.origin)


def _done(said: Rule, onward: Action) -> Iterator[Limit | Action]:
    if said.action == "log":
        yield from (SOME, COUNTER, Log("-", GROUP))
        return
    yield COUNTER
    yield {"allow": RETURN, "deny": DROP, "pass": onward}[said.action]


def _negated(alternatives: Alternatives) -> Alternatives:
    """None of them fits: of each, one of its matches does not."""
    choices = ([_not(match) for match in matches] for matches in alternatives)
    return list(product(*choices))


def _speaks_of_family(match: Match) -> bool:
    return any(name.startswith(("ip ", "ip6 ", "icmp ", "icmpv6 ")) for name in match.fields)


def _possible(protocol: str, fam: Family) -> bool:
    return protocol != ("icmpv6" if fam == 4 else "icmp")


def _range(ports: PortRange) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def _not(match: Match) -> Match:
    return msgspec.structs.replace(match, negated=not match.negated)
