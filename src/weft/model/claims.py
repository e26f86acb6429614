"""What claims say (`keys.address_claim`, `keys.subnet_claim`), and which address or subnet a claim's key is about."""

from __future__ import annotations

from weft.base.net import IPAddress, IPNetwork, parse_address, parse_network

_COOLING = b"nobody, was "
_COMING = b"a container to come"
_SERVICE = b"service "
SERVICES = "virtual addresses of services"
"""Of a subnet that no node has, out of which services get theirs. No node can be called so."""


def cooling(name: str, node: str) -> bytes:
    """Of an address that was freed and is not to be given again at once. Such a claim frees itself."""
    return _COOLING + f"{name} on {node}".encode()


def coming(node: str) -> bytes:
    """Of an address that is kept for a container to come. Such a claim frees itself."""
    return _COMING + f" on {node}".encode()


def of_service(network: str, name: str) -> bytes:
    """Of a virtual address."""
    return _SERVICE + f"{network}/{name}".encode()


def is_service(value: bytes) -> bool:
    return value.startswith(_SERVICE)


def is_passing(value: bytes) -> bool:
    """Whether it is one of those that have no endpoint and free themselves."""
    return value.startswith((_COOLING, _COMING))


def is_cooling(value: bytes) -> bool:
    return value.startswith(_COOLING)


def address(key: str) -> IPAddress:
    return parse_address(key.rsplit("/", 1)[1])


def subnet(key: str) -> IPNetwork:
    return parse_network("/".join(key.rsplit("/", 1)[1].rsplit("-", 1)))
