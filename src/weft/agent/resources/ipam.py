"""`weft ipam show` and `weft ipam check`: what the store says of addresses and blocks, and whether that agrees."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from weft.agent.parts import Parts
from weft.agent.resources import ipam_ports
from weft.agent.resources.networks import Networks
from weft.alloc import blocks as alloc
from weft.alloc.subnets import merge
from weft.api import types as t
from weft.base.errors import Invalid, NotFound
from weft.base.net import IPAddress, IPNetwork, contains, covers, host_prefix, parse_address, parse_network
from weft.cluster import records
from weft.datapaths import registry
from weft.ipam import audit_floating, audit_names, audit_services
from weft.ipam.audit import Audit, Fault, Listings, lasting, of_networks
from weft.ipam.blocks import rules
from weft.model import Endpoint, Lease, Network, claims, keys
from weft.services.record import SERVICE
from weft.store.protocol import Item, Store

ROUNDS = 5
"""Of putting right: what one transaction changes may be what another fix was guarded by."""
SUBNETS, ADDRESSES = "claims/subnets/", "claims/addresses/"


class Ipam:
    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._networks = parts, networks

    async def ipam(self, network: str = "") -> tuple[t.IpamInfo, ...]:
        return await show(self._parts, await self._networks.known(network) if network else None)

    async def check_ipam(self, request: t.CheckIpam) -> t.IpamCheck:
        self._parts.ready()
        network = await self._networks.known(request.network) if request.network else None
        return await check(self._parts, network, fix=request.fix)

    async def reserve(self, name: str, request: t.Reserve) -> t.Reserved:
        network = await self._networks.known(name)
        await self._parts.leases.ensure(name, self._parts.ready())
        return t.Reserved(address=await self._parts.attachments.reserve(request, network))

    async def release(self, name: str, address: str, owner: str = "") -> t.Done:
        freed = await self._parts.attachments.release(self._parts.view.home(name), parse_address(address), owner)
        return t.Done(what=(address,) if freed else ())


async def check(parts: Parts, network: Network | None, *, fix: bool) -> t.IpamCheck:
    """Faults of one network (or of all), and whether they were put right."""
    wanted = network.name if network else ""
    audit, found = await faults(parts.store, wanted)
    done: dict[tuple[str, str, str, str], t.Fault] = {}
    for _ in range(ROUNDS if fix else 0):
        fixed = await _fix(parts, found)
        done |= {_key(f): _told(f, fixed=True) for f in fixed}
        _, found = await faults(parts.store, wanted)
        if not fixed:
            break
    done |= {_key(f): _told(f, fixed=False) for f in found}
    elsewhere = await ipam_ports.check(parts, wanted, fix=fix)
    return t.IpamCheck(
        faults=(*(fault for _, fault in sorted(done.items())), *elsewhere),
        addresses=len(audit.addresses),
        blocks=sum(audit.blocks(name) for name, _ in audit.subnets),
        endpoints=sum(audit.claimed(e.network) for e, _ in audit.endpoints),
    )


async def faults(store: Store, network: str) -> tuple[Audit, list[Fault]]:
    """What two looks say."""
    before = _all(Audit(await snapshot(store)))
    audit = Audit(await snapshot(store))
    return audit, of_networks(lasting(before, _all(audit)), audit.networks, network)


def _all(audit: Audit) -> list[Fault]:
    return [*audit.faults(), *audit_floating.faults(audit), *audit_names.faults(audit), *audit_services.faults(audit)]


async def _fix(parts: Parts, faults: Iterable[Fault]) -> list[Fault]:
    """Those that were put right; several faults may have one fix."""
    outcome: dict[object, bool] = {}
    fixed = []
    for fault in faults:
        if fault.fix is None:
            continue
        if fault.fix not in outcome:
            try:
                outcome[fault.fix] = await parts.cluster.write(fault.fix.guards, fault.fix.ops)
            except NotFound:  # the tenure of the node that it is bound to has ended
                outcome[fault.fix] = False
        if outcome[fault.fix]:
            fixed.append(fault)
    return fixed


async def snapshot(store: Store) -> Listings:
    """What is there, in the order that the audit counts on: endpoints before leases before claims, services, too."""
    endpoints = await store.list(keys.ENDPOINTS)
    services = (await store.list(SERVICE.root)).items
    return Listings(
        nodes=(await store.list(keys.NODES)).items,
        networks=(await store.list(keys.NETWORKS)).items,
        leases=(await store.list(keys.LEASES)).items,
        endpoints=endpoints.items,
        locations=(await store.list(keys.LOCATIONS)).items,
        subnets=(await store.list(SUBNETS)).items,
        addresses=(await store.list(ADDRESSES)).items,
        floating=(await store.list(keys.FLOATING)).items,
        names=(await store.list(keys.NAME_CLAIMS)).items,
        services=services,
        endpoints_at=endpoints.revision,
    )


def _key(fault: Fault) -> tuple[str, str, str, str]:
    return fault.network, fault.kind, fault.subject, fault.node


def _told(fault: Fault, *, fixed: bool) -> t.Fault:
    return t.Fault(
        network=fault.network, kind=fault.kind, subject=fault.subject, node=fault.node, text=fault.text, fixed=fixed
    )


async def show(parts: Parts, network: Network | None) -> tuple[t.IpamInfo, ...]:
    """Raises Invalid where a network's addresses are its nodes' own affair."""
    if network is not None and not _claimed(network):
        raise Invalid(
            f"network {network.name}: its addresses are out of its nodes' subnets: `weft network show {network.name}`"
        )
    shown = {network.home: network} if network else {}
    networks = parts.view.networks
    homes = (
        sorted(shown) if network else [n.name for _, n in sorted(networks.items()) if n.home == n.name and _claimed(n)]
    )
    places = defaultdict[str, dict[IPAddress, str]](dict)
    for endpoint in records.readable(Endpoint, (await parts.store.list(keys.ENDPOINTS)).items):
        places[parts.view.home(endpoint.network)].update({a.ip: endpoint.node for a in endpoint.addresses})
    return tuple([await _info(parts, networks[home], places[home]) for home in homes if home in networks])


def _claimed(network: Network) -> bool:
    return registry.of(network).addresses.claimed


async def _info(parts: Parts, network: Network, places: dict[IPAddress, str]) -> t.IpamInfo:
    items = (await parts.store.list(keys.address_claims(network.name))).items
    held = (await parts.store.list(keys.subnet_claims(network.name))).items
    found = records.readable(Lease, (await parts.store.list(keys.leases(network.name))).items)
    leases = {lease.node: lease for lease in found}
    used = [a for a, i in records.claimed(claims.address, items) if not claims.is_cooling(i.value)]
    blocks = registry.of(network).addresses.blocks
    away = [a for a in used if a in places and places[a] in leases and alloc.outside(leases[places[a]], a)]
    return t.IpamInfo(
        network=network.name,
        driver=network.driver,
        subnets=network.subnets,
        used=len(used),
        cooling=len(items) - len(used),
        outside=len(away) if blocks else 0,
        services=sum(claims.is_service(item.value) for item in items),
        blocks=tuple(_blocks(network, held, items, places)) if blocks else (),
    )


def _blocks(
    network: Network, held: tuple[Item, ...], items: tuple[Item, ...], places: dict[IPAddress, str]
) -> list[t.BlockInfo]:
    nodes = {block: records.holder(i) for block, i in records.claimed(claims.subnet, held)}
    counts: dict[str, Counter[IPNetwork]] = {"used": Counter(), "borrowed": Counter(), "cooling": Counter()}
    lengths = {(block.version, block.prefixlen) for block in nodes}
    for address, item in records.claimed(claims.address, items):
        block = next((b for v, n in lengths if v == address.version and (b := _block(address, n)) in nodes), None)
        if block is not None:
            cold = claims.is_cooling(item.value)
            counts["cooling" if cold else "used"][block] += 1
            counts["borrowed"][block] += int(not cold and places.get(address, nodes[block]) != nodes[block])
    reserved = rules(network).reserved
    found = []
    for block, node in sorted(nodes.items(), key=lambda pair: (pair[1], pair[0].version, int(pair[0].network_address))):
        used, cooling = counts["used"][block], counts["cooling"][block]
        kept = _reserved(block, reserved)
        free = max(block.num_addresses - used - cooling - kept, 0)
        borrowed = counts["borrowed"][block]
        found.append(t.BlockInfo(block=block, node=node, used=used, borrowed=borrowed, cooling=cooling, free=free))
    return found


def _block(address: IPAddress, length: int) -> IPNetwork:
    return parse_network(host_prefix(address)).supernet(new_prefix=length)


def _reserved(block: IPNetwork, reserved: Iterable[IPNetwork]) -> int:
    """How many of its addresses are given to nobody."""
    if any(covers(prefix, block) for prefix in reserved):
        return block.num_addresses
    return sum(prefix.num_addresses for prefix in _merged(block, reserved))


def _merged(block: IPNetwork, reserved: Iterable[IPNetwork]) -> list[IPNetwork]:
    return list(merge(p for p in reserved if p.version == block.version and contains(block, p.network_address)))
