"""Ports of Neutron's: one call makes an endpoint's, bound to this host, with the addresses, the MAC address and the security
groups that it has from then on. So addresses are Neutron's to give, and nothing is claimed in the store.

A port says in its description whose it is: this cluster's and this node's. So what was left behind is found by asking Neutron
(`neutron_leftovers`).

Docker asks for an address before there is an endpoint. Then the port is made unbound, and bound when the endpoint comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from weft.base.errors import Conflict, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.base.net import IPAddress, IPInterface, family, parse_mac
from weft.cluster.cluster import Cluster
from weft.ipam.addresses import Ask, Choice, Way
from weft.ipam.neutron_facts import BRIDGE, Facts, NeutronFacts, data_of, interface, options_of
from weft.ipam.neutron_groups import open_to_all
from weft.ipam.neutron_leftovers import GROUP, Leftovers
from weft.ipam.neutron_networks import NET, Marks, NeutronNetworks, subnet_key
from weft.ipam.passing import PassingClaims
from weft.ipam.promises import Promises
from weft.model import Endpoint, Network
from weft.openstack.cloud import Cloud
from weft.openstack.neutron import OWNER, Neutron, Port
from weft.tasks import backoff


class Place(NamedTuple):
    """`host`: this host, as Neutron knows it. `identity`: of the cluster."""

    neutron: Neutron
    host: str
    identity: Callable[[], str]


class NeutronPorts(Way):
    def __init__(
        self,
        cluster: Cluster,
        promised: dict[str, set[IPAddress]],
        promises: Promises,
        passing: PassingClaims,
        place: Place | None = None,
    ) -> None:
        super().__init__(cluster, promised, promises, passing)
        place = place or Place(Neutron(Cloud()), cluster.me, lambda: "")
        self.neutron, self.host = place.neutron, place.host
        self.marks = Marks(place.identity, cluster.me)
        self._networks = NeutronNetworks(self.neutron, self.marks)
        self.facts = NeutronFacts(self.neutron)
        self.leftovers = Leftovers(self.neutron, self.marks, self._view, promises)
        self._unsure = set[str]()
        """Endpoints for which a port may have been made: no answer came."""

    # Networks.

    async def make(self, network: Network) -> Network:
        options = options_of(network)
        await self.facts.groups(options)  # one that is not there is told now, not with the first container
        return await self._networks.make(network, options)

    async def unmake(self, network: Network) -> None:
        await self._networks.unmake(network)

    async def check_unused(self, network: Network) -> None:
        await self._networks.check_unused(network)

    async def remove_network(self, id: str) -> None:
        """One of Neutron's that was made for a network which is no more."""
        await self._networks.remove(id)

    # Endpoints come.

    @contextlib.asynccontextmanager
    async def choosing(self, ask: Ask) -> AsyncIterator[Choice]:
        await self.facts.of(ask.network)
        self.leftovers.underway.add(ask.id)
        try:
            port = await self._bound(ask)
            choice = Choice(addresses=(), mac="", data={"port": port.id})
            try:
                choice = self._choice(ask, port, await self.facts.with_port(ask.network, port))
                if ask.exposed and options_of(ask.network).port_security == "on":
                    families = tuple(family(a) for a in choice.addresses)
                    group = await open_to_all(self.neutron, port, ask.exposed, families, self.marks.port)
                    choice = msgspec.structs.replace(choice, data={**choice.data, GROUP: group})
                yield choice
            except BaseException:
                await asyncio.shield(self._give_back(choice.data))
                raise
        finally:
            self.leftovers.underway.discard(ask.id)

    async def refused(self, ask: Ask, choice: Choice) -> None:
        await self._give_back(choice.data)
        await super().refused(ask, choice)

    async def _bound(self, ask: Ask) -> Port:
        """Raises Failed where no agent of Neutron's takes it: then it is removed again."""
        if ask.id in self._unsure:
            await self._clear(ask.id)
        kept = await self._kept(ask)
        port = await (self._bind(ask, kept) if kept else self._create(ask))
        if port.vif_type in ("", "ovs"):
            return port
        await asyncio.shield(self.leftovers.drop(port.id))
        raise Failed(f"{_what(ask)}: {await self._why_unbound(port)}")

    async def _create(self, ask: Ask) -> Port:
        fixed = self._fixed(ask)

        async def attempt() -> Port:
            values = await self._values(ask) | {"network_id": ask.network.data[NET], "fixed_ips": fixed}
            return await self.neutron.create_port(_what(ask), **values)

        try:
            return await attempt()
        except NotFound:
            if not options_of(ask.network).groups:
                raise
            self.facts.forget()  # one was removed, and there may be another of its name
            return await attempt()
        except (Unavailable, asyncio.CancelledError):
            self._unsure.add(ask.id)
            raise
        except Conflict:
            # It may be a port of this endpoint's own, which an agent that was killed has left.
            if not await self._clear(ask.id):
                raise
            return await attempt()

    async def _values(self, ask: Ask) -> dict[str, object]:
        """All that a bound port has beside its addresses."""
        options = options_of(ask.network)
        values: dict[str, object] = {
            "name": ask.name,
            "description": self.marks.port,
            "device_id": ask.id,
            "device_owner": OWNER,
            "host": self.host,
        }
        if ask.mac:
            values["mac_address"] = parse_mac(ask.mac)
        if options.port_security == "off":
            values |= {"port_security_enabled": False, "security_groups": []}
        elif options.groups:
            values["security_groups"] = await self.facts.groups(options)
        if options.pairs:
            values["allowed_address_pairs"] = [{"ip_address": prefix} for prefix in options.pairs]
        return values

    def _fixed(self, ask: Ask) -> list[dict[str, str]]:
        """One address of each family. Raises Invalid."""
        if ask.ranges:
            raise Invalid(
                f"{_what(ask)}: ranges are not for ports of Neutron's: its subnets' allocation pools say that"
            )
        wishes = self.wishes(ask, ask.network.families)
        fixed = []
        for fam in ask.families:
            one = {"subnet_id": ask.network.data[subnet_key(fam)]}
            fixed.append(one | {"ip_address": str(wishes[fam])} if fam in wishes else one)
        return fixed

    async def _clear(self, id: str) -> bool:
        """Remove the ports of an endpoint that is not in the store. Whether there were any."""
        found = [p for p in await self.neutron.ports(device_id=id) if self.marks.is_port(p)]
        for port in found:
            await self.neutron.delete_port(port.id)
        self._unsure.discard(id)
        return bool(found)

    def _choice(self, ask: Ask, port: Port, facts: Facts) -> Choice:
        fixed = sorted(port.fixed_ips, key=lambda ip: facts.subnets[ip.subnet_id].ip_version)
        addresses = tuple(interface(ip, facts) for ip in fixed)
        return Choice(addresses=addresses, mac=parse_mac(port.mac_address), data=data_of(ask.network, port, facts))

    async def _why_unbound(self, port: Port) -> str:
        if port.vif_type not in ("binding_failed", "unbound"):
            return f"Neutron binds ports on host {self.host} as '{port.vif_type}', and Weft plugs them into Open vSwitch only"
        try:
            agents = await self.neutron.agents(self.host)
        except WeftError:
            agents = []
        if not agents:
            return (
                f"Neutron knows no agent on host {self.host} that takes the port: start neutron-openvswitch-agent there, or "
                "set openstack-host in weft.toml to what `openstack network agent list` calls this host"
            )
        if not any(a.alive for a in agents):
            return f"Neutron has not heard from its agent on host {self.host} for a while: start it again"
        return f"Neutron's agent on host {self.host} does not take the port: see the network's type and its bridge mappings"

    async def wait(self, endpoint: Endpoint) -> None:
        """Until Neutron's agent has plugged it. Raises Failed after the time that the network gives."""
        network = self._view.networks.get(endpoint.network)
        seconds = options_of(network).plugging_timeout if network else 0
        if not seconds:
            return
        deadline, said = time.monotonic() + seconds, "no answer"
        for pause in backoff(0.1, 1.0):
            try:
                port = await self.neutron.port(endpoint.data["port"])
                if port.status == "ACTIVE":
                    return
                said = f"its status is {port.status}"
            except NotFound:
                raise Failed(f"{_into(endpoint)}: somebody removed its port in Neutron") from None
            except Unavailable as error:
                said = str(error)
            if time.monotonic() + pause > deadline:
                break
            await asyncio.sleep(pause)
        raise Failed(
            f"{_into(endpoint)}: its port in Neutron has not become active in {seconds} s ({said}): is "
            f"neutron-openvswitch-agent alive on {self.host}, and does it see bridge {endpoint.data.get('bridge', BRIDGE)}?"
        )

    async def again(self, endpoint: Endpoint, network: Network) -> dict[str, str]:
        """Another port, with the addresses and the MAC address of one that is gone: the endpoint's new data."""
        ask = Ask(
            network=network,
            wishes=tuple(a.ip for a in endpoint.addresses),
            families=endpoint.families,
            id=endpoint.id,
            name=endpoint.name,
            mac=endpoint.mac,
        )
        async with self.choosing(ask) as choice:
            return dict(choice.data)

    # Endpoints go.

    async def part(self, endpoints: Sequence[Endpoint]) -> None:
        await asyncio.gather(*(self._give_back(e.data) for e in endpoints if e.data.get("port")))

    async def _give_back(self, data: Mapping[str, str]) -> None:
        """Of an endpoint."""
        await self.leftovers.drop(data["port"])
        if group := data.get(GROUP, ""):
            await self.leftovers.drop_group(group)

    # Addresses for endpoints to come.

    async def keep(self, ask: Ask, owner: str, seconds: float) -> IPInterface:
        facts = await self.facts.of(ask.network)
        what = f"an address in network {ask.network.name}"
        port = await self.neutron.create_port(
            what,
            name="weft-reserved",
            description=self.marks.port,
            device_owner=OWNER,
            network_id=ask.network.data[NET],
            fixed_ips=self._fixed(ask),
        )
        wanted = {subnet["subnet_id"] for subnet in self._fixed(ask)}  # beside it Neutron may have given one by SLAAC
        chosen = next(interface(ip, facts) for ip in port.fixed_ips if ip.subnet_id in wanted)
        self.promises.keep(self._view.home(ask.network.name), chosen.ip, owner, seconds)
        return chosen

    async def let_go(self, network: Network, address: IPAddress) -> None:
        for port in await self._unbound(network, address):
            await self.leftovers.drop(port.id)

    async def _unbound(self, network: Network, address: IPAddress) -> list[Port]:
        found = await self.neutron.ports(network_id=network.data[NET], fixed_ips=f"ip_address={address}")
        return [p for p in found if self.marks.is_port(p) and not p.device_id]

    async def _kept(self, ask: Ask) -> list[Port]:
        """Those that were made for the addresses that it wishes for."""
        if not ask.owner:
            return []
        return [port for address in ask.wishes for port in await self._unbound(ask.network, address)]

    async def _bind(self, ask: Ask, kept: Sequence[Port]) -> Port:
        """One of them, with the addresses of all."""
        first, *rest = kept
        for port in rest:
            await self.neutron.delete_port(port.id)
        values = await self._values(ask)
        if rest:
            values["fixed_ips"] = self._fixed(ask)
        try:
            return await self.neutron.update_port(_what(ask), first.id, **values)
        except BaseException:
            await asyncio.shield(self.leftovers.drop(first.id))
            raise


def _what(ask: Ask) -> str:
    return f"{ask.name or 'a port'} in network {ask.network.name}"


def _into(endpoint: Endpoint) -> str:
    return f"{endpoint.container or endpoint.name} cannot be attached to {endpoint.network}"
