"""Whether connections that are open may be: each host judges its own end."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import pytest

from weft.base.net import IPAddress
from weft.policy.evaluate import Judge
from weft.policy.model import Identity, Peer, Policy, PortRange, Rule, Traffic, Who
from weft.policy.standing import Connection, Standing
from weft.policy.world import World


def identity(name: str, address: str, network: str = "blue", **labels: str) -> Identity:
    return Identity(
        id=name,
        name=name,
        network=network,
        node="node-1",
        addresses=(ip_address(address),),
        labels=labels or {"app": name},
    )


WEB, DB, AWAY = identity("web", "10.1.0.2"), identity("db", "10.1.0.3"), identity("away", "10.2.0.2")
WEB6 = identity("web", "fd00::2")
TO_DB = Policy(
    id="policy//db",
    kind="Policy",
    name="db",
    subject=Who(selector="app == 'db'"),
    ingress=(
        Rule(
            action="allow",
            peers=(Peer(who=Who(selector="app == 'web'")),),
            traffic=(Traffic(protocol="tcp", ports=(PortRange(80, 80),)),),
        ),
        Rule(action="allow", traffic=(Traffic(protocol="icmp", icmp_type=8),)),
        Rule(action="allow", peers=(Peer(cidrs=(ip_network("192.0.2.0/24"),)),)),
    ),
)
OUT = Policy(id="policy//web", kind="Policy", name="web", subject=Who(selector="app == 'web'"), egress=())


def connection(
    source: str, target: str, port: int = 80, protocol: int = 6, icmp: tuple[int, int] | None = None
) -> Connection:
    return Connection(ip_address(source).packed, ip_address(target).packed, protocol, port, icmp)


def standing(*policies: Policy, everybody: Iterable[Identity] = (WEB, DB, AWAY)) -> Standing:
    def at(address: IPAddress) -> list[Identity]:
        return [it for it in everybody if address in it.addresses]

    return Standing(Judge(World(policies)), at, {ip_address("192.0.2.1"): "node-1", ip_address("192.0.3.1"): "node-2"})


HERE = {ip_address("10.1.0.2"): WEB, ip_address("10.1.0.3"): DB}


@pytest.mark.parametrize(
    ("it", "allowed"),
    [
        (connection("10.1.0.2", "10.1.0.3"), True),
        (connection("10.1.0.2", "10.1.0.3", 81), False),
        (connection("10.1.0.2", "10.1.0.3", protocol=17), False),
        (connection("10.1.0.3", "10.1.0.2", 81), True),
        (connection("10.2.0.2", "10.1.0.3"), False),
        (connection("10.2.0.2", "10.1.0.3", 0, 1, (8, 0)), True),
        (connection("10.2.0.2", "10.1.0.3", 0, 1, (13, 0)), False),
        (connection("192.0.2.7", "10.1.0.3", 5, 17), True),
        (connection("192.0.3.1", "10.1.0.3", 5, 17), False),
    ],
)
def test_as_policy_says(it: Connection, allowed: bool) -> None:
    assert standing(TO_DB).allows(HERE, it) is allowed


def test_the_own_node_is_not_asked() -> None:
    assert standing(TO_DB).allows(HERE, connection("192.0.2.1", "10.1.0.3", 5, 17))


def test_only_the_end_that_is_here_is_judged() -> None:
    """The other host does so for its own, and may know of another policy by now."""
    to_db, out = connection("10.1.0.2", "10.1.0.3", 81), connection("10.1.0.2", "10.2.0.2")
    sender, receiver = {ip_address("10.1.0.2"): WEB}, {ip_address("10.1.0.3"): DB}
    assert standing(TO_DB).allows(sender, to_db) and not standing(TO_DB).allows(receiver, to_db)
    assert not standing(OUT).allows(sender, out) and standing(OUT).allows(receiver, out)


def test_an_endpoint_may_have_another_address_in_another_place() -> None:
    outside = {ip_address("172.20.0.2"): DB}
    assert not standing(TO_DB).allows(outside, connection("192.0.3.7", "172.20.0.2"))
    assert standing(TO_DB).allows({}, connection("192.0.3.7", "172.20.0.2"))


def test_an_address_that_only_this_host_knows_is_nobodys_to_others() -> None:
    """As for the rules: what they name are the addresses that an endpoint has in its network."""
    here = HERE | {ip_address("fe80::2"): WEB, ip_address("fe80::3"): DB}
    assert not standing(TO_DB).allows(here, connection("fe80::2", "fe80::3"))
    assert standing(TO_DB).allows(here, connection("fe80::3", "fe80::3", 81)), "to itself"


def test_of_several_with_one_address_the_one_that_can_be_met() -> None:
    other = identity("other", "10.1.0.2", "red")
    assert (
        standing(TO_DB, everybody=(other, WEB)).allows({ip_address("10.1.0.3"): DB}, connection("10.1.0.9", "10.1.0.3"))
        is False
    )
