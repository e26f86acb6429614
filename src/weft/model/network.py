"""A container network: which data path carries it and which prefixes it has."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name
from weft.base.net import FAMILIES, Family, IPNetwork, covers, first_overlap
from weft.model import selector

BRIDGES = "weft-"
"""How the names of networks' bridges begin."""

SHARE = "share"
"""The option by which users say which network is shared."""

REACH = "reach"
"""The option by which users say which other networks a network's containers may talk to."""
ALL, SELF = "all", "self"
"""What it may say instead of names: every network, which is what records without the option mean; none but itself."""

FLANNEL = "flannel"
"""The option by which users say which registry of flannel's the network is kept in, for flannel's hosts to be in it, too."""

OptionValue = str | int | bool


@lru_cache(4096)
def named_by(reach: str) -> frozenset[str] | None:
    """The networks that a value of the option `reach` names; None: all."""
    names = frozenset(name.strip() for name in reach.split(",")) - {"", SELF}
    return None if ALL in names else names


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on one of a network's subnets. `nodes`: a selector (`weft.model.selector`) of those that may take blocks
    from it. `disabled`: nothing new is given from it; what is in use stays. `masquerade`: whether packets from it to outside
    get the host's address; None: as the network's option says."""

    subnet: IPNetwork
    nodes: str = ""
    disabled: bool = False
    masquerade: bool | None = None

    def __post_init__(self) -> None:
        selector.check(self.nodes)


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """`subnets`: none overlaps another; most drivers take one of each family, few do without (`weft.datapaths.registry`).
    `pools`: conditions on some of them, where the driver gives addresses from blocks. `options`: as given by the user; the
    driver checks their names and types (`weft.datapaths`). `internal`: no way out. `mtu`: of the containers' interfaces, in
    octets; None = found by the data path. `share`: another network, whose subnets, pools, blocks, leases and data path this
    one uses; `subnets` are a copy of those. "": none. (The option of that name says the same, and is kept beside it: versions
    of Weft before the field read only that.) `bridge`: what its bridge is called, where the usual name is that of another
    network's; "": as usual. `data`: what it is called by those who made it elsewhere, such as its id in Neutron."""

    name: str
    driver: str
    subnets: tuple[IPNetwork, ...]
    pools: tuple[Pool, ...] = ()
    options: dict[str, OptionValue] = {}
    internal: bool = False
    mtu: int | None = None
    share: str = ""
    bridge: str = ""
    data: dict[str, str] = {}
    labels: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_name("network", self.name)
        self._agree_on_share()
        if self.bridge and not check_ifname(self.bridge).startswith(BRIDGES):
            raise Invalid(
                f"network {self.name}: its bridge cannot be called {self.bridge}: such a name begins with {BRIDGES}"
            )
        for subnet in self.subnets:
            _check_usable(self.name, subnet)
        if overlapping := first_overlap(self.subnets):
            one, other = overlapping
            raise Invalid(f"network {self.name}: subnets {one} and {other} overlap: leave one of them out")
        known = frozenset(self.subnets)
        for pool in self.pools:
            if pool.subnet not in known:
                raise Invalid(
                    f"network {self.name}: pool {pool.subnet} is none of its subnets {', '.join(map(str, self.subnets))}"
                )
        if self.mtu is not None:
            least = 1280 if 6 in self.families else 576
            if not least <= self.mtu <= 65535:
                raise Invalid(f"network {self.name}: MTU {self.mtu} is outside {least} to 65535")

    def _agree_on_share(self) -> None:
        """Field and option say the same, whichever of them was given."""
        asked = str(self.options.get(SHARE) or "")
        if self.share and asked and self.share != asked:
            raise Invalid(
                f"network {self.name}: it shares {self.share}, and its option {SHARE} says {asked}: leave one out"
            )
        if share := self.share or asked:
            msgspec.structs.force_setattr(self, "share", share)
            msgspec.structs.force_setattr(self, "options", {**self.options, SHARE: share})

    def subnet(self, fam: Family) -> IPNetwork | None:
        """The first of a family; the only one, unless the driver takes several."""
        return next((s for s in self.subnets if s.version == fam), None)

    def masqueraded(self, usual: bool) -> tuple[IPNetwork, ...]:
        """The subnets of which packets to outside get the host's address. `usual`: the network's option."""
        asked = {p.subnet: p.masquerade for p in self.pools if p.masquerade is not None}
        return tuple(s for s in self.subnets if asked.get(s, usual))

    def pool(self, subnet: IPNetwork) -> Pool:
        """What holds for one of its subnets."""
        return next((p for p in self.pools if p.subnet == subnet), Pool(subnet=subnet))

    @property
    def home(self) -> str:
        """The network whose subnets, blocks, leases and data path it uses: itself, unless it shares another's."""
        return self.share or self.name

    @property
    def flannel(self) -> str:
        """The URL of the registry in etcd by which flannel's hosts are in the network, too; "": there is none."""
        return str(self.options.get(FLANNEL) or "")

    @property
    def reaches(self) -> frozenset[str] | None:
        """The other networks that it is open to; None: all. Packets pass where each of two is open to the other."""
        return frozenset() if self.internal else named_by(str(self.options.get(REACH, ALL)))

    def open_to(self, other: Network) -> bool:
        return self.reaches is None or other.name in self.reaches

    def meets(self, other: Network) -> bool:
        """Whether containers of the two may talk to each other."""
        return self.name == other.name or (self.open_to(other) and other.open_to(self))

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(f for f in FAMILIES if self.subnet(f))

    def overlap(self, other: Network) -> tuple[IPNetwork, IPNetwork] | None:
        """The first pair of subnets (own, other's) that share addresses."""
        return next(((a, b) for a in self.subnets for b in other.subnets if covers(a, b) or covers(b, a)), None)


def _check_usable(name: str, subnet: IPNetwork) -> None:
    for wrong, what in (
        (subnet.is_multicast, "multicast"),
        (subnet.is_loopback, "loopback"),
        (subnet.is_link_local, "link-local"),
        (subnet.prefixlen == 0, "the whole address space"),
    ):
        if wrong:
            raise Invalid(
                f"network {name}: {subnet} is {what}: choose a private prefix, such as 10.1.0.0/16 or fd00:1::/48"
            )
