"""What rules log is heard where one logs, put into words, kept, and bounded."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from support.agents import FakeEar, FakeHost, apply, attach, create, until
from support.policies import own_policy
from weft.agent import policy_log
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.api import observed as o
from weft.api import types as t
from weft.base.errors import Invalid
from weft.compile.policy import policies
from weft.kernel.host.nflog import Heard

AUDIT = own_policy("{selector: \"app == 'web'\", ingress: [{action: Log}, {action: Allow, protocol: TCP}]}", "audit")
QUIET = own_policy("{selector: \"app == 'web'\", ingress: [{action: Allow}]}", "audit")


@pytest.fixture
async def web(agent: Agent, host: FakeHost, service: Service) -> t.EndpointInfo:
    """A container about which a rule logs."""
    await create(agent, "blue", driver="bridge")
    found = None
    for name in ("client", "web"):
        host.open(name)
        found = await attach(agent, name, labels={"app": name})
    await apply(agent, AUDIT)
    await until(lambda: host.ears)
    assert found is not None
    return found


def prefix(agent: Agent) -> str:
    (program,) = (p for p in policies(agent.view).programs() if p.asks)
    (chain,) = program.chains
    n = next(n for n, line in enumerate(chain.lines) if line.origin.action == "log")
    return f"{chain.name}:{n}"


def heard(said: str, target: str, **more: int) -> Heard:
    values = {"protocol": 6, "sport": 40_000, "dport": 80, **more}
    return Heard(prefix=said, source=ip_address("203.0.113.9"), target=ip_address(target), **values)


async def page(service: Service, after: int = 0, wait: int = 0) -> o.LogPage:
    found: o.LogPage = await service.policy_log(after=str(after), wait=str(wait))
    return found


async def test_packets_are_told_with_names_and_what_became_of_them(
    agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo
) -> None:
    address = str(web.addresses[0].ip)
    host.ears[""].say(heard(prefix(agent), address), heard(prefix(agent), address, protocol=17))
    await until(lambda: agent.policy_log._last == 2)
    told = (await page(service)).entries
    assert [(e.number, e.protocol, e.port, e.source_port) for e in told] == [
        (1, "tcp", 80, 40_000),
        (2, "udp", 80, 40_000),
    ]
    assert told[0].target == o.LogEnd(address=web.addresses[0].ip, name="web", network="blue", node="node-1")
    assert told[0].source == o.LogEnd(address=ip_address("203.0.113.9"))
    assert (told[0].policy, told[0].rule, told[0].direction, told[0].tier) == ("policy//audit", 1, "ingress", "default")
    assert [e.allowed for e in told] == [True, False]


async def test_what_is_no_rule_is_left_out(agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo) -> None:
    address, said = str(web.addresses[0].ip), prefix(agent)
    for strange in ("", "x", said.replace(":", ";"), f"{said.partition(':')[0]}:99", "pi-0:0", "pi-0:²"):
        host.ears[""].say(heard(strange, address))
    host.ears[""].say(heard(said, address))
    await until(lambda: agent.policy_log._last)
    assert [e.number for e in (await page(service)).entries] == [1]


async def test_rules_that_were_replaced_just_now_are_still_known(
    agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo
) -> None:
    address, said = str(web.addresses[0].ip), prefix(agent)
    host.ears[""].say(heard(said, address))
    await until(lambda: agent.policy_log._last == 1)
    await apply(agent, AUDIT.replace("TCP", "UDP"))
    await until(lambda: prefix(agent) != said)
    host.ears[""].say(heard(said, address))
    await until(lambda: agent.policy_log._last == 2)


async def test_who_waits_is_told_at_once(agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo) -> None:
    waiting = asyncio.create_task(page(service, wait=30))
    await asyncio.sleep(0)
    host.ears[""].say(heard(prefix(agent), str(web.addresses[0].ip)))
    async with asyncio.timeout(5):
        assert [e.number for e in (await waiting).entries] == [1]
    assert (await page(service, after=1)).entries == ()
    assert len((await page(service, after=99)).entries) == 1, "the number is of an agent before this one"
    with pytest.raises(Invalid, match="wait '31' is not a number from 0 to 30"):
        await page(service, wait=31)


async def test_it_is_listened_only_where_a_rule_logs(
    agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo
) -> None:
    ear = host.ears[""]
    ear.lost = 7
    await apply(agent, QUIET)
    await until(lambda: ear.closed)
    assert (await page(service)).lost == 7
    host.ears.clear()
    host.deaf = "another program listens to group 22342 of NFLOG"
    await apply(agent, AUDIT)
    await until(lambda: host.deaf in {p.text for p in infos.problems(agent)})
    assert (await page(service)).problem == host.deaf


async def test_no_more_is_taken_in_than_a_share_of_a_second(
    agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_log, "RATE", 5)
    monkeypatch.setattr(policy_log, "KEPT", 3)
    ear, reads = host.ears[""], list[int]()
    read = FakeEar.read
    monkeypatch.setattr(FakeEar, "read", lambda self, most: reads.append(most) or read(self, most))
    ear.say(*(heard(prefix(agent), str(web.addresses[0].ip)) for _ in range(12)))
    await until(lambda: agent.policy_log._last == 12)
    assert all(most <= 5 for most in reads)
    assert len(reads) >= 3


async def test_what_is_not_kept_any_more_is_told_as_a_number(
    agent: Agent, host: FakeHost, service: Service, web: t.EndpointInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.policy_log._kept = type(agent.policy_log._kept)(maxlen=2)
    for _ in range(5):
        host.ears[""].say(heard(prefix(agent), str(web.addresses[0].ip)))
    await until(lambda: agent.policy_log._last == 5)
    found = await page(service, after=1)
    assert ([e.number for e in found.entries], found.missed, found.last) == ([4, 5], 2, 5)
