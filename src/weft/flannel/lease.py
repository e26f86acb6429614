"""An entry of the registry: a host's subnet, as flannel writes and reads it (pkg/subnet/etcd, pkg/lease).

subnets/40.15.43.0-24             {"PublicIP":"192.168.1.68","PublicIPv6":null,"BackendType":"vxlan","BackendData":{…}}
subnets/40.15.43.0-24&fd00::-64   dual stack; the v4 part is always there
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import msgspec

from weft.base.errors import Invalid
from weft.base.net import IPAddress, IPNetwork

SUBNETS = "subnets"
"""What the keys of all entries begin with. Flannel reads whatever begins so, with or without a slash behind it."""

_KEY = re.compile(
    r"(?P<v4>\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})-(?P<n4>\d{1,2})(?:&(?P<v6>[0-9a-f:]+)-(?P<n6>\d{1,3}))?$", re.ASCII
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """`subnets`: of v4, and of v6 where there is one. `public`: the host's addresses, in the same way. `type`: "" where none
    is told. `data`, `data6`: what its peers need to know; None where there is nothing."""

    subnets: tuple[IPNetwork, ...]
    public: tuple[IPAddress, ...]
    type: str = ""
    data: Mapping[str, Any] | None = None
    data6: Mapping[str, Any] | None = None

    @property
    def host(self) -> IPAddress:
        """By which flannel tells its hosts apart."""
        return self.public[0]


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """As it is written. PublicIPv6 is always there, the other three where they say something."""

    public_ip: str = msgspec.field(name="PublicIP")
    public_ip6: str | None = msgspec.field(name="PublicIPv6", default=None)
    type: str | msgspec.UnsetType = msgspec.field(name="BackendType", default=msgspec.UNSET)
    data: Any = msgspec.field(name="BackendData", default=msgspec.UNSET)
    data6: Any = msgspec.field(name="BackendV6Data", default=msgspec.UNSET)


def key(subnets: Iterable[IPNetwork]) -> str:
    return f"{SUBNETS}/{'&'.join(f'{s.network_address}-{s.prefixlen}' for s in subnets)}"


def parse_key(text: str) -> tuple[IPNetwork, ...] | None:
    """The subnets; None where it is no entry's. Flannel looks at the end of a key only."""
    found = _KEY.search(text)
    if found is None:
        return None
    try:
        v4 = IPv4Network(f"{found['v4']}/{found['n4']}")
        return (v4, IPv6Network(f"{found['v6']}/{found['n6']}")) if found["v6"] else (v4,)
    except ValueError:
        return None


def value(entry: Entry) -> bytes:
    v6 = next((str(a) for a in entry.public if a.version == 6), None)
    told = _Value(
        public_ip=str(entry.host),
        public_ip6=v6,
        type=entry.type or msgspec.UNSET,
        data=entry.data or msgspec.UNSET,
        data6=entry.data6 or msgspec.UNSET,
    )
    return msgspec.json.encode(told)


def parse(at: str, told: bytes) -> Entry:
    """`at`: its key. Raises Invalid."""
    subnets = parse_key(at)
    if subnets is None:
        raise Invalid(f"'{at[:80]}' in flannel's registry is no lease's key")
    try:
        found = msgspec.json.decode(told, type=_Value)
        public: tuple[IPAddress, ...] = (IPv4Address(found.public_ip),)
        if found.public_ip6:
            public += (IPv6Address(found.public_ip6),)
        if alien := next((a for a in public if _is_nobodys(a)), None):
            raise ValueError(f"{alien} is no host's address")
        return Entry(
            subnets=subnets,
            public=public,
            type=found.type or "",
            data=_data(found.data),
            data6=_data(found.data6),
        )
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Invalid(f"'{at[:80]}' in flannel's registry cannot be read: {error}") from None


def _is_nobodys(address: IPAddress) -> bool:
    return address.is_unspecified or address.is_loopback or address.is_multicast or int(address) == 0xFFFFFFFF


def _data(told: object) -> Mapping[str, Any] | None:
    """Raises ValueError."""
    if told is msgspec.UNSET or told is None:
        return None
    if not isinstance(told, dict):
        raise ValueError("its data are no JSON object")
    return told or None
