"""What documents declare becomes so: as a whole or not at all, again and again, and written back as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from support.agents import FakeHost, Tap, agent_on, attach, until
from support.declared import (
    BLUE,
    CLUSTER,
    FLOATING,
    KUBERNETES,
    NAMESPACE,
    PEER,
    POLICY,
    POOL,
    PROD,
    SETTINGS,
    TIER,
    WEB,
    applied,
    changes,
    exported,
    faults,
)
from weft.agent.agent import Agent
from weft.agent.resources.declared.part import Plan
from weft.agent.resources.declared.resource import Declared
from weft.agent.resources.service import Service
from weft.api import declared as d
from weft.base.errors import Invalid, NotFound, Unavailable
from weft.model import BgpSettings, Network, encode
from weft.policy.record import POLICIES
from weft.services.record import SERVICES, At
from weft.store.protocol import Put

AT_ONE = WEB.replace('publish: ["8000:80"]', "addresses: [10.20.9.9]")
SHARING = """
apiVersion: weft/v1
kind: Network
metadata: {name: inner}
spec: {driver: routed, options: {share: green}}
"""
IDS = {
    "bgpsettings/default",
    "tier/audit",
    "namespace/shop",
    "networkset/office",
    "policy/shop/web",
    "networkpolicy/shop/db",
    "network/blue",
    "network/prod",
    "pool/prod/10.31.0.0/16",
    "bgppeer/tor-a",
    "service/blue/web",
}


async def keys_of(agent: Agent) -> dict[str, int]:
    prefixes = ("networks/", "policies/", "tiers/", "namespaces/", "network-sets/", "services/", "bgp/")
    return {item.key: item.revision for prefix in prefixes for item in (await agent.store.list(prefix)).items}


async def test_a_whole_cluster_in_any_order_and_a_second_time_nothing(agent: Agent, service: Service) -> None:
    first = await changes(service, *CLUSTER)
    assert {**first, "bgpsettings/default": "created"} == dict.fromkeys(IDS, "created")
    before = await keys_of(agent)
    assert await changes(service, *reversed(CLUSTER)) == dict.fromkeys(IDS, "unchanged")
    assert await keys_of(agent) == before


async def test_an_export_changes_nothing_here_and_makes_the_same_elsewhere(
    agent: Agent, service: Service, tmp_path: Path
) -> None:
    await changes(service, *CLUSTER)
    texts = await exported(service)
    assert await changes(service, *texts) == dict.fromkeys(IDS, "unchanged")
    async with agent_on(FakeHost("192.168.7.7/24"), tmp_path / "other.db", "node-7") as other:
        elsewhere = Service(other)
        assert set((await changes(elsewhere, *texts)).values()) <= {"created", "changed"}
        assert await exported(elsewhere) == texts


async def test_what_one_document_has_wrong_keeps_all_from_being_applied(agent: Agent, service: Service) -> None:
    bad = WEB.replace("select:", "selekt:")
    assert await faults(service, BLUE, bad) == [
        "f1.yaml, line 2: Service blue/web: spec: 'selekt' is not a field of it: did you mean select?"
    ]
    assert await faults(
        service, BLUE, WEB.replace("network: blue", "network: green"), TIER.replace("order", "oder")
    ) == ["f2.yaml, line 2: Tier audit: spec: 'oder' is not a field of it: did you mean order?"]
    assert await faults(service, BLUE, WEB.replace("network: blue", "network: green"), POLICY) == [
        "f2.yaml, line 2: policy/shop/web: spec.tier: there is no tier audit: make it first, or choose one of admin, baseline, "
        "default, isolation",
        "f1.yaml, line 2: there is no network green: give its document as well, or `weft network create` it",
    ]
    assert await keys_of(agent) == {}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((BLUE, PROD.replace("10.30.0.0", "10.20.0.0")), "overlap"),
        ((BLUE.replace("vxlan", "vxlam"),), "unknown driver 'vxlam'"),
        ((BLUE.replace("vni", "vnu"),), "has no option 'vnu'"),
        ((BLUE, BLUE.replace("name: blue", "name: red").replace("20", "21")), "VNI 77 is taken by network"),
        ((SHARING,), "there is no network green that it could share"),
        ((BLUE, POOL.replace("network: prod", "network: blue")), "has no pools"),
        ((PROD, POOL.replace("10.31", "10.30.4").replace("0.0/16", "0/24")), "overlap"),
        ((POOL,), "there is no network prod"),
        ((BLUE, WEB.replace("select: app=web, ", "")), "say which containers it leads to"),
        ((BLUE, WEB.replace("drain: 5", "addresses: [10.9.9.9]")), "10.9.9.9 is outside network blue"),
        ((BLUE, WEB, WEB.replace("name: web", "name: web2")), "8000"),
        ((BLUE, WEB, WEB.replace("name: web", "name: web2").replace("8000", "1").replace("drain: 5", "aliases: [web]")), "web"),
        ((BLUE, AT_ONE, AT_ONE.replace("name: web", "name: b")), "10.20.9.9 is an address of service web"),
        ((BLUE, WEB, WEB.replace("name: web", "name: a").replace("8000", "10.0.0.9:8000")), "services share no port"),
        ((PEER.replace("192.168.1.1", "192.168.1.68"),), "node-1's own address"),
        ((PEER.replace("ttlSecurity", "keepPassword"),), "there is no password here to keep"),
        ((BLUE, BLUE), "is there twice: first at f0.yaml, line 2"),
    ],
)  # fmt: skip
async def test_faults_that_only_show_beside_what_there_is(
    agent: Agent, service: Service, texts: Sequence[str], expected: str
) -> None:
    for dry_run in (True, False):
        found = await faults(service, *texts, dry_run=dry_run)
        assert expected in found[0] and found[0].startswith("f")
    assert await keys_of(agent) == {}


async def test_a_dry_run_says_what_would_be_and_does_nothing(agent: Agent, service: Service) -> None:
    await changes(service, BLUE, WEB, SETTINGS)
    before = await keys_of(agent)
    done = await applied(service, BLUE, WEB.replace("drain: 5", "drain: 7"), TIER, dry_run=True)
    by_id = {change.id: change for change in done.changes}
    assert {id: change.change for id, change in by_id.items()} == {
        "network/blue": "unchanged",
        "service/blue/web": "changed",
        "tier/audit": "created",
    }
    web = by_id["service/blue/web"]
    assert web.before and web.after
    assert web.before["spec"].pop("drain") == 5 and web.after["spec"].pop("drain") == 7
    assert web.before == web.after
    assert by_id["tier/audit"].before is None and by_id["network/blue"].after is None
    assert await keys_of(agent) == before


async def test_what_is_left_to_weft_stays_as_weft_chose_it(agent: Agent, service: Service) -> None:
    open_port = WEB.replace('"8000:80"', '":80"')
    await changes(service, BLUE.replace(", options: {vni: 77}", ""), open_port)
    first = await exported(service)
    assert set((await changes(service, BLUE.replace(", options: {vni: 77}", ""), open_port)).values()) == {"unchanged"}
    assert await exported(service) == first
    document = yaml.safe_load(first[0])
    assert document["spec"]["options"]["vni"] > 0
    [published] = yaml.safe_load(first[1])["spec"]["publish"]
    assert published.endswith(":80/tcp") and int(published.partition(":")[0]) >= 30_000


async def test_pools_are_added_changed_and_pruned_with_their_network(agent: Agent, service: Service) -> None:
    await changes(service, PROD)
    assert (await changes(service, PROD, POOL))["pool/prod/10.31.0.0/16"] == "created"
    both = PROD.replace("prod", "two").replace("[10.30.0.0/16]", "[10.50.0.0/16, 10.51.0.0/16]")
    of_two = POOL.replace("prod", "two").replace("10.31", "10.51")
    for change in ("created", "unchanged"):
        assert await changes(service, both, of_two) == dict.fromkeys(("network/two", "pool/two/10.51.0.0/16"), change)
    await service.remove_network("two")
    assert (await changes(service, PROD))["network/prod"] == "unchanged"  # a pool more makes no other network
    wider = PROD.replace("[10.30.0.0/16]", "[10.30.0.0/16, 10.32.0.0/16]")
    assert (await changes(service, wider))["network/prod"] == "changed"
    assert (await changes(service, PROD, POOL.replace("disabled: true", "masquerade: true"))) == {
        "network/prod": "unchanged",
        "pool/prod/10.31.0.0/16": "changed",
    }
    assert [str(p.subnet) for p in await service.pools("prod")] == ["10.30.0.0/16", "10.31.0.0/16", "10.32.0.0/16"]
    assert await changes(service, PROD, prune={"app": "shop"}) == {
        "network/prod": "unchanged",
        "pool/prod/10.31.0.0/16": "removed",
        "pool/prod/10.32.0.0/16": "removed",
    }
    assert [str(p.subnet) for p in await service.pools("prod")] == ["10.30.0.0/16"]
    await changes(service, PROD, POOL.replace("10.31", "10.30"))
    assert await changes(service, PROD, prune={"app": "shop"}) == {
        "network/prod": "unchanged",
        "pool/prod/10.30.0.0/16": "changed",
    }
    assert not (await service.pools("prod"))[0].disabled


async def test_prune_removes_what_has_the_label_and_no_document(agent: Agent, service: Service) -> None:
    await changes(service, *CLUSTER)
    other = BLUE.replace("blue", "red").replace("20", "40").replace("77", "78").replace("app: shop", "app: other")
    await changes(service, other)
    told = await changes(service, BLUE, prune={"app": "shop"})
    assert told == {
        "network/blue": "unchanged",
        **dict.fromkeys(IDS - {"network/blue", "bgpsettings/default", "pool/prod/10.31.0.0/16"}, "removed"),
    }
    assert set(agent.view.networks) == {"blue", "red"}
    assert agent.view.bgp == BgpSettings(hold_time=9, mesh=False)  # of which there is one, and no label
    assert await changes(service, BLUE, prune={"app": "shop"}) == {"network/blue": "unchanged"}


async def test_prune_leaves_a_network_with_containers_and_says_so(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await changes(service, BLUE, PROD, WEB)
    host.open("c1")
    await attach(agent, "c1", "blue")
    assert await faults(service, PROD, prune={"app": "shop"}) == [
        "--prune: network blue has 1 endpoints (c1 on node-1): detach them first, or leave the network in the documents"
    ]
    assert set(agent.view.networks) == {"blue", "prod"} and len(await service.services()) == 1


async def test_a_password_is_never_shown_and_kept_where_it_is_said_so(agent: Agent, service: Service) -> None:
    secret = PEER.replace("asn:", "password: hunter2, asn:")
    assert await changes(service, secret) == {"bgppeer/tor-a": "created"}
    [text] = await exported(service, "bgppeer")
    assert "hunter2" not in text and "keepPassword: true" in text
    assert await changes(service, text) == await changes(service, secret) == {"bgppeer/tor-a": "unchanged"}
    done = await applied(service, PEER.replace("asn:", "password: other, asn:"), dry_run=True)
    assert done.changes[0].change == "changed"
    assert done.changes[0].after and done.changes[0].after["spec"]["password"] == "(another one)"
    assert await changes(service, text.replace("65001", "65002")) == {"bgppeer/tor-a": "changed"}
    assert agent.view.bgp_peers["tor-a"].password == "hunter2"
    assert await changes(service, PEER) == {"bgppeer/tor-a": "changed"}
    assert agent.view.bgp_peers["tor-a"].password == ""


async def test_a_floating_address_waits_for_its_container(agent: Agent, host: FakeHost, service: Service) -> None:
    done = await applied(service, PROD, FLOATING)
    assert [(c.id, c.change) for c in done.changes] == [
        ("network/prod", "created"),
        ("floatingaddress/prod/198.51.100.7", "waits"),
    ]
    assert done.changes[1].reason == "network prod has no container c1: attach it, and apply this again"
    host.open("c1")
    host.open("c2")
    await attach(agent, "c1", "prod")
    await attach(agent, "c2", "prod")
    assert (await changes(service, PROD, FLOATING))["floatingaddress/prod/198.51.100.7"] == "created"
    assert (await changes(service, PROD, FLOATING))["floatingaddress/prod/198.51.100.7"] == "unchanged"
    moved = FLOATING.replace("c1", "c2")
    assert (await changes(service, moved))["floatingaddress/prod/198.51.100.7"] == "changed"
    assert [str(a) for a in (await service.endpoint("c2")).floating] == ["198.51.100.7"]
    assert (await exported(service, "floatingaddress"))[0].endswith("spec:\n  endpoint: c2\n")


@pytest.mark.parametrize("seen", [False, True])
async def test_of_two_who_change_the_same_thing_one_is_told(
    agent: Agent, service: Service, store_file: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """`seen`: whether the one who loses could know of the other's change before he writes."""
    await changes(service, PROD, BLUE, WEB, TIER, POLICY, PEER, POOL)
    make = Declared._made
    async with agent_on(FakeHost("192.168.1.9/24"), store_file, "node-2") as other:
        await until(lambda: "tor-a" in other.view.bgp_peers and other.view.networks["prod"].pools)

        async def meanwhile(self: Declared, plan: Plan) -> list[d.DeclaredChange]:
            if self._agent is other:
                assert set((await changes(service, ours)).values()) <= {"changed"}
                await until(lambda: not seen or _declared(other) == _declared(agent))
            return await make(self, plan)

        monkeypatch.setattr(Declared, "_made", meanwhile)
        for text, id, old, new in (
            (WEB, "service/blue/web", "drain: 5", "drain: "),
            (POLICY, "policy/shop/web", "8080", "808"),
            (SETTINGS, "bgpsettings/default", "9", "1"),
            (PEER, "bgppeer/tor-a", "65001", "6500"),
            (POOL, "pool/prod/10.31.0.0/16", "rack=b", "rack=c"),
            (BLUE, "network/blue", "app: shop", "app: shop"),
        ):
            ours, theirs = text.replace(old, f"{new}2"), text.replace(old, f"{new}3")
            [told] = (await applied(Service(other), theirs)).changes
            assert (told.id, told.change) == (id, "failed"), told
            assert "just changed by someone else" in told.reason
            assert set((await changes(service, ours)).values()) == {"unchanged"}


