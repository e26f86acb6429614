"""All data paths by driver name, and the check of a network against its driver."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import msgspec

from weft.base.errors import Invalid
from weft.base.nearby import did_you_mean
from weft.base.net import IPAddress
from weft.datapaths import (
    _bypass,
    aws_vpc,
    bridge,
    host,
    host_gw,
    ipvlan,
    macvlan,
    mesh,
    neutron,
    neutron_routes,
    none,
    overlay,
    routed,
    udp,
    vxlan,
)
from weft.datapaths.change import OF_NETWORK, Change, of_option
from weft.datapaths.driver import Driver, Host, nothing
from weft.datapaths.options import BlockOptions, CommonOptions, PoolOptions, SubnetOptions
from weft.datapaths.traits import OWN_SUBNET, KnownBy, Switched
from weft.model import Network
from weft.model.codec import convert, to_builtins

TO_CONTAINER, FROM_CONTAINER = ("tbf",), ("tbf", "ifb", "mirred")
"""What a limit of bandwidth needs of the kernel (names of `weft doctor`), in either direction and whatever the driver."""

DRIVERS: dict[str, Driver] = {
    d.name: d
    for d in (
        bridge.DRIVER,
        vxlan.DRIVER,
        host_gw.DRIVER,
        aws_vpc.DRIVER,
        overlay.DRIVER,
        mesh.DRIVER,
        routed.DRIVER,
        macvlan.DRIVER,
        ipvlan.DRIVER,
        host.DRIVER,
        none.DRIVER,
        neutron.DRIVER,
        neutron_routes.DRIVER,
        udp.DRIVER,
    )
}

_UNKNOWN = Driver(
    name="",
    summary="a driver of another version of Weft",
    options=CommonOptions,
    addresses=OWN_SUBNET,
    known_by=KnownBy.NOTHING,
    switched=Switched.ON_HOST,
    network=nothing,
    endpoint=nothing,
)


def driver(name: str) -> Driver:
    found = DRIVERS.get(name)
    if found is None:
        meant = did_you_mean(name, DRIVERS) or f"choose one of {', '.join(sorted(DRIVERS))}"
        raise Invalid(f"unknown driver '{name}': {meant}")
    return found


def of(network: Network | None) -> Driver:
    """The network's driver; where there is none, one that claims nothing and is known by nothing."""
    return _UNKNOWN if network is None else DRIVERS.get(network.driver, _UNKNOWN)


def parse_options(network: Network) -> CommonOptions:
    """The network's options in its driver's own type. Raises Invalid: names the options there are, or says why nodes'
    subnets cannot be cut from the network this way."""
    chosen = driver(network.driver)
    kind = chosen.options
    taken = _taken(kind)
    for name, value in network.options.items():
        if name not in taken:
            meant = did_you_mean(name, taken)
            takes = f"{meant}{' ' if meant else ''}it takes {', '.join(sorted(taken))}"
            raise Invalid(f"driver {network.driver} has no option '{name}': {takes}")
        _check_type(network.driver, name, value, taken[name])
    options = convert(kind, network.options, strict=False)
    if not (chosen.addresses.made_elsewhere or chosen.addresses.bare):
        _check_given(network)
    _check_subnets(network, several=chosen.addresses.pools)
    if network.internal and not chosen.passed:
        raise Invalid(
            f"network {network.name}: Weft keeps nothing apart from containers of driver {network.driver}: leave --internal out"
        )
    if options.fast != "checked" and (not chosen.passed or chosen.switched is Switched.ELSEWHERE):
        raise Invalid(
            f"network {network.name}: fast={options.fast}: packets of containers of driver {network.driver} pass no rules of "
            "their host in any case: leave -O fast out"
        )
    if options.offload != "on" and not chosen.passed:
        raise Invalid(
            f"offload={options.offload}: packets of these containers do not pass their host (driver {network.driver}): leave "
            "-O offload out"
        )
    chosen.addresses.check(network, options)
    return options


def option_names(network: Network) -> Collection[str]:
    """Of its driver. Raises Invalid."""
    return _taken(driver(network.driver).options).keys()


