"""What `weft trace` says of a packet is what becomes of a real one: random rules of both firewalls with NAT, routes that are
missing or refuse, and flows of all kinds, each sent as a real packet through the kernel, and answered where it arrives.

One case is a state of the host and some flows; the seed of one that fails is in its name, and `SEEDS=7 pytest …` runs it
alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from support import agreement, random_rules
from support.namespaces import home
from support.routed_three import NOBODY, RIGHT, Three, one_processor
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.nfnl import NFGENMSG

STATES = 32
FLOWS = 16
"""Of each state: over five hundred in all."""
SEEDS = agreement.seeds(STATES)
PORTED = (6, 17)
PROTOCOLS = {4: (6, 17, 1), 6: (6, 17, 58)}
DELETE = 2
"""IPCTNL_MSG_CT_DELETE: of everything, where nothing is named."""


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    with home() as host, one_processor():
        found = Three(host)
        yield found
        found.close()


@pytest.fixture(scope="module")
def tally() -> Counter[str]:
    """How the ways of all flows ended."""
    return Counter()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trace_agrees_with_the_kernel(three: Three, tally: Counter[str], seed: int) -> None:
    random = Random(seed)
    said = prepare(three, random)
    flows = [agreement.chosen(random, number) for number in range(FLOWS)]
    disagreed = agreement.agree(three, flows, tally)
    assert not disagreed, f"seed {seed}\n" + "\n".join(disagreed) + f"\n\n{said}"


def test_the_flows_came_to_all_kinds_of_ends(tally: Counter[str]) -> None:
    states = tally["states"]
    if states < STATES // 3:
        pytest.skip("too few states were tried here")
    assert tally["delivered"] > states * FLOWS // 5, tally
    assert tally["filtered"] > states * FLOWS // 10, tally
    assert (
        min(tally[end] for end in ("translated", "answered", "blackhole", "unreachable", "prohibit")) > states // 2
    ), tally


# -- the state ---------------------------------------------------------------------------------------------------------


def prepare(three: Three, random: Random) -> str:
    """The host in a random state, told as text."""
    host = three.host
    for program in ("iptables-legacy", "ip6tables-legacy"):
        for table in ("raw", "mangle", "nat", "filter"):
            host.run(program, "-t", table, "-F", check=False)
    host.sh("nft flush ruleset")
    for program in ("iptables-legacy", "ip6tables-legacy"):
        for chain in ("INPUT", "FORWARD", "OUTPUT"):
            host.run(program, "-P", chain, "ACCEPT", check=False)
    three.witness("host")
    said = ""
    if random.random() < 0.8:
        said = random_rules.nft(random)
        host.run("nft", "-f", "-", stdin=said)
    if random.random() < 0.5:
        back_end = random.choice(("nft", "nft", "legacy"))
        for six in (False, True):
            text = random_rules.iptables(random, six=six)
            host.run(f"ip{'6' if six else ''}tables-{back_end}-restore", stdin=text)
            said += f"{back_end}\n{text}"
    said += routes(three, random)
    forget(three)
    return said


def routes(three: Three, random: Random) -> str:
    """Some are missing, some refuse, some packets go by another table for their mark; at times nothing is routed on, or only
    what comes from where its answer would go."""
    host, said = three.host, list[str]()
    switches = {f"net.ipv4.conf.{dev}.rp_filter": random.choice((0, 0, 1, 2)) for dev in ("all", "to-left", "to-right")}
    switches |= {f"net.ipv{name}": int(random.random() < 0.9) for name in ("4.ip_forward", "6.conf.all.forwarding")}
    said.append("sysctl -w " + " ".join(f"{name}={value}" for name, value in switches.items()))
    host.sh(said[-1].replace("-w", "-qw"))
    for family in ("-4", "-6"):
        six = family == "-6"
        host.run("ip", family, "route", "flush", "proto", "186", check=False)
        host.run("ip", family, "route", "flush", "table", "100", check=False)
        host.run("ip", family, "rule", "del", "priority", "50", check=False)
        commands = [
            f"route add {kind} {address} proto 186"
            for address in (a for a in (*RIGHT, *NOBODY) if (":" in a) is six)
            if (kind := random.choice(("", "", "", "blackhole", "unreachable", "prohibit")))
        ]
        if random.random() < 0.3:
            near = "fd02::2" if six else "10.2.0.3"
            commands += [f"rule add priority 50 fwmark {random.randint(1, 3)}/0xf lookup 100"]
            commands += [f"route add {random.choice(('prohibit', 'throw', 'blackhole'))} {near} table 100"]
        for command in commands:
            said.append(f"ip {family} {command}")
            host.sh(said[-1])
    return "\n".join(said)


def forget(three: Three) -> None:
    """Connections of the states before."""
    with three.host.entered():
        netlink = Netlink(open_socket(u.NETLINK_NETFILTER))
    try:
        netlink.request(u.NFNL_SUBSYS_CTNETLINK << 8 | DELETE, 0, NFGENMSG.pack(u.AF_UNSPEC, 0, 0))
    finally:
        netlink.close()
