"""What was known of a registry last, written down on this host: while the registry is away, a restarted agent goes on with it.

One file for each network, also of one that is gone, as long as this node's entry may still be in its registry.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from weft.base.errors import WeftError
from weft.model import decode, encode

log = logging.getLogger(__name__)

FOLDER = "flannel"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """`number`: of the etcd lease to which this node's entry is bound. `wrote`: under which key this node's entry was written
    last, and what it said. `entries`: all of them, as they were read, by key."""

    url: str
    number: int
    wrote: tuple[str, str] = ("", "")
    entries: dict[str, str] = {}


def _path(state: Path, network: str) -> Path:
    return state / FOLDER / f"{quote(network, safe='')}.json"


def load(state: Path, network: str) -> Memory | None:
    path = _path(state, network)
    try:
        return decode(Memory, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, WeftError) as error:
        log.warning("what was known of the registry of network %s cannot be read: %s", network, error)
        return None


def save(state: Path, network: str, memory: Memory) -> None:
    """A disk that is full must not cost the network anything."""
    path = _path(state, network)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(encode(memory))
        fresh.replace(path)
    except OSError as error:
        log.warning("what is known of the registry of network %s is not written down: %s", network, error)


def forget(state: Path, network: str) -> None:
    _path(state, network).unlink(missing_ok=True)


def everything(state: Path) -> Iterator[tuple[str, Memory]]:
    """With the networks' names."""
    for path in sorted((state / FOLDER).glob("*.json")):
        name = unquote(path.stem)
        if (memory := load(state, name)) is not None:
            yield name, memory
