"""Whether a connection may be made, and what decides so: the same answer as the rules give that are made of the same world.

What is never asked (`docs/policy.md`): what an endpoint sends to itself, what it and its own node send each other, and
IPv6's neighbour discovery. `Judge.verdict` tells the whole way with words, `Judge.allowed` the end of it alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from weft.base.net import IPAddress, IPNetwork
from weft.policy import selector
from weft.policy.model import DIRECTIONS, Direction, Identity, Peer, Policy, PortRange, Rule, Traffic, Who
from weft.policy.prefixes import Prefixes
from weft.policy.reach import reach
from weft.policy.verdict import PORTED, PROTOCOLS, End, Packet, Side, Step, Verdict, number
from weft.policy.world import Stack, World

_DISCOVERY = range(133, 138)
"""Types of ICMPv6 (RFC 4861)."""
_FEW = 8
"""Prefixes that are looked through one by one."""


class Judge:
    """What a world says about an endpoint is remembered, so one judge is for one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._reach: dict[str, tuple[str, ...] | None] = {}
        self._stacks: dict[tuple[str, Direction], tuple[Identity, Stack]] = {}
        self._prefixes: dict[int, tuple[object, Prefixes]] = {}
        self._of_sets: dict[str, Prefixes] = {}
        self._of_nodes: dict[str, frozenset[str]] = {}

    def allowed(self, source: End, target: End, packet: Packet, directions: Collection[Direction] = DIRECTIONS) -> bool:
        """As `verdict`, without its reasons. `directions`: those that are asked."""
        if _unasked(source, target, packet):
            return True
        return all(
            _passes(_last(self._walk(direction, source, target, packet)))
            for direction, own in _ends(source, target)
            if own.identity is not None and direction in directions
        )

    def verdict(self, source: End, target: End, packet: Packet) -> Verdict:
        why = _unasked(source, target, packet)
        sides = tuple(self._side(direction, source, target, packet, why) for direction, _own in _ends(source, target))
        return Verdict(allowed=all(side.allowed for side in sides), sides=sides)

    # -- one end -------------------------------------------------------------------------------------------------------

    def _side(self, direction: Direction, source: End, target: End, packet: Packet, unasked: str) -> Side:
        own = source if direction == "egress" else target
        if unasked or own.identity is None:
            reason = unasked or self._outside(own, direction)
            return Side(direction=direction, end=own.name, allowed=True, reason=reason, asked=False)
        steps = tuple(self._walk(direction, source, target, packet))
        stack = self._stack(own.identity, direction)
        last = steps[-1] if steps else None
        reason = _reason(own.name, direction, last, stack)
        return Side(direction=direction, end=own.name, allowed=_passes(last), reason=reason, steps=steps)

    def _outside(self, own: End, direction: Direction) -> str:
        """What there is to say of an end that is no endpoint. Policies about hosts are not judged by: what passes there in
        any case, and by which devices, is not in this model."""
        node = self.world.nodes.get(own.node)
        said = [p for p in self.world.policies.values() if p.hosts is not None and p.rules(direction) is not None]
        found = [p for p in said if node is not None and selector.matches(p.hosts or "", node.labels)]
        if not found:
            return f"{own.name} is no endpoint: nothing is asked there"
        return f"{own.name} is a host, and what {_listed(found)} says of it is not looked at here"

    def _stack(self, identity: Identity, direction: Direction) -> Stack:
        known = self._stacks.get((identity.id, direction))
        if known is None or known[0] is not identity:
            known = self._stacks[identity.id, direction] = (identity, self.world.stack(identity, direction))
        return known[1]

    def _walk(self, direction: Direction, source: End, target: End, packet: Packet) -> Iterator[Step]:
        """Until something decides."""
        own, other = (source, target) if direction == "egress" else (target, source)
        assert own.identity is not None
        asked = _Asked(self, direction, own.identity, other, target.identity, packet)
        for tier, policies in self._stack(own.identity, direction):
            ended = ""
            for policy in policies:
                for step in asked.steps(policy):
                    yield step
                    ended = step.action if step.action in ("allow", "deny", "pass") else ended
                if ended:
                    break
            if ended in ("allow", "deny"):
                return
            if not ended:
                yield Step(tier=tier.name, action=tier.default)
                if tier.default == "deny":
                    return

    # -- what rules name -----------------------------------------------------------------------------------------------

    def reaches(self, own: Identity, other: Identity) -> bool:
        """Whether `own` can have to do with `other`, by their networks. Else other people have its address, too."""
        if own.network not in self._reach:
            self._reach[own.network] = reach(self.world.networks, own.network)
        networks = self._reach[own.network]
        return networks is None or other.network in networks

    def among(self, networks: tuple[IPNetwork, ...], address: IPAddress) -> bool:
        """`networks`: of a rule of this world."""
        if len(networks) <= _FEW:
            return any(network.version == address.version and address in network for network in networks)
        known = self._prefixes.get(id(networks))
        if known is None:
            known = self._prefixes[id(networks)] = (networks, Prefixes(networks))
        return address in known[1]

    def in_sets(self, wanted: str, address: IPAddress) -> bool:
        if wanted not in self._of_sets:
            chosen = (s for s in self.world.network_sets if selector.matches(wanted, s.labels))
            self._of_sets[wanted] = Prefixes(cidr for found in chosen for cidr in found.cidrs)
        return address in self._of_sets[wanted]

    def of_nodes(self, wanted: str, address: IPAddress) -> bool:
        if wanted not in self._of_nodes:
            self._of_nodes[wanted] = frozenset(self.world.addresses_of_nodes(wanted))
        return str(address) in self._of_nodes[wanted]


