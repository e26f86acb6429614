"""Networks come and go: what a new one needs to hold against all others is checked and written in one transaction, and then
it is set up on this host, or it is nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import doctor, infos
from weft.agent.resources.flags import yes
from weft.agent.resources.network_removal import Removal
from weft.alloc.bridges import named_apart
from weft.alloc.leases import check_apart, check_host, check_new
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Failed, Invalid, NotFound, Unavailable, Unsupported, WeftError
from weft.base.nearby import unknown
from weft.base.net import IPNetwork, check_for_containers
from weft.cluster import records
from weft.datapaths import registry
from weft.datapaths.driver import Driver, Host, Numbered
from weft.datapaths.options import CommonOptions
from weft.datapaths.traits import KnownBy
from weft.ipam import floating, sharing
from weft.ipam.addresses import Way
from weft.kernel.host import parents
from weft.model import Endpoint, Network, Node, claims, encode, keys
from weft.model.network import REACH, SELF, named_by
from weft.store.protocol import Absent, Guard, NothingNewer, Op, Put

log = logging.getLogger(__name__)

PORT = "port"
"""The option that is a UDP port."""
CLOSE = 100_000
"""How far from a number that is taken a free one is looked for, to be named."""


class Networks:
    def __init__(self, parts: Parts) -> None:
        self._parts, self._cluster = parts, parts.cluster
        self._removal = Removal(parts)

    # The API's operations.

    async def networks(self, brief: str = "") -> tuple[t.NetworkInfo, ...]:
        """`brief`: without the numbers of endpoints, for which all of the cluster's are looked at."""
        counts = Counter[str]() if yes(brief) else await self._endpoint_counts()
        self._parts.as_of.look()
        view = self._parts.view
        return tuple(infos.network(self._parts, n, counts.get(n.name, 0)) for _, n in sorted(view.networks.items()))

    async def network(self, name: str, brief: str = "") -> t.NetworkInfo:
        network = await self.known(name)
        counts = Counter[str]() if yes(brief) else await self._endpoint_counts(name)
        services = await self._parts.as_of.read(
            lambda: self._for_services(network), list[IPNetwork], lambda: "the subnets of services are not known here"
        )
        return msgspec.structs.replace(
            infos.network(self._parts, network, counts.get(name, 0)), services=tuple(services)
        )

    async def create_network(self, request: t.CreateNetwork) -> t.NetworkInfo:
        await self.create(request.network)
        return await self.network(request.network.name, brief="yes")

    async def remove_network(self, name: str, force: str = "") -> t.Done:
        inside = await self.remove(name, force=yes(force))
        return t.Done(what=(name, *(e.name for e in inside)))

    async def _for_services(self, network: Network) -> list[IPNetwork]:
        held = (await self._parts.store.list(keys.subnet_claims(network.home))).items
        return [s for s, item in records.claimed(claims.subnet, held) if records.holder(item) == claims.SERVICES]

    async def _endpoint_counts(self, network: str = "") -> Counter[str]:
        """By network. `network`: only this one's number is needed."""
        view = self._parts.view

        async def ask() -> Counter[str]:
            places = (keys.ENDPOINT.parse(item.key) for item in (await self._parts.store.list(keys.ENDPOINTS)).items)
            return Counter(at.network for at in places if at)

        def here() -> Counter[str]:
            own = Counter(e.network for e in view.endpoints.values())
            return own + Counter(e.network for e in infos.located(self._parts))

        return await self._parts.as_of.read(ask, here, lambda: infos.unfollowed(view, network))

    # What they consist of.

    async def known(self, name: str) -> Network:
        """The network, also one that was made elsewhere this very moment. Raises NotFound, Unavailable."""
        network = self._parts.view.networks.get(name)
        if network is not None:
            return network
        try:
            item = await self._parts.store.get(keys.network(name))
        except Unavailable as error:
            away = f"network {name} is not known to this host, and the store is away ({error}): wait until it is back"
            raise Unavailable(away) from None
        if item is not None:
            self._parts.view.present_now(item)
            network = self._parts.view.networks.get(name)
        if network is None and (reason := self._parts.view.broken.get(keys.network(name))):
            raise Invalid(
                f"network {name}: its record in the store cannot be read: {reason}; "
                f"`weft network rm {name} --force` removes it"
            )
        if network is None:
            raise NotFound(unknown("network", name, self._parts.view.networks, "weft network ls"))
        return network

    async def ensure(self, wanted: Network, name: str) -> Network:
        """The network that an attachment to `name` defines, made where it is missing. Raises Invalid where it is another
        one."""
        if wanted.name != name:
            raise Invalid(f"network {name} is defined under another name")
        try:
            found = await self.known(wanted.name)
        except NotFound:
            try:
                await self.create(wanted)
            except Conflict:
                if wanted.name not in self._parts.view.networks:  # else: someone made it this very moment
                    raise
            found = await self.known(wanted.name)
        if _definition(found) != _definition(wanted, found):
            raise Invalid(f"network {wanted.name} exists and is defined otherwise: `weft network show {wanted.name}`")
        return found

    async def create(self, network: Network) -> None:
        """Raises Invalid, Conflict, Unsupported, Exhausted, Unavailable; Failed where it cannot be set up on this host: then
        it is nowhere."""
        network = msgspec.structs.replace(network, bridge="", data={})  # those are Weft's to choose
        network = await self._parts.flannel.completed(sharing.completed(network, await self._home(network)))
        network = await self._suited(_apart(network))
        way = self._parts.attachments.by(registry.driver(network.driver).addresses)
        if registry.of(network).addresses.made_elsewhere:
            await self._check_new_name(network.name)
        network = await way.make(network)
        try:
            await self._create(network)
        except BaseException:
            await asyncio.shield(self._unmade(way, network))
            raise

    async def check_creation(self, network: Network, others: Collection[Network]) -> None:
        """What `create` would refuse beside all these `others`, which need not be there yet, as far as that is known before
        anything is made. Raises Invalid, Conflict, Unsupported, NotFound, Unavailable."""
        home = next((other for other in others if other.name == network.home), None)
        if home is None and network.home != network.name:
            raise NotFound(f"network {network.name}: there is no network {network.home} that it could share")
        network = await self._parts.flannel.completed(sharing.completed(network, home))
        network = await self._suited(_apart(network))
        await self._check_here(network)
        apart = not registry.of(network).addresses.outside
        nodes = [node for _, node in sorted(self._parts.view.nodes.items())]
        check_new(network, others, nodes if apart else ())
        await floating.apart(self._parts.store, network)
        if _left_to_us(network) is None:
            _check_numbers(network, others)

    async def _suited(self, network: Network) -> Network:
        """With what this host fixes of it. Raises Invalid, Conflict, Unsupported, Unavailable where it cannot be had here."""
        check_for_containers(f"network {network.name}", network.subnets)
        _, driver = registry.parse_options(network), registry.driver(network.driver)
        await self._check_equipped(network.name, driver)
        host = self._parts.ready()
        network = _fixed(network, driver, host)
        options = registry.parse_options(network)
        if refusal := driver.refusal(host, network, options):
            raise Conflict(f"network {network.name}: {refusal}")
        return network

    async def _unmade(self, way: Way, network: Network) -> None:
        try:
            await way.unmake(network)
        except WeftError as error:
            log.warning(
                "what was made for network %s stays: %s: `weft ipam check --fix` removes it", network.name, error
            )

    async def _check_new_name(self, name: str) -> None:
        """Before anything is made for it elsewhere. Raises Conflict."""
        if await self._parts.store.get(keys.network(name)) is not None:
            raise Conflict(f"network {name} exists: choose another name, or remove it first")

    async def _create(self, network: Network) -> None:
        await self._check_here(network)

        async def attempt() -> None:
            numbered = await self._numbered(network)
            await self._try_create(numbered, chosen=numbered is not network)

        await self._cluster.change(attempt, f"network {network.name}")
        await self._set_up(network.name)

    async def _check_here(self, network: Network) -> None:
        """Whether this host can have it. Raises Invalid, Conflict."""
        check_for_containers(f"network {network.name}", network.subnets)
        driver = registry.driver(network.driver)
        options, host = registry.parse_options(network), self._parts.ready()
        check_reach(network, driver)
        check_apart(network, self._parts.config.gateway_subnets)
        apart = network.home == network.name and not driver.addresses.outside
        check_host(network, host.attached if apart else ())
        await self._check_parent(network, options, host)
        check_mtu(network, host.node, options)
        self._check_port(network, options)

    async def _check_equipped(self, name: str, driver: Driver) -> None:
        """Raises Unsupported where this host, or its agent, lacks what the driver needs; Unavailable."""
        self._parts.ready()
        if missing := [feature for feature in driver.needs if feature not in self._parts.features]:
            raise Unsupported(
                f"network {name}: this host lacks {', '.join(missing)}, which driver {driver.name} needs: "
                f"{'; '.join(doctor.remedy(feature) for feature in missing)}"
            )
        try:
            await self._parts.targets.need(driver.targets)
        except WeftError as error:
            raise type(error)(f"network {name}: {error}") from None

    def _check_port(self, network: Network, options: CommonOptions) -> None:
        """What is sent to one UDP port is encrypted, whichever network it is of, or nothing of it; and is VXLAN, or is not.
        Raises Invalid."""
        if (left := _left_to_us(network)) is not None and left.option == PORT:
            return  # it gets one that no other network has
        encrypted = options.secured is not None
        for name, theirs in self._others_options():
            if not options.udp_port or options.udp_port != theirs.udp_port:
                continue
            if (options.tunnel_vni is None) != (theirs.tunnel_vni is None):
                raise Invalid(
                    f"network {network.name}: port={options.udp_port} is that of network {name}, whose driver sends something "
                    "else there: choose another with -O port"
                )
            if encrypted != (theirs.secured is not None):
                raise Invalid(
                    f"network {network.name}: port={options.udp_port} is that of network {name}, which is "
                    f"{'not ' if encrypted else ''}encrypted, and what is sent to one port is so as a whole: choose another "
                    "with -O port"
                )

    def _others_options(self) -> Iterator[tuple[str, CommonOptions]]:
        """But for those that another version of Weft made."""
        for name, network in self._parts.view.networks.items():
            with contextlib.suppress(WeftError):
                yield name, registry.parse_options(network)

    async def _check_parent(self, network: Network, options: CommonOptions, host: Host) -> None:
        """Raises Invalid, Conflict."""
        driver = registry.driver(network.driver)
        found = driver.parents(host, options)
        if not found:
            return
        if why := await asyncio.to_thread(parents.unfit, found[0], network.driver):
            raise Invalid(f"network {network.name}: {why}")
        for _, other in sorted(self._parts.view.networks.items()):
            if not (theirs := registry.of(other)).name or theirs.name == driver.name:
                continue
            if found[-1] in theirs.parents(host, registry.parse_options(other))[-1:]:
                raise Conflict(
                    f"network {network.name}: {found[-1]} carries network {other.name} of driver {other.driver}, and the "
                    f"kernel has no {network.driver} beside it: name another -O parent, or a -O vlan"
                )

    async def _home(self, network: Network) -> Network | None:
        """The network that it shares, if it does. Raises NotFound."""
        return await self.known(network.home) if network.home != network.name else None

    async def _set_up(self, name: str) -> None:
        """On this host now or nowhere: what cannot be had is told at once, not with the first container."""
        try:
            await self._parts.leases.ensure(name, self._parts.ready())
        except WeftError:
            with contextlib.suppress(WeftError):
                await self.remove(name)
            raise
        failures = await self._parts.loop.settle(self._parts.compiler.of_network(name))
        if failures:
            await self.remove(name)
            raise Failed(f"network {name} cannot be set up here: {failures[0]}")

    async def _numbered(self, network: Network) -> Network:
        """With a number for what the user leaves to us. Raises Exhausted."""
        numbered = _left_to_us(network)
        if numbered is None or network.home != network.name:
            return network
        but = numbered.but | (self._tunnel_ports() if numbered.option == PORT else frozenset())
        number = await self._free_number(keys.claim(numbered.claim), numbered.first, numbered.last, but)
        if number is None:
            raise Exhausted(f"network {network.name}: no {numbered.option} is free: give one with -O {numbered.option}")
        return msgspec.structs.replace(network, options={**network.options, numbered.option: number})

    async def _free_number(self, prefix: str, first: int, last: int, but: Container[int] = ()) -> int | None:
        """The smallest that no network has claimed under `prefix`."""
        taken = {item.key.removeprefix(prefix) for item in (await self._parts.store.list(prefix)).items}
        return next((n for n in range(first, last + 1) if str(n) not in taken and n not in but), None)

    def _tunnel_ports(self) -> frozenset[int]:
        """UDP ports at which hosts have tunnels."""
        return frozenset(theirs.udp_port for _, theirs in self._others_options() if theirs.udp_port)

    async def _try_create(self, network: Network, *, chosen: bool) -> None:
        """`chosen`: what it claims was chosen by us, and may be chosen again. Raises Refused."""
        numbers = {keys.claim(key): what for key, what in registry.claims(network)}
        store, view = self._parts.store, self._parts.view
        listing = await store.list(keys.NETWORKS)
        others = records.readable(Network, listing.items)
        if any(item.key == keys.network(network.name) for item in listing.items):
            raise Conflict(f"network {network.name} exists: choose another name, or remove it first")
        apart = not registry.of(network).addresses.outside
        check_new(network, others, [node for _, node in sorted(view.nodes.items())] if apart else ())
        for key, what in numbers.items():
            holder = None if chosen else await store.get(key)
            if holder is not None:
                way_out = await self._other_number(network, key)
                raise Conflict(
                    f"network {network.name}: {what} is taken by network {records.holder(holder)}: {way_out}"
                )
        network = named_apart(network, others)
        guards: list[Guard] = [
            NothingNewer(keys.NETWORKS, listing.revision),
            await floating.apart(store, network),
            Absent(keys.network(network.name)),
            *(Absent(key) for key in numbers),
        ]
        if network.home != network.name:
            guards.append(self._cluster.unchanged(keys.network(network.home)))
        ops: list[Op] = [Put(keys.network(network.name), encode(network))]
        ops += [Put(key, network.name.encode()) for key in numbers]
        await self._cluster.commit(guards, ops)

    async def _other_number(self, network: Network, taken: str) -> str:
        """What to do where the claim with this key is another's. Its last part is a number, the one before that the option
        which gives it."""
        prefix, _, number = taken.rpartition("/")
        option = prefix.rpartition("/")[2]
        numbered = registry.driver(network.driver).numbered
        free = await self._free_number(f"{prefix}/", int(number), int(number) + CLOSE)
        example = f", such as -O {option}={free}" if free else f" with -O {option}"
        return f"choose another{example}" + (f", or leave -O {option} out and get a free one" if numbered else "")

    async def remove(self, name: str, *, force: bool = False) -> list[Endpoint]:
        """The endpoints that went with it. Raises NotFound, Conflict, Unavailable."""
        self._parts.ready()
        if keys.network(name) in self._parts.view.broken and force:
            return await self._removal.remove_broken(name)
        network = await self.known(name)
        way, sources = self._parts.attachments.way(name), self._parts.compiler.of_network(name)
        await _check_unused(way, network, force=force)
        inside = await self._cluster.change(lambda: self._removal.attempt(network, force=force), f"network {name}")
        await self._parts.loop.settle(sources)
        await way.part(inside)
        try:
            await way.unmake(network)
        except WeftError as error:
            raise Failed(
                f"network {name} is removed, but what was made for it is not: {error}: `weft ipam check --fix` removes it"
            ) from None
        return inside


