"""What `-O KEY=VALUE` may say: the options that several drivers have.

An option is declared once, as a type with its help text, and a driver has it by naming it with its own default:

    vni: Vni = 4096

So what is called the same means the same everywhere. Options of one driver alone are declared in its file, in the same way;
`weft network drivers` shows all of them from here and there. What options of tunnels come to is in `_tunnel`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from weft.alloc.subnets import Bounds, SubnetRules
from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name
from weft.base.net import Family, IPAddress, IPNetwork, parse_address, parse_network
from weft.datapaths.change import LIVE, NOT_AT_ONCE, fixed, later, live, option
from weft.model import ciphers
from weft.model.network import ALL, named_by

Reserve = Annotated[
    str,
    option(
        "comma-separated prefixes that are given to nobody.",
        later("addresses that containers have already stay theirs until these are detached"),
    ),
]
Masquerade = Annotated[
    bool,
    option(
        "to outside with the host's address; without it nothing is connection-tracked, and outside needs routes.",
        live("connections to outside that are open keep the address that they have, where the kernel tracks them"),
    ),
]

Spoofing = Annotated[
    Literal["drop", "allow"],
    option(
        "what containers send in others' names (MAC and IP addresses, ARP, neighbour and router messages, DHCP "
        "answers).",
        LIVE,
    ),
]
Reach = Annotated[
    str,
    option(
        'what other networks its containers reach, where these reach it, too: "all", "self" for none, or names '
        "with commas between. A new network that does not say gets self.",
        LIVE,
    ),
]

Fast = Annotated[
    Literal["checked", "bypass"],
    option(
        "what packets between its containers pass: checked all that others' do, bypass neither connection tracking nor, where "
        "the kernel has tcx, most rules of the hosts; a policy that comes later ends connections that are open.",
        LIVE,
    ),
]
FAST = "fast"
"""The option's name."""

Offload = Annotated[
    Literal["on", "off"],
    option(
        "whether open connections take the short way, past bridge, routing and rules, where the hosts' kernels have one.",
        LIVE,
    ),
]
Dns = Annotated[
    Literal["on", "off"],
    option("whether its containers can ask for names at 127.0.0.11, and know each other by them.", LIVE),
]

KERNEL_PORT = 6784
"""Of driver mesh's VXLAN, UDP; the number is Weave's."""
SECURED_PORT = 6790
"""Of that of encrypted networks of driver mesh."""
VXLAN_PORT, SECURED_VXLAN_PORT = 8472, 8473
"""Of driver vxlan (the first is flannel's and Linux's), and of its encrypted networks."""
SLEEVE_PORT, MEMBERS_PORT = 6783, 6785
"""Of driver mesh's program, and of hosts that tell each other who is there."""
_HELD = {
    SLEEVE_PORT: "where the sleeve listens",
    MEMBERS_PORT: "where hosts tell each other who is there",
    ciphers.WIREGUARD_PORT: "where WireGuard itself listens",
}
"""UDP ports that no network can have, whatever it is."""

Vni = Annotated[int, option("VXLAN's number, 1 to 16777215; each network has its own.", fixed(NOT_AT_ONCE))]
Port = Annotated[int, option("the tunnel's UDP port.", fixed(NOT_AT_ONCE))]
ENCRYPT = "encrypt"
"""The option's name."""
Encrypt = Annotated[
    bool,
    option(
        "what hosts send each other is encrypted, or not sent at all; needs the agents' setting mesh-secret.",
        fixed(NOT_AT_ONCE),
    ),
]
Underlay = Annotated[Literal["ipv4", "ipv6"], option("the hosts' addresses to send between.", fixed(NOT_AT_ONCE))]

NodePrefix = Annotated[
    int,
    option(
        "prefix length of a node's subnet (0: 24 of a /22 or larger, else two bits longer than the network; "
        "v6: 64 of a /62 or larger).",
        fixed("hosts claim their subnets by prefix, and two of different length could overlap"),
    ),
]
SubnetBound = Annotated[
    str,
    option(
        'first and last subnet given to nodes ("": the network\'s second, and its last).',
        later("a host that has a subnet already keeps it"),
    ),
]

FlannelUrl = Annotated[
    str,
    option(
        "etcd://[USER@]HOST[:PORT][,HOST…][/PREFIX] (etcds:// with TLS): flannel's registry. The network is the "
        "one that it says, with flannel's hosts and these nodes in it. The prefix is coreos.com/network if none is given; "
        '"": no hosts of flannel\'s.',
        fixed("the subnets that hosts have are out of that registry"),
    ),
]

