"""What the data paths say of themselves, as `weft network drivers`."""

from __future__ import annotations

from collections.abc import Sequence

from tools.reference.markdown import code, page, table
from weft.cli.drivers import Option, describe
from weft.datapaths.options import CommonOptions, SubnetOptions

_TITLES = ("option", "values", "when left out", "changed by `weft network set`", "")


def pages() -> dict[str, str]:
    drivers = describe()
    common = _names(CommonOptions)
    leased = _names(SubnetOptions) - common
    every = {option.name: option for driver in drivers for option in driver.options}
    parts = [
        "A network's driver is its data path: how packets get from one host to another. Options are given as"
        " `weft network create … -O OPTION=VALUE`; `weft network drivers` prints this page in a terminal. What is live can be"
        " changed while containers are in the network;"
        " what is later as well, but part of it stays as it was; what is fixed never changes ([more](../networks.md)).",
        table(("driver", ""), [(f"[`{d.name}`](#{d.name})", d.summary) for d in drivers]),
    ]
    for driver in drivers:
        own = [option for option in driver.options if option.name not in common | leased]
        parts += [
            f"## {driver.name}",
            f"{driver.summary}. More: [data path `{driver.name}`](../datapaths/{driver.name}.md).",
            _options(own) if own else "",
            _also(driver.options, leased),
        ]
    parts += [
        "## Options of drivers with a subnet for each node",
        _options([every[name] for name in every if name in leased]),
        "## Options of every driver",
        _options([every[name] for name in every if name in common]),
    ]
    return {"drivers.md": page("Drivers and their options", *parts)}


def _also(options: Sequence[Option], leased: set[str]) -> str:
    more = (
        "[those of drivers with a subnet for each node](#options-of-drivers-with-a-subnet-for-each-node) and "
        if leased <= {option.name for option in options}
        else ""
    )
    return f"It also takes {more}[those of every driver](#options-of-every-driver)."


def _names(options: type) -> set[str]:
    import msgspec

    return {field.encode_name for field in msgspec.structs.fields(options)}


def _options(options: Sequence[Option]) -> str:
    rows = [(code(o.name), _values(o.type), _default(o.default), _change(o), o.help) for o in options]
    return table(_TITLES, rows)


def _change(option: Option) -> str:
    return f"{option.change}: {option.note}" if option.note else option.change


def _values(type: str) -> str:
    return {"NUMBER": "a number", "TEXT": "text"}.get(type) or ", ".join(map(code, type.split("|")))


def _default(value: str | int | bool) -> str:
    return code(str(value).lower() if isinstance(value, bool) else str(value))
