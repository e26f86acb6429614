"""The registry's config: what the network is, as whoever set flannel up wrote it (pkg/subnet/config.go).

It is read once, when the network is made. From there on the network's own record says the same in Weft's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec

from weft.alloc.subnets import SUFFIX, Bounds, SubnetRules, plans
from weft.base.errors import Invalid, WeftError
from weft.base.net import FAMILIES, IPNetwork, parse_address, parse_network
from weft.datapaths import registry
from weft.datapaths.traits import InFlannel
from weft.model import Network
from weft.model.network import OptionValue

KEY = "config"
TYPES = "udp, vxlan, host-gw, wireguard, ipip, ipsec, alloc, extension, tencent-vpc"
"""That flannel has. The first one is what its code takes where none is said."""
FORMER = "aws-vpc, gce, ali-vpc"
"""That it had once."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """`subnets`: the network's. `rules`: how nodes' subnets are cut from it. `type`: what carries it. `backend`: all of its
    options, by their names in lower case."""

    subnets: tuple[IPNetwork, ...]
    rules: SubnetRules
    type: str
    backend: Mapping[str, Any]


def parse(text: bytes) -> Config:
    """Raises Invalid: what is wrong with it, without saying where it lies."""
    try:
        told = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"it is no JSON ({error})") from None
    said, backend = _lower(told, "it"), _lower({}, "Backend")
    if said.get("backend") is not None:
        backend = _lower(said["backend"], "its Backend")
    for name in ("VNI", "Port", "MTU"):
        _number(backend, name, "its Backend's ")
    kind = str(backend.get("type") or TYPES.partition(",")[0]).lower()
    if kind not in f"{TYPES}, {FORMER}".split(", "):
        raise Invalid(f"its Backend is of Type '{kind[:80]}', which flannel does not have: it has {TYPES}")
    if not _flag(said, "EnableIPv4", True):
        raise Invalid("EnableIPv4 is false: a network of IPv6 alone cannot be shared: set it to true")
    v6 = _flag(said, "EnableIPv6", False)
    subnets: tuple[IPNetwork, ...] = (_network(said, "Network", 4), *([_network(said, "IPv6Network", 6)] if v6 else []))
    rules = SubnetRules(v4=_bounds(said, ""), v6=_bounds(said, "IPv6") if v6 else Bounds())
    return Config(subnets=subnets, rules=rules, type=kind, backend=backend)


def completed(network: Network, config: Config) -> Network:
    """The network as the config says it is. Raises Invalid where its driver, or what the user said of it, is something else."""
    found = registry.driver(network.driver).flannel
    if found is None:
        raise Invalid(f"driver {network.driver} is none that flannel has: choose {_drivers()}")
    if found.type != config.type:
        raise Invalid(f"its Backend is {config.type}, not {found.type}: {_way_out(config.type)}")
    _check_subnets(network, config, found)
    wanted = {**_cut(network.name, config), **found.options(config.backend)}
    _check_options(msgspec.structs.replace(network, subnets=config.subnets), wanted)
    made = msgspec.structs.replace(network, subnets=config.subnets, options={**network.options, **wanted})
    return msgspec.structs.replace(made, mtu=_mtu(made, config.backend))


def _check_subnets(network: Network, config: Config, found: InFlannel) -> None:
    families = {4, *(s.version for s in config.subnets)}
    if beyond := families - set(found.families):
        raise Invalid(
            f"EnableIPv6 is true, and driver {network.driver} cannot carry IPv{max(beyond)} to flannel's hosts, which have a "
            "tunnel of its own for it: use driver host-gw, or a registry without IPv6"
        )
    if network.subnets and set(network.subnets) != set(config.subnets):
        said, given = (" and ".join(map(str, some)) for some in (config.subnets, network.subnets))
        switch = " (EnableIPv6 is false)" if 6 in network.families and len(config.subnets) == 1 else ""
        raise Invalid(f"its Network is {said}{switch}, not {given}: give --subnet as it says, or leave it out")


def _cut(name: str, config: Config) -> dict[str, OptionValue]:
    """The options that say how nodes' subnets are cut, defaults included: these are to stay what they are. Raises Invalid."""
    cut: dict[str, OptionValue] = {}
    for plan in plans(Network(name=name, driver="", subnets=config.subnets), config.rules):
        suffix = SUFFIX[FAMILIES[0] if plan.whole.version == 4 else FAMILIES[1]]
        cut[f"node-prefix{suffix}"] = plan.node_prefix
        cut[f"subnet-min{suffix}"], cut[f"subnet-max{suffix}"] = str(plan.first), str(plan.last)
    return cut


