"""Which subnet of a network a node gets.

The candidates are the node-sized subnets from `first` to `last`, numbered from 0. A node starts at a number hashed from
its name and takes the first free one from there, round to the beginning: nodes that come at the same time rarely want
the same one, and a node that lost its lease tends to get the same one back. Candidates are never listed: what is taken
or reserved are spans of numbers, so that a v6 network with 2^32 candidates costs no more than what is taken of it.

Sizes and defaults are Flannel's (pkg/subnet/config.go): the first subnet is left out unless `subnet-min` says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

import msgspec

from weft.base.errors import Exhausted, Invalid
from weft.base.names import digest
from weft.base.net import FAMILIES, Family, IPNetwork, covers, family
from weft.model import Network

SMALLEST_NETWORK: dict[Family, int] = {4: 28, 6: 124}
"""Prefix length of the smallest network: four of the smallest node subnets."""
SMALLEST_SUBNET: dict[Family, int] = {4: 30, 6: 126}
"""Prefix length of a node's smallest subnet: a gateway and at least one container."""
USUAL_SUBNET: dict[Family, int] = {4: 24, 6: 64}
"""Prefix length of a node's subnet where the network has room for four of them."""
SUFFIX: dict[Family, str] = {4: "", 6: "-v6"}
"""What an option's name ends with, by family."""

Span = tuple[int, int]
"""First and last number, both included."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asks for in one family. `node_prefix` 0: the usual length. `first`, `last`: a node's subnet, or the
    address it begins with; None: the network's second, and its last."""

    node_prefix: int = 0
    first: IPNetwork | None = None
    last: IPNetwork | None = None


class SubnetRules(msgspec.Struct, frozen=True, kw_only=True):
    """`reserved`: prefixes of either family that are given to nobody, whatever their size."""

    v4: Bounds = Bounds()
    v6: Bounds = Bounds()
    reserved: tuple[IPNetwork, ...] = ()

    def bounds(self, fam: Family) -> Bounds:
        return self.v4 if fam == 4 else self.v6


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one prefix of the network called `network` is shared out. Build with `plans()`, which checks it.

    `first`, `last`: the first and last subnet that a node may get. `reserved`: prefixes inside `whole`, disjoint.
    """

    network: str
    whole: IPNetwork
    first: IPNetwork
    last: IPNetwork
    reserved: tuple[IPNetwork, ...] = ()

    @property
    def node_prefix(self) -> int:
        return self.first.prefixlen

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self._number(self.last) + 1

    def candidate(self, number: int) -> IPNetwork:
        base = int(self.first.network_address) + (number << self._shift)
        return type(self.first)((base, self.node_prefix))

    def span(self, prefix: IPNetwork) -> Span | None:
        """The candidates that share addresses with `prefix`."""
        if prefix.version != self.whole.version:
            return None
        first = max(self._number(prefix), 0)
        last = min(self._number(prefix, end=True), self.size - 1)
        return (first, last) if first <= last else None

    def withheld(self) -> list[Span]:
        """The candidates that are reserved as a whole. A smaller reservation only withholds addresses inside one."""
        spans = (self.span(prefix) for prefix in self.reserved if prefix.prefixlen <= self.node_prefix)
        return [span for span in spans if span]

    @property
    def _shift(self) -> int:
        return self.first.max_prefixlen - self.node_prefix

    def _number(self, prefix: IPNetwork, *, end: bool = False) -> int:
        address = prefix.broadcast_address if end else prefix.network_address
        return int(address) - int(self.first.network_address) >> self._shift


def plans(network: Network, rules: SubnetRules) -> tuple[Plan, ...]:
    """One plan for each of the network's prefixes. Raises Invalid: the text names network, option and way out."""
    _check_belonging(network, rules)
    return tuple(_plan(network.name, whole, rules) for whole in network.subnets)


def choose(plan: Plan, node: str, taken: Iterable[IPNetwork]) -> IPNetwork:
    """A free subnet for `node`. Raises Exhausted.

    `taken`: what other nodes hold, of whatever size. The same arguments give the same answer.
    """
    found = find(plan, node, taken)
    if found is not None:
        return found
    size = plan.size
    reserved = _count(plan.withheld())
    raise Exhausted(
        f"network {plan.network}: no subnet is left for {node}: of {size} /{plan.node_prefix} in {plan.whole} "
        f"{size - reserved} are leased and {reserved} reserved: remove nodes that are gone with weft node rm, "
        "or make a larger network"
    )


def find(plan: Plan, node: str, taken: Iterable[IPNetwork]) -> IPNetwork | None:
    """As `choose`; None where none is free."""
    size = plan.size
    spans = sorted(plan.withheld() + [span for prefix in taken if (span := plan.span(prefix))])
    start = int.from_bytes(digest("subnet", plan.network, node)[:8], "big") % size
    for begin, end in ((start, size - 1), (0, start - 1)):
        number = _first_free(begin, spans)
        if number <= end:
            return plan.candidate(number)
    return None


def free(plan: Plan, taken: Iterable[IPNetwork]) -> int:
    """How many are."""
    return plan.size - _count(plan.withheld() + [span for prefix in taken if (span := plan.span(prefix))])


def last(plan: Plan, taken: Iterable[IPNetwork]) -> IPNetwork | None:
    """The last one that is free; None where none is. Nodes begin anywhere, so that is as good as another one, and found
    without a name."""
    number, spans = plan.size - 1, plan.withheld() + [span for prefix in taken if (span := plan.span(prefix))]
    for begin, end in sorted(spans, key=lambda span: span[1], reverse=True):
        if end < number:
            break
        number = min(number, begin - 1)
    return plan.candidate(number) if number >= 0 else None


