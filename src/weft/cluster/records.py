"""Records and claims as a listing of the store gives them, without those that cannot be read.

A record may have been written by another version of Weft, or by hand. One that cannot be read costs what it stands for,
and nothing else: every list leaves it out. The agent's status names those that it follows, `weft ipam check` names all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from weft.base.errors import WeftError
from weft.model import decode
from weft.store.protocol import Item

log = logging.getLogger(__name__)

T = TypeVar("T")


def pairs(cls: type[T], items: Iterable[Item]) -> Iterator[tuple[T, Item]]:
    """Each value that is a `cls`, with what it was read from."""
    for item in items:
        try:
            yield decode(cls, item.value), item
        except WeftError as error:
            log.debug("%s in the store cannot be read: %s", item.key, error)


def readable(cls: type[T], items: Iterable[Item]) -> list[T]:
    return [value for value, _ in pairs(cls, items)]


def claimed(of: Callable[[str], T], items: Iterable[Item]) -> Iterator[tuple[T, Item]]:
    """What each claim is about, by its key (`weft.model.claims.address`, `.subnet`, `keys.floating_address`)."""
    for item in items:
        try:
            yield of(item.key), item
        except WeftError as error:
            log.debug("%s in the store cannot be read: %s", item.key, error)


def holder(item: Item) -> str:
    """Who has what is claimed, in words."""
    return item.value.decode(errors="replace")
