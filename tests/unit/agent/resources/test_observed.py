"""Verdicts are told with what this host has of them in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.agents import FakeHost, agent_on, apply, attach, create, settled, until
from support.policies import network_policy, own_policy
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import observed as o
from weft.api import services as s
from weft.api import types as t
from weft.base.errors import Invalid, NotFound, WeftError
from weft.compile.policy import policies
from weft.hoststate import NftChain, NftElement
from weft.policy.counting import Count
from weft.services.model import parse_port

WEB = network_policy(
    "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], "
    "ports: [{port: 80}]}]}",
    namespace="default",
)
IDS = "networkpolicy/default/web"


@pytest.fixture
async def shop(agent: Agent, host: FakeHost, service: Service) -> dict[str, t.EndpointInfo]:
    """Containers web, client and other in network blue, and a policy about web."""
    await create(agent, "blue", driver="bridge")
    found = {}
    for name in ("web", "client", "other"):
        host.open(name)
        found[name] = await attach(agent, name, labels={"app": name})
    await apply(agent, WEB)
    await until(lambda: [*policies(agent.view).programs()])
    await settled(agent)
    return found


async def explain(service: Service, source: str, target: str, port: str = "80", **more: Any) -> o.Explanation:
    found: o.Explanation = await service.explain(source=source, target=target, port=port, **more)
    return found


async def test_what_is_allowed_is_in_force(service: Service, shop: dict[str, t.EndpointInfo]) -> None:
    told = await explain(service, "client", "blue/web")
    assert told.allowed and told.protocol == "tcp" and told.port == 80
    egress, ingress = told.sides
    assert (egress.direction, egress.reason) == ("egress", "no policy selects client for egress")
    assert (egress.enforced, egress.rules) == (True, "no rule is asked")
    assert ingress.reason == f"rule 1 of {IDS}"
    assert [(s.policy, s.rule, s.action) for s in ingress.steps] == [(IDS, 1, "allow")]
    assert ingress.enforced and ingress.faults == ()
    assert ingress.rules.startswith("rule 3 of chain pi-")  # the first two are of what begins in the midst


async def test_what_is_denied_says_that_no_rule_fits(service: Service, shop: dict[str, t.EndpointInfo]) -> None:
    for source, port in (("other", "80"), ("client", "81"), ("203.0.113.7", "80")):
        told = await explain(service, source, "web", port)
        assert not told.allowed
        assert told.sides[1].reason == f"{IDS} selects web for ingress, and no rule fits"
        assert told.sides[1].enforced
    assert (await explain(service, "web", "203.0.113.7")).allowed


@pytest.mark.parametrize("source", ["node-1", "web"])
async def test_what_comes_to_no_rules_is_in_force(
    service: Service, shop: dict[str, t.EndpointInfo], source: str
) -> None:
    """A container's own node, and the container itself."""
    told = await explain(service, source, "web")
    assert told.allowed
    assert (told.sides[1].enforced, told.sides[1].rules, told.sides[1].faults) == (True, "no rule is asked", ())


@pytest.mark.parametrize("kind", [NftChain, NftElement])
async def test_what_the_kernel_has_lost_is_told(
    agent: Agent, host: FakeHost, service: Service, shop: dict[str, t.EndpointInfo], kind: type, monkeypatch: Any
) -> None:
    address = str(shop["client"].addresses[0].ip)
    lost = next(obj for obj in host.objects.values() if isinstance(obj, kind) and _is_asked_for(obj, address))
    monkeypatch.setattr(host, "apply", lambda _ops: [])  # it would be put back
    del host.objects[lost.key]
    side = (await explain(service, "client", "web")).sides[1]
    assert side.allowed and side.enforced is False
    assert any("missing, or not as it should be" in fault for fault in side.faults)


def _is_asked_for(obj: object, address: str) -> bool:
    """Whether it is web's chain, or the client's place in the set that is named there."""
    if isinstance(obj, NftElement):
        return obj.set.startswith("p4-") and obj.value == address
    return isinstance(obj, NftChain) and obj.name.startswith("pi-")