BlockSize = Annotated[
    int,
    option(
        "prefix length of a block (0: 26, in a subnet smaller than /22 four bits longer than that; v6: 122, or "
        "four bits longer than a subnet smaller than /118).",
        fixed("hosts claim their blocks by prefix, and two of different size could overlap"),
    ),
]
StrictAffinity = Annotated[
    bool,
    option(
        "a node gives addresses of its own blocks only, and none is left if it can have no more of these; "
        "else it borrows single addresses of others'.",
        later("addresses that were borrowed before stay with their containers"),
    ),
]
Share = Annotated[
    str,
    option(
        'the name of another network of this driver, whose subnets, blocks and data path this one uses; "": its own.',
        fixed("its containers have addresses of the other network's subnets"),
    ),
]
Cooldown = Annotated[
    int,
    option(
        "seconds until a freed address is given again.",
        later("addresses that were freed before are held back as long as was said then"),
    ),
]


Parent = Annotated[
    str,
    option(
        'the hosts\' device on whose wire the containers are; "": the uplink.',
        fixed("containers' interfaces stand on it, and would have to be made anew"),
    ),
]
VlanId = Annotated[
    int,
    option(
        "the VLAN of the parent (IEEE 802.1Q), 1 to 4094, by a device that Weft makes; 0: untagged.",
        fixed("containers' interfaces stand on it, and would have to be made anew"),
    ),
]
NextHop = Annotated[
    str,
    option(
        'the network\'s own gateway, one of each family with a comma between; "": the first address of each subnet.',
        LIVE,
    ),
]


def check_port(port: int) -> None:
    """Whether a tunnel can have this UDP port. Raises Invalid."""
    if not 1 <= port < 1 << 16:
        raise Invalid(f"port={port} is outside 1 to 65535")
    if why := _HELD.get(port):
        raise Invalid(f"port={port} is {why}: choose another")


class CommonOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Options that every data path takes, and what others ask about a tunnel: the answers here are for none."""

    reserve: Reserve = ""
    spoofing: Spoofing = "drop"
    offload: Offload = "on"
    reach: Reach = ALL
    dns: Dns = "on"
    fast: Fast = "checked"

    def __post_init__(self) -> None:
        _ = self.reserved
        if self.fast == "bypass" and self.offload == "off":
            raise Invalid(
                "fast=bypass with offload=off: the one asks for the way that the other forbids: leave one out"
            )
        if self.fast == "bypass" and self.offload == "off":
            raise Invalid("fast=bypass with offload=off: what is bypassed takes the short way: leave one of them out")
        if ALL in self.reach.split(",") and self.reach != ALL:
            raise Invalid(f"reach={self.reach} names networks beside all: leave one of them out")
        for name in sorted(named_by(self.reach) or ()):
            check_name("network", name)

    @property
    def reserved(self) -> tuple[IPNetwork, ...]:
        return tuple(parse_network(text.strip()) for text in self.reserve.split(",") if text.strip())

    @property
    def features(self) -> tuple[str, ...]:
        """What these options need of the kernel, beyond what the driver does in any case."""
        return ()

    @property
    def interface(self) -> str:
        """What its containers' interfaces are called, where whoever attaches does not say; "": the first free of eth0, …"""
        return ""

    @property
    def balancer(self) -> str:
        """What translates virtual addresses of services: "nft", or "ipvs"."""
        return "nft"

    @property
    def overhead(self) -> int:
        """Octets that the tunnel adds to each packet."""
        return 0

    def fitting(self, carried: int) -> int:
        """The MTU of a network that names none, where the uplinks carry so much."""
        return carried - self.overhead

    @property
    def udp_port(self) -> int | None:
        """That the tunnel uses."""
        return None

    @property
    def secured(self) -> tuple[Family, int] | None:
        """The family of the tunnel's packets and their UDP port, where they are to be encrypted."""
        return None

    @property
    def tunnel_vni(self) -> int | None:
        """Of the VXLAN device. The kernel has one for a VNI and a UDP port."""
        return None

    @property
    def tunnel_device(self) -> str:
        """In the host's own namespace; "" where there is none."""
        return ""