def _first_free(number: int, spans: list[Span]) -> int:
    """The first number from `number` on that is in none of `spans`, which are in order."""
    for first, last in spans:
        if first > number:
            break
        number = max(number, last + 1)
    return number


def _count(spans: list[Span]) -> int:
    return sum(last - first + 1 for first, last in spans)


def _check_belonging(network: Network, rules: SubnetRules) -> None:
    """What is asked for a family the network does not have, and reservations that lie outside."""
    for fam in FAMILIES:
        asked = rules.bounds(fam)
        if network.subnet(fam) is None and asked != Bounds():
            raise Invalid(
                f"network {network.name}: {_names(asked, fam)} given, but the network has no IPv{fam} prefix: "
                "leave it out, or add one with --subnet"
            )
    _check_inside(network, rules.reserved)


def check_shared(network: Network, reserved: Iterable[IPNetwork]) -> None:
    """Whether the network's prefixes can be one subnet for all hosts. Raises Invalid."""
    for whole in network.subnets:
        most = SMALLEST_SUBNET[family(whole)]
        if whole.prefixlen > most:
            raise Invalid(f"network {network.name}: {whole} is too small: choose a /{most} or larger")
    _check_inside(network, reserved)


def _check_inside(network: Network, reserved: Iterable[IPNetwork]) -> None:
    for prefix in reserved:
        if not any(covers(whole, prefix) for whole in network.subnets):
            raise Invalid(
                f"network {network.name}: reserve={prefix} is not inside {' or '.join(map(str, network.subnets))}: "
                "reserve only what is part of the network"
            )


def _names(asked: Bounds, fam: Family) -> str:
    given = {"node-prefix": asked.node_prefix, "subnet-min": asked.first, "subnet-max": asked.last}
    return ", ".join(f"{name}{SUFFIX[fam]}={value}" for name, value in given.items() if value)


def _plan(name: str, whole: IPNetwork, rules: SubnetRules) -> Plan:
    fam = family(whole)
    asked = rules.bounds(fam)
    length = _node_prefix(name, whole, asked.node_prefix)
    step = 1 << whole.max_prefixlen - length
    make = type(whole)
    first = make((int(whole.network_address) + step, length))
    last = make((int(whole.broadcast_address) + 1 - step, length))
    if asked.first is not None:
        first = _bound(name, f"subnet-min{SUFFIX[fam]}", whole, asked.first, length)
    if asked.last is not None:
        last = _bound(name, f"subnet-max{SUFFIX[fam]}", whole, asked.last, length)
    if int(first.network_address) > int(last.network_address):
        raise Invalid(
            f"network {name}: subnet-min{SUFFIX[fam]} {first} comes after subnet-max{SUFFIX[fam]} {last}: "
            "give a minimum that is not above the maximum"
        )
    plan = Plan(network=name, whole=whole, first=first, last=last, reserved=_merged(whole, rules.reserved))
    if _count(plan.withheld()) == plan.size:
        raise Invalid(
            f"network {name}: all {plan.size} subnets from {first} to {last} are reserved: reserve less of {whole}"
        )
    return plan


def _node_prefix(name: str, whole: IPNetwork, asked: int) -> int:
    fam = family(whole)
    least, most = whole.prefixlen + 2, SMALLEST_SUBNET[fam]
    if whole.prefixlen > SMALLEST_NETWORK[fam]:
        raise Invalid(
            f"network {name}: {whole} is too small: it has to hold four node subnets of /{most} at least, "
            f"choose a /{SMALLEST_NETWORK[fam]} or larger"
        )
    if asked and not least <= asked <= most:
        raise Invalid(
            f"network {name}: node-prefix{SUFFIX[fam]}={asked} does not suit {whole}: choose {least} to {most}"
        )
    return asked or max(USUAL_SUBNET[fam], least)


def _bound(name: str, option: str, whole: IPNetwork, asked: IPNetwork, length: int) -> IPNetwork:
    """The node subnet that a bound names, in full or by the address it begins with."""
    if not covers(whole, asked):
        raise Invalid(f"network {name}: {option}={asked} is not inside {whole}: choose a /{length} of it")
    if asked.prefixlen < length:
        raise Invalid(f"network {name}: {option}={asked} is more than one node's subnet: choose a /{length} of it")
    meant = asked.supernet(new_prefix=length)
    if meant.network_address != asked.network_address or asked.prefixlen not in (length, asked.max_prefixlen):
        raise Invalid(f"network {name}: {option}={asked} is not a node's subnet: did you mean {meant}?")
    return meant


def _merged(whole: IPNetwork, prefixes: tuple[IPNetwork, ...]) -> tuple[IPNetwork, ...]:
    """Those of the family of `whole`, overlapping and adjoining ones joined, in order."""
    return tuple(merge(prefix for prefix in prefixes if prefix.version == whole.version))


def merge(prefixes: Iterable[IPNetwork]) -> Iterator[IPNetwork]:
    """Prefixes of one family, overlapping and adjoining ones joined, in order."""
    listed = list(prefixes)
    yield from collapse_addresses([p for p in listed if isinstance(p, IPv4Network)])
    yield from collapse_addresses([p for p in listed if isinstance(p, IPv6Network)])
