"""Which address of its node's subnet a container gets.

Given out one after the other and round again, so that an address that was just freed is not somebody else's at once:
peers' ARP caches, conntrack and DNS would still mean the former one. Not given: the subnet's own address (in v6 the
subnet-router anycast address, RFC 4291 §2.6.1), the gateway's, which is the first, and v4's broadcast address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from weft.base.errors import Conflict, Exhausted, Invalid
from weft.base.names import digest, stable_mac
from weft.base.net import IPAddress, IPNetwork, contains
from weft.model import AddressRange

Spans = list[tuple[int, int]]
"""First and last address each, as numbers; in order, none overlapping."""


def choose(
    subnet: IPNetwork,
    taken: Collection[IPAddress],
    reserved: Iterable[IPNetwork] = (),
    after: IPAddress | None = None,
    *,
    within: Sequence[AddressRange] = (),
    node: str = "",
) -> IPAddress:
    """The first free address after `after` (the last one given), round to the beginning. Raises Exhausted, Invalid.

    `taken`: best a set or a mapping; it is asked once for each address tried. `within`: only of these, as far as they are
    in `subnet`; Invalid where that is nowhere. `node`: whose subnet it is, for messages.
    """
    first, last = _usable(subnet)
    asked = _asked(subnet, within, node)
    spans = _merged([*_spans(subnet, reserved), *_between(asked, first, last)])
    address = _search(subnet, (first, last), taken, spans, after)
    if address is not None:
        return address
    more = "larger node subnets (-O node-prefix)" if node else "a larger subnet"
    size = sum(end - begin + 1 for begin, end in asked)
    in_use = sum(len(run) for run in _runs(first, last, spans))
    where = f"{_listed(within)} of {_whose(node, subnet)}" if within else _whose(node, subnet)
    raise Exhausted(
        f"no address is left in {where}: of {size} for containers {in_use} are in use "
        f"and {size - in_use} reserved: detach some, or make a network with {more}"
    )


def search(
    block: IPNetwork,
    taken: Collection[IPAddress],
    reserved: Iterable[IPNetwork],
    after: IPAddress | None,
    within: Sequence[AddressRange],
) -> IPAddress | None:
    """As `choose`, where all addresses are for containers; None where none is free."""
    first, last = int(block.network_address), int(block.broadcast_address)
    asked = _overlap(block, within, first, last) if within else [(first, last)]
    spans = _merged([*_spans(block, reserved), *_between(asked, first, last)])
    return _search(block, (first, last), taken, spans, after)


def _search(
    subnet: IPNetwork, bounds: tuple[int, int], taken: Collection[IPAddress], spans: Spans, after: IPAddress | None
) -> IPAddress | None:
    """Outside of `spans`, within `bounds`, both included."""
    first, last = bounds
    start = first
    if after is not None and contains(subnet, after) and first <= int(after) < last:
        start = int(after) + 1
    make = type(subnet.network_address)
    for begin, end in ((start, last), (first, start - 1)):
        for run in _runs(begin, end, spans):
            for number in run:
                address = make(number)
                if address not in taken:
                    return address
    return None


def wish(
    subnet: IPNetwork,
    address: IPAddress,
    taken: Collection[IPAddress],
    reserved: Iterable[IPNetwork] = (),
    *,
    within: Sequence[AddressRange] = (),
    node: str = "",
) -> IPAddress:
    """`address`, if it may be given. Raises Invalid (never in this subnet) or Conflict (not now).

    `taken`: as a mapping to the holders' names, the message says who has it.
    """
    whose = _whose(node, subnet)
    first, last = _usable(subnet)
    make = type(subnet.network_address)
    room = f"choose one from {make(first)} to {make(last)}"
    if not contains(subnet, address):
        raise Invalid(f"{address} is outside {whose}: {room}")
    if not first <= int(address) <= last:
        raise Invalid(f"{address} is {_role(subnet, address)} of {whose}: {room}")
    check_free(address, taken, reserved, within)
    return address


def check_free(
    address: IPAddress,
    taken: Collection[IPAddress],
    reserved: Iterable[IPNetwork],
    within: Sequence[AddressRange],
) -> None:
    """Raises Invalid, Conflict; see `wish`."""
    held = next((prefix for prefix in reserved if contains(prefix, address)), None)
    if held is not None:
        raise Invalid(f"{address} is reserved in this network (reserve={held}): choose one outside {held}")
    if within and not any(address in each for each in within):
        raise Invalid(f"{address} is not within {_listed(within)}, from which it is to come")
    if address in taken:
        holder = f" by {taken[address]}" if isinstance(taken, Mapping) else ""
        raise Conflict(f"{address} is taken{holder}: choose another, or leave the choice to Weft")


def beginning(subnet: IPNetwork, node: str) -> IPAddress:
    """Where a node begins to look in a subnet that all nodes share: so that those that look at once rarely meet."""
    first, last = _usable(subnet)
    number = first + int.from_bytes(digest("addresses", str(subnet), node)) % (last - first + 1)
    return type(subnet.network_address)(number)


def gateway(subnet: IPNetwork) -> IPAddress:
    """The containers' next hop: the first address, owned by the node's bridge."""
    return subnet.network_address + 1


def mac_for(address: IPAddress) -> str:
    """A container's MAC address: 02:42 and the four octets, as Docker makes it; of a v6 address a stable hash."""
    if address.version == 4:
        return f"02:42:{address.packed.hex(':')}"
    return stable_mac("address", str(address))


