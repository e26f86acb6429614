"""What a data path is: a handful of pure functions that answer what this host needs.

    network    for the network as such: devices, chains, the gateway's address
    peer       for another node that holds a lease: a route, a neighbour, an FDB entry
    endpoint   for a container on this host

A data path with one subnet for all hosts (`shared`) knows no leases, and instead of `peer` it has

    segment    for the network, as long as a container of it is on this host
    location   for a container on another host, as long as one of the network is on this

Each is asked alone and answers alone, so a change costs what changed. They yield kernel objects, and a `Problem` (a
line with the way out) for what cannot be had. To add a data path, write one module with a `DRIVER` and name it in
`registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from weft.alloc.subnets import Bounds, SubnetRules
from weft.base.errors import Invalid
from weft.base.net import Family, IPAddress, IPNetwork, parse_network
from weft.hoststate import HOST, Bridge, Contribution, Link, Object, Sysctl, Veth, Vxlan
from weft.model import Endpoint, Lease, Location, Network, Node

LEAST_V6_MTU = 1280
"""RFC 8200 section 5."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """This host: its node, and what the agent has learnt about it.

    `iptables`: the (family, backend) pairs whose filter table has a FORWARD chain, e.g. {(4, "nft")}.
    `advertised`: the devices that take router advertisements (sysctl accept_ra; RFC 4861 section 6.3), for example the uplink.
    `ipv6`: whether its kernel speaks IPv6 at all. `attached`: the subnets that it is on, each with its device.
    `lacking`: what its kernel cannot do, of the features that `weft doctor` names.
    `control_open`: its containers may reach what controls the cluster (the agent's setting `control`).
    `store`: addresses and TCP ports of the store, where they are not this host's own.
    """

    node: Node
    iptables: frozenset[tuple[int, str]] = frozenset()
    advertised: frozenset[str] = frozenset()
    ipv6: bool = True
    attached: frozenset[tuple[str, IPNetwork]] = frozenset()
    lacking: frozenset[str] = frozenset()
    control_open: bool = False
    store: frozenset[tuple[IPAddress, int]] = frozenset()


class CommonOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Options every data path takes (`-o KEY=VALUE`). `reserve`: comma-separated prefixes that are given to nobody."""

    reserve: str = ""

    def __post_init__(self) -> None:
        _ = self.reserved

    @property
    def reserved(self) -> tuple[IPNetwork, ...]:
        return tuple(parse_network(text.strip()) for text in self.reserve.split(",") if text.strip())

    @property
    def overhead(self) -> int:
        """Octets that the tunnel adds to each packet."""
        return 0

    @property
    def features(self) -> tuple[str, ...]:
        """What these options need of the kernel, beyond what the driver does in any case."""
        return ()

    @property
    def udp_port(self) -> int | None:
        """That the tunnel uses."""
        return None


class Options(CommonOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Options every data path with a subnet per node takes.

    `node_prefix`, `node_prefix_v6`: prefix length of a node's subnet (0: 24 of a /22 or larger, else two bits longer
    than the network; v6: 64 of a /62 or larger). `subnet_min`, `subnet_max` (and `_v6`): first and last subnet given to
    nodes ("": the network's second, and its last). `masquerade`: to outside with the host's address; without it nothing is
    connection-tracked, and outside needs routes.
    """

    node_prefix: int = 0
    node_prefix_v6: int = 0
    subnet_min: str = ""
    subnet_max: str = ""
    subnet_min_v6: str = ""
    subnet_max_v6: str = ""
    masquerade: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in (self.subnet_min, self.subnet_max, self.subnet_min_v6, self.subnet_max_v6):
            if text:
                parse_network(text)


class BlockOptions(CommonOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Options every data path with blocks takes.

    `block_size`, `block_size_v6`: prefix length of a block. `strict_affinity`: a node gives addresses of its own blocks
    only, and none is left if it can have no more of these; else it borrows single addresses of others'. `cooldown`:
    seconds until a freed address is given again. `masquerade`: to outside with the host's address.
    """

    block_size: int = 26
    block_size_v6: int = 122
    strict_affinity: bool = False
    cooldown: int = 30
    masquerade: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, (least, most) in (
            ("block-size", self.block_size, (20, 32)),
            ("block-size-v6", self.block_size_v6, (116, 128)),
        ):
            if not least <= value <= most:
                raise Invalid(f"{name}={value} is outside {least} to {most} (a prefix length)")
        if not 0 <= self.cooldown <= 86_400:
            raise Invalid(f"cooldown={self.cooldown} is outside 0 to 86400 seconds")

    def block_prefix(self, fam: Family) -> int:
        return self.block_size if fam == 4 else self.block_size_v6


class Site(msgspec.Struct, frozen=True):
    """One network on this host: what all functions know. `lease` is this node's own; with one subnet for all hosts it is
    all of the network, and nothing that is kept anywhere."""

    host: Host
    network: Network
    options: Any
    lease: Lease


class Problem(msgspec.Struct, frozen=True):
    """What cannot be had here, and the way out, in one line."""

    text: str


Answer = Iterator[Object | Problem]


def _nothing(*_: object) -> Answer:
    yield from ()


def _no_data(_host: Host, _network: Network, _options: Any) -> dict[str, str]:
    return {}


def _no_claims(_options: Any) -> tuple[tuple[str, str], ...]:
    return ()


def _no_refusal(_host: Host, _network: Network, _options: Any) -> str:
    return ""


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """An option that, left out, is given the smallest number from `first` on that no other network has claimed. `claim`:
    what its claims begin with, "vni/". The options' own default only says what is meant where a record has no number."""

    option: str
    claim: str
    first: int
    last: int


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: what `--driver` takes. `summary`: one line for lists. `features`: what the kernel must be able to do
    (names of `weft doctor`). `lease_data`: what peers must know of this host. `claims`: (key, what it is) pairs that no
    other network may have. `refusal`: why this host cannot take part, or "". `shared`: one subnet for all hosts,
    addresses are claimed in the cluster. `blocks`: a node's lease begins empty and gets blocks as its containers need
    them (options are `BlockOptions`), addresses are claimed in the cluster; several subnets of a family. `gateway`: its
    containers have a second interface for the way out. `next_hops`: all containers' by family, where they are not the
    first addresses of their hosts' subnets. `numbered`: see there."""

    name: str
    summary: str
    options: type[CommonOptions] = Options
    shared: bool = False
    blocks: bool = False
    gateway: bool = False
    next_hops: Mapping[Family, str] | None = None
    numbered: Numbered | None = None
    features: tuple[str, ...] = ()
    network: Callable[[Site], Answer]
    peer: Callable[[Site, Node, Lease], Answer] = _nothing
    endpoint: Callable[[Site, Endpoint], Answer]
    segment: Callable[[Site], Answer] = _nothing
    location: Callable[[Site, Node, Location], Answer] = _nothing
    lease_data: Callable[[Host, Network, Any], dict[str, str]] = _no_data
    claims: Callable[[Any], tuple[tuple[str, str], ...]] = _no_claims
    refusal: Callable[[Host, Network, Any], str] = _no_refusal

    @property
    def spans(self) -> bool:
        """Whether its networks reach from host to host."""
        return self.shared or self.blocks or self.peer is not _nothing


def whole(network: Network, node: str) -> Lease:
    """What stands for a lease where all hosts share one subnet."""
    return Lease(network=network.name, node=node, subnets=network.subnets)


def gather(answer: Answer, *, ipv6: bool = True) -> Contribution:
    """What a data path answered, with what goes for every data path. `ipv6`: as in `Host`."""
    items = tuple(answer)
    objects = tuple(i for i in items if not isinstance(i, Problem))
    deaf = tuple(_deaf(o) for o in objects if isinstance(o, Link) and _hears_routers(o)) if ipv6 else ()
    return Contribution(
        objects=(*objects, *deaf),
        problems=tuple(i.text for i in items if isinstance(i, Problem)),
    )


def _hears_routers(link: Link) -> bool:
    """Whether the host would take router advertisements that come in by this device of ours. Without IPv6 forwarding it
    does so by default. The kernel has no IPv6, and no such sysctl, on a device with a smaller MTU."""
    return (
        link.ns == HOST and isinstance(link.type, Bridge | Vxlan | Veth) and (link.mtu or LEAST_V6_MTU) >= LEAST_V6_MTU
    )


def _deaf(link: Link) -> Sysctl:
    """A container is no router to its host: whatever it advertises, the host's default route stays as it is."""
    return Sysctl(name=f"net/ipv6/conf/{link.name}/accept_ra", value="0", lasting=False)


def subnet_rules(options: Options) -> SubnetRules:
    """What the options say about nodes' subnets, as `weft.alloc` takes it."""

    def prefix(text: str) -> IPNetwork | None:
        return parse_network(text) if text else None

    return SubnetRules(
        v4=Bounds(node_prefix=options.node_prefix, first=prefix(options.subnet_min), last=prefix(options.subnet_max)),
        v6=Bounds(
            node_prefix=options.node_prefix_v6,
            first=prefix(options.subnet_min_v6),
            last=prefix(options.subnet_max_v6),
        ),
        reserved=options.reserved,
    )
