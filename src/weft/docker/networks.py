"""Which of Weft's networks one of Docker's stands for, and making it where there is none.

Docker does not tell a driver its network's name. So a user names Weft's with `-o weft.network=NAME`; without that, the
network that has the same subnets is meant (in a cluster no two overlap), or one that is named after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.base.net import family, parse_network
from weft.base.numbers import is_number
from weft.client import Client
from weft.docker.messages import DRIVER_MTU, GENERIC, INTERNAL, Options, Pool
from weft.model import Network
from weft.model.network import OptionValue

SPACE = "weft"
"""Docker's name for Weft's address space."""
PREFIX = "weft."
MADE = {"made-by": "docker"}
"""Labels of a network that Docker made, and so may remove."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for. `name` and `driver` are "" where nothing was said."""

    name: str
    driver: str
    network: Network


def wanted(options: Options | None, pools: Iterable[Pool]) -> Wanted:
    """Raises Invalid."""
    given, pools = options or {}, list(pools)
    words = _words(given.get(GENERIC))
    for pool in pools:
        if pool.address_space != SPACE:
            raise Invalid("Weft gives the addresses in its networks itself: add --ipam-driver weft")
        if pool.aux_addresses:
            raise Invalid("--aux-address is not for Weft's networks: -o weft.reserve=PREFIX,… keeps addresses free")
    subnets = tuple(parse_network(pool.pool) for pool in pools)
    name, driver = words.pop("weft.network", ""), words.pop("weft.driver", "")
    mtu = words.pop(DRIVER_MTU, "") or words.pop("weft.mtu", "")
    if mtu and not is_number(mtu):
        raise Invalid(f"weft.mtu={mtu} is not a number of octets")
    network = Network(
        name=name or _named_after(map(str, subnets)),
        driver=driver,
        subnets=subnets,
        options={key.removeprefix(PREFIX): _value(text) for key, text in words.items()},
        internal=given.get(INTERNAL) is True,
        mtu=int(mtu) if mtu else None,
        labels=MADE,
    )
    return Wanted(name=name, driver=driver, network=network)


def _words(generic: object) -> dict[str, str]:
    if not isinstance(generic, dict):
        return {}
    for key in generic:
        if not key.startswith(PREFIX) and key != DRIVER_MTU:
            raise Invalid(f"unknown option {key}: there are weft.network, weft.driver, weft.mtu and weft.OPTION")
    return {key: str(value) for key, value in generic.items()}


def _value(text: str) -> OptionValue:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if is_number(text) else text


def _named_after(subnets: Iterable[str]) -> str:
    subnet = next(iter(subnets), "")
    return f"docker-{subnet.replace('/', '-').replace(':', '-')}".rstrip("-")


def ensure(client: Client, want: Wanted) -> Network:
    """The network as it is, made where it is missing. Raises Invalid, Conflict and whatever making one raises."""
    found = _find(client, want)
    if found is None:
        if not want.driver:
            raise Invalid(f"there is no network {want.network.name} yet: say -o weft.driver=DRIVER to make it")
        found = make(client, want.network)
    check(found, want)
    return as_network(found)


def make(client: Client, network: Network) -> t.NetworkInfo:
    """Made here, or elsewhere at the same moment."""
    try:
        return client.create_network(network)
    except Conflict:
        try:
            return client.network(network.name, brief=True)
        except NotFound:
            pass
        raise


def again(client: Client, network: Network) -> None:
    """One that Docker still has and that was removed on another host meanwhile."""
    check(make(client, network), Wanted(name=network.name, driver=network.driver, network=network))


def _find(client: Client, want: Wanted) -> t.NetworkInfo | None:
    if not want.name:
        meant = set(want.network.subnets)
        return next((n for n in client.networks(brief=True) if meant and meant <= set(n.subnets)), None)
    try:
        return client.network(want.name, brief=True)
    except NotFound:
        return None


def check(found: t.NetworkInfo, want: Wanted) -> None:
    """Raises Conflict where the network is another one than what is wanted."""
    mine = want.network
    _check_families(found, mine)
    facts: list[tuple[str, object, object]] = [
        ("driver", want.driver or found.driver, found.driver),
        ("--internal", mine.internal, found.internal),
        ("MTU", mine.mtu or found.mtu, found.mtu),
    ]
    facts += [(key, wish, found.options.get(key, wish)) for key, wish in mine.options.items()]
    strange = [s for s in mine.subnets if s not in found.subnets]
    facts += [("subnet", s, ", ".join(map(str, found.subnets))) for s in strange]
    for what, wish, fact in facts:
        if str(wish) != str(fact):
            raise Conflict(
                f"network {found.name} exists with {what} {fact}, not {wish}: define it as it is, or choose another "
                "name by -o weft.network=NAME"
            )


def _check_families(found: t.NetworkInfo, mine: Network) -> None:
    """Docker gives a container addresses of the families that it knows of, and all of a network's containers have the same
    ones. Raises Conflict."""
    lacking = [s for s in found.subnets if family(s) not in mine.families]
    if lacking and mine.families:
        has, given = (", ".join(map(str, n.subnets)) for n in (found, mine))
        ipv6 = "--ipv6 " if any(s.version == 6 for s in lacking) else ""
        raise Conflict(
            f"network {found.name} exists with subnets {has}, not with {given} alone: add {ipv6}--subnet {lacking[0]}"
        )


def as_network(found: t.NetworkInfo) -> Network:
    return Network(
        name=found.name,
        driver=found.driver,
        subnets=found.subnets,
        options=found.options,
        internal=found.internal,
        mtu=found.mtu,
        labels=found.labels,
    )


def asked_before(listed: Mapping[str, Any]) -> Wanted:
    """From what Docker says of a network of its own (GET /networks). Raises Invalid."""
    configs = ((listed.get("IPAM") or {}).get("Config")) or []
    pools = [Pool(address_space=SPACE, pool=str(config.get("Subnet", ""))) for config in configs]
    options = {GENERIC: listed.get("Options") or {}, INTERNAL: listed.get("Internal")}
    return wanted(options, pools)