async def test_rules_that_decide_otherwise_are_told(
    agent: Agent, service: Service, shop: dict[str, t.EndpointInfo]
) -> None:
    index = policies(agent.view)
    key = ("blue", shop["client"].id)
    index.put(key, None)
    side = (await explain(service, "client", "web")).sides[1]
    assert side.allowed and side.enforced is False
    assert "this host's rules deny it: it has not heard all about client yet" in side.faults


async def test_a_virtual_address_is_no_end(service: Service, shop: dict[str, t.EndpointInfo]) -> None:
    """It would be allowed as a stranger's, whatever is said of the members."""
    asked = s.CreateService(name="front", network="blue", select="app=web", ports=(parse_port("80"),))
    [address] = (await service.create_service(asked)).service.addresses
    with pytest.raises(Invalid, match=f"{address} is the virtual address of service blue/front: policy is asked about"):
        await explain(service, "client", str(address))


async def test_ends_are_named_as_one_knows_them(service: Service, shop: dict[str, t.EndpointInfo]) -> None:
    web = shop["web"]
    for ref in ("web", "blue/web", "node-1/web", "default/web", web.id, str(web.addresses[0].ip)):
        assert (await explain(service, "client", ref)).target == "node-1/web"
    with pytest.raises(NotFound, match="nobody is no endpoint, node or address: `weft endpoint ls`"):
        await explain(service, "nobody", "web")
    for wrong, says in (
        ({"port": "0"}, "port '0' is not a number from 1 to 65535"),
        ({"protocol": "smtp", "port": ""}, "'smtp' is no protocol"),
        ({"protocol": "icmp"}, "icmp has no ports"),
        ({"family": "6"}, "node-1/web has no IPv6 address|node-1/client has no IPv6 address"),
        ({"family": "5"}, "family '5' is neither 4 nor 6"),
    ):
        with pytest.raises(Invalid, match=says):
            await explain(service, "client", "web", **wrong)
    with pytest.raises(WeftError, match="two ends are needed"):
        await explain(service, "", "web")


async def test_a_ping_is_asked_as_its_type(agent: Agent, service: Service, shop: dict[str, t.EndpointInfo]) -> None:
    assert not (await explain(service, "client", "web", "", protocol="icmp")).allowed
    rule = "{selector: \"app == 'web'\", ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}]}"
    await apply(agent, own_policy(rule))
    assert (await explain(service, "client", "web", "", protocol="icmp")).allowed


async def test_networks_that_are_apart_are_told_first(agent: Agent, host: FakeHost, service: Service) -> None:
    for name, subnet in (("red", "10.8.0.0/16"), ("green", "10.9.0.0/16")):
        await create(agent, name, subnet, driver="bridge", internal=True)
        host.open(f"in-{name}")
        await attach(agent, f"in-{name}", name)
    told = await explain(service, "in-red", "in-green")
    assert not told.allowed and told.isolated == "networks red and green do not reach each other"
    assert (await explain(service, "203.0.113.7", "in-red")).isolated == "network red is internal"
    assert all(side.allowed for side in told.sides)


async def test_of_endpoints_elsewhere_it_is_not_known(
    agent: Agent, host: FakeHost, service: Service, store_file: Path, shop: dict[str, t.EndpointInfo]
) -> None:
    other_host = FakeHost("192.168.1.69/24")
    async with agent_on(other_host, store_file, "node-2") as other:
        other_host.open("far")
        await until(lambda: "blue" in other.view.networks)
        await attach(other, "far", labels={"app": "web"})
        side = (await explain(service, "client", "far")).sides[1]
        assert (side.node, side.allowed, side.enforced, side.rules) == ("node-2", True, None, "")
        there = (await explain(Service(other), "client", "far")).sides
        assert there[0].enforced is None
        await until(lambda: [*policies(other.view).programs()])
        await settled(other)
        assert (await explain(Service(other), "other", "far")).sides[1].rules


# -- counters ----------------------------------------------------------------------------------------------------------


def count(agent: Agent, host: FakeHost, *packets: int) -> None:
    """The rules of web's chain have counted so many packets, of 60 octets each."""
    (program,) = (p for p in policies(agent.view).programs() if p.asks)
    host.counted[""] = {program.chains[0].name: [Count(n, 60 * n) for n in packets]}


