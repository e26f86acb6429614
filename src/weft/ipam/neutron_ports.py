"""Ports of Neutron's: one call makes an endpoint's, bound to this host, with the addresses, the MAC address and the security
groups that it has from then on. So addresses are Neutron's to give, and nothing is claimed in the store.

A port says in its description whose it is: this cluster's and this node's. So what was left behind (the agent was killed
between two steps, or Neutron was away while a container went) is found by asking Neutron, with no ledger of our own.

Docker asks for an address before there is an endpoint. Then the port is made unbound, and bound when the endpoint comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from weft.base.errors import Conflict, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.base.net import IPAddress, IPInterface, family, parse_address, parse_interface, parse_mac
from weft.cluster.cluster import Cluster
from weft.datapaths import registry
from weft.datapaths.neutron_options import GATEWAYS, NeutronOptions
from weft.ipam.addresses import Ask, Choice, Way
from weft.ipam.neutron_groups import open_to_all
from weft.ipam.neutron_networks import NET, Marks, NeutronNetworks, subnet_key
from weft.ipam.passing import PassingClaims
from weft.ipam.promises import Promises
from weft.model import Endpoint, Network
from weft.openstack.cloud import Cloud
from weft.openstack.neutron import OWNER, FixedIp, Net, Neutron, Port, Subnet
from weft.tasks import backoff

log = logging.getLogger(__name__)

FRESH = 60.0
"""Seconds for which is believed what Neutron said of a network, its subnets and of security groups' names."""
GROUP = "group"
"""Key of an endpoint's data: the id of the security group that is its own."""
BRIDGE = "br-int"
"""Where Neutron does not say which bridge ports are plugged into."""


class Place(NamedTuple):
    """`host`: this host, as Neutron knows it. `identity`: of the cluster."""

    neutron: Neutron
    host: str
    identity: Callable[[], str]


