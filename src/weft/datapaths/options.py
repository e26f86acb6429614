"""What `-o KEY=VALUE` may say: the options that several drivers have. One driver's own are in its file."""

from __future__ import annotations

import msgspec

from weft.alloc.subnets import Bounds, SubnetRules
from weft.base.errors import Invalid
from weft.base.net import Family, IPNetwork, parse_network


class CommonOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Options that every data path takes (`-o KEY=VALUE`). `reserve`: comma-separated prefixes that are given to nobody."""

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


class SubnetOptions(CommonOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Options that every data path with a subnet per node takes.

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
    """Options that every data path with blocks takes.

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
