"""How two nodes encrypt what they send each other (docs/encryption.md). It is a property of the pair, and both ends come to the
same by what the two say of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Literal

from weft.base.net import Family, IPNetwork
from weft.model.node import Node

Cipher = Literal["wireguard", "esp"]
WIREGUARD: Cipher = "wireguard"
ESP: Cipher = "esp"
"""IPsec's, in transport mode (RFC 4303), with AES-GCM (RFC 4106)."""

PREFERRED: tuple[Cipher, ...] = (WIREGUARD, ESP)
"""The first that both can."""
WIREGUARD_PORT = 6789
"""UDP; beside those of `weft.mesh.ports`."""

OVERHEAD: dict[Family, int] = {4: 60, 6: 80}
"""Octets that encryption adds, by the underlay's family: WireGuard's, IP, UDP 8 and its own 32. ESP's are fewer: 37 at most
(SPI and sequence number 8, IV 8, padding 3, trailer 2, ICV 16). It is the larger one in any case, so that a network keeps its
MTU when a pair changes from one to the other."""


def cipher(me: Node, node: Node) -> Cipher | None:
    """None: the two have none in common."""
    return next((each for each in PREFERRED if _can(me, each) and _can(node, each)), None)


def _can(node: Node, which: Cipher) -> bool:
    told = node.wg_key if which == WIREGUARD else node.esp_salt and node.esp_start
    return which in node.ciphers and bool(told)


def trusts(me: Node, node: Node, fam: Family, subnets: Iterable[IPNetwork]) -> bool:
    """Whether both ends lie in one of these subnets: what they send each other need not be encrypted."""
    ends = me.address(fam), node.address(fam)
    return any(all(end is not None and end in subnet for end in ends) for subnet in subnets if subnet.version == fam)


def recipe(sender: Node, receiver: Node, salt: str) -> str:
    """What a key of ESP is made of, with the mesh secret: the names of both, `salt`, the receiver's (its `esp_salt`, or one
    that it had or will have), and the sender's start value. As both are random, no two recipes are ever the same."""
    return f"{sender.name} {receiver.name} {salt} {sender.esp_start}"


def spi(recipe: str) -> int:
    """What the receiver knows the key by; at random, as the recipe is. Its upper bit is set, so that it is none of those
    numbers that are reserved, or that people write by hand. Of a thousand hosts the chance that two have the same at one
    receiver is below one in a thousand; until the next change of keys that costs what one of these two sends there."""
    return int.from_bytes(sha256(recipe.encode()).digest()[:4], "big") | 1 << 31