class Facts(NamedTuple):
    """What Neutron said of a network, and until when that is believed."""

    net: Net
    subnets: dict[str, Subnet]
    until: float


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
        self._facts: dict[str, Facts] = {}
        self._groups: dict[str, tuple[str, float]] = {}
        """Security group as users call it → its id, and until when that is believed."""
        self._underway = set[str]()
        """Endpoints whose port is there, or may be, and that are not in the store yet."""
        self._unsure = set[str]()
        """Endpoints for which a port may have been made: no answer came."""
        self._missed = set[str]()
        """Ports that no container had when they were last looked at."""

    # Networks.

    async def make(self, network: Network) -> Network:
        options = _options(network)
        await self._group_ids(options)  # one that is not there is told now, not with the first container
        return await self._networks.make(network, options)

    async def unmake(self, network: Network) -> None:
        await self._networks.unmake(network)

    async def check_unused(self, network: Network) -> None:
        await self._networks.check_unused(network)

    async def remove_network(self, id: str) -> None:
        """One of Neutron's that was made for a network which is no more."""
        await self._networks.remove(id)

    async def _known(self, network: Network) -> Facts:
        facts = self._facts.get(network.name)
        id = network.data[NET]
        if facts is None or facts.net.id != id or facts.until < time.monotonic():
            nets, subnets = await asyncio.gather(self.neutron.networks(id=id), self.neutron.subnets(id))
            if not nets:
                raise NotFound(
                    f"network {network.name}: Neutron has its network {id} no more, or not for these credentials: remove it "
                    f"with `weft network rm {network.name}`"
                )
            (net,) = nets
            facts = Facts(net, {s.id: s for s in subnets}, time.monotonic() + FRESH)
            self._facts[network.name] = facts
        return facts

    async def _knowing(self, network: Network, port: Port) -> Facts:
        """With the port's subnets: of one that has come since, Neutron may have given an address too."""
        facts = await self._known(network)
        if all(ip.subnet_id in facts.subnets for ip in port.fixed_ips):
            return facts
        del self._facts[network.name]
        return await self._known(network)

    async def _group_ids(self, options: NeutronOptions) -> list[str]:
        """Raises NotFound, Invalid."""
        found = []
        for ref in options.groups:
            id, until = self._groups.get(ref, ("", 0.0))
            if until < time.monotonic():
                id = await self.neutron.group(ref)
                self._groups[ref] = id, time.monotonic() + FRESH
            found.append(id)
        return list(dict.fromkeys(found))  # Neutron takes each once

    # Endpoints come.

    @contextlib.asynccontextmanager
    async def choosing(self, ask: Ask) -> AsyncIterator[Choice]:
        await self._known(ask.network)
        self._underway.add(ask.id)
        try:
            port = await self._bound(ask)
            choice = Choice(addresses=(), mac="", data={"port": port.id})
            try:
                choice = self._choice(ask, port, await self._knowing(ask.network, port))
                if ask.exposed and _options(ask.network).port_security == "on":
                    families = tuple(family(a) for a in choice.addresses)
                    group = await open_to_all(self.neutron, port, ask.exposed, families, self.marks.port)
                    choice = msgspec.structs.replace(choice, data={**choice.data, GROUP: group})
                yield choice
            except BaseException:
                await asyncio.shield(self._give_back(choice.data))
                raise
        finally:
            self._underway.discard(ask.id)

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
        await asyncio.shield(self._drop(port.id))
        raise Failed(f"{_what(ask)}: {await self._why_unbound(port)}")

    async def _create(self, ask: Ask) -> Port:
        fixed = self._fixed(ask)

        async def attempt() -> Port:
            values = await self._values(ask) | {"network_id": ask.network.data[NET], "fixed_ips": fixed}
            return await self.neutron.create_port(_what(ask), **values)

        try:
            return await attempt()
        except NotFound:
            if not _options(ask.network).groups:
                raise
            self._groups.clear()  # one was removed, and there may be another of its name
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
        options = _options(ask.network)
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
            values["security_groups"] = await self._group_ids(options)
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
        addresses = tuple(_interface(ip, facts) for ip in fixed)
        return Choice(addresses=addresses, mac=parse_mac(port.mac_address), data=_data(ask.network, port, facts))

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
        seconds = _options(network).plugging_timeout if network else 0
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
        await self._drop(data["port"])
        if group := data.get(GROUP, ""):
            await self._drop(group, self.neutron.delete_group)

    async def _drop(self, id: str, delete: Callable[[str], Awaitable[None]] | None = None) -> None:
        """A port, or what else `delete` says: now, or as soon as Neutron is there again."""
        try:
            await (delete or self.neutron.delete_port)(id)
        except WeftError as error:
            self._missed.add(id)
            log.warning("%s is not removed from Neutron yet: %s", id, error)

    async def run(self, interval: float, doubtful: Callable[[], bool]) -> None:
        """For ever: remove ports of this node's that no container has. `interval`: seconds between looks. `doubtful`: whether
        what the store says may not be so."""
        while True:
            used = any(self._view.driver(name).addresses.made_elsewhere for name in self._view.networks)
            if (used or self._missed) and not doubtful():
                try:
                    await self.sweep()
                except WeftError as error:
                    log.warning("ports in Neutron are not looked at: %s", error)
            await asyncio.sleep(interval)

    async def sweep(self) -> list[str]:
        """The ports removed: those that no container had in two looks either, so that what is just coming stays."""
        listed = await self.neutron.ports(device_owner=OWNER, description=self.marks.port)
        groups = {g.id for g in await self.neutron.marked_groups(self.marks.port)}
        groups -= {e.data.get(GROUP, "") for e in self._view.endpoints.values()}
        ports = {p.id for p in listed if not self._needed(p)}
        gone, unused = sorted(ports & self._missed), sorted(groups & self._missed)
        self._missed = ports | groups
        for id in gone:
            await self._drop(id)
        for id in unused:
            await self._drop(id, self.neutron.delete_group)
        if gone:
            log.info("removed %d ports from Neutron that no container has", len(gone))
        return gone

    def _needed(self, port: Port) -> bool:
        if port.device_id in self._underway or any(
            e.data.get("port") == port.id for e in self._view.endpoints.values()
        ):
            return True
        return not port.device_id and any(parse_address(ip.ip_address) in self._promised() for ip in port.fixed_ips)

    def _promised(self) -> set[IPAddress]:
        """All that is promised to containers to come."""
        return {a for name in self._view.networks for a in self.promises.of_others(self._view.home(name), "")}

    # Addresses for endpoints to come.

    async def keep(self, ask: Ask, owner: str, seconds: float) -> IPInterface:
        facts = await self._known(ask.network)
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
        chosen = next(_interface(ip, facts) for ip in port.fixed_ips if ip.subnet_id in wanted)
        self.promises.keep(self._view.home(ask.network.name), chosen.ip, owner, seconds)
        return chosen

    async def let_go(self, network: Network, address: IPAddress) -> None:
        for port in await self._unbound(network, address):
            await self._drop(port.id)

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
            await asyncio.shield(self._drop(first.id))
            raise


def _options(network: Network) -> NeutronOptions:
    options = registry.parse_options(network)
    assert isinstance(options, NeutronOptions), f"{network.driver} has no ports in Neutron"
    return options


def _what(ask: Ask) -> str:
    return f"{ask.name or 'a port'} in network {ask.network.name}"


def _into(endpoint: Endpoint) -> str:
    return f"{endpoint.container or endpoint.name} cannot be attached to {endpoint.network}"


def _interface(ip: FixedIp, facts: Facts) -> IPInterface:
    """With its subnet's prefix length."""
    length = facts.subnets[ip.subnet_id].cidr.rpartition("/")[2]
    return parse_interface(f"{ip.ip_address}/{length}")


def _data(network: Network, port: Port, facts: Facts) -> dict[str, str]:
    """What the data path has to know of the port."""
    subnets = [facts.subnets[ip.subnet_id] for ip in port.fixed_ips]
    own = {ip.ip_address for ip in port.fixed_ips}  # a container that is to be the gateway itself has none
    hops = {s.ip_version: s.gateway_ip for s in subnets if s.gateway_ip and s.gateway_ip not in own}
    mtu = min((m for m in (network.mtu or 0, facts.net.mtu) if m), default=0)
    return {
        "port": port.id,
        "plug": "hybrid" if port.vif_details.get("ovs_hybrid_plug") else "ovs",
        "bridge": str(port.vif_details.get("bridge_name") or BRIDGE),
        "mtu": str(mtu or ""),
        **{key: hops.get(fam, "") for key, fam in zip(GATEWAYS, (4, 6), strict=True)},
        "routes": ", ".join(_routes(subnets)),
    }


def _routes(subnets: Iterable[Subnet]) -> list[str]:
    return [f"{r.destination} via {r.nexthop}" for s in subnets for r in s.host_routes]
