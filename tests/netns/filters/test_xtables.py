"""What is read of the old iptables' tables, of ipset and of IPVS, beside what their own programs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.namespaces import Home
from support.xtables import seen
from weft.api.dump import FiltersDump, IpvsDestinationDump, IpvsServiceDump
from weft.filters.nft.chain import Table
from weft.filters.state import Run
from weft.filters.xt import Ipsets, legacy
from weft.filters.xt.legacy import _Table
from weft.kernel.host import balancers, filters, ipsets, xtables

HERE = Path(__file__).parent


@pytest.fixture
def rules(netns: Home) -> Home:
    netns.run("ipset", "restore", stdin=(HERE / "rules.ipset").read_text())
    netns.run("iptables-legacy-restore", stdin=(HERE / "rules.v4").read_text())
    netns.run("ip6tables-legacy-restore", stdin=(HERE / "rules.v6").read_text())
    return netns


@pytest.mark.parametrize(("family", "save"), [(4, "iptables-legacy-save"), (6, "ip6tables-legacy-save")])
def test_every_rule_is_written_as_iptables_save_writes_it(rules: Home, family: int, save: str) -> None:
    wanted = {line.rstrip() for line in rules.run(save).splitlines() if line.startswith("-A")}
    sets = Ipsets(ipsets.sets())
    told: set[str] = set()
    for dump in xtables.tables():
        if dump.family == family:
            table = _Table(dump, sets)
            for chain in table.chains.values():
                user = chain.underflow < 0  # whose last entry is a RETURN that nobody wrote
                count = len(chain.entries) - user
                told |= {table.where("", chain, n).text for n in range(count)}
    assert wanted == {text for text in told if text.startswith("-A")}
    assert family == 6 or "-P FORWARD DROP" in told


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_rules_of_iptables_nft_are_written_as_its_own_save_writes_them(netns: Home, family: str) -> None:
    """It has no target QUEUE, and knows NFQUEUE instead."""
    program = "iptables" if family == "ip" else "ip6tables"
    netns.run("ipset", "restore", stdin=(HERE / "rules.ipset").read_text())
    rules = (HERE / f"rules.v{4 if family == 'ip' else 6}").read_text()
    netns.run(f"{program}-nft-restore", stdin=rules.replace("-j QUEUE", "-j DROP"))
    wanted = {line.rstrip() for line in netns.run(f"{program}-nft-save").splitlines() if line.startswith("-A")}
    tables = [Table(dump, Ipsets(ipsets.sets())) for dump in filters.dump().nft if dump.family == family]
    told = {
        table.where(chain, rule, "").text for table in tables for chain in table.dump.chains for rule in chain.rules
    }
    assert wanted == told
    assert {table.policy(chain).text for table in tables for chain in table.dump.chains if chain.hook} >= {
        "-P FORWARD DROP" if family == "ip" else "-P FORWARD ACCEPT"
    }


def test_a_remedy_of_iptables_nft_mends(netns: Home) -> None:
    netns.run(
        "iptables-nft-restore",
        stdin="*filter\n:FORWARD DROP\n-A FORWARD -p tcp -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n",
    )
    (dump,) = filters.dump().nft
    table = Table(dump, Ipsets())
    chain = table.chains["FORWARD"]
    for where in (table.where(chain, chain.rules[1], "forward"), table.policy(chain)):
        netns.run("sh", "-c", where.remedy)
    assert netns.run("iptables-nft", "-S", "FORWARD").splitlines() == [
        "-P FORWARD ACCEPT",
        "-A FORWARD -p tcp -j ACCEPT",
    ]


def test_a_remedy_removes_the_rule_and_nothing_else(rules: Home) -> None:
    """Each one is run as it stands, through a shell, as a user would paste it."""
    before = [line for line in rules.run("iptables-legacy", "-t", "nat", "-S").splitlines() if line.startswith("-A")]
    dump = next(t for t in xtables.tables() if t.family == 4 and t.name == "nat")
    table = _Table(dump, Ipsets(ipsets.sets()))
    chain = next(c for c in table.chains.values() if c.name == "PREROUTING")
    rules.run("sh", "-c", table.where("", chain, 0).remedy)
    after = [line for line in rules.run("iptables-legacy", "-t", "nat", "-S").splitlines() if line.startswith("-A")]
    gone = "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER"
    assert gone in before
    assert after == [line for line in before if line != gone]


def test_tables_that_are_not_there_are_not_made(netns: Home) -> None:
    assert xtables.tables() == ()
    assert netns.run("cat", "/proc/net/ip_tables_names") == ""


def test_the_policy_of_a_chain_decides(netns: Home) -> None:
    netns.run("iptables-legacy", "-P", "FORWARD", "DROP")
    dump = FiltersDump(xtables=xtables.tables())
    chain = next(each for each in legacy(dump, Ipsets()) if each.hook == "forward")
    end = chain.run(Run(seen("10.0.0.1", "10.0.0.2"), "ip", "forward"))
    assert (end.action, end.where().text) == ("drop", "-P FORWARD DROP")
    assert end.where().remedy == "iptables-legacy -t filter -P FORWARD ACCEPT"


def test_sets_have_the_members_that_ipset_lists(rules: Home) -> None:
    found = {dump.name: dump for dump in ipsets.sets()}
    saved = rules.run("ipset", "save").replace("echo-request", "8/0").splitlines()
    wanted: dict[str, set[str]] = {}
    for line in saved:
        if line.startswith("add "):
            _, name, member = line.split(" ", 2)
            wanted.setdefault(name, set()).add(member)
    assert {name: set(dump.members) for name, dump in found.items()} == wanted
    assert (found["six"].family, found["nm"].netmask) == (6, 24)
    assert len({dump.index for dump in found.values()}) == len(found)


def test_a_set_of_many_messages_is_whole(netns: Home) -> None:
    many = [f"10.{n // 250}.{n % 250}.1" for n in range(5000)]
    netns.run("ipset", "restore", stdin="create big hash:ip\n" + "".join(f"add big {at}\n" for at in many))
    (found,) = ipsets.sets()
    assert set(found.members) == set(many)


def test_services_of_ipvs_by_address_and_by_mark(netns: Home) -> None:
    if not balancers.loaded():
        pytest.skip("the kernel has no IPVS")
    netns.run("ipvsadm", "-A", "-t", "10.0.0.1:80", "-s", "rr")
    netns.run("ipvsadm", "-a", "-t", "10.0.0.1:80", "-r", "10.0.0.2:8080", "-m", "-w", "3")
    netns.run("ipvsadm", "-A", "-f", "329", "-s", "rr")
    netns.run("ipvsadm", "-a", "-f", "329", "-r", "10.0.0.3", "-g")
    assert set(balancers.services()) == {
        IpvsServiceDump(
            protocol=6,
            address="10.0.0.1",
            port=80,
            scheduler="rr",
            destinations=(IpvsDestinationDump(address="10.0.0.2", port=8080, weight=3),),
        ),
        IpvsServiceDump(
            mark=329, scheduler="rr", destinations=(IpvsDestinationDump(address="10.0.0.3", port=0, forward="route"),)
        ),
    }