class _Asked:
    """One packet at one of its ends. `own`: of this end; `target`: the endpoint it goes to, whose names ports have."""

    def __init__(
        self, judge: Judge, direction: Direction, own: Identity, other: End, target: Identity | None, packet: Packet
    ) -> None:
        self._judge, self._direction, self._own, self._other = judge, direction, own, other
        self._packet, self._protocol = packet, number(packet.protocol)
        names = target.ports if target is not None else ()
        self._names = {(p.name, p.protocol) for p in names if p.port == packet.port}
        known = other.identity
        self._peer = known if known is not None and judge.reaches(own, known) else None

    def steps(self, policy: Policy) -> Iterator[Step]:
        rules = policy.rules(self._direction) or ()
        for place, rule in enumerate(rules, 1):
            if self._fits(rule):
                yield Step(tier=policy.tier, policy=policy.id, rule=place, name=rule.name, action=rule.action)
                if rule.action != "log":
                    return
        yield Step(tier=policy.tier, policy=policy.id, action="none")

    def _fits(self, rule: Rule) -> bool:
        return (
            any(self._meets(peer, rule.traffic) for peer in rule.peers or (None,))
            and not any(self._is(peer) for peer in rule.no_peers)
            and not any(self._carries(it) for it in rule.no_traffic)
        )

    def _meets(self, peer: Peer | None, traffic: Iterable[Traffic]) -> bool:
        """One peer, None being anybody, with what is meant of its traffic."""
        nameless = self._direction == "egress" and peer is not None and peer.who is None
        return (peer is None or self._is(peer)) and (
            not traffic or any(self._carries(it, nameless=nameless) for it in traffic)
        )

    def _is(self, peer: Peer) -> bool:
        judge, address = self._judge, self._other.address
        return (
            (peer.who is None or self._selected(peer.who))
            and (not peer.cidrs or judge.among(peer.cidrs, address))
            and not (peer.excepts and judge.among(peer.excepts, address))
            and (peer.nodes is None or judge.of_nodes(peer.nodes, address))
            and (peer.sets is None or judge.in_sets(peer.sets, address))
        )

    def _selected(self, who: Who) -> bool:
        return self._peer is not None and self._judge.world.selects(who, self._peer)

    def _carries(self, it: Traffic, *, nameless: bool = False) -> bool:
        """`nameless`: names of ports mean nothing, since addresses have none."""
        if it.protocol and number(it.protocol) != self._protocol:
            return False
        if it.icmp_type is not None:
            return self._is_icmp() and it.icmp_type == self._packet.icmp_type and self._code(it)
        return not it.ports or any(self._port(port, it.protocol, nameless=nameless) for port in it.ports)

    def _is_icmp(self) -> bool:
        return self._protocol == (PROTOCOLS["icmp"] if self._other.address.version == 4 else PROTOCOLS["icmpv6"])

    def _code(self, it: Traffic) -> bool:
        return it.icmp_code is None or it.icmp_code == self._packet.icmp_code

    def _port(self, port: PortRange | str, protocol: str, *, nameless: bool) -> bool:
        if self._protocol not in PORTED:
            return False
        if isinstance(port, str):
            return not nameless and (port, protocol) in self._names
        asked = self._packet.port
        return port.first <= 1 and port.last >= 0xFFFF if asked is None else port.first <= asked <= port.last


