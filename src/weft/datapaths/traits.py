"""What a driver says of itself, for those outside who need to know it. They ask one of these values, never for a driver by
its name: so a further driver, or a further way to give addresses, is a new value here and no new branch elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from weft.alloc import addresses as alloc
from weft.alloc import blocks, subnets
from weft.base.errors import Invalid
from weft.base.net import Family, IPAddress, contains, parse_address
from weft.datapaths.neutron_options import NeutronOptions
from weft.datapaths.options import BlockOptions, CommonOptions, PhysicalOptions, SubnetOptions, subnet_rules
from weft.model import Endpoint, Lease, Network
from weft.model.network import OptionValue


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """How a network's containers get their addresses. `weft.ipam` has a class for each of these values; all others ask
    for what they need to know:

    `name`: in words. `check`: whether the network's subnets can be given out so, by these options; raises Invalid.
    `leased`: every node holds a lease, and has the addresses that are in it. `claimed`: several nodes give addresses of one
    subnet, so each address is claimed in the cluster. `blocks`: a node's lease begins empty and gets blocks as its
    containers need them. `one_link`: all hosts share one link, so containers have the prefix of the whole subnet, whatever
    their host's lease says. `strict`: who has a block has all of its addresses for as long, and nobody else gives any of
    them: so it gives them without the store, too (docs/adr/0052-without-the-store.md), and keeps some in hand for that.
    `pools`: a network may have several subnets of a family, with conditions, and get more of them.
    `movable`: an address belongs to its container, which may take it along to another node. `made_elsewhere`: network, subnets
    and addresses are somebody else's, who has them made and gives them out; subnets may be left out, then they are as there.
    `outside`: the subnets are those of a network that is there already, in which the hosts may be themselves.
    `bare`: the network has no subnets, and gives no addresses.
    """

    name: str
    check: Callable[[Network, Any], None]
    leased: bool = False
    claimed: bool = False
    blocks: bool = False
    one_link: bool = False
    strict: bool = False
    pools: bool = False
    movable: bool = False
    made_elsewhere: bool = False
    outside: bool = False
    bare: bool = False

    @property
    def routed(self) -> bool:
        """Whether hosts route to each other's leases."""
        return self.leased and not self.one_link


def _check_blocks(network: Network, options: BlockOptions) -> None:
    blocks.check(network, options.block_prefix, options.reserved)


def _check_link_in_blocks(network: Network, options: BlockOptions) -> None:
    subnets.check_shared(network, options.reserved)
    blocks.check(network, options.block_prefix, options.reserved)


def _check_one(network: Network, options: CommonOptions) -> None:
    subnets.check_shared(network, options.reserved)


def _check_ports(network: Network, options: NeutronOptions) -> None:
    options.check_subnets(network)


def _check_own(network: Network, options: SubnetOptions) -> None:
    subnets.plans(network, subnet_rules(options))


def _check_physical(network: Network, options: PhysicalOptions) -> None:
    subnets.check_shared(network, options.reserved)
    for hop in options.next_hops:
        whole = next((s for s in network.subnets if contains(s, hop)), None)
        if whole is None or hop in (whole.network_address, whole.broadcast_address):
            raise Invalid(
                f"network {network.name}: gateway={hop} is no address of {' or '.join(map(str, network.subnets))}: containers "
                "could not reach it"
            )


def _check_bare(network: Network, _options: Any) -> None:
    if network.subnets:
        listed = ", ".join(map(str, network.subnets))
        raise Invalid(
            f"network {network.name}: driver {network.driver} gives no addresses ({listed}): leave --subnet out"
        )
    if network.mtu is not None:
        raise Invalid(f"network {network.name}: driver {network.driver} makes no interface: leave --mtu out")


OWN_SUBNET = Addresses(name="a subnet for each node", leased=True, check=_check_own)
ONE_SUBNET = Addresses(name="one subnet for all nodes", claimed=True, check=_check_one)
PHYSICAL = Addresses(name="one subnet, which is there already", claimed=True, outside=True, check=_check_physical)
NO_ADDRESSES = Addresses(name="none", bare=True, check=_check_bare)
HOSTS_OWN = Addresses(name="the host's own", bare=True, check=_check_bare)
BLOCKS = Addresses(
    name="blocks of nodes", leased=True, claimed=True, blocks=True, pools=True, movable=True, check=_check_blocks
)
SHARED_IN_BLOCKS = Addresses(
    name="one subnet for all nodes, of which each has blocks",
    leased=True,
    claimed=True,
    blocks=True,
    one_link=True,
    strict=True,
    check=_check_link_in_blocks,
)
PORTS = Addresses(name="ports of Neutron's, each with its addresses", made_elsewhere=True, check=_check_ports)


class KnownBy(StrEnum):
    """What other hosts know a host's containers by."""

    NOTHING = "nothing"
    """They don't: the network does not reach from host to host."""
    LEASES = "leases"
    """Its lease says which subnets lead to it."""
    LOCATIONS = "locations"
    """Each container has a record of where it is, which every host reads that has one of the network itself."""
    BGP = "bgp"
    """BIRD announces what its lease says, to other hosts and to routers. What goes through a tunnel is routed by the lease."""


class Switched(StrEnum):
    """How far a container's frames go: two that can meet must not have the same MAC address."""

    NOWHERE = "nowhere"
    """It is alone on its link with the host, which routes; or has no MAC address of its own."""
    ON_HOST = "on its host"
    EVERYWHERE = "on all hosts"
    ELSEWHERE = "by somebody else's switch"
    """Which itself sees to it that no two have the same."""


class InFlannel(msgspec.Struct, frozen=True, kw_only=True):
    """What a data path that flannel has as well is in flannel's registry (`weft.flannel`).

    `type`: in the config's Backend. `said`: BackendType of its leases; "": they have none. `families`: which of them hosts of
    the two sorts carry to each other. `options`: the driver's, from the config's Backend (keys in lower case); raises Invalid
    where the two cannot meet. `tell`: BackendData of a node's lease, from options and the lease's data; None: it has none.
    `hear`: the lease's data, from BackendData."""

    type: str
    said: str
    families: tuple[Family, ...] = (4,)
    options: Callable[[Mapping[str, Any]], dict[str, OptionValue]]
    tell: Callable[[Any, Mapping[str, str]], dict[str, Any] | None]
    hear: Callable[[Mapping[str, Any]], dict[str, str]]


class WayOut(msgspec.Struct, frozen=True, kw_only=True):
    """By what containers send to outside: the first address of their host's subnet, unless this says something else.

    `second_interface`: by an interface of its own in a bridge of the host's (`weft.datapaths._gateway`). `only_way`: unless
    the container has a way out already, which is its own then.
    `next_hops`: the same one for all containers, by family. `told`: what the endpoint's data says under these names.
    """

    second_interface: bool = False
    only_way: bool = False
    next_hops: Mapping[Family, str] | None = None
    told: tuple[str, ...] = ()

    def hops(self, endpoint: Endpoint, lease: Lease | None) -> Iterator[IPAddress]:
        """The next hops that a container could have, in the order of its addresses. `lease`: its node's."""
        if self.next_hops is not None:
            yield from (parse_address(self.next_hops[fam]) for fam in endpoint.families)
            return
        yield from (parse_address(text) for key in self.told if (text := endpoint.data.get(key, "")))
        yield from (alloc.gateway(a.network) for a in endpoint.gateway.addresses) if endpoint.gateway else ()
        yield from (alloc.gateway(s) for s in lease.subnets) if lease else ()
