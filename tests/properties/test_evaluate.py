"""Verdicts, against an evaluator that goes through nothing rule by rule: it has the set of all packets, and takes away from
it what each rule decides."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import product

from hypothesis import given, settings

from support import policy_worlds as p
from weft.base.net import contains
from weft.policy import selector
from weft.policy.build import program
from weft.policy.evaluate import Judge
from weft.policy.model import DIRECTIONS, Direction, Identity, Peer, Policy, PortRange, Rule, Tier, Traffic
from weft.policy.program import SetSpec
from weft.policy.verdict import PORTED, End, Packet, number
from weft.policy.walk import Members, walk
from weft.policy.world import World

Case = tuple[int, int]
"""The place of the other end, and of the packet."""


class Naive:
    """Of one family. Knows what is in the world only as `support.policy_worlds` has it."""

    def __init__(self, policies: tuple[Policy, ...], family: int) -> None:
        self.policies, self.family, self.ends = policies, family, p.ends(family)
        self.packets = p.packets(family)
        self.all = {(e, k) for e in range(len(self.ends)) for k in range(len(self.packets))}

    def passing(self, own: Identity, direction: Direction) -> set[Case]:
        left, allowed = self.all, set[Case]()
        for tier in sorted([p.TIER, *_tiers()], key=lambda tier: tier.order):
            concerned = [x for x in self.policies if x.tier == tier.name and self._concerns(x, own, direction)]
            if not concerned:
                continue
            here, onward = left, set[Case]()
            for policy in sorted(concerned, key=lambda x: (x.order is None, x.order or 0, x.id)):
                for rule in policy.rules(direction) or ():
                    hit = here & self._fits(rule, own, direction)
                    if rule.action != "log":
                        here = here - hit
                    allowed |= hit if rule.action == "allow" else set()
                    onward |= hit if rule.action == "pass" else set()
            left = onward | (here if tier.default == "pass" else set())
        return allowed | left

    def _concerns(self, policy: Policy, own: Identity, direction: Direction) -> bool:
        return policy.subject is not None and policy.rules(direction) is not None and self._who(policy.subject, own)

    def _who(self, who: object, one: Identity) -> bool:
        labels = {"kubernetes.io/metadata.name": one.namespace, "ns": one.namespace}
        return (
            selector.matches(who.selector, one.labels)  # type: ignore[attr-defined]
            and selector.matches(who.namespaces or "", labels)  # type: ignore[attr-defined]
            and one.network in (who.networks or (one.network,))  # type: ignore[attr-defined]
        )

    def _fits(self, rule: Rule, own: Identity, direction: Direction) -> set[Case]:
        found = self.all
        if rule.peers:
            found = found & set[Case]().union(*(self._peer(peer) for peer in rule.peers))
        for peer in rule.no_peers:
            found = found - self._peer(peer)
        outside = direction == "egress" and rule.peers != () and {x.who for x in rule.peers} == {None}
        if rule.traffic:
            found = found & set[Case]().union(*(self._traffic(it, own, direction, not outside) for it in rule.traffic))
        for it in rule.no_traffic:
            found = found - self._traffic(it, own, direction, True)
        return found

    def _peer(self, peer: Peer) -> set[Case]:
        return {(e, k) for e, end in enumerate(self.ends) if self._is(peer, end) for k in range(len(self.packets))}

    def _is(self, peer: Peer, end: End) -> bool:
        inside = [any(contains(cidr, end.address) for cidr in cidrs) for cidrs in (peer.cidrs, peer.excepts)]
        racks = [str(a) for n in p.NODES for a in p.ADDRESSES_OF_NODES[n] if p.LABELS[n]["rack"] == "b"]
        sets = [cidr for s in p.NETWORK_SETS if f"set == '{s.labels['set']}'" == peer.sets for cidr in s.cidrs]
        return not (
            (peer.who is not None and (end.identity is None or not self._who(peer.who, end.identity)))
            or (peer.cidrs and not inside[0])
            or inside[1]
            or (peer.nodes is not None and str(end.address) not in racks)
            or (peer.sets is not None and not any(contains(cidr, end.address) for cidr in sets))
        )

    def _traffic(self, it: Traffic, own: Identity, direction: Direction, names: bool) -> set[Case]:
        return {
            (e, k)
            for e, end in enumerate(self.ends)
            for k, packet in enumerate(self.packets)
            if self._carries(it, packet, own if direction == "ingress" else end.identity, names)
        }

    def _carries(self, it: Traffic, packet: Packet, target: Identity | None, names: bool) -> bool:
        protocol = number(packet.protocol)
        if it.protocol and number(it.protocol) != protocol:
            return False
        if it.icmp_type is not None:
            is_icmp = packet.protocol == ("icmp" if self.family == 4 else "icmpv6")
            return is_icmp and packet.icmp_type == it.icmp_type and it.icmp_code in (None, packet.icmp_code)
        ranges = [port for port in it.ports if isinstance(port, PortRange)]
        named = target.ports if target and names else ()
        ranges += [
            PortRange(x.port, x.port) for x in named if (x.protocol, x.name) in [(it.protocol, n) for n in it.ports]
        ]
        first, last = (1, 65535) if packet.port is None else (packet.port, packet.port)
        return not it.ports or (protocol in PORTED and any(r.first <= first and last <= r.last for r in ranges))


def _tiers() -> Iterator[Tier]:
    for name, order, default in (("admin", 1e3, "pass"), ("default", 1e6, "deny"), ("baseline", 1e7, "pass")):
        yield Tier(name=name, order=order, default=default)  # type: ignore[arg-type]


def unasked(source: End, target: End) -> bool:
    return source == target or any(
        a.identity is not None and b.node == a.identity.node for a, b in ((source, target), (target, source))
    )


@settings(max_examples=50)
@given(p.POLICIES)
def test_verdicts_are_those_of_an_evaluator_by_sets(policies: tuple[Policy, ...]) -> None:
    judge = Judge(p.world(*policies, tiers=[p.TIER]))
    for family in (4, 6):
        naive = Naive(policies, family)
        passing = {
            (i.id, direction): naive.passing(i, direction) for i in p.IDENTITIES for direction in ("ingress", "egress")
        }
        for (s, source), (t, target) in product(enumerate(naive.ends), repeat=2):
            for k, packet in enumerate(naive.packets):
                expected = unasked(source, target) or (
                    (source.identity is None or (t, k) in passing[source.identity.id, "egress"])
                    and (target.identity is None or (s, k) in passing[target.identity.id, "ingress"])
                )
                assert judge.allowed(source, target, packet) == expected, (source, target, packet)
                if (s + t + k) % 7 == 0:  # it has the same way to go, and takes its time to tell of it
                    told = judge.verdict(source, target, packet)
                    assert told.allowed == expected == all(side.allowed for side in told.sides)


def members(world: World) -> Members:
    """What is in sets, of all that there is in `support.policy_worlds`."""

    def inside(spec: SetSpec, key: tuple[str, ...]) -> bool:
        if spec.kind == "prefixes":
            some = [*spec.cidrs, *(world.cidrs_of_sets(spec.sets) if spec.sets is not None else ())]
            some += world.addresses_of_nodes(spec.nodes) if spec.nodes is not None else ()
            return any(contains(ip_network(prefix), ip_address(key[0])) for prefix in some)
        who = [i for i in p.IDENTITIES if spec.who and world.selects(spec.who, i) and key[0] in map(str, i.addresses)]
        if spec.kind == "addresses":
            return bool(who)
        return any((spec.port, *key[1:]) == (x.name, x.protocol, str(x.port)) for i in who for x in i.ports)

    return inside


@settings(max_examples=50)
@given(p.POLICIES)
def test_compiled_rules_say_the_same(policies: tuple[Policy, ...]) -> None:
    world = p.world(*policies, tiers=[p.TIER])
    judge, sets = Judge(world), members(world)
    for own, family in product(p.IDENTITIES, (4, 6)):
        at = next(End(address=a, identity=own) for a in own.addresses if a.version == family)
        packets = [
            packet for packet in p.packets(family) if packet.protocol == "gre" or packet.port or packet.icmp_type
        ]
        for direction in DIRECTIONS:
            found = program(own, world.stack(own, direction), direction, None)
            for other, packet in product(p.ends(family), packets):
                source, target = (at, other) if direction == "egress" else (other, at)
                if unasked(source, target):
                    continue
                side = next(s for s in judge.verdict(source, target, packet).sides if s.direction == direction)
                stop = walk(found, source, target, packet, sets)
                assert (stop is None or stop.allowed) == side.allowed, (source, target, packet, stop, side)
                if stop is not None and stop.line is not None and side.steps[-1].policy:
                    origin = stop.line.origin
                    assert (origin.policy, origin.index + 1) == (side.steps[-1].policy, side.steps[-1].rule)