async def _check_unused(way: Way, network: Network, *, force: bool) -> None:
    """Raises Conflict where others use it; another WeftError where nobody can say, unless that is to be no matter."""
    try:
        await way.check_unused(network)
    except Conflict:
        raise
    except WeftError as error:
        if not force:
            raise type(error)(
                f"network {network.name} stays: {error}; with --force it goes here, and what was made for it stays there"
            ) from None


def _apart(network: Network) -> Network:
    """With what it reaches written down: a record that does not say so is one of before there was the option. Raises
    Invalid."""
    said = network.options.get(REACH, SELF)
    if network.internal and named_by(str(said)) != frozenset():
        raise Invalid(
            f"network {network.name}: reach={said}, but an internal network reaches no other: leave -O reach out, or "
            "--internal"
        )
    return msgspec.structs.replace(network, options={**network.options, REACH: said})


def _fixed(network: Network, driver: Driver, host: Host) -> Network:
    """With what its driver takes from the host where the network is made, unless the user says it."""
    options = dict(network.options)
    for name, say in driver.fixed.items():
        if not options.get(name) and (value := say(host, options)):
            options[name] = value
    return msgspec.structs.replace(network, options=options) if options != network.options else network


def _check_numbers(network: Network, others: Iterable[Network]) -> None:
    """Whether what it claims is no other's. Raises Conflict."""
    claimed = dict(registry.claims(network))
    for other in others:
        try:
            theirs = registry.claims(other)
        except WeftError:  # one that another version of Weft made
            continue
        for key, what in theirs:
            if key in claimed:
                raise Conflict(f"network {network.name}: {what} is taken by network {other.name}: choose another")


