"""Which node holds which subnet of a network, and what its peers must know to send packets there."""

from __future__ import annotations

import msgspec

from weft.base.names import check_name
from weft.base.net import Family, IPNetwork, parse_mac


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What is routed to a node. `subnets`: one of each of the network's families; where addresses are given from blocks, all
    blocks that the node holds, and maybe none. `hosts`: single addresses outside them that live there all the same (/32,
    /128). `data`: what the data path wants its peers to know, such as
    {"vtep-mac": "0e:08:…"}. The holder's underlay addresses are in its `Node`."""

    network: str
    node: str
    subnets: tuple[IPNetwork, ...]
    hosts: tuple[IPNetwork, ...] = ()
    data: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_name("network", self.network)
        if self.node:  # none where a subnet stands for all nodes
            check_name("node", self.node)
        for name, value in self.data.items():
            if name.endswith("mac"):
                parse_mac(value)

    def subnet(self, fam: Family) -> IPNetwork | None:
        return next((s for s in self.subnets if s.version == fam), None)