class SubnetOptions(CommonOptions, frozen=True, kw_only=True):
    """Options that every data path with a subnet per node takes."""

    node_prefix: NodePrefix = 0
    node_prefix_v6: NodePrefix = 0
    subnet_min: SubnetBound = ""
    subnet_max: SubnetBound = ""
    subnet_min_v6: SubnetBound = ""
    subnet_max_v6: SubnetBound = ""
    masquerade: Masquerade = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in (self.subnet_min, self.subnet_max, self.subnet_min_v6, self.subnet_max_v6):
            if text:
                parse_network(text)


class FlannelOptions(SubnetOptions, frozen=True, kw_only=True):
    """Options of data paths that flannel has as well: hosts that run either can be in one network."""

    flannel: FlannelUrl = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        scheme, separator, rest = self.flannel.partition("://")
        if self.flannel and (not separator or scheme not in ("etcd", "etcds")):
            raise Invalid(f"flannel={self.flannel} is no registry: write etcd://HOST:2379/coreos.com/network")
        if ":" in rest.rpartition("@")[0]:
            raise Invalid(
                "flannel=… has a password in it, and options are shown to all who see the network: leave the password out, and "
                "name a file with it in weft.toml (store-password-file)"
            )


class BareOptions(CommonOptions, frozen=True, kw_only=True):
    """Options of data paths that give no addresses: none of those that all take means anything there."""

    dns: Dns = "off"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("dns", self.dns != "off" and self.dns), ("reserve", self.reserve)):
            if value:
                raise Invalid(f"{name}={value} means nothing where no addresses are given: leave -O {name} out")
        if self.spoofing != "drop":
            raise Invalid(f"spoofing={self.spoofing} means nothing where no addresses are given: leave -O spoofing out")


class PhysicalOptions(CommonOptions, frozen=True, kw_only=True):
    """Options that every data path takes whose containers are on the wire of a device of the hosts'. They pass no rules there,
    so none keeps them from sending in others' names."""

    parent: Parent = ""
    vlan: VlanId = 0
    gateway: NextHop = ""
    spoofing: Spoofing = "allow"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parent:
            check_ifname(self.parent)
        if not 0 <= self.vlan <= 4094:
            raise Invalid(f"vlan={self.vlan} is outside 1 to 4094 (IEEE 802.1Q)")
        if self.spoofing != "allow":
            raise Invalid(
                f"spoofing={self.spoofing}: what these containers send passes no rules of their host: leave -O spoofing out"
            )
        families = [address.version for address in self.next_hops]
        if len(set(families)) != len(families):
            raise Invalid(f"gateway={self.gateway} names two of one family: give one of each")

    @property
    def next_hops(self) -> tuple[IPAddress, ...]:
        return tuple(parse_address(text.strip()) for text in self.gateway.split(",") if text.strip())

    @property
    def features(self) -> tuple[str, ...]:
        return ("vlan",) if self.vlan else ()


class BlockOptions(CommonOptions, frozen=True, kw_only=True):
    """Options that every data path with blocks takes."""

    block_size: BlockSize = 26
    block_size_v6: BlockSize = 122
    cooldown: Cooldown = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, (least, most) in (
            ("block-size", self.block_size, (20, 32)),
            ("block-size-v6", self.block_size_v6, (116, 128)),
        ):
            if value and not least <= value <= most:
                raise Invalid(f"{name}={value} is outside {least} to {most} (a prefix length)")
        if not 0 <= self.cooldown <= 86_400:
            raise Invalid(f"cooldown={self.cooldown} is outside 0 to 86400 seconds")

    def block_prefix(self, whole: IPNetwork) -> int:
        """Of the blocks of one of the network's subnets."""
        asked, usual = (self.block_size, 26) if whole.version == 4 else (self.block_size_v6, 122)
        return asked or min(max(usual, whole.prefixlen + 4), whole.max_prefixlen)

    @property
    def strict(self) -> bool:
        """Whether a node gives addresses of its own blocks only."""
        return True


class LinkInBlocksOptions(BlockOptions, frozen=True, kw_only=True):
    """Options of data paths with one subnet for all hosts, of which each has blocks (`traits.SHARED_IN_BLOCKS`)."""

    block_size: BlockSize = 0
    block_size_v6: BlockSize = 0


class PoolOptions(BlockOptions, frozen=True, kw_only=True):
    """Options of data paths that route blocks out of several pools (`traits.BLOCKS`)."""

    strict_affinity: StrictAffinity = False
    masquerade: Masquerade = True

    @property
    def strict(self) -> bool:
        return self.strict_affinity


def subnet_rules(options: SubnetOptions) -> SubnetRules:
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