async def test_counters_are_those_of_the_rules_of_a_policy(
    agent: Agent, host: FakeHost, service: Service, shop: dict[str, t.EndpointInfo]
) -> None:
    count(agent, host, 0, 1, 5, 0, 7)
    told = await service.policy_counters(ref="web")
    assert told.node == "node-1"
    assert [(r.policy, r.rule, r.action, r.packets, r.octets) for r in told.rules] == [
        ("", 0, "midway", 0, 0),
        ("", 0, "midway", 1, 60),
        (IDS, 1, "allow", 5, 300),
        ("", 0, "deny", 7, 420),
    ]
    of_all = (await service.policy_counters()).rules
    assert (
        tuple(rule for rule in of_all if rule.tier) == told.rules
    )  # the rest: of the direction of which no policy speaks
    await apply(agent, network_policy("{podSelector: {matchLabels: {app: nobody}}}", "lonely"))
    await until(lambda: len(policies(agent.view).world.policies) == 2)
    assert (await service.policy_counters(ref="lonely")).rules == ()
    with pytest.raises(NotFound, match="no policy missing"):
        await service.policy_counters(ref="missing")


async def scraped(agent: Agent) -> dict[str, float]:
    text = (await agent.metrics.scrape())[0].decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(("weft_polic", "weft_policies")))
    return {name: float(value) for name, _, value in lines if "_created" not in name}


async def test_drops_are_counted_on_through_rules_that_are_made_anew(
    agent: Agent, host: FakeHost, shop: dict[str, t.EndpointInfo]
) -> None:
    drops = f'weft_policy_drops_total{{direction="ingress",policy="{IDS}",tier="default"}}'
    count(agent, host, 0, 1, 5, 0, 7)
    first = await scraped(agent)
    assert (first[drops], first["weft_policies"], first["weft_policy_chains"]) == (7, 1, 2)
    assert first["weft_policy_sets"] == 1
    count(agent, host, 0, 1, 5, 0, 9)
    assert (await scraped(agent))[drops] == 9
    count(agent, host, 0, 1, 5, 0, 4)  # they were made anew
    assert (await scraped(agent))[drops] == 13
    host.counted.clear()
    assert (await scraped(agent))[drops] == 13


async def test_series_are_bounded(
    agent: Agent, host: FakeHost, shop: dict[str, t.EndpointInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.agent.policy_counts.MOST", 3)
    spec = "{{selector: \"app == 'web'\", order: {}, ingress: [{{action: Deny, protocol: TCP}}]}}"
    await apply(agent, *(own_policy(spec.format(n), f"p{n}") for n in range(8)))
    await until(lambda: any(len(c.lines) > 12 for p in policies(agent.view).programs() for c in p.chains))
    count(agent, host, *range(16))
    await agent.policy_counts.refresh()
    assert len(agent.policy_counts.drops) == 4
    assert agent.policy_counts.drops["others", "", "ingress"] > 0


async def test_the_rule_is_the_kernels_also_where_many_are_looked_up_at_once(
    agent: Agent, host: FakeHost, service: Service, shop: dict[str, t.EndpointInfo]
) -> None:
    spec = (
        "{{podSelector: {{matchLabels: {{app: web}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {}}}}}}}], "
        "ports: [{{port: 90}}]}}]}}"
    )
    names = [f"a{n}" for n in range(12)] + ["other"]
    texts = [network_policy(spec.format(name), name, "default") for name in names]
    await apply(agent, *texts)
    await until(lambda: any(chain.lookups for p in policies(agent.view).programs() for chain in p.chains))
    await settled(agent)
    side = (await explain(service, "other", "web", "90")).sides[1]
    assert side.enforced, side.faults
    told = side.rules.split()
    assert told[:4] == ["rule", "1", "of", "chain"]
    made = [obj for obj in host.objects.values() if isinstance(obj, NftChain) and obj.name == told[4]]
    assert made and told[4].rpartition("-")[2].isdecimal()
