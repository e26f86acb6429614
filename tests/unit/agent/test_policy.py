"""Policy on a host without a kernel: what is there before a container, and which open connections are looked at."""

from __future__ import annotations

from errno import EIO
from ipaddress import ip_address
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api.types import Attach
from weft.base.errors import NotFound, WeftError
from weft.base.net import link_local
from weft.hoststate import BridgeFilter, Link, NftChain, NftElement, Object, Veth
from weft.kernel.host.connections import Flow
from weft.model.codec import encode
from weft.policy.model import Policy, Who
from weft.policy.record import POLICIES, policy_key
from weft.policy.render.marks import CUT
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.store.protocol import Delete, Put

CLOSED = Policy(id="policy//closed", kind="Policy", name="closed", subject=Who(), ingress=(), egress=())
SUBNETS = ("10.20.0.0/16", "fd20::/64")
DRIVERS = ("bridge", "host-gw", "vxlan", "routed", "overlay")


async def apply(agent: Agent, *policies: Policy) -> None:
    await agent.store.commit((), [Put(policy_key(policy), encode(policy)) for policy in policies])
    await until(lambda: all(policy.id in agent.view.table(POLICIES).by("id") for policy in policies))


async def remove(agent: Agent, *policies: Policy) -> None:
    await agent.store.commit((), [Delete(policy_key(policy)) for policy in policies])
    await until(lambda: not any(policy.id in agent.view.table(POLICIES).by("id") for policy in policies))


def target(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def is_rule(obj: Object) -> bool:
    """Of policy."""
    return (isinstance(obj, NftChain) and obj.name[:3] in ("pol", "pi-", "po-")) or (
        isinstance(obj, NftElement) and obj.set.startswith("policy-") and bool(obj.to)
    )


def is_device(obj: Object) -> bool:
    return isinstance(obj, Link) and isinstance(obj.type, Veth)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_new_container_is_closed_from_the_beginning_to_its_end(
    agent: Agent, host: FakeHost, driver: str
) -> None:
    """Its rules are there before its device, and go after it; so does what shows them a bridge's packets. (What is in a
    namespace of ours goes with that.)"""
    await create(agent, "blue", *SUBNETS, driver=driver)
    await apply(agent, CLOSED)
    host.open("c1")
    host.log.clear()
    await attach(agent, "c1")
    made = [target(op) for op in host.log if isinstance(op, Create)]
    first = next(n for n, obj in enumerate(made) if is_device(obj))
    rules = [n for n, obj in enumerate(made) if is_rule(obj) or isinstance(obj, BridgeFilter)]
    spaces = 2 if driver == "overlay" else 1
    assert len(rules) >= 5 * spaces and max(rules) < first
    assert sum(isinstance(made[n], BridgeFilter) for n in rules) == (0 if driver == "routed" else spaces)
    host.log.clear()
    await Service(agent).detach("c1")
    gone = [target(op) for op in host.log if isinstance(op, Remove)]
    last = max(n for n, obj in enumerate(gone) if is_device(obj) and obj.ns == "")
    assert all(n > last for n, obj in enumerate(gone) if is_rule(obj) and obj.ns == "")


@pytest.mark.parametrize("what", ["policies", "policy-to4", "bridge-filter"])
async def test_without_its_rules_there_is_no_container(agent: Agent, host: FakeHost, what: str) -> None:
    await create(agent, "blue", *SUBNETS, driver="bridge")
    await apply(agent, CLOSED)
    host.open("c1")
    host.fault = lambda _, op: EIO if what in target(op).key else 0
    with pytest.raises(WeftError, match="waits for"):
        await attach(agent, "c1")
    assert not [obj for obj in host.objects.values() if is_device(obj)]
    host.fault = None
    await attach(agent, "c1")


async def test_a_bridge_shows_its_packets_only_as_long_as_there_is_policy(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", *SUBNETS, driver="bridge")
    host.open("c1")
    await attach(agent, "c1")
    assert not [obj for obj in host.objects.values() if isinstance(obj, BridgeFilter)]
    await apply(agent, CLOSED)
    await until(lambda: any(isinstance(obj, BridgeFilter) for obj in host.objects.values()))
    await remove(agent, CLOSED)
    await until(lambda: not any(isinstance(obj, BridgeFilter) for obj in host.objects.values()))


def flow(source: str, to: str, mark: int = 0) -> Flow:
    one, other = ip_address(source).packed, ip_address(to).packed
    return Flow(b"", b"", b"", False, 6, one, other, 80, other, 80, one, mark)


async def test_open_connections_are_judged_when_policy_changes(agent: Agent, host: FakeHost, store_file: Path) -> None:
    """Only of those whom policy selects; and once by an agent that starts."""
    await create(agent, "blue", *SUBNETS, driver="bridge", reach="all")
    host.open("c1")
    found = await attach(agent, "c1")
    address = str(found.addresses[0].ip)
    looks = len(host.conntrack.looks)
    await create(agent, "red", "10.30.0.0/16", driver="bridge", reach="all")
    assert len(host.conntrack.looks) == looks, "nothing of this is about policy"
    denied = flow("192.0.2.1", address)
    host.conntrack.flows[""] = [denied]
    await apply(agent, CLOSED)
    await until(lambda: host.conntrack.marked == [("", CUT, [(denied, True)])])
    await until(lambda: "weft_connections_cut_off_total 1.0" in agent.metrics.exposition()[0].decode())
    assert host.conntrack.looks[-1] == {
        "": {a.packed for a in (*(a.ip for a in found.addresses), link_local(found.mac))}
    }
    host.conntrack.flows[""] = [flow("192.0.2.1", address, CUT)]
    await remove(agent, CLOSED)
    await until(lambda: len(host.conntrack.marked) == 2)
    assert [wanted for _, wanted in host.conntrack.marked[1][2]] == [False]


async def test_an_agent_that_starts_looks_once(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent, "blue", *SUBNETS, driver="bridge", reach="all")
        host.open("c1")
        found = await attach(agent, "c1")
    host.conntrack.looks.clear()
    host.conntrack.flows[""] = [flow("192.0.2.1", str(found.addresses[0].ip), CUT)]
    async with agent_on(host, store_file):
        await until(lambda: bool(host.conntrack.marked))
    by_policy = [look for look in host.conntrack.looks if link_local(found.mac).packed in look[""]]
    assert len(by_policy) == 1 and not host.conntrack.marked[0][2][0][1]


async def test_policies_that_select_an_endpoint(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", *SUBNETS)
    shop = Policy(id="policy//shop", kind="Policy", name="shop", subject=Who(selector="app == 'shop'"), ingress=())
    await apply(agent, CLOSED, shop)
    for name, labels in (("c1", {"app": "shop"}), ("c2", {})):
        host.open(name)
        made = await Service(agent).attach(Attach(target=name, network="blue", labels=labels))
        found = await Service(agent).policies(endpoint=made.id)
        assert {policy.name for policy in found.policies} == ({"closed", "shop"} if labels else {"closed"})
    assert len((await Service(agent).policies()).policies) == 2
    with pytest.raises(NotFound, match="no endpoint with the id nobody"):
        await Service(agent).policies(endpoint="nobody")
