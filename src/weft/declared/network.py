"""Networks. What a driver takes is in `options`, called as `-O` calls it.

Left out, an option is the driver's default; one of those that Weft chooses (a VNI) or takes from the host where the network
is made stays what it is where the network is there already. A new network reaches none but itself, so `reach: self` is not
written.
"""

from __future__ import annotations

from typing import Any

import msgspec

from weft.api import limits
from weft.api import types as t
from weft.base.errors import Invalid
from weft.base.net import IPNetwork, check_for_containers
from weft.datapaths import registry
from weft.datapaths.driver import Driver
from weft.declared.item import Item, Spec
from weft.declared.own import own
from weft.model import Network
from weft.model.codec import convert
from weft.model.network import ALL, FLANNEL, REACH, SELF, SHARE, OptionValue

NAME = "Network"


class NetworkSpec(Spec, frozen=True, kw_only=True):
    driver: str
    subnets: tuple[IPNetwork, ...] = ()
    options: dict[str, OptionValue] = msgspec.field(default_factory=dict)
    internal: bool = False
    mtu: int | None = None


def to_network(item: Item) -> Network:
    """Raises Invalid."""
    spec: NetworkSpec = item.spec
    return Network(
        name=item.name,
        driver=spec.driver,
        subnets=spec.subnets,
        options=dict(spec.options),
        internal=spec.internal,
        mtu=spec.mtu,
        labels=item.labels,
    )


def from_network(network: Network) -> Item:
    """Pools with conditions are documents of their own. Of a network that shares another's subnets these are not told."""
    said = network.options if REACH in network.options else {**network.options, REACH: ALL}
    shares = network.home != network.name
    return Item(
        kind=NAME,
        name=network.name,
        labels=network.labels,
        spec=NetworkSpec(
            driver=network.driver,
            subnets=() if shares else network.subnets,
            options=_normal(network.driver, said),
            internal=network.internal,
            mtu=network.mtu,
        ),
    )


def to_changes(before: Item, after: Item) -> t.SetNetwork:
    """What makes one of the other. Pools are changed by themselves. Raises Invalid."""
    old, new = before.spec, after.spec
    driver = registry.DRIVERS.get(new.driver)
    pools = driver is not None and driver.addresses.pools
    return t.SetNetwork(
        driver=new.driver if new.driver != old.driver else "",
        subnets=new.subnets if new.subnets != old.subnets and not pools else None,
        options={name: value for name, value in new.options.items() if old.options.get(name) != value},
        remove=tuple(name for name in old.options if name not in new.options),
        internal=new.internal if new.internal != old.internal else None,
        mtu=(new.mtu or 0) if new.mtu != old.mtu else None,
        labels={name: text for name, text in after.labels.items() if before.labels.get(name) != text},
        remove_labels=tuple(name for name in before.labels if name not in after.labels),
    )


def settled(wanted: Item, found: Item) -> Item:
    """What is wanted, with what it leaves to Weft as Weft has `found` it."""
    spec, there = wanted.spec, found.spec
    driver = registry.DRIVERS.get(spec.driver)
    if driver is None or spec.driver != there.driver:
        return wanted
    flannel = bool(spec.options.get(FLANNEL))
    left = (
        there.options
        if flannel
        else {name: there.options[name] for name in registry.chosen_options(driver) & there.options.keys()}
    )
    options = {**left, **spec.options}
    return msgspec.structs.replace(
        wanted,
        spec=msgspec.structs.replace(
            spec,
            options=dict(sorted(options.items())),
            subnets=_subnets(driver, spec, there, found_elsewhere=flannel or driver.addresses.made_elsewhere),
            mtu=there.mtu if flannel and spec.mtu is None else spec.mtu,
        ),
    )


def _subnets(driver: Driver, spec: NetworkSpec, there: NetworkSpec, *, found_elsewhere: bool) -> tuple[IPNetwork, ...]:
    """Pools that were added later make no other network, and their order says nothing."""
    if driver.addresses.pools:
        return (*there.subnets, *(subnet for subnet in spec.subnets if subnet not in there.subnets))
    if set(spec.subnets) == set(there.subnets) or (found_elsewhere and not spec.subnets):
        return there.subnets
    return spec.subnets


def _normal(driver: str, options: dict[str, OptionValue]) -> dict[str, OptionValue]:
    """In the driver's own types, without those that say what is so anyway; as they are, where another version of Weft wrote
    them."""
    chosen = registry.DRIVERS.get(driver)
    if chosen is None:
        return dict(sorted(options.items()))
    try:
        typed: Any = convert(chosen.options, options, strict=False)
    except Invalid:
        return dict(sorted(options.items()))
    found: dict[str, OptionValue] = {}
    for field in msgspec.structs.fields(chosen.options):
        name = field.encode_name
        usual = SELF if name == REACH else field.default
        value = getattr(typed, field.name)
        if name in options and (value != usual or name in registry.chosen_options(chosen)):
            found[name] = value
    return dict(sorted(found.items()))


def _settle(item: Item) -> Item:
    """Raises Invalid."""
    network = to_network(item)
    limits.check_network(network)
    check_for_containers(f"network {network.name}", network.subnets)
    registry.driver(network.driver)
    if network.subnets or not network.flannel:  # else its registry says them
        registry.parse_options(network)
    options = _normal(network.driver, {REACH: SELF, **network.options})
    subnets = () if SHARE in options else network.subnets
    return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, options=options, subnets=subnets))


def _shares(item: Item) -> bool:
    return SHARE in item.spec.options


KIND = msgspec.structs.replace(own(NAME, NetworkSpec, _settle, rank=10, labelled=True), late=_shares)
