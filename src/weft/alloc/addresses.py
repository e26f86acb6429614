"""Which address of its node's subnet a container gets.

Given out one after the other and round again, so that an address that was just freed is not somebody else's at once:
peers' ARP caches, conntrack and DNS would still mean the former one. Not given: the subnet's own address (in v6 the
subnet-router anycast address, RFC 4291 §2.6.1), the gateway's, which is the first, and v4's broadcast address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from weft.alloc.subnets import merge
from weft.base.errors import Conflict, Exhausted, Invalid
from weft.base.names import digest, stable_mac
from weft.base.net import IPAddress, IPNetwork, contains


def choose(
    subnet: IPNetwork,
    taken: Collection[IPAddress],
    reserved: Iterable[IPNetwork] = (),
    after: IPAddress | None = None,
    *,
    node: str = "",
) -> IPAddress:
    """The first free address after `after` (the last one given), round to the beginning. Raises Exhausted.

    `taken`: best a set or a mapping; it is asked once for each address tried. `node`: whose subnet it is, for messages.
    """
    first, last = _usable(subnet)
    address = search(subnet, (first, last), taken, reserved, after)
    if address is not None:
        return address
    spans = _spans(subnet, reserved)
    more = "larger node subnets (-o node-prefix)" if node else "a larger subnet"
    size = last - first + 1
    in_use = sum(len(run) for run in _runs(first, last, spans))
    raise Exhausted(
        f"no address is left in {_whose(node, subnet)}: of {size} for containers {in_use} are in use "
        f"and {size - in_use} reserved: detach some, or make a network with {more}"
    )


def search(
    subnet: IPNetwork,
    bounds: tuple[int, int],
    taken: Collection[IPAddress],
    reserved: Iterable[IPNetwork] = (),
    after: IPAddress | None = None,
) -> IPAddress | None:
    """As `choose`, among the numbers within `bounds`, both included; None where none is free."""
    first, last = bounds
    start = first
    if after is not None and contains(subnet, after) and first <= int(after) < last:
        start = int(after) + 1
    spans = _spans(subnet, reserved)
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
    check_free(address, taken, reserved)
    return address


def check_free(address: IPAddress, taken: Collection[IPAddress], reserved: Iterable[IPNetwork]) -> None:
    """Raises Invalid, Conflict; see `wish`."""
    held = next((prefix for prefix in reserved if contains(prefix, address)), None)
    if held is not None:
        raise Invalid(f"{address} is reserved in this network (reserve={held}): choose one outside {held}")
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


def _spans(subnet: IPNetwork, reserved: Iterable[IPNetwork]) -> list[tuple[int, int]]:
    """What is reserved of the subnet's family: first and last, in order, none overlapping."""
    prefixes = merge(prefix for prefix in reserved if prefix.version == subnet.version)
    return [(int(p.network_address), int(p.broadcast_address)) for p in prefixes]


def _runs(begin: int, end: int, spans: list[tuple[int, int]]) -> Iterator[range]:
    """The stretches from `begin` to `end` that lie between `spans`."""
    for first, last in spans:
        if last < begin:
            continue
        if first > end:
            break
        yield range(begin, first)
        begin = last + 1
    yield range(begin, end + 1)
