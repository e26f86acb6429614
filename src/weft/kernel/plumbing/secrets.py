"""What the kernel is given of keys. No object of `weft.hoststate` has one: they are made where they are written."""

from __future__ import annotations

from typing import Protocol

from weft.base.errors import Failed

NONE = "this host has no mesh secret, so there are no keys: name its file in weft.toml (mesh-secret), and restart the agent"


class Keys(Protocol):
    """Of this host. In any thread."""

    @property
    def public(self) -> str:
        """WireGuard's, in base64."""

    @property
    def private(self) -> bytes:
        """WireGuard's."""

    def shared(self, public: str) -> bytes:
        """WireGuard's preshared key with the host that has this public key."""

    def esp(self, recipe: str) -> bytes:
        """A key of AES-GCM with its salt (RFC 4106): 36 octets."""

    def first_use(self, recipe: str) -> bool:
        """Whether this host never sent with that key: it is remembered before anything is sent, for as long as that
        recipe may be asked for. Raises OSError."""


def needed(keys: Keys | None) -> Keys:
    """Raises Failed."""
    if keys is None:
        raise Failed(NONE)
    return keys
