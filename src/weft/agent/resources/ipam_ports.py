"""The part of `weft ipam check` that asks Neutron."""

from __future__ import annotations

import time

from weft.agent.parts import Parts
from weft.api import types as t
from weft.base.errors import WeftError
from weft.cluster import records
from weft.datapaths import registry
from weft.ipam import audit_ports
from weft.ipam.audit_ports import Fault, Look
from weft.model import Endpoint, Network, keys
from weft.openstack.neutron import OWNER

UNASKED = "neutron-not-asked"


async def check(parts: Parts, network: str, *, fix: bool) -> list[t.Fault]:
    """Of one network, or of all ("")."""
    networks = {n.name: n for n in records.readable(Network, (await parts.store.list(keys.NETWORKS)).items)}
    concerned = [n for n in networks.values() if registry.of(n).addresses.made_elsewhere and network in ("", n.name)]
    if not concerned and (network or not parts.config.openstack_cloud):
        return []
    try:
        found = audit_ports.faults(await _look(parts, networks), parts.attachments.neutron.marks)
        return [await _told(parts, fault, fix=fix) for fault in audit_ports.of_network(found, network)]
    except WeftError as error:
        return [t.Fault(network=network, kind=UNASKED, subject="Neutron", node="", text=str(error))]


async def _look(parts: Parts, networks: dict[str, Network]) -> Look:
    neutron = parts.attachments.neutron.neutron
    before = await _endpoints(parts)
    ports, groups, nets = await neutron.ports(device_owner=OWNER), await neutron.groups(), await neutron.networks()
    after = await _endpoints(parts)
    return Look(
        lasting=[e for id, e in after.items() if id in before and before[id].data == e.data],
        any=[*before.values(), *after.values()],
        ports=ports,
        groups=groups,
        nets=nets,
        networks=networks,
        now=time.time(),
    )


async def _endpoints(parts: Parts) -> dict[str, Endpoint]:
    found = records.readable(Endpoint, (await parts.store.list(keys.ENDPOINTS)).items)
    return {e.id: e for e in found if e.data.get("port")}


async def _told(parts: Parts, fault: Fault, *, fix: bool) -> t.Fault:
    fixed, text = False, fault.text
    if fix:
        try:
            fixed = await _fix(parts, fault)
        except WeftError as error:
            text = f"{text}; {error}"
    return t.Fault(
        network=fault.network, kind=fault.kind, subject=fault.subject, node=fault.node, text=text, fixed=fixed
    )


async def _fix(parts: Parts, fault: Fault) -> bool:
    """Whether it was put right. Raises WeftError."""
    neutron = parts.attachments.neutron
    match fault.kind:
        case audit_ports.PORT:
            await neutron.neutron.delete_port(fault.id)
        case audit_ports.GROUP:
            await neutron.neutron.delete_group(fault.id)
        case audit_ports.NETWORK:
            await neutron.remove_network(fault.id)
        case _:
            endpoint = parts.view.endpoints.get(fault.id)
            if endpoint is None or endpoint.handover:  # another node's: only that one knows its host's name in Neutron
                return False
            await parts.attachments.replug(endpoint)
    return True
