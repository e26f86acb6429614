"""What users write of policy: applied as a whole or not at all, listed, shown, removed."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from support.agents import FakeHost, agent_on, until
from support.policies import cluster_policy, network_policy, own, own_policy
from weft.agent.agent import Agent
from weft.agent.resources import policies
from weft.agent.resources.policy_refs import Written
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.documents.text import documents
from weft.hoststate import NftChain
from weft.policy.record import POLICY

WEB = network_policy("{podSelector: {matchLabels: {role: web}}, ingress: [{}]}")
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n---\n"
TIER = own("Tier", "{order: 5, defaultAction: Pass}", "audit")
AUDITED = own_policy("{tier: audit, selector: all()}")


def sources(*texts: str) -> tuple[t.PolicySource, ...]:
    return tuple(
        t.PolicySource(place=d.place, document=d.value) for text in texts for d in documents(dedent(text), "f.yaml")
    )


async def apply(service: Service, *texts: str, dry_run: bool = False) -> dict[str, str]:
    done = await service.apply_policies(t.ApplyPolicies(documents=sources(*texts), dry_run=dry_run))
    return {change.id: change.change for change in done.changes}


async def remove(service: Service, *refs: str, texts: tuple[str, ...] = (), dry_run: bool = False) -> dict[str, str]:
    request = t.RemovePolicies(refs=refs, documents=sources(*texts), dry_run=dry_run)
    return {change.id: change.change for change in (await service.remove_policies(request)).changes}


async def stored(agent: Agent) -> list[str]:
    prefixes = ("policies/", "tiers/", "namespaces/", "network-sets/")
    return [item.key for prefix in prefixes for item in (await agent.store.list(prefix)).items]


async def test_all_of_one_call_is_one_transaction(agent: Agent, service: Service) -> None:
    before = (await agent.store.list(POLICY.root)).revision
    assert await apply(service, AUDITED, WEB, NAMESPACE, TIER, own("NetworkSet", "{nets: []}", "out")) == {
        "policy//mine": "created",
        "networkpolicy/shop/web": "created",
        "namespace//shop": "created",
        "tier//audit": "created",
        "networkset//out": "created",
    }
    assert (await agent.store.list(POLICY.root)).revision == before + 1
    assert await stored(agent) == [
        "policies/networkpolicy/shop/web",
        "policies/policy/-/mine",
        "tiers/audit",
        "namespaces/shop",
        "network-sets/-/out",
    ]


async def test_what_is_as_it_was_is_not_written(agent: Agent, service: Service) -> None:
    await apply(service, WEB, NAMESPACE)
    before = (await agent.store.list(POLICY.root)).revision
    turned = network_policy("{ingress: [{}], podSelector: {matchLabels: {role: web}}}")
    assert turned != WEB
    assert set((await apply(service, turned, NAMESPACE)).values()) == {"unchanged"}
    assert (await agent.store.list(POLICY.root)).revision == before
    changed = await apply(service, network_policy("{podSelector: {}}"), NAMESPACE.replace("team: a", "team: b"))
    assert set(changed.values()) == {"changed"}
    assert (await service.policies()).namespaces[0].labels == {"team": "b"}


async def test_nothing_is_applied_where_one_has_a_fault(agent: Agent, service: Service) -> None:
    bad = network_policy("{ingress: [{from: [{}, {}]}]}", "bad")
    with pytest.raises(Invalid) as error:
        await apply(service, NAMESPACE, WEB, bad)
    assert str(error.value).startswith(
        "f.yaml, line 1: NetworkPolicy shop/bad: spec.ingress[0].from[0]: it must specify"
    )
    assert str(error.value).endswith(" (and 1 more faults)")
    assert await stored(agent) == []


async def test_a_dry_run_shows_both_and_writes_nothing(agent: Agent, service: Service) -> None:
    await apply(service, WEB)
    new = network_policy("{podSelector: {}}")
    done = await service.apply_policies(t.ApplyPolicies(documents=sources(new, NAMESPACE), dry_run=True))
    changed, created = done.changes
    assert changed.before and changed.before["spec"]["podSelector"] == {"matchLabels": {"role": "web"}}
    assert changed.after and changed.after["spec"] == {"podSelector": {}}
    assert (created.change, created.before) == ("created", None)
    assert await remove(service, "web", dry_run=True) == {"networkpolicy/shop/web": "removed"}
    assert await stored(agent) == ["policies/networkpolicy/shop/web"]
    assert (await service.policy("web")).document["spec"]["podSelector"] == {"matchLabels": {"role": "web"}}


async def test_more_than_a_transaction_takes(agent: Agent, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [own_policy("{tier: audit}", f"p{n}") for n in range(2 * policies.AT_ONCE + 1)]
    assert set((await apply(service, *many, TIER)).values()) == {"created"}
    assert len(await stored(agent)) == len(many) + 1
    assert set((await remove(service, texts=(TIER, *many))).values()) == {"removed"}
    assert await stored(agent) == []


async def test_the_list_is_in_the_order_in_which_they_are_asked(service: Service) -> None:
    await apply(
        service,
        TIER,
        own_policy("{order: 2000}", "late"),
        own_policy("{selector: has(a), namespaceSelector: has(b), networks: [blue]}", "last"),
        own_policy("{order: 5.5, egress: [{action: Allow}, {action: Deny}]}", "early", "shop"),
        WEB,
        AUDITED,
        cluster_policy("{tier: Baseline, priority: 5, subject: {namespaces: {}}}", "base"),
    )
    found = await service.policies()
    assert [p.id for p in found.policies] == [
        "policy//mine",
        "policy/shop/early",
        "networkpolicy/shop/web",
        "policy//late",
        "policy//last",
        "clusternetworkpolicy//base",
    ]
    assert [(tier.name, tier.policies) for tier in found.tiers if tier.name != "isolation"] == [
        ("audit", 1),
        ("admin", 0),
        ("default", 4),
        ("baseline", 1),
    ]
    early, last = found.policies[1], found.policies[4]
    assert (early.ingress, early.egress, early.order) == (None, 2, 5.5)
    assert (last.selector, last.namespaces, last.networks, last.ingress) == ("has(a)", "has(b)", ("blue",), 0)


class TestTiers:
    async def test_a_policy_in_one_that_is_not_there_is_refused(self, agent: Agent, service: Service) -> None:
        with pytest.raises(
            Invalid, match=r"policy//mine: spec.tier: there is no tier audit: .* admin, baseline, default"
        ):
            await apply(service, AUDITED, WEB)
        assert await stored(agent) == []

    async def test_one_in_use_is_not_removed(self, agent: Agent, service: Service) -> None:
        await apply(service, TIER, AUDITED)
        for refs in (("tier/audit",), ("audit",), ("tier//audit",)):
            with pytest.raises(Conflict, match=r"tier audit has policies \(policy//mine\): remove these first"):
                await remove(service, *refs)
        assert await remove(service, "tier/audit", "mine") == {"tier//audit": "removed", "policy//mine": "removed"}
        assert await stored(agent) == []

    async def test_those_that_are_always_there_are_not_removed(self, service: Service) -> None:
        with pytest.raises(NotFound, match="tier default is always there"):
            await remove(service, "tier/default")
        assert (await service.policy("tier/default")).document["spec"] == {"order": 1_000_000, "defaultAction": "Deny"}

    async def test_one_that_another_node_just_removed(self, agent: Agent, service: Service, store_file: Path) -> None:
        """Whatever this node has heard of it so far: no policy ends in a tier that is not there."""
        await apply(service, TIER)
        async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as other:
            elsewhere = Service(other)
            await until(lambda: "audit" in [tier.name for tier in Written(other.view).tiers()])
            await remove(elsewhere, "tier/audit")
            try:
                await apply(service, AUDITED)
            except Invalid as error:
                assert "there is no tier audit" in str(error)
            assert await stored(agent) == []


class TestNames:
    async def test_what_is_meant(self, service: Service) -> None:
        await apply(service, WEB, network_policy("{}", "web", "bank"), own_policy("{}", "shop"), NAMESPACE)
        for ref in ("shop/web", "networkpolicy/shop/web", "NetworkPolicy/shop/web"):
            assert (await service.policy(ref)).id == "networkpolicy/shop/web"
        assert (await service.policy("shop")).id == "policy//shop", "policies are meant first"
        assert (await service.policy("namespace/shop")).id == "namespace//shop"
        with pytest.raises(Invalid, match="'web' is networkpolicy/bank/web, networkpolicy/shop/web: name one of these"):
            await service.policy("web")
        with pytest.raises(NotFound, match="no policy db: `weft policy ls`"):
            await service.policy("db")

    async def test_nothing_is_removed_where_one_is_not_there(self, agent: Agent, service: Service) -> None:
        await apply(service, WEB)
        with pytest.raises(NotFound):
            await remove(service, "web", "db")
        assert len(await stored(agent)) == 1
        assert await remove(service, texts=(WEB, NAMESPACE)) == {
            "networkpolicy/shop/web": "removed",
            "namespace//shop": "missing",
        }


async def test_a_policy_about_hosts_is_in_force_where_it_is_about_the_node(
    agent: Agent, host: FakeHost, service: Service, store_file: Path
) -> None:
    def chains(of: FakeHost) -> set[str]:
        return {obj.name for obj in of.ours().values() if isinstance(obj, NftChain)} & {"host-in", "failsafe-in"}

    there = FakeHost("192.168.1.254/24")
    async with agent_on(there, store_file, "node-2", labels={"rack": "b"}) as other:
        await until(lambda: "node-2" in agent.view.nodes)
        await apply(service, own_policy("{hosts: has(rack)}"))
        await until(lambda: len(chains(there)) == 2)
        assert chains(host) == set()
        assert (await service.policies()).policies[0].hosts == "has(rack)"
        await apply(service, own_policy("{hosts: '!has(rack)'}"))
        await until(lambda: len(chains(host)) == 2 and not chains(there))
        await remove(Service(other), "mine")
        await until(lambda: not chains(host))


async def test_the_document_comes_back_as_it_was_written(service: Service) -> None:
    text = """
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: {name: web, namespace: shop, resourceVersion: "5", annotations: {why: because}}
        spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.2.3/8}}]}]}
        """
    await apply(service, text)
    found: dict[str, Any] = (await service.policy("web")).document
    assert list(found) == ["apiVersion", "kind", "metadata", "spec"]
    assert found["metadata"] == {"name": "web", "namespace": "shop", "annotations": {"why": "because"}}
    assert found["spec"]["ingress"][0]["from"][0]["ipBlock"]["cidr"] == "10.1.2.3/8"
    again = t.ApplyPolicies(documents=(t.PolicySource(place="again", document=found),))
    assert [c.change for c in (await service.apply_policies(again)).changes] == ["unchanged"]


async def test_what_a_policy_does_not_say_is_told(service: Service) -> None:
    text = cluster_policy(
        "{tier: Admin, priority: 5, subject: {namespaces: {}}, egress: [{action: Deny, to: [{galaxies: {}}]}]}"
    )
    (note,) = (await service.apply_policies(t.ApplyPolicies(documents=sources(text)))).notes
    assert "spec.egress[0].to[0]: this kind of peer ('galaxies') is not known" in note
