"""What a host knows of the others when it is started again: a small file in its state folder.

All hosts may have been without power, and those that the URL names be others by now. A file that cannot be written, or
read, costs only this: it is told, and the host goes on with those that are named.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from weft.base.errors import Failed, Invalid
from weft.base.net import IPAddress
from weft.mesh.swim.wire import Alive, Id, Place
from weft.model import decode, encode

FILE = "members.json"
_MODE = 0o600


class Entry(msgspec.Struct, frozen=True, order=True):
    name: str
    address: IPAddress
    port: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """`instance`: this host's, where it was given none."""

    instance: Id
    members: tuple[Entry, ...] = ()

    @property
    def places(self) -> list[Place]:
        return [(str(member.address), member.port) for member in self.members]

    def knowing(self, claims: list[Alive]) -> Kept:
        """With these members. Where there are none, those of before are still worth a try."""
        entries = tuple(sorted(Entry(claim.name, claim.ip, claim.port) for claim in claims))
        return Kept(instance=self.instance, members=entries or self.members)


def fresh() -> Kept:
    return Kept(instance=secrets.token_hex(8))


def read(folder: Path) -> Kept | None:
    """None where there is none yet. Raises Failed."""
    file = folder / FILE
    try:
        return decode(Kept, file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from None
    except Invalid as error:
        raise Failed(f"{file} cannot be read: {error}: it is made anew") from None


def write(folder: Path, kept: Kept) -> None:
    """Whole, or not at all. Raises Failed."""
    new = folder / f"{FILE}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as file:
            file.write(encode(kept))
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / FILE)
    except OSError as error:
        raise Failed(
            f"{folder / FILE} cannot be written: {error.strerror}: after a restart this host knows only the named hosts"
        ) from None
