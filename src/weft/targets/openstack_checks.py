"""What `weft doctor` looks at in OpenStack: how full the routers are, whether security groups let containers' packets in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import partial

from weft.api import types as t
from weft.base.net import IPNetwork, covers, parse_network
from weft.openstack.routers import HostPort, IngressRule, Routers
from weft.targets.protocol import Check

ROUTES = 30
"""Extra routes of a router, unless the cloud's operator has changed Neutron's `max_routes`, which no call tells."""
NEARLY = 0.8
"""Of these: from here on it is said."""


def checks(api: Routers, facts: Mapping[str, str], ours: Set[str], subnets: Sequence[IPNetwork]) -> Iterator[Check]:
    """`ours`: the routers that Weft writes to. `subnets`: of its networks."""
    for router in sorted(ours):
        yield partial(_room, api, router)
    if facts.get("port-security") == "on":
        for subnet in subnets:
            yield partial(_let_in, api, facts["port"], subnet)


async def _room(api: Routers, id: str) -> t.Finding:
    routes = len((await api.router(id)).routes)
    check, detail = f"extra routes of router {id}", f"{routes}, of {ROUTES} unless max_routes was changed"
    if routes < NEARLY * ROUTES:
        return t.Finding(check=check, result="ok", detail=detail)
    advice = "have Neutron's max_routes raised, or use driver vxlan, which needs no routes there"
    return t.Finding(check=check, result="warning", detail=detail, advice=advice)


async def _let_in(api: Routers, id: str, subnet: IPNetwork) -> t.Finding:
    port = await api.port(id)
    check = f"security groups, from {subnet}"
    if any(_from(rule, port, subnet) for rule in await api.ingress(port.security_groups)):
        return t.Finding(check=check, result="ok", detail="some of it is let in")
    family = "IPv6" if subnet.version == 6 else "IPv4"
    return t.Finding(
        check=check,
        result="warning",
        detail=f"no rule of port {id} lets in any packet of other hosts' containers",
        advice=f"openstack security group rule create --ethertype {family} --remote-ip {subnet} --protocol any GROUP",
    )


def _from(rule: IngressRule, port: HostPort, subnet: IPNetwork) -> bool:
    """Whether it lets in anything of this prefix. A group that the hosts are in themselves stands for their ports' allowed
    address pairs as well, among which are their containers."""
    if rule.ethertype != f"IPv{subnet.version}" or rule.remote_address_group_id:
        return False
    if rule.remote_group_id:
        return rule.remote_group_id in port.security_groups
    return rule.remote_ip_prefix is None or covers(parse_network(rule.remote_ip_prefix), subnet)
