"""What of a network is changed while containers are in it: on all hosts, or nowhere.

The record changes in one transaction, and each host's agent follows it: whatever the network's contributions are, they are
computed anew from the record as it is now. So nothing here says how a host comes from the old state to the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.agent.resources.networks import Networks, check_mtu, check_reach
from weft.api import limits
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound, WeftError
from weft.base.net import contains
from weft.cluster import records
from weft.datapaths import registry
from weft.datapaths.registry import Difference
from weft.model import Endpoint, Network, decode, encode, keys
from weft.model.network import REACH, SELF, named_by
from weft.services.model import Service
from weft.services.record import SERVICE
from weft.store.protocol import Guard, NothingNewer, Put, Unchanged

SHOWN = 3
"""Of many names in one line."""


class Changed(NamedTuple):
    """`notes`: what users should know of it."""

    old: Network
    new: Network
    differences: Sequence[Difference]
    notes: Sequence[str]


class NetworkChanges:
    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._cluster, self._networks = parts, parts.cluster, networks

    async def set_network(self, name: str, request: t.SetNetwork, expected: Network | None = None) -> t.NetworkSet:
        """`expected`: what it is changed from; None: from whatever it is. Raises NotFound, Invalid, Conflict, Unavailable;
        Failed where this host cannot do it: then all is as it was."""
        self._parts.ready()
        await self._networks.known(name)
        changed = await self._cluster.change(lambda: self._attempt(name, request, expected), f"network {name}")
        if changed.old != changed.new and not request.check:
            await self._converge(changed)
        return t.NetworkSet(
            network=infos.network_alone(self._parts, changed.new),
            changes=tuple(t.NetworkChange(what=d.name, old=d.old, new=d.new) for d in changed.differences),
            notes=tuple(changed.notes),
        )

    async def _attempt(self, name: str, request: t.SetNetwork, expected: Network | None) -> Changed:
        item = await self._cluster.store.get(keys.network(name))
        if item is None:
            raise NotFound(f"no network {name}: it was just removed")
        old = decode(Network, item.value)
        if expected not in (None, old):
            raise Conflict(f"network {name} was just changed by someone else: look, and try again")
        new = asked(old, request)
        differences = tuple(registry.differences(old, new))
        refuse_fixed(name, differences)
        notes = [f"{d.name}: {d.change.text}" for d in differences if d.change.text]
        guards, more = await self._check(old, new)
        if new != old and not request.check:
            await self._cluster.commit(
                [Unchanged(item.key, item.revision), *guards], [Put(keys.network(name), encode(new))]
            )
        return Changed(old, new, differences, [*notes, *more])

    async def _check(self, old: Network, new: Network) -> tuple[list[Guard], list[str]]:
        """Guards that the change needs, and notes. Raises Invalid, Conflict, Unavailable."""
        limits.check_network(new)
        options = registry.parse_options(new)
        check_reach(new, registry.driver(new.driver))
        if new.mtu != old.mtu:
            for _, node in sorted(self._parts.view.nodes.items()):
                check_mtu(new, node, options)
        if new.flannel and (await self._parts.flannel.completed(new)) != new:
            raise Invalid(
                f"network {new.name}: what is asked is up to flannel's registry {new.flannel}: change it there"
            )
        taken = set(registry.gateways(new)) - set(registry.gateways(old))
        reserved = set(options.reserved) - set(registry.parse_options(old).reserved)
        if not (taken or reserved or new.internal != old.internal):
            return [], []
        listing = await self._cluster.store.list(keys.ENDPOINTS)
        inside = [
            e for e in records.readable(Endpoint, listing.items) if e.network in self._parts.view.sharing(new.name)
        ]
        if held := [(a.ip, e) for e in inside for a in e.addresses if a.ip in taken]:
            raise Conflict(
                f"network {new.name}: gateway {held[0][0]} is the address of {_where(held[0][1])}: choose another, or detach it"
            )
        guards: list[Guard] = [NothingNewer(keys.ENDPOINTS, listing.revision)]
        if new.internal != old.internal:
            guards += await self._check_internal(new, inside)
        used = {str(a.ip): e for e in inside for a in e.addresses if any(contains(p, a.ip) for p in reserved)}
        return guards, [_in_use(used)] if used else []

    async def _check_internal(self, new: Network, inside: Iterable[Endpoint]) -> list[Guard]:
        """Raises Conflict where containers in the network have what an internal one cannot give, or lack what another does."""
        name = new.name
        if not new.internal:
            return []
        if new.options.get(REACH, SELF) != SELF and named_by(str(new.options[REACH])) != frozenset():
            raise Invalid(
                f"network {name}: reach={new.options[REACH]}, and an internal network reaches no other: add -O reach={SELF}"
            )
        if open_to_all := [e for e in inside if e.ports or e.floating]:
            one = open_to_all[0]
            what = f"port {one.ports[0]}" if one.ports else f"floating address {one.floating[0]}"
            raise Conflict(
                f"network {name}: nothing outside of an internal network reaches its containers, and {what} leads to "
                f"{_where(one)}: take that away first"
            )
        listing = await self._cluster.store.list(SERVICE.under(name))
        published = [s.name for s in records.readable(Service, listing.items) if s.published]
        if published:
            raise Conflict(
                f"network {name}: nothing outside of an internal network reaches its containers, and service {published[0]} is "
                f"published: `weft service set {name}/{published[0]} --no-publish` first"
            )
        return [NothingNewer(SERVICE.under(name), listing.revision)]

    async def _converge(self, changed: Changed) -> None:
        """On this host, or it is taken back. Raises Failed, Unavailable."""
        name = changed.new.name
        failures = await self._parts.loop.settle(self._parts.compiler.of_network(name))
        try:
            await self._parts.following.settle(name)
        except WeftError as error:
            failures.append(str(error))
        if not failures:
            await self._parts.crossing.still()
            return
        await self._take_back(changed)
        raise Failed(f"network {name} stays as it was: this host cannot do it: {failures[0]}")

    async def _take_back(self, changed: Changed) -> None:
        """As long as it is what this change made of it: who changed it since has seen that."""

        async def attempt() -> None:
            item = await self._cluster.store.get(keys.network(changed.new.name))
            if item is not None and item.value == encode(changed.new):
                await self._cluster.commit([Unchanged(item.key, item.revision)], [Put(item.key, encode(changed.old))])

        await self._cluster.change(attempt, f"network {changed.new.name}")
        await self._parts.following.settle(changed.new.name)
        await self._parts.loop.settle(self._parts.compiler.of_network(changed.new.name))


def asked(old: Network, request: t.SetNetwork) -> Network:
    """The network as it is to be. What Weft chooses where nobody says it (a VNI) stays as it is when it is taken away: the
    record would be without it. Raises Invalid."""
    unknown = [name for name in request.remove if name not in registry.option_names(old)]
    if unknown:
        raise Invalid(
            f"driver {old.driver} has no option '{unknown[0]}': it takes {', '.join(sorted(registry.option_names(old)))}"
        )
    if both := sorted(request.options.keys() & set(request.remove)):
        raise Invalid(f"network {old.name}: option {both[0]} is given and taken away: leave one of the two out")
    gone = set(request.remove) - registry.chosen_options(registry.driver(old.driver))
    options = {name: value for name, value in old.options.items() if name not in gone} | request.options
    if REACH in request.remove:
        options[REACH] = SELF
    labels = {name: text for name, text in old.labels.items() if name not in request.remove_labels} | request.labels
    return msgspec.structs.replace(
        old,
        driver=request.driver or old.driver,
        subnets=old.subnets if request.subnets is None or set(request.subnets) == set(old.subnets) else request.subnets,
        options=options,
        internal=old.internal if request.internal is None else request.internal,
        mtu=old.mtu if request.mtu is None else request.mtu or None,
        labels=labels,
    )


def refuse_fixed(name: str, differences: Iterable[Difference]) -> None:
    """Raises Invalid."""
    wrong = [
        f"{d.name} cannot be changed from {word(d.old)} to {word(d.new)}: {d.change.text}; {d.change.instead}"
        for d in differences
        if d.change.when == "fixed"
    ]
    if wrong:
        raise Invalid(f"network {name}: {'; '.join(wrong)}")


def word(value: object) -> str:
    """A value as users write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return "nothing" if value in ("", None) else str(value)


def _where(endpoint: Endpoint) -> str:
    return f"{endpoint.name} on {endpoint.node}"


def _in_use(used: dict[str, Endpoint]) -> str:
    shown = ", ".join(f"{address} by {_where(e)}" for address, e in list(used.items())[:SHOWN])
    more = f" and {len(used) - SHOWN} more" if len(used) > SHOWN else ""
    return f"reserve: in use now: {shown}{more}"
