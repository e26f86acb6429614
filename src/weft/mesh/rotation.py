"""How keys of ESP change without a packet being lost. Pure.

A key is made of what both ends have drawn at random: the receiver a salt, the sender a start value
(`weft.model.ciphers.recipe`). The receiver changes keys, for all who send to it at once:

    prepare    it draws another salt, and makes the states to receive by it; nobody knows of it
    tell       these stand in its kernel: now its record tells the new salt. Who reads that makes a state to send by it, and
               then gives up the old one. What the receiver has of the old salt stays
    prepare    only the next change, an interval later, takes away what has been old since the one before

So at any moment a sender's salt is one that the receiver takes, whatever the order in which things are made and read; but for a
sender that has not read the receiver's record for a whole interval.

A sender changes its start value only where it has to: when it may have lost count of the packets that it sent by a key, which
is after a boot, and when a state has gone that it sent by. Then what it sends is lost until others have read its record. That
is the time in which it would have been lost anyway, or was.
"""

from __future__ import annotations

import secrets

import msgspec
from msgspec.structs import replace

_OCTETS = 16


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """What this host has drawn, in one boot of it. `start`: for what it sends. `salts`: for what is sent to it, first the one
    that others are told, then the one before it. `coming`: one that is not told yet. `since`: when the first one was told, in
    seconds since the boot."""

    boot: str
    start: str
    salts: tuple[str, ...]
    coming: str = ""
    since: float = 0.0

    @property
    def told(self) -> str:
        return self.salts[0] if self.salts else ""

    @property
    def taken(self) -> tuple[str, ...]:
        """What it takes packets by."""
        return (*((self.coming,) if self.coming else ()), *self.salts)


def draw() -> str:
    return secrets.token_hex(_OCTETS)


def due(drawn: Drawn, now: float, interval: float) -> bool:
    return bool(drawn.coming) or now - drawn.since >= interval


def prepare(drawn: Drawn, salt: str) -> Drawn:
    """`salt`: a new one."""
    return drawn if drawn.coming else replace(drawn, coming=salt, salts=drawn.salts[:1])


def tell(drawn: Drawn, now: float) -> Drawn:
    """Once the states of the coming one stand."""
    return replace(drawn, salts=(drawn.coming, *drawn.salts[:1]), coming="", since=now) if drawn.coming else drawn


def restart(drawn: Drawn, start: str) -> Drawn:
    """`start`: a new one."""
    return replace(drawn, start=start)
