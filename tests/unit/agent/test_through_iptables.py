"""A node whose settings say policy = "iptables"."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.hoststate import IptablesElement, Link, NftChain, NftElement, Object, Veth
from weft.model.codec import encode
from weft.policy.model import Policy, Who
from weft.policy.record import POLICIES, policy_key
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.store.protocol import Put

CLOSED = Policy(id="policy//closed", kind="Policy", name="closed", subject=Who(), ingress=(), egress=())


def target(op: Op) -> Object:
    return op.new if isinstance(op, Change) else op.obj


def of_policy(obj: Object) -> str:
    """Through what this is a rule of policy; "" for what is none."""
    if obj.kind.startswith("iptables-") and getattr(obj, "name", "") != "WEFT-FORWARD":
        return "iptables"
    nft = isinstance(obj, NftChain) and obj.name[:3] in ("pol", "pi-", "po-")
    return "nftables" if nft or (isinstance(obj, NftElement) and obj.set.startswith("policy-")) else ""


async def closed_container(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue", "10.20.0.0/16", "fd20::/64", driver="routed")
    await agent.store.commit((), [Put(policy_key(CLOSED), encode(CLOSED))])
    await until(lambda: CLOSED.id in agent.view.table(POLICIES).by("id"))
    host.open("c1")
    await attach(agent, "c1")


async def test_a_container_is_closed_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    host = FakeHost()
    async with agent_on(host, tmp_path / "weft.db", policy="iptables") as agent:
        await closed_container(agent, host)
        made = [target(op) for op in host.log if isinstance(op, Create)]
        device = next(n for n, obj in enumerate(made) if isinstance(obj, Link) and isinstance(obj.type, Veth))
        rules = [n for n, obj in enumerate(made) if of_policy(obj)]
        assert {of_policy(made[n]) for n in rules} == {"iptables"} and max(rules) < device
        assert len([obj for obj in made if isinstance(obj, IptablesElement)]) == 4


async def test_another_setting_makes_new_rules_before_old_ones_go(tmp_path: Path) -> None:
    host = FakeHost()
    file, through = tmp_path / "weft.db", ("nftables", "iptables", "nftables")
    async with agent_on(host, file, policy=through[0]) as agent:
        await closed_container(agent, host)
    for old, new in itertools.pairwise(through):
        host.log.clear()
        async with agent_on(host, file, policy=new) as agent:
            await until(lambda: not agent.loop.busy)
        made = [n for n, op in enumerate(host.log) if not isinstance(op, Remove) and of_policy(target(op)) == new]
        gone = [n for n, op in enumerate(host.log) if isinstance(op, Remove) and of_policy(target(op)) == old]
        assert made and gone and max(made) < min(gone)
        assert {of_policy(obj) for obj in host.objects.values()} == {"", new}


async def test_what_is_unheard_of_is_read_again_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.agent.UNHEARD_INTERVAL", 0.01)
    host = FakeHost()
    async with agent_on(host, tmp_path / "weft.db", policy="iptables") as agent:
        assert agent.host.host is not None and agent.host.host.policy == "iptables"
        await until(lambda: not agent.loop.busy)
        reads = host.reads
        host.shaken = {""}
        await until(lambda: host.reads > reads)
        assert not host.shaken


async def test_a_node_tells_through_what_its_policy_goes(tmp_path: Path) -> None:
    async with agent_on(FakeHost(), tmp_path / "weft.db") as agent:
        assert agent.view.nodes["node-1"].policy == "nftables"
