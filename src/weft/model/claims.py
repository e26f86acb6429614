"""What claims say (`keys.address_claim`, `keys.subnet_claim`), and which address or subnet a claim's key is about."""

from __future__ import annotations

from weft.base.net import IPAddress, IPNetwork, parse_address, parse_network

_COOLING = b"nobody, was "


def cooling(name: str, node: str) -> bytes:
    """Of an address that was freed and is not to be given again at once. Such a claim frees itself."""
    return _COOLING + f"{name} on {node}".encode()


def is_cooling(value: bytes) -> bool:
    return value.startswith(_COOLING)


def address(key: str) -> IPAddress:
    return parse_address(key.rsplit("/", 1)[1])


def subnet(key: str) -> IPNetwork:
    return parse_network("/".join(key.rsplit("/", 1)[1].rsplit("-", 1)))
