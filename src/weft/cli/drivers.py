"""`weft network drivers`: what the data paths say of themselves. Needs no agent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Annotated, get_args, get_origin

import msgspec

from weft.cli.output import blocks, plain
from weft.cli.table import Page
from weft.datapaths.driver import Driver
from weft.datapaths.options import CommonOptions, SubnetOptions
from weft.datapaths.registry import DRIVERS, driver
from weft.datapaths.registry import change as change_of


class Option(msgspec.Struct, frozen=True):
    """`type`: "number", "true|false", "text", or the words there are. `change`: whether `weft network set` changes it: "live",
    on all hosts at once; "later", but part of what it is about stays as it was, as `note` says; "fixed", never, and `note` says
    why."""

    name: str
    type: str
    default: str | int | bool
    help: str
    change: str = ""
    note: str = ""


class Description(msgspec.Struct, frozen=True):
    name: str
    summary: str
    options: tuple[Option, ...]


def describe(name: str = "") -> tuple[Description, ...]:
    """One driver, or all. Raises Invalid."""
    chosen = [driver(name)] if name else [DRIVERS[key] for key in sorted(DRIVERS)]
    return tuple(Description(d.name, d.summary, _options(d)) for d in chosen)


def render(page: Page, drivers: tuple[Description, ...]) -> Iterator[str]:
    """The options every driver takes come once, at the end."""
    found = {option.name: option for d in drivers for option in d.options if option.name in _COMMON}
    common = [option for option in found.values() if option.name in _EVERYWHERE]
    leased = [option for option in found.values() if option.name not in _EVERYWHERE]
    return blocks(
        *(
            _one(page, d.name, d.summary, [option for option in d.options if option.name not in _COMMON])
            for d in drivers
        ),
        *([_one(page, "OPTIONS OF DRIVERS WITH A SUBNET FOR EACH NODE", "", leased)] if leased else []),
        _one(page, "OPTIONS OF EVERY DRIVER" if len(drivers) > 1 else "OPTIONS IT SHARES", "", common),
    )


def _one(page: Page, name: str, summary: str, options: list[Option]) -> Iterator[str]:
    yield page.paint(name, "head") + (f"  {summary}" if summary else "")
    for option, following in zip_longest(options, options[1:]):
        default = plain(option.default)
        yield (
            f"  -O {option.name}={option.type}"
            + (f"  [default: {default}]" if default else "")
            + f"  [{option.change}]"
        )
        if option.help and not (following and following.help == option.help):  # several may share one text
            yield from page.paragraph(option.help, "       ")


def _options(d: Driver) -> tuple[Option, ...]:
    return tuple(_option(d, field) for field in msgspec.structs.fields(d.options))


def _option(d: Driver, field: msgspec.structs.FieldInfo) -> Option:
    kind, *said = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
    text = " ".join(meta.description for meta in said if isinstance(meta, msgspec.Meta) and meta.description)
    default, change = field.default, change_of(d, field.encode_name)
    if (
        d.numbered is not None and d.numbered.option == field.encode_name
    ):  # what it is when it is left out is no default
        text += f" Left out: the smallest from {d.numbered.first} on that is free."
        default = ""
    return Option(field.encode_name, _words(kind), default, text, change.when, change.text)


_EVERYWHERE = {field.encode_name for field in msgspec.structs.fields(CommonOptions)}
_COMMON = {field.encode_name for field in msgspec.structs.fields(SubnetOptions)}
"""Those of drivers with a subnet for each node are among them."""

_WORDS: dict[object, str] = {int: "NUMBER", bool: "true|false", str: "TEXT"}


def _words(kind: object) -> str:
    return _WORDS.get(kind) or "|".join(map(str, get_args(kind)))
