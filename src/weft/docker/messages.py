"""What dockerd asks, with the keys and the meaning of Docker's remote API (moby, libnetwork/docs/remote.md and ipam.md).

What is not there may be left out or null. Keys that Weft has no use for are passed over.
"""

from __future__ import annotations

from typing import Any, TypeVar, get_args

import msgspec
from msgspec import field

from weft.base.errors import Invalid
from weft.base.golang import matched
from weft.base.net import IPAddress, IPInterface, parse_address, parse_interface
from weft.model import PublishedPort
from weft.model.codec import convert, decode
from weft.model.ports import BY_NUMBER, ExposedPort

GENERIC = "com.docker.network.generic"
"""In `options`: those that the user gave to the driver."""
INTERNAL = "com.docker.network.internal"
EXPOSED = "com.docker.network.endpoint.exposedports"
PORT_MAP = "com.docker.network.portmap"
DRIVER_MTU = "com.docker.network.driver.mtu"
ADDRESS_TYPE, GATEWAY = "RequestAddressType", "com.docker.network.gateway"
Options = dict[str, Any]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what dockerd asks."""


M = TypeVar("M", bound=Message)


def read(kind: type[M], body: bytes) -> M:
    """Keys in any case: dockerd is written in Go. Raises Invalid."""
    return convert(kind, _spelt(kind, decode(Any, body)))


def _spelt(kind: Any, value: Any) -> Any:
    """`value` with the keys that messages within `kind` have. What is of another form stays as it is."""
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Message):
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}
        return {key: _spelt(fields.get(key), v) for key, v in matched(fields, value).items()}
    for inner in get_args(kind):  # list[Pool] | None
        value = [_spelt(inner, v) for v in value] if isinstance(value, list) else _spelt(inner, value)
    return value


class Nothing(Message, frozen=True):
    """A request without content."""


class Pool(Message, frozen=True, rename="pascal"):
    """What IPAM gave to a network, of one family. `gateway`: with its prefix length."""

    address_space: str = ""
    pool: str = ""
    gateway: str = ""
    aux_addresses: dict[str, Any] | None = None


class OfNetwork(Message, frozen=True):
    network: str = field(name="NetworkID")


class CreateNetwork(OfNetwork, frozen=True):
    options: Options | None = field(name="Options", default=None)
    v4: list[Pool] | None = field(name="IPv4Data", default=None)
    v6: list[Pool] | None = field(name="IPv6Data", default=None)


class OfEndpoint(OfNetwork, frozen=True):
    endpoint: str = field(name="EndpointID")

    @property
    def owner(self) -> str:
        return owner(self.network, self.endpoint)


class Interface(Message, frozen=True):
    """Addresses with their prefix length; "" where there is none."""

    address: str = field(name="Address", default="")
    address_v6: str = field(name="AddressIPv6", default="")
    mac: str = field(name="MacAddress", default="")

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        return tuple(parse_interface(text) for text in (self.address, self.address_v6) if text)


class CreateEndpoint(OfEndpoint, frozen=True):
    """`options`: those of `docker network connect --driver-opt` are among them."""

    interface: Interface | None = field(name="Interface", default=None)
    options: Options | None = field(name="Options", default=None)

    @property
    def exposed(self) -> tuple[ExposedPort, ...]:
        """By the image or the user, published or not. Raises Invalid."""
        listed = (self.options or {}).get(EXPOSED) or []
        found = convert(list[Exposed], _spelt(list[Exposed], listed))
        return tuple(ExposedPort(BY_NUMBER[e.proto], e.port) for e in found if e.proto in BY_NUMBER)


class Exposed(Message, frozen=True, rename="pascal"):
    """`proto`: its number (IANA)."""

    proto: int
    port: int


class Join(OfEndpoint, frozen=True):
    """`sandbox`: where the container's namespace will be found once it is made."""

    sandbox: str = field(name="SandboxKey")


class Binding(Message, frozen=True, rename="pascal"):
    """A published port. `proto`: its number (IANA); `host_port`: 0 where any will do, or any up to `host_port_end`."""

    proto: int
    port: int
    host_ip: str = field(name="HostIP", default="")
    host_port: int = 0
    host_port_end: int = 0

    def published(self) -> PublishedPort:
        """Raises Invalid."""
        protocol = BY_NUMBER.get(self.proto)
        if protocol is None:
            raise Invalid(f"IP protocol {self.proto} has no ports that could be published")
        if not self.host_port or self.host_port_end not in (0, self.host_port):
            # Docker learns from no remote driver which one was taken.
            raise Invalid(f"say which port of the host leads to {self.port}/{protocol}, such as -p 8080:{self.port}")
        return PublishedPort(
            host_port=self.host_port,
            container_port=self.port,
            protocol=protocol,
            host_ip=parse_address(self.host_ip) if self.host_ip else None,
        )


class ProgramExternalConnectivity(OfEndpoint, frozen=True):
    options: Options | None = field(name="Options", default=None)

    @property
    def ports(self) -> tuple[PublishedPort, ...]:
        """Raises Invalid."""
        listed = (self.options or {}).get(PORT_MAP) or []
        bindings = convert(list[Binding], _spelt(list[Binding], listed))
        return tuple(binding.published() for binding in bindings)


class RequestPool(Message, frozen=True):
    pool: str = field(name="Pool", default="")
    sub_pool: str = field(name="SubPool", default="")


class OfPool(Message, frozen=True):
    pool: str = field(name="PoolID")


class RequestAddress(OfPool, frozen=True):
    address: str = field(name="Address", default="")
    options: Options | None = field(name="Options", default=None)

    @property
    def wish(self) -> IPAddress | None:
        return parse_address(self.address) if self.address else None

    @property
    def for_gateway(self) -> bool:
        return (self.options or {}).get(ADDRESS_TYPE) == GATEWAY


class ReleaseAddress(OfPool, frozen=True):
    address: str = field(name="Address")


OWNER = "docker/"
"""How the owner of everything of Docker's begins."""


def owner(network: str, endpoint: str = "") -> str:
    """Of an endpoint; without one, how those of the network's endpoints begin. Raises Invalid."""
    for id in (network, endpoint):
        if not (id.isascii() and id.replace("-", "").isalnum()) and (id or id is network):
            raise Invalid(f"{id!a} is not an id of Docker's")
    return f"{OWNER}{network}/{endpoint}"


def ids(owner: str) -> tuple[str, str]:
    """The network's and the endpoint's."""
    _, network, endpoint = owner.split("/")
    return network, endpoint