def _left_to_us(network: Network) -> Numbered | None:
    """The number that the network needs, and that its user has not chosen."""
    numbered = registry.driver(network.driver).numbered
    if numbered is None or not numbered.needed(registry.parse_options(network)) or _chosen_by_user(network, numbered):
        return None
    return numbered


def _chosen_by_user(network: Network, numbered: Numbered) -> bool:
    """Whether the network says itself which number it wants. What is in force without that may be a default."""
    return numbered.option in network.options and bool(getattr(registry.parse_options(network), numbered.option))


def check_reach(network: Network, driver: Driver) -> None:
    """Raises Invalid."""
    if not driver.passed and network.options.get(REACH, SELF) != SELF:
        raise Invalid(
            f"network {network.name}: reach={network.options[REACH]}: containers of driver {driver.name} are in a network "
            "whose own routers decide that: leave -O reach out"
        )


def check_mtu(network: Network, node: Node, options: CommonOptions) -> None:
    """Raises Invalid where packets of the network's MTU do not fit through the uplink. Of a network that stays on one host
    they need not."""
    room = node.mtu - options.overhead
    if network.mtu is not None and network.mtu > room and registry.of(network).known_by is not KnownBy.NOTHING:
        share = f", less {options.overhead} for the tunnel {room}" if options.overhead else ""
        raise Invalid(
            f"network {network.name}: MTU {network.mtu} does not fit: {node.uplink} carries {node.mtu}{share}: "
            f"give --mtu {room} or leave it out"
        )