async def test_of_two_who_make_the_same_thing_one_is_told_to_look_and_apply_again(
    agent: Agent, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Declared._made

    async def meanwhile(self: Declared, plan: Plan) -> list[d.DeclaredChange]:
        monkeypatch.setattr(Declared, "_made", make)
        assert set((await changes(service, ours)).values()) == {"created"}
        return await make(self, plan)

    for ours, id in ((BLUE, "network/blue"), (PEER, "bgppeer/tor-a"), (WEB, "service/blue/web"), (TIER, "tier/audit")):
        monkeypatch.setattr(Declared, "_made", meanwhile)
        [told] = (await applied(service, ours)).changes
        assert (told.id, told.change) == (id, "failed")
        assert told.reason == f"{id} was just made by someone else: look, and apply again"
        assert set((await changes(service, ours)).values()) == {"unchanged"}


def _declared(agent: Agent) -> dict[str, int]:
    """The revisions of what both agents know."""
    ours = ("networks/", "policies/", "services/", "bgp/")
    return {key: revision for key, revision in agent.view.revisions.items() if key.startswith(ours)}


async def test_where_the_store_goes_away_half_way_it_is_told_what_was_done(agent: Agent, service: Service) -> None:
    store = agent.store
    assert isinstance(store, Tap)

    def lose_it_after_policy() -> None:
        if "networkpolicy/shop/db" in agent.view.table(POLICIES).by("id"):
            store.lose()

    store.before_commit = lose_it_after_policy
    done = await applied(service, NAMESPACE, KUBERNETES, BLUE, WEB)
    assert [(c.id, c.change) for c in done.changes] == [
        ("namespace/shop", "created"),
        ("networkpolicy/shop/db", "created"),
        ("network/blue", "failed"),
        ("service/blue/web", "not-tried"),
    ]
    assert "refused" in done.changes[2].reason and done.changes[3].reason == "network/blue failed before"
    store.before_commit = lambda: None
    store.restore()
    await until(lambda: not agent.cluster.away)
    told = await changes(service, NAMESPACE, KUBERNETES, BLUE, WEB)
    assert told["networkpolicy/shop/db"] == "unchanged" and told["service/blue/web"] == "created"


async def test_what_is_exported_can_be_chosen(agent: Agent, service: Service) -> None:
    await changes(service, *CLUSTER)

    async def names(refs: str = "", **more: str) -> list[str]:
        return [yaml.safe_load(text)["kind"] for text in await exported(service, refs, **more)]

    assert await names("network") == ["Network", "Network"]
    assert await names("network/blue,service/blue/web") == ["Network", "Service"]
    assert await names("pool/10.31.0.0/16") == await names("pool/prod/10.31.0.0/16") == ["Pool"]
    assert await names(network="prod") == ["Network", "Pool"]
    assert await names("service", labels="app=shop") == ["Service"]
    assert await names("service", labels="app=other") == []
    with pytest.raises(NotFound, match="there is no service/blue/api"):
        await service.declared("service/blue/api")
    with pytest.raises(NotFound, match="no network prd: did you mean prod"):
        await service.declared(network="prd")
    with pytest.raises(Invalid, match="'services' is no kind of document"):
        await service.declared("services")


async def test_what_labels_made_is_no_document_and_can_be_shown_as_one(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await changes(service, BLUE)
    host.open("c1")
    await attach(agent, "c1", "blue", labels={"weft.service": "auto", "weft.service.port": "80"})
    await until(lambda: agent.view.table(SERVICES).get(At("blue", "auto")))
    assert len(await exported(service)) == 1
    assert [yaml.safe_load(text)["metadata"]["name"] for text in await exported(service, "service/blue/auto")] == [
        "auto"
    ]
    assert [yaml.safe_load(text)["kind"] for text in await exported(service, "bgpsettings")] == ["BgpSettings"]
    assert set((await changes(service, BLUE, prune={"app": "shop"})).values()) == {"unchanged"}


async def test_a_network_is_changed_as_far_as_it_can_be(agent: Agent, host: FakeHost, service: Service) -> None:
    await changes(service, BLUE, PROD)
    host.open("c1")
    await attach(agent, "c1", "blue")
    live = BLUE.replace("app: shop", "tier: front").replace(
        "vni: 77}", "vni: 77, masquerade: false, reach: prod}, mtu: 1300"
    )
    for change in ("changed", "unchanged"):
        assert await changes(service, live) == {"network/blue": change}
    [text] = await exported(service, "network/blue")
    assert yaml.safe_load(text) == {
        "apiVersion": "weft/v1",
        "kind": "Network",
        "metadata": {"name": "blue", "labels": {"tier": "front"}},
        "spec": {
            "driver": "vxlan",
            "subnets": ["10.20.0.0/16", "fd00:20::/48"],
            "options": {"masquerade": False, "reach": "prod", "vni": 77},
            "mtu": 1300,
        },
    }
    before = await keys_of(agent)
    [fault] = await faults(service, TIER, live.replace("vni: 77", "vni: 78"))
    assert fault.startswith("f1.yaml, line 2: network blue: vni cannot be changed from 77 to 78: ")
    [fault] = await faults(service, TIER, live.replace("10.20.0.0", "10.21.0.0"))
    assert "subnets cannot be changed" in fault
    [fault] = await faults(service, TIER, BLUE.replace("vxlan", "mesh"))
    assert "driver cannot be changed from vxlan to mesh" in fault
    assert await keys_of(agent) == before
    assert await changes(service, BLUE) == {"network/blue": "changed"}  # what is left out is the default again
    assert yaml.safe_load((await exported(service, "network/blue"))[0]) == yaml.safe_load(BLUE)


async def test_what_shares_a_network_is_made_after_it_and_removed_before(agent: Agent, service: Service) -> None:
    inner = SHARING.replace("green", "prod").replace("name: inner", "name: inner, labels: {app: shop}")
    assert list(await changes(service, inner, PROD)) == ["network/prod", "network/inner"]
    assert set((await changes(service, *await exported(service))).values()) == {"unchanged"}
    own_label = inner.replace("app: shop", "app: inner")
    assert await faults(service, own_label, BLUE, prune={"app": "shop"}) == [
        "--prune: network prod is shared by inner, which stays: leave the network in the documents"
    ]
    assert list(await changes(service, BLUE, prune={"app": "shop"})) == [
        "network/blue",
        "network/inner",
        "network/prod",
    ]
    assert set(agent.view.networks) == {"blue"}


async def test_what_cannot_be_read_is_left_out_of_an_export_and_told(agent: Agent, service: Service) -> None:
    """Options of a driver that this version does not know are written as they are."""
    await changes(service, BLUE)
    new = Network(name="new", driver="vxlan", subnets=(), options={"colour": "red", "vni": 9})
    await agent.store.commit((), [Put("networks/new", encode(new)), Put("networks/bad", b"{}")])
    await until(lambda: "new" in agent.view.networks and "networks/bad" in agent.view.broken)
    found = await service.declared()
    assert len(found.notes) == 1 and found.notes[0].startswith("networks/bad is left out: its record in the store")
    names = {yaml.safe_load(text)["metadata"]["name"]: yaml.safe_load(text) for text in await exported(service)}
    assert set(names) == {"blue", "new"} and names["new"]["spec"]["options"] == {
        "colour": "red",
        "reach": "all",
        "vni": 9,
    }


async def test_what_this_host_lacks_is_a_fault_before_anything_is_changed(host: FakeHost, store_file: Path) -> None:
    host.change(features=host.found.features - {"vxlan"})
    async with agent_on(host, store_file) as agent:
        service = Service(agent)
        [fault] = await faults(service, NAMESPACE, BLUE)
        assert fault.startswith("f1.yaml, line 2: network blue: this host lacks vxlan")
        assert await keys_of(agent) == {}
        assert isinstance(agent.store, Tap)
        agent.store.lose()
        with pytest.raises(Unavailable):
            await applied(service, PROD)
        agent.store.restore()