def allowed(world: World, source: End, target: End, protocol: str, port: int | None) -> bool:
    """Of one connection; of many, one `Judge` is asked."""
    return Judge(world).allowed(source, target, Packet(protocol=protocol, port=port))


def isolated(world: World, source: End, target: End) -> str:
    """Why their networks keep the two apart, whatever policies say; "" where they do not."""
    there = [world.networks.get(end.identity.network) if end.identity else None for end in (source, target)]
    one, other = there
    if one is not None and other is not None:
        return "" if one.meets(other) else f"networks {one.name} and {other.name} do not reach each other"
    alone = one or other
    outside = not (source.node or target.node)
    return f"network {alone.name} is internal" if alone is not None and alone.internal and outside else ""


def directory(identities: Iterable[Identity]) -> Mapping[IPAddress, Identity]:
    """Who has which address. Networks that may have the same addresses need one each."""
    return {address: identity for identity in identities for address in identity.addresses}


def _ends(source: End, target: End) -> tuple[tuple[Direction, End], ...]:
    return (("egress", source), ("ingress", target))


def _passes(last: Step | None) -> bool:
    """After the last tier everything is allowed."""
    return last is None or last.action != "deny"


def _last(way: Iterator[Step]) -> Step | None:
    last = None
    for last in way:  # noqa: B007
        pass
    return last


def _unasked(source: End, target: End, packet: Packet) -> str:
    """Why no policy is asked."""
    one, other = source.identity, target.identity
    if source.address == target.address and (one.id if one else "") == (other.id if other else ""):
        return f"{source.name} speaks to itself: no policy is asked"
    for end, away in ((one, target), (other, source)):
        if end is not None and away.node and away.node == end.node:
            return f"{away.name} is the node that {end.name} is on: no policy is asked"
    if number(packet.protocol) == PROTOCOLS["icmpv6"] and packet.icmp_type in _DISCOVERY:
        return "neighbour discovery: no policy is asked"
    return ""


def _reason(name: str, direction: Direction, last: Step | None, stack: Stack) -> str:
    if last is None:
        return f"no policy selects {name} for {direction}"
    if last.rule:
        what = f'rule {last.rule} "{last.name}"' if last.name else f"rule {last.rule}"
        return f"{what} of {last.policy}" + (": passed on, and nothing else decides" if last.action == "pass" else "")
    if last.action == "deny":
        found = next(policies for tier, policies in stack if tier.name == last.tier)
        return f"{_listed(found)} select{'s' if len(found) == 1 else ''} {name} for {direction}, and no rule fits"
    return f"no rule of {_listed([p for _, policies in stack for p in policies])} decides"


def _listed(policies: list[Policy]) -> str:
    shown = ", ".join(p.id for p in policies[:3])
    return f"{shown} and {len(policies) - 3} more" if len(policies) > 3 else shown
