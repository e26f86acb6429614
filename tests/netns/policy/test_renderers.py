"""What each renderer makes of policies, by packets: between three pods around a router. What holds of one holds of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings

from support.namespaces import Home
from support.policy_worlds import IDENTITIES as WORLD
from support.policy_worlds import POLICIES, TIER, world
from support.probing import Probe, Probers, Table, differences, every
from support.routed_pods import ADDRESSES, NAMES, routed_pods
from weft.base.errors import Unsupported
from weft.hoststate import IptablesChain, Key, Object
from weft.kernel.host.dump import dump
from weft.kernel.linux import LinuxKernel
from weft.policy.build import program
from weft.policy.index import named
from weft.policy.model import (
    DIRECTIONS,
    Identity,
    NamedPort,
    Peer,
    Policy,
    PortRange,
    Rule,
    Traffic,
    Who,
)
from weft.policy.render import Renderer, renderer
from weft.policy.world import World
from weft.reconcile.reconciler import Reconciler
from weft.trace.path import Flow, Start
from weft.trace.walk import both_ways
from weft.trace.world import World as Dumps

BACKENDS = {"nftables": (), "iptables-nft": ((4, "nft"),), "iptables-legacy": ((4, "legacy"),)}
NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
IDENTITIES = {
    name: Identity(
        id=name,
        name=name,
        network="blue",
        node="here",
        addresses=tuple(ip_address(ADDRESSES[family][name]) for family in (4, 6)),
        labels={"pod": name},
        ports=(NamedPort("web", "tcp", 80 if name == "a" else 81),),
    )
    for name in NAMES
}


class Host:
    """The router, on which policies are enforced in one way."""

    def __init__(self, means: str, netns: Home, probers: Probers, run: Path) -> None:
        self.means, self.netns, self.probers = means, netns, probers
        self.ask: Renderer = renderer("nftables" if means == "nftables" else "iptables", frozenset(BACKENDS[means]))
        self.desired: dict[Key, Object] = {}
        self.kernel = LinuxKernel(self.desired, run)
        self.loop = Reconciler(self.kernel, self.desired, time.monotonic)
        self.loop.complete = True

    def enforce(self, *policies: Policy) -> None:
        before = set(self.desired)
        self.desired.clear()
        self.desired.update({obj.key: obj for obj in self.objects(World(policies))})
        assert self.loop.update(before | self.desired.keys()).failures == ()

    def objects(self, world: World) -> Iterator[Object]:
        for identity in IDENTITIES.values():
            for direction in DIRECTIONS:
                found = program(identity, world.stack(identity, direction), direction, None)
                if not found.chains:
                    continue
                yield from self.ask.base("")
                for chain in found.chains:
                    yield from self.ask.chain(chain, "")
                for address in identity.addresses:
                    yield from self.ask.itself(address, "")
                    yield from self.ask.dispatch(address, direction, found.chains[0], "")
                for spec in found.sets:
                    yield from self.ask.table_set(spec, "")
                    for cidr in spec.cidrs:
                        yield from self.ask.element(spec, 6 if ":" in cidr else 4, cidr, "")
                    for member in IDENTITIES.values() if spec.who else ():
                        if spec.who and world.selects(spec.who, member):
                            for at in member.addresses:
                                ports = [f"{at} . {spec.protocol} . {port}" for port in named(spec, member)]
                                for value in [str(at)] if spec.kind == "addresses" else ports:
                                    yield from self.ask.element(spec, 4 if at.version == 4 else 6, value, "")

    def passes(self, lost: Callable[[Probe], bool], families: tuple[int, ...] = (4, 6)) -> None:
        """All but what is `lost`; what a pod says to itself never is."""
        expected: Table = frozenset(p for p in every(NAMES, NAMES) if p.source == p.target or not lost(p))
        for family in families:
            seen = self.probers.look(expected, ADDRESSES[family])
            assert differences(expected, seen) == "", f"IPv{family}"
            assert differences(expected, self.traced(expected, ADDRESSES[family])) == "", f"a trace, IPv{family}"

    def traced(self, expected: Table, addresses: Mapping[str, str]) -> Table:
        """What `weft trace` says of the same. What a pod says to itself it is not asked about."""
        paths = {name: space.path for name, space in zip(NAMES, self.netns.others, strict=False)}
        world = Dumps({"router": dump("router", {path: name for name, path in paths.items()})}, {})
        found = {probe for probe in expected if probe.source == probe.target}
        for probe in every(NAMES, NAMES) - found:
            start = Start(host="router", ns=paths[probe.source], source=ip_address(addresses[probe.source]))
            flow = Flow(protocol=NUMBERS[probe.protocol], sport=40000, dport=probe.port)
            there, back = both_ways(world, start, ip_address(addresses[probe.target]), flow=flow)
            if there.outcome.arrived and back is not None and back.outcome.arrived:
                found.add(probe)
        return frozenset(found)


@pytest.fixture(params=list(BACKENDS))
def host(request: pytest.FixtureRequest, netns: Home, tmp_path: Path) -> Iterator[Host]:
    with routed_pods(netns) as probers:
        found = Host(request.param, netns, probers, tmp_path)
        yield found
        found.kernel.close()


def policy(
    of: str, ingress: tuple[Rule, ...] | None = None, egress: tuple[Rule, ...] | None = None, tier: str = "default"
) -> Policy:
    subject = Who(selector=f"pod == '{of}'")
    return Policy(
        id=f"policy//{of}{tier}", kind="Policy", name=of, tier=tier, subject=subject, ingress=ingress, egress=egress
    )


def of(name: str) -> tuple[Peer, ...]:
    return (Peer(who=Who(selector=f"pod == '{name}'")),)


def tcp(*ports: PortRange | str) -> Traffic:
    return Traffic(protocol="tcp", ports=ports)


P80 = PortRange(80, 80)


def test_allowed_denied_by_sets_ports_and_protocols(host: Host) -> None:
    host.enforce()
    host.passes(lambda _: False, (4,))
    host.enforce(policy("b", ingress=()))
    host.passes(lambda p: p.target == "b")
    host.enforce(policy("b", ingress=(Rule(action="allow", peers=of("a"), traffic=(tcp(P80),)),)))
    host.passes(lambda p: p.target == "b" and (p.source, p.protocol, p.port) != ("a", "TCP", 80))
    some = (tcp(PortRange(70, 80)), Traffic(protocol="sctp", ports=(PortRange(81, 81), PortRange(9, 9))))
    host.enforce(policy("b", ingress=(Rule(action="allow", traffic=some),)))
    host.passes(lambda p: p.target == "b" and (p.protocol, p.port) not in (("TCP", 80), ("SCTP", 81)), (4,))
    nets = (ip_network("10.9.0.0/16"), ip_network("fd09::/16"))
    holes = (ip_network("10.9.2.0/24"), ip_network("10.9.7.0/24"), ip_network("fd09:2::/32"))
    host.enforce(policy("b", ingress=(Rule(action="allow", peers=(Peer(cidrs=nets, excepts=holes),)),)))
    host.passes(lambda p: p.target == "b" and p.source == "c")
    everybody = (Peer(cidrs=(ip_network("0.0.0.0/0"), ip_network("::/1"), ip_network("8000::/1"))),)
    host.enforce(policy("b", ingress=(Rule(action="allow", peers=everybody),)))
    host.passes(lambda _: False)
    host.enforce()
    host.passes(lambda _: False, (4,))
    assert host.kernel.read({}, frozenset({""})).objects == {}


def test_egress_named_ports_negations_and_tiers(host: Host) -> None:
    host.enforce(policy("c", egress=(Rule(action="allow", peers=(Peer(who=Who()),), traffic=(tcp("web"),)),)))
    web = {"a": 80, "b": 81}
    host.passes(lambda p: p.source == "c" and (p.protocol != "TCP" or p.port != web[p.target]))
    not_all = Rule(action="deny", no_peers=of("a"), no_traffic=(tcp(P80),))
    host.enforce(policy("b", ingress=(not_all, Rule(action="allow"))))
    host.passes(lambda p: p.target == "b" and p.source != "a" and (p.protocol, p.port) != ("TCP", 80))
    first = policy(
        "b", ingress=(Rule(action="pass", peers=of("a")), Rule(action="log"), Rule(action="deny")), tier="admin"
    )
    host.enforce(first, policy("b", ingress=(Rule(action="allow", traffic=(Traffic(protocol="udp"),)),)))
    host.passes(lambda p: p.target == "b" and (p.source != "a" or p.protocol != "UDP"))


def test_a_hundred_endpoints_more_change_nothing(host: Host) -> None:
    """A map with many addresses leads each to its own chain."""
    host.enforce(policy("b", ingress=()))
    closed = next(obj for obj in host.desired.values() if obj.kind.endswith("-element"))
    before = dict(host.desired)
    chain = program(
        IDENTITIES["b"], World([policy("b", ingress=())]).stack(IDENTITIES["b"], "ingress"), "ingress", None
    )
    for n in range(100):
        for address in (ip_address(f"10.9.{n // 50}.{100 + n}"), ip_address(f"fd09:{n // 50}::{n + 100:x}")):
            host.desired.update({o.key: o for o in host.ask.dispatch(address, "ingress", chain.chains[0], "")})
    assert host.loop.update(host.desired.keys() - before.keys()).failures == ()
    assert closed.key in host.desired
    host.passes(lambda p: p.target == "b")


IPTABLES = {"iptables-nft": "iptables-nft", "iptables-legacy": "iptables-legacy"}
THEIRS = {
    "docker": (
        "-P FORWARD DROP",
        "-N DOCKER-USER",
        "-N DOCKER",
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -o docker0 -j DOCKER",
    ),
    "firewalld": (
        "-N FWD_direct",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -j FWD_direct",
        "-A FORWARD -j REJECT",
    ),
    "a user's": ("-N mine", "-A mine -s 192.0.2.1 -m comment --comment own -j DROP", "-A FORWARD -j mine"),
}


@pytest.mark.parametrize("theirs", THEIRS)
def test_what_others_have_stays_as_it_is(bench_home: Home, tmp_path: Path, theirs: str) -> None:
    for means, tool in IPTABLES.items():
        for words in THEIRS[theirs]:
            bench_home.run(tool, *words.split())
        before = _saved(bench_home, tool)
        host = Host(means, bench_home, Probers(), tmp_path / means)
        for policies in ([policy("b", ingress=())], [policy("c", egress=())], []):
            host.enforce(*policies)
            now = _saved(bench_home, tool)
            assert [line for line in now if "WEFT" not in line] == before
            assert (now != before) is bool(policies)
            first = next(line for line in now if line.startswith("-A FORWARD"))
            assert (first == "-A FORWARD -j WEFT-POLICY") is bool(policies)
        host.kernel.close()
        bench_home.run(tool, "-P", "FORWARD", "ACCEPT")
        bench_home.run(tool, "-F")
        bench_home.run(tool, "-X")


@pytest.fixture
def bench_home(netns: Home) -> Home:
    return netns


def _saved(home: Home, tool: str) -> list[str]:
    lines = home.run(f"{tool}-save").splitlines()
    return [line.partition(" [")[0] for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_whatever_policies_say_iptables_takes(netns: Home, tmp_path: Path, backend: str) -> None:
    """But for an ICMP code that is excluded together with its type, which it has no word for."""
    desired: dict[Key, Object] = {}
    kernel = LinuxKernel(desired, tmp_path)
    loop = Reconciler(kernel, desired, time.monotonic)
    loop.complete = True
    ask = renderer("iptables", frozenset({(4, backend)}))

    @given(POLICIES)
    @settings(max_examples=25, deadline=None, derandomize=True)
    def check(policies: list[Policy]) -> None:
        said = world(*policies, tiers=[TIER])
        programs = [program(i, said.stack(i, d), d, None) for i in WORLD for d in DIRECTIONS]
        chains = [[obj for c in p.chains for obj in ask.chain(c, "")] for p in programs]
        sayable = [obj for some in chains if all(_sayable(c) for c in some) for obj in some]
        sets = [obj for p in programs for s in p.sets for obj in ask.table_set(s, "")]
        before = set(desired)
        desired.clear()
        desired.update({obj.key: obj for obj in (*sets, *sayable)})
        assert loop.update(before | desired.keys()).failures == ()

    check()
    kernel.close()


def _sayable(chain: Object) -> bool:
    assert isinstance(chain, IptablesChain)
    try:
        return bool(chain.lines) or True
    except Unsupported as error:
        assert "only of one icmpv6 type" in str(error)
        return False