def _usable(subnet: IPNetwork) -> tuple[int, int]:
    """First and last address for containers, as numbers."""
    return int(subnet.network_address) + 2, int(subnet.broadcast_address) - (1 if subnet.version == 4 else 0)


def _role(subnet: IPNetwork, address: IPAddress) -> str:
    if address == subnet.network_address:
        return "the network address" if subnet.version == 4 else "the subnet-router anycast address"
    return "the gateway" if address == gateway(subnet) else "the broadcast address"


def _whose(node: str, subnet: IPNetwork) -> str:
    return f"{node}'s subnet {subnet}" if node else f"subnet {subnet}"


def _spans(subnet: IPNetwork, reserved: Iterable[IPNetwork]) -> Spans:
    """What is reserved of the subnet's family."""
    prefixes = (prefix for prefix in reserved if prefix.version == subnet.version)
    return _merged((int(p.network_address), int(p.broadcast_address)) for p in prefixes)


def _asked(subnet: IPNetwork, within: Sequence[AddressRange], node: str) -> Spans:
    """What of the subnet the choice is limited to. Raises Invalid."""
    first, last = _usable(subnet)
    if not within:
        return [(first, last)]
    found = _overlap(subnet, within, first, last)
    if not found:
        make = type(subnet.network_address)
        raise Invalid(
            f"no address of {_listed(within)} is for containers in {_whose(node, subnet)}: "
            f"choose a range from {make(first)} to {make(last)}"
        )
    return found


def _overlap(subnet: IPNetwork, within: Iterable[AddressRange], first: int, last: int) -> Spans:
    """What of them lies from `first` to `last`."""
    ends = [(int(a), int(b)) for a, b in (each.ends for each in within if each.subnet.version == subnet.version)]
    return _merged((max(a, first), min(b, last)) for a, b in ends if a <= last and b >= first)


def _listed(within: Iterable[AddressRange]) -> str:
    return ", ".join(map(str, within))


def _merged(spans: Iterable[tuple[int, int]]) -> Spans:
    found: Spans = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _between(spans: Spans, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The rest of what is from `first` to `last`."""
    return ((run.start, run.stop - 1) for run in _runs(first, last, spans) if run)


def _runs(begin: int, end: int, spans: Spans) -> Iterator[range]:
    """The stretches from `begin` to `end` that lie between `spans`."""
    for first, last in spans:
        if last < begin:
            continue
        if first > end:
            break
        yield range(begin, first)
        begin = last + 1
    yield range(begin, end + 1)