def _check_options(network: Network, wanted: Mapping[str, OptionValue]) -> None:
    """Raises Invalid where the user said something else."""
    given = msgspec.to_builtins(registry.parse_options(network))
    for name, value in wanted.items():
        if name in network.options and not _same(given[name], value):
            raise Invalid(f"it says {name}={_word(value)}, not {network.options[name]}: leave -O {name} out")


def _same(given: object, wanted: object) -> bool:
    """A bound may be given by the address that its subnet begins with."""
    return given == wanted or (isinstance(wanted, str) and str(given).partition("/")[0] == wanted.partition("/")[0])


def _word(value: OptionValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mtu(network: Network, backend: Mapping[str, Any]) -> int | None:
    """Flannel's MTU is the hosts', of which the tunnel takes its share. Raises Invalid."""
    options = registry.parse_options(network)
    return network.mtu or (backend["mtu"] - options.overhead if backend.get("mtu") else None)


def _way_out(kind: str) -> str:
    name = next((d.name for d in registry.DRIVERS.values() if d.flannel and d.flannel.type == kind), None)
    return f"use --driver {name}" if name else f"Weft cannot take part in that one, only in {_drivers()}"


def _drivers() -> str:
    return ", ".join(sorted(d.name for d in registry.DRIVERS.values() if d.flannel))


def _lower(told: object, what: str) -> dict[str, Any]:
    """By names in lower case: Go's decoder, which flannel uses, does not care. Raises Invalid."""
    if not isinstance(told, dict):
        raise Invalid(f"{what} is no JSON object")
    return {str(name).lower(): value for name, value in told.items()}


def _flag(said: Mapping[str, Any], name: str, usual: bool) -> bool:
    found = said.get(name.lower())
    if found is not None and not isinstance(found, bool):
        raise Invalid(f"{name} is '{found}', neither true nor false")
    return usual if found is None else found


def _network(said: Mapping[str, Any], name: str, version: int) -> IPNetwork:
    """Flannel masks the host's bits away, and so does everybody who shares it."""
    found = said.get(name.lower())
    if found is None:
        raise Invalid(f"it has no {name}")
    try:
        return (IPv4Network if version == 4 else IPv6Network)(str(found), strict=False)  # a number would be an address
    except (ValueError, TypeError):
        raise Invalid(f"its {name} is '{str(found)[:80]}', which is no prefix of IPv{version}") from None


def _bounds(said: Mapping[str, Any], before: str) -> Bounds:
    """Raises Invalid."""
    length = _number(said, f"{before}SubnetLen", "its ")
    first, last = (_address(said, f"{before}Subnet{end}") for end in ("Min", "Max"))
    return Bounds(node_prefix=length, first=first, last=last)


def _number(said: Mapping[str, Any], name: str, whose: str) -> int:
    """0 where it is not there. Raises Invalid."""
    found = said.get(name.lower(), 0)
    if not isinstance(found, int) or isinstance(found, bool):
        raise Invalid(f"{whose}{name} is '{str(found)[:80]}', which is no number")
    return found


def _address(said: Mapping[str, Any], name: str) -> IPNetwork | None:
    """The subnet that begins there, by its first address."""
    found = said.get(name.lower())
    if not found:
        return None
    try:
        return parse_network(f"{parse_address(found)}/{parse_address(found).max_prefixlen}")
    except WeftError:
        raise Invalid(f"its {name} is '{str(found)[:80]}', which is no address") from None