@cache
def _taken(options: type[CommonOptions]) -> dict[str, object]:
    """The names of these options, with their types. Every attach asks, and to look at a class's types takes half a
    millisecond."""
    return {f.encode_name: f.type for f in msgspec.structs.fields(options)}


class Difference(msgspec.Struct, frozen=True):
    """What is otherwise in one of two records of a network: a field's or an option's name, the two values as they are in force,
    and whether such a change can be made."""

    name: str
    old: Any
    new: Any
    change: Change


def differences(old: Network, new: Network) -> Iterator[Difference]:
    """Fields first, then the driver's options. Raises Invalid where the driver does not take what one of the two says."""
    chosen = driver(old.driver)
    for name in (name for name in OF_NETWORK if name != "options"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Difference(name, before, after, change(chosen, name))
    if new.driver == old.driver:
        before, after = (to_builtins(parse_options(one)) for one in (old, new))
        for name in (name for name in before if before[name] != after[name]):
            yield Difference(name, before[name], after[name], change(chosen, name))


def change(chosen: Driver, name: str) -> Change:
    """Whether a field, or an option, of the driver's networks can be changed. Raises KeyError where there is no such thing, or
    nothing is said of it."""
    if name in OF_NETWORK:
        return chosen.changes.get(name) or OF_NETWORK[name]
    if (said := of_option(_taken(chosen.options)[name])) is None:
        raise KeyError(name)
    return said


def chosen_options(chosen: Driver) -> frozenset[str]:
    """Options that Weft gives a value where nothing is said."""
    numbered = {chosen.numbered.option} if chosen.numbered else set()
    return frozenset(numbered | set(chosen.fixed))


def bypass(host: Host, network: Network) -> str:
    """What `fast=bypass` means on a host, in a line; "" where the network does not ask for it. Raises Invalid."""
    return _bypass.said(host, parse_options(network))


def gateways(network: Network | None) -> tuple[IPAddress, ...]:
    """Next hops that are no host's, but of a network that is there already."""
    return of(network).gateways(network, parse_options(network)) if network is not None and of(network).name else ()


def claims(network: Network) -> tuple[tuple[str, str], ...]:
    """(Key, what it is) pairs that no other network may have. Of what it shares all is the other network's."""
    if network.home != network.name:
        return ()
    return driver(network.driver).claims(parse_options(network))


def subnet_options(network: Network) -> SubnetOptions:
    """Of a network whose nodes have subnets of their own."""
    options = parse_options(network)
    assert isinstance(options, SubnetOptions), f"{network.driver} has no subnets of nodes"
    return options


def block_options(network: Network) -> BlockOptions:
    """Of a network whose addresses come from blocks."""
    options = parse_options(network)
    assert isinstance(options, BlockOptions), f"{network.driver} has no blocks"
    return options


def pool_options(network: Network) -> PoolOptions:
    """Of a network with pools. Raises Invalid where it has none."""
    options = parse_options(network)
    if not isinstance(options, PoolOptions):
        raise Invalid(
            f"network {network.name}: driver {network.driver} has no pools: its subnets are given at creation"
        )
    return options


def _check_given(network: Network) -> None:
    """Raises Invalid."""
    if not network.subnets and network.home == network.name:
        raise Invalid(f"network {network.name}: no subnet: give --subnet, such as --subnet 10.1.0.0/16")


def _check_subnets(network: Network, *, several: bool) -> None:
    if not several and len(network.subnets) != len(network.families):
        listed = ", ".join(map(str, network.subnets))
        raise Invalid(f"network {network.name}: at most one subnet of each family, got {listed}")
    if not several and network.pools:
        raise Invalid(f"network {network.name}: driver {network.driver} has no pools")


def _check_type(driver: str, name: str, value: object, wanted: object) -> None:
    try:
        msgspec.convert(value, wanted, strict=False)
    except msgspec.ValidationError:
        raise Invalid(f"driver {driver}: option {name}={value} is not {_words(wanted)}") from None


def _words(wanted: object) -> str:
    """`wanted`: the type of an option, with or without what else is said of it."""
    kind = get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted
    known: dict[object, str] = {int: "a whole number", bool: "true or false", str: "text"}
    return known.get(kind) or " or ".join(map(str, get_args(kind)))