def _definition(n: Network, settled: Network | None = None) -> tuple[object, ...]:
    """All that makes it another network, defaults included; what was left to Weft as Weft has `settled` it."""
    numbered = registry.driver(n.driver).numbered
    if settled is not None and n.flannel and n.flannel == settled.flannel:  # what is left out is as its registry says
        n = msgspec.structs.replace(
            n, subnets=n.subnets or settled.subnets, options={**settled.options, **n.options}, mtu=n.mtu or settled.mtu
        )
    left_out = numbered is not None and numbered.option not in n.options
    if numbered and left_out and settled is not None and settled.driver == n.driver:
        number = getattr(registry.parse_options(settled), numbered.option)
        n = msgspec.structs.replace(n, options={**n.options, numbered.option: number})
    if settled is not None and REACH not in n.options and REACH in settled.options:
        n = msgspec.structs.replace(n, options={**n.options, REACH: settled.options[REACH]})
    if settled is not None and settled.driver == n.driver:
        left = {name: settled.options[name] for name in registry.of(n).fixed if name in settled.options}
        n = msgspec.structs.replace(n, options={**left, **n.options})
    if settled is not None and registry.of(n).addresses.pools and set(n.subnets) <= set(settled.subnets):
        n = msgspec.structs.replace(n, subnets=settled.subnets)  # what pools were added later is no other network
    if settled is not None and registry.of(n).addresses.made_elsewhere and not n.subnets:
        n = msgspec.structs.replace(n, subnets=settled.subnets)
    return n.driver, set(n.subnets), registry.parse_options(n), n.internal, n.mtu
