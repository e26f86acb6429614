"""What a host knows of the others when it is started again: a small file in its state folder.

All hosts may have been without power, and those that the URL names be others by now. A file that cannot be written, or
read, costs only this: it is told, and the host goes on with those that are named.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from weft.base.errors import Failed, Invalid
from weft.base.net import IPAddress
from weft.mesh.swim.wire import Id, Place
from weft.model.codec import decode, encode

FILE = "members.json"
_MODE = 0o600


class Place_(msgspec.Struct, frozen=True):
    name: str
    address: IPAddress
    port: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """`instance`: this host's, where it was given none."""

    instance: Id
    members: list[Place_] = []

    @property
    def places(self) -> list[Place]:
        return [(str(member.address), member.port) for member in self.members]


def fresh() -> Kept:
    return Kept(instance=secrets.token_hex(8))


def read(folder: Path) -> Kept:
    """Raises Failed; then there is nothing known."""
    file = folder / FILE
    try:
        return decode(Kept, file.read_bytes())
    except FileNotFoundError:
        return fresh()
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
            file.write(msgspec.json.format(encode(kept), indent=1))
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / FILE)
    except OSError as error:
        raise Failed(
            f"{folder / FILE} cannot be written: {error.strerror}: after a restart this host knows only the named hosts"
        ) from None


def those(members: Iterable[tuple[str, IPAddress, int]]) -> list[Place_]:
    return [Place_(*each) for each in sorted(members, key=lambda each: each[0])]
