"""What of a host's ways to others reaches what is compiled for it, and costs no more than it concerns."""

from __future__ import annotations

from pathlib import Path

from support.agents import FEATURES, FakeHost, agent_on, attach, create, settled, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api.mesh import MeshPeer
from weft.cli.mesh import _peers
from weft.cli.table import Page
from weft.compile.paths import networks
from weft.hoststate import SleeveHost, SleeveStation, Tap
from weft.paths.channels import SMALL, Way

SUBNET = "172.111.222.0/24"


def taps(host: FakeHost) -> set[str]:
    return {o.name for o in host.objects.values() if o.kind == "link" and isinstance(o.type, Tap)}


async def test_a_host_is_told_its_number(agent: Agent, host: FakeHost) -> None:
    await create(agent, "office", SUBNET, driver="mesh")
    assert agent.compiler.host is not None
    assert agent.compiler.host.node.number == agent.view.nodes["node-1"].number == 1
    await settled(agent)
    assert taps(host) == {"weft_probes"}


async def test_packets_follow_the_path(agent: Agent, host: FakeHost, store_file: Path) -> None:
    """As it was kept, and as it changes."""
    other = FakeHost("192.168.1.254")
    async with agent_on(other, store_file, "node-2") as second:
        await create(agent, "office", SUBNET, driver="mesh")
        for one, where in ((agent, host), (second, other)):
            where.open("web")
            await attach(one, "web", "office")
        await until(lambda: "node-2" in agent.prober.machine.pairs and agent.prober.machine.pairs["node-2"].peer.active)
        pair = agent.prober.machine.pairs["node-2"]
        pair.uid = 7
        for way in (Way.KERNEL, Way.SLEEVE):
            pair.heard(way).sure = True
        pair.reports = tuple(type(r)(sure=True) for r in pair.reports)
        pair.hearing[SMALL[Way.KERNEL]].up = False
        await until(lambda: "node-2" in agent.host.host.paths)  # type: ignore[union-attr]
        await until(lambda: any(isinstance(o, SleeveStation) and not o.direct for o in host.objects.values()))
        assert [o.number for o in host.objects.values() if isinstance(o, SleeveHost)] == [2]
        (found,) = await Service(agent).mesh_peers()
        assert found.way == "sleeve"
        assert found.why[0].startswith("fastdp: no VXLAN frame of node-2 has come by UDP 6784 for ")
        pair.hearing[SMALL[Way.KERNEL]].up = True
        await until(lambda: taps(host) == {"weft_probes"})


async def test_where_the_sleeve_alone_encrypts_its_trouble_is_told(
    host: FakeHost, store_file: Path, tmp_path: Path
) -> None:
    """Though what is not encrypted is on its best way."""
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef\n")
    secret.chmod(0o600)
    for one in (host, other := FakeHost("192.168.1.254")):
        one.change(features=FEATURES - {"wireguard", "esp"})
    async with (
        agent_on(host, store_file, mesh_secret=str(secret)) as first,
        agent_on(other, store_file, "node-2", mesh_secret=str(secret)) as second,
    ):
        await create(first, "office", SUBNET, driver="mesh", encrypt="true")
        for one, where in ((first, host), (second, other)):
            where.open("web")
            await attach(one, "web", "office")
        await until(lambda: "node-2" in first.prober.machine.pairs and first.prober.machine.pairs["node-2"].peer.active)
        pair = first.prober.machine.pairs["node-2"]
        pair.uid = 7
        pair.hearing[SMALL[Way.SLEEVE]].up = False
        found = next(p for p in await Service(first).mesh_peers() if p.name == "node-2")
        assert (found.way, found.encrypted) == ("kernel", "sleeve")
        assert found.why[0].startswith("sleeve: no datagram of node-2's sleeve has come by UDP 6783 for ")


def test_what_peers_says_of_encryption() -> None:
    """`clear`: some networks go by the way in clear, so it is not called encrypted."""

    def said(way: str, by: str, *, clear: bool) -> list[str]:
        peer = MeshPeer(name="b", address=None, state="established", active=True, way=way, encrypted=by, clear=clear)
        return list(_peers(Page(80, colour=False), (peer,)))

    assert said("kernel", "wireguard", clear=False) == ["→ - b established encrypted fastdp"]
    assert said("sleeve", "sleeve", clear=False) == ["→ - b established encrypted sleeve"]
    for clear in (True, False):
        assert said("kernel", "sleeve", clear=clear) == ["→ - b established fastdp", "    encrypted networks: sleeve"]
    assert said("kernel", "esp", clear=True) == ["→ - b established fastdp", "    encrypted networks: esp"]
    assert said("kernel", "trusted", clear=True) == ["→ - b established fastdp"]


async def test_a_network_of_one_way_is_not_among_those_of_several(agent: Agent, host: FakeHost) -> None:
    host.change(features=FEATURES | {"ovs-datapath"})
    await agent._look_again()
    await create(agent, "office", SUBNET, driver="mesh", fastpath="ovs")
    assert agent.view.networks and not networks(agent.view)
    await create(agent, "other", "10.9.0.0/16", driver="mesh")
    assert [n.name for n in networks(agent.view)] == ["other"]
