"""One container's interface in one network."""

from __future__ import annotations

import re

import msgspec

from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name, device, digest
from weft.base.net import Family, IPAddress, IPInterface, family, parse_mac
from weft.model import floating
from weft.model.bandwidth import Bandwidth
from weft.model.identity import DEFAULT_NAMESPACE, NamedPort, check_aliases
from weft.model.ports import PublishedPort, first_clash

HOST_ITSELF = "/proc/self/ns/net"
"""Path of the namespace of an endpoint that is no container, but its host: to an agent, its own."""

_ID = re.compile(r"[0-9A-Za-z]{1,64}")


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A network namespace of a container. `path` opens it; `cookie` (SO_NETNS_COOKIE, unique for one boot) tells whether
    it still is the same one: a pid may be reused, a name may be given again."""

    path: str
    cookie: int

    def __post_init__(self) -> None:
        if not self.path.isprintable():
            raise Invalid(f"'{self.path[:80]}' is not the path of a namespace: it has characters that cannot be shown")


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A container's second interface, for the way out of a network that has none of its own. `addresses`: with the prefix
    length of the host's own gateway subnets."""

    interface: str
    addresses: tuple[IPInterface, ...]

    def __post_init__(self) -> None:
        check_ifname(self.interface)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`id`: hex, unique in the cluster. `addresses`: with the prefix length of the node's subnet. `container`: what the
    user named as target. `interface`: the device inside the container; `host_interface` is its other end. `default_route`: the
    container has a way out by this interface. `rank`: its place among the container's interfaces. Where several of them offer
    the same thing, the way out or a published port, the lowest one's counts, and the next one's as soon as that is gone; 0 is
    only for one that nobody else's default route comes before. `owner`: the
    key under which another program asked for it and will find it again, such as "cni/NAME/CONTAINERID/IFNAME".
    `ports`: of its node, that lead to it. `floating`: external addresses that lead to it wherever it lives, and that its
    own connections to outside come from. `bandwidth`: None for no limit. `spoofing`: whether it may
    send in others' names, "allow" or "drop"; "" is as the network says. `offload`: "off" keeps its
    packets on the ordinary way; "on" and "" are as the network says. `policy_namespace`, `labels`, `named_ports`: by
    which policy selects it, and speaks of its ports. `aliases`: further names, by which containers of its network find it.
    `resolv_conf`: Weft writes the file by which `ip netns exec` makes its commands ask for names. `mac`: "" where
    the interface has none of its own. `data`: what the driver's
    way to give addresses has learnt that the data path needs, such as the id of its port in Neutron. `name_claimed`: no other
    endpoint of its network has its name (not known of records of earlier versions).

    `handover`: an engine that itself moves the interface into the container, names it and gives it its addresses and
    routes finds it under this name in the host's namespace; "" where Weft does all that. Then `namespace` is where the
    engine says that it will be, and its cookie 0."""

    id: str
    name: str
    network: str
    node: str
    container: str
    namespace: Namespace
    interface: str
    mac: str
    addresses: tuple[IPInterface, ...]
    labels: dict[str, str] = {}
    ports: tuple[PublishedPort, ...] = ()
    floating: tuple[IPAddress, ...] = ()
    bandwidth: Bandwidth | None = None
    spoofing: str = ""
    offload: str = ""
    gateway: Gateway | None = None
    owner: str = ""
    default_route: bool = True
    rank: int = 0
    handover: str = ""
    policy_namespace: str = DEFAULT_NAMESPACE
    named_ports: tuple[NamedPort, ...] = ()
    aliases: tuple[str, ...] = ()
    resolv_conf: bool = False
    data: dict[str, str] = {}
    name_claimed: bool = False

    def __post_init__(self) -> None:
        check_name("endpoint", self.name)
        check_name("network", self.network)
        check_name("node", self.node)
        check_ifname(self.interface)
        if not _ID.fullmatch(self.id):
            raise Invalid(f"endpoint {self.name}: '{self.id[:80]}' is not an id: it has letters and digits only")
        check_spoofing(self.spoofing)
        check_offload(self.offload)
        if self.handover:
            check_ifname(self.handover)
        if self.mac and parse_mac(self.mac) != self.mac:
            raise Invalid(f"endpoint {self.name}: MAC {self.mac} is not in lower case with colons")
        for port in self.ports:
            if port.open:
                raise Invalid(f"endpoint {self.name}: {port} leads from no port of the host yet")
            if not set(port.families) & set(self.families):
                raise Invalid(
                    f"endpoint {self.name}: {port} cannot be reached: it has no IPv{port.families[0]} address"
                )
        if twice := first_clash(self.ports, self.families):
            one, other = twice
            raise Invalid(f"endpoint {self.name}: {one.outer} and {other.outer} are the same port: publish it once")
        floating.check(self.floating, self.families)
        check_aliases(f"endpoint {self.name}", self.aliases)

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(family(a) for a in self.addresses)

    def shares_namespace(self, other: Endpoint) -> bool:
        """Whether both are interfaces of one container, as far as its namespace is known."""
        return self.node == other.node and self.namespace.cookie == other.namespace.cookie != 0

    @property
    def engine_id(self) -> str:
        """The id that a container has in the engine that attached it by CNI; "" where that is not known."""
        kind, _, rest = self.owner.partition("/")
        return rest.split("/")[1] if kind == "cni" and rest.count("/") == 2 else ""

    @property
    def of_host(self) -> bool:
        """The host itself has the addresses, on `interface`, a device of the data path's own (`Driver.exposes`)."""
        return self.namespace.path == HOST_ITSELF

    @property
    def host_interface(self) -> str:
        return device("weft", self.id[:11])


def check_spoofing(text: str) -> None:
    """Raises Invalid."""
    if text not in ("", "allow", "drop"):
        raise Invalid(f"spoofing '{text[:80]}' is neither allow nor drop")


def check_offload(text: str) -> None:
    """Raises Invalid."""
    if text not in ("", "on", "off"):
        raise Invalid(f"offload '{text[:80]}' is neither on nor off")


def endpoint_id(network: str, node: str, cookie: int, interface: str) -> str:
    """The same attachment has the same id, so that attaching twice is harmless."""
    return digest("endpoint", network, node, str(cookie), interface).hex()[:16]


def handover_id(network: str, node: str, owner: str) -> str:
    """The same of what is attached before its namespace is there."""
    return digest("handover", network, node, owner).hex()[:16]
