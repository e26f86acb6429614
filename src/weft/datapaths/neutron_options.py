"""What `-O KEY=VALUE` may say where containers are ports of Neutron's networks."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from weft.base.errors import Invalid
from weft.base.net import parse_network
from weft.datapaths.change import LIVE, fixed, later, option
from weft.datapaths.options import CommonOptions
from weft.model import Network

Net = Annotated[
    str,
    option(
        'name or id of a network in Neutron that is used and never removed; "": Weft makes one, and removes it '
        "with its own.",
        fixed("its containers have their ports there"),
    ),
]
Subnet = Annotated[
    str,
    option(
        'names or ids of subnets of neutron.net, with commas between, one of each family at most; "": those with '
        "the prefixes of --subnet, or all there are.",
        fixed("its containers have their ports there"),
    ),
]
Pool = Annotated[
    str,
    option(
        "name or id of a subnet pool in Neutron that the subnets are taken from, where Weft makes them.",
        fixed("its containers have their ports there"),
    ),
]
SecurityGroups = Annotated[
    str,
    option(
        'names or ids of security groups of each port, with commas between; "": Neutron\'s default.',
        later("ports that were made before keep what they have"),
    ),
]
PortSecurity = Annotated[
    Literal["on", "off"],
    option(
        "off: neither security groups nor checks of what containers send in others' names.",
        later("ports that were made before keep what they have"),
    ),
]
AddressPairs = Annotated[
    str,
    option(
        "further prefixes that each port may send from, with commas between, for what is nested in containers; "
        "at most 10.",
        later("ports that were made before keep what they have"),
    ),
]
PluggingTimeout = Annotated[
    int,
    option(
        "seconds in which a port has to become active, else its container is not attached; 0: not waited for.", LIVE
    ),
]

MOST_PAIRS = 10
"""Neutron's own default (max_allowed_address_pair)."""
LONGEST_WAIT = 3600
OPENVSWITCH = "openvswitch"
"""What a host needs (name of `weft doctor`)."""
GATEWAYS = ("gateway", "gateway-v6")
"""Keys of an endpoint's data: the next hops out of its subnets."""


def listed(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


class NeutronOptions(CommonOptions, frozen=True, kw_only=True):
    net: Net = msgspec.field(default="", name="neutron.net")
    subnet: Subnet = msgspec.field(default="", name="neutron.subnet")
    pool: Pool = msgspec.field(default="", name="neutron.pool")
    security_groups: SecurityGroups = ""
    port_security: PortSecurity = "on"
    allowed_address_pairs: AddressPairs = ""
    plugging_timeout: PluggingTimeout = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subnet and not self.net:
            raise Invalid(f"neutron.subnet={self.subnet} is of no network: say which with -O neutron.net=NAME")
        if self.pool and self.net:
            raise Invalid(f"neutron.pool={self.pool}: neutron.net={self.net} has its subnets already: leave one out")
        if self.port_security == "off" and (self.security_groups or self.pairs):
            given = "security-groups" if self.security_groups else "allowed-address-pairs"
            raise Invalid(f"port-security=off leaves nothing that {given} could say: leave one out")
        if len(self.pairs) > MOST_PAIRS:
            raise Invalid(f"allowed-address-pairs has {len(self.pairs)} prefixes: at most {MOST_PAIRS}")
        if not 0 <= self.plugging_timeout <= LONGEST_WAIT:
            raise Invalid(f"plugging-timeout={self.plugging_timeout} is outside 0 to {LONGEST_WAIT} seconds")

    @property
    def features(self) -> tuple[str, ...]:
        return (OPENVSWITCH,)

    @property
    def pairs(self) -> tuple[str, ...]:
        try:
            return tuple(str(parse_network(text)) for text in listed(self.allowed_address_pairs))
        except Invalid as error:
            raise Invalid(f"allowed-address-pairs={self.allowed_address_pairs}: {error}") from None

    @property
    def groups(self) -> tuple[str, ...]:
        return listed(self.security_groups)

    def check_subnets(self, network: Network) -> None:
        """Raises Invalid."""
        if not network.subnets and not self.net:
            raise Invalid(
                f"network {network.name}: no subnet: give --subnet, such as --subnet 10.1.0.0/16, or -O neutron.net=NAME to "
                "use a network that Neutron has"
            )
        if self.reserve:
            raise Invalid("reserve is not for ports of Neutron's: its subnets' allocation pools say what is given")
