"""Agents of hosts that encrypt what they send each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.agents import FEATURES, FakeHost, agent_on, attach, create, settled, until
from weft.agent import encryption
from weft.agent.agent import Agent
from weft.base.errors import Conflict, Invalid
from weft.hoststate import FdbEntry, NftElement, Object, RoutingRule, WireguardPeer, XfrmPolicy, XfrmState
from weft.reconcile.protocol import Op


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text("a secret that hosts share\n")
    file.chmod(0o600)
    return str(file)


def with_only(host: FakeHost, *ciphers: str) -> FakeHost:
    host.change(features=(FEATURES - {"wireguard", "esp"}) | set(ciphers))
    return host


def there(host: FakeHost, kind: type[Object]) -> list[Any]:
    return [obj for obj in tuple(host.objects.values()) if isinstance(obj, kind)]


async def leased(agent: Agent) -> None:
    await agent.leases.ensure("blue", agent.ready())


async def test_without_a_secret_it_is_refused_before_anything_changes(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        with pytest.raises(Conflict, match=r"blue: node-1 has no mesh secret, .*mesh-secret.*without -O encrypt=true$"):
            await create(agent, encrypt="true")
        assert not agent.view.networks


async def test_so_it_is_where_the_kernel_cannot_do_it(host: FakeHost, store_file: Path, secret: str) -> None:
    async with agent_on(with_only(host), store_file, mesh_secret=secret) as agent:
        with pytest.raises(Conflict, match=r"the kernel of node-1 has neither WireGuard nor ESP: modprobe wireguard"):
            await create(agent, encrypt="true")


async def test_two_hosts_with_wireguard(host: FakeHost, store_file: Path, secret: str) -> None:
    far = with_only(FakeHost("192.168.1.2/24"), "wireguard")
    async with (
        agent_on(with_only(host, "wireguard"), store_file, mesh_secret=secret) as agent,
        agent_on(far, store_file, "node-2", mesh_secret=secret) as other,
    ):
        await create(agent, encrypt="true")
        await leased(agent)
        await leased(other)
        await until(lambda: there(host, FdbEntry) and there(host, WireguardPeer) and there(far, WireguardPeer))
        (mine,), (theirs,) = there(host, WireguardPeer), there(far, WireguardPeer)
        assert mine.public == other.encryption.keys.public and theirs.public == agent.encryption.keys.public  # type: ignore[union-attr]
        assert mine.allowed == ("192.168.1.2/32",)
        assert [rule.udp_port for rule in there(host, RoutingRule)] == [8473]
        assert agent.view.networks["blue"].options["port"] == 8473


async def test_to_a_host_that_cannot_nothing_leads(host: FakeHost, store_file: Path, secret: str) -> None:
    """And that is told; once it can, all is there."""
    far = FakeHost("192.168.1.2/24")
    async with agent_on(with_only(host, "wireguard"), store_file, mesh_secret=secret) as agent:
        await create(agent, encrypt="true")
        await leased(agent)
        async with agent_on(with_only(far), store_file, "node-2", mesh_secret=secret) as other:
            await until(lambda: "node-2" in agent.view.nodes)
            await settled(agent)
            assert [e.value for e in there(host, NftElement) if e.set == "secured4"] == ["192.168.1.2 . 8473"]
            assert not there(host, FdbEntry) and not there(host, WireguardPeer)
            with_only(far, "wireguard")
            await other._look_again()
            await leased(other)
            await until(lambda: there(host, FdbEntry) and there(host, WireguardPeer))


async def test_one_port_is_encrypted_as_a_whole(host: FakeHost, store_file: Path, secret: str) -> None:
    async with agent_on(with_only(host, "wireguard"), store_file, mesh_secret=secret) as agent:
        await create(agent, "plain", "10.1.0.0/16")
        with pytest.raises(Invalid, match=r"port=8472 is that of network plain, which is not encrypted, .* -O port"):
            await create(agent, "closed", "10.2.0.0/16", encrypt="true", port=8472)
        await create(agent, "closed", "10.2.0.0/16", encrypt="true")
        with pytest.raises(Invalid, match="port=8473 is that of network closed, which is encrypted"):
            await create(agent, "open", "10.3.0.0/16", port=8473)


async def test_all_networks_of_a_host_that_says_so(host: FakeHost, store_file: Path, secret: str) -> None:
    async with agent_on(with_only(host, "wireguard"), store_file, mesh_secret=secret, encrypt=True) as agent:
        await create(agent, "blue", "10.1.0.0/16")
        await create(agent, "red", "10.2.0.0/16", encrypt="false")
        await create(agent, "green", "10.3.0.0/16", driver="bridge")
        options = {name: network.options for name, network in agent.view.networks.items()}
        assert (options["blue"]["encrypt"], options["blue"]["port"]) == (True, 8473)
        assert options["red"]["encrypt"] == "false" and "port" not in options["red"]
        assert "encrypt" not in options["green"]
        await attach(agent, host.open("c1"), "blue")


# -- ESP ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "LOOK", 0.01)


def sending(host: FakeHost) -> list[XfrmState]:
    return [state for state in there(host, XfrmState) if state.out]


def taking(host: FakeHost) -> set[tuple[int, str]]:
    return {(state.spi, state.recipe) for state in there(host, XfrmState) if not state.out}


@pytest.mark.usefixtures("impatient")
async def test_keys_change_and_what_is_sent_is_taken_at_any_moment(
    host: FakeHost, store_file: Path, tmp_path: Path, secret: str
) -> None:
    """By the states in both kernels, before each operation on either."""
    far = with_only(FakeHost("192.168.1.2/24"), "esp")
    async with (
        agent_on(with_only(host, "esp"), store_file, mesh_secret=secret, run_dir=str(tmp_path / "a")) as agent,
        agent_on(far, store_file, "node-2", mesh_secret=secret, run_dir=str(tmp_path / "b")) as other,
    ):
        await create(agent, encrypt="true")
        await until(lambda: len(there(host, XfrmPolicy)) == len(there(far, XfrmPolicy)) == 2)
        await until(lambda: both_send(host, far))
        first, lost = told(agent), list[XfrmState]()

        def look(_number: int, _op: Op) -> int:
            lost.extend(state for state in sending(far) if (state.spi, state.recipe) not in taking(host))
            return 0

        host.fault = far.fault = look
        agent.encryption.interval = 0.0
        await until(lambda: told(agent) != first)
        agent.encryption.interval = 1e9
        await until(lambda: [s for s in sending(far) if told(agent) in s.recipe] == sending(far))
        assert not lost and both_send(host, far)
        assert {recipe.split()[2] for _, recipe in taking(host)} == set(agent.encryption.salts)
        assert other.encryption.salts


@pytest.mark.usefixtures("impatient")
async def test_a_state_that_is_gone_is_not_made_again_but_another_one(
    host: FakeHost, store_file: Path, tmp_path: Path, secret: str
) -> None:
    far = with_only(FakeHost("192.168.1.2/24"), "esp")
    async with (
        agent_on(with_only(host, "esp"), store_file, mesh_secret=secret, run_dir=str(tmp_path / "a")) as agent,
        agent_on(far, store_file, "node-2", mesh_secret=secret, run_dir=str(tmp_path / "b")),
    ):
        await create(agent, encrypt="true")
        await until(lambda: both_send(host, far))
        before = {state.recipe for state in sending(host)}
        agent.encryption.keys.used_twice = True  # type: ignore[union-attr] # as the kernel's half finds
        await until(lambda: not before & {state.recipe for state in sending(host)} and both_send(host, far))


def both_send(host: FakeHost, far: FakeHost) -> bool:
    """And each takes what the other sends."""
    ways = (host, far), (far, host)
    return all(sending(a) and {(s.spi, s.recipe) for s in sending(a)} <= taking(b) for a, b in ways)


def told(agent: Agent) -> str:
    drawn = agent.encryption._drawn
    assert drawn is not None
    return drawn.told


async def test_where_nothing_can_be_kept_there_is_no_esp(
    host: FakeHost, store_file: Path, tmp_path: Path, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All else goes on."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "esp").write_text("no folder")
    with_only(host, "esp", "wireguard")
    async with agent_on(host, store_file, mesh_secret=secret, run_dir=str(tmp_path / "a")) as agent:
        assert agent.node is not None and agent.node.ciphers == ("wireguard",)
    assert "without ESP: what keys of ESP are made of cannot be kept" in caplog.text


@pytest.mark.usefixtures("impatient")
async def test_keys_stay_while_nobody_could_read_of_others(
    host: FakeHost, store_file: Path, tmp_path: Path, secret: str
) -> None:
    async with agent_on(with_only(host, "esp"), store_file, mesh_secret=secret, run_dir=str(tmp_path / "a")) as agent:
        await create(agent, encrypt="true")
        first = told(agent)
        agent.store.lose()  # type: ignore[attr-defined]
        await until(lambda: agent.store_status.state == "lost")
        agent.encryption.interval = 0.0
        for _ in range(5):
            await agent.encryption._look(agent._look_again, agent._secured, agent._heard_of)
        assert told(agent) == first
        agent.store.restore()  # type: ignore[attr-defined]
        await until(lambda: told(agent) != first)
