"""nftables, iptables, sysctls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from weft.hoststate import Bridge, IptablesChain, Link, NftChain, NftElement, NftSet, Object, Sysctl
from weft.hoststate.firewall import FILTER, RAW, SRCNAT, Hook
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER, DROP, NOTRACK, Jump, Masquerade
from weft.hoststate.rules.matches import CT_STATE, DADDR, IIFNAME, OIFNAME, SADDR, TCP_DPORT, UDP_DPORT
from weft.reconcile.protocol import Create, Remove

CLUSTER = NftSet(name="cluster4", type=("ipv4_addr",), flags=("interval",))
WITHIN = NftSet(name="within6", type=("ipv6_addr", "ipv6_addr"), flags=("interval",))
PORTS = NftSet(name="tunnel-ports", type=("inet_service",))
FORWARD = NftChain(
    name="forward",
    hook=Hook(type="filter", hook="forward", priority=FILTER),
    rules=(
        rule(SADDR[4].among("cluster4"), DADDR[4].among("cluster4"), ACCEPT),
        rule(Jump("logged")),
        rule(IIFNAME.is_("eth0"), CT_STATE.is_("established", "related"), ACCEPT),
    ),
)
LOG = NftChain(name="logged", rules=(rule(COUNTER),))
NAT = NftChain(
    name="postrouting",
    hook=Hook(type="nat", hook="postrouting", priority=SRCNAT),
    rules=(
        rule(
            SADDR[4].among("cluster4"),
            DADDR[4].not_among("cluster4"),
            DADDR[4].is_not("224.0.0.0/4"),
            Masquerade(random=True),
        ),
    ),
)
RAW = NftChain(
    name="raw-output",
    hook=Hook(type="filter", hook="output", priority=RAW),
    rules=(
        rule(UDP_DPORT.among("tunnel-ports"), NOTRACK),
        rule((SADDR[6] + DADDR[6]).not_among("within6"), DROP),
    ),
)


def elements(*values: str) -> list[NftElement]:
    return [NftElement(set="cluster4", value=value) for value in values]


TABLE: list[Object] = [
    CLUSTER,
    WITHIN,
    PORTS,
    *elements("10.1.0.0/16", "10.2.0.0/16", "10.4.0.0/24"),
    NftElement(set="within6", value="fd00:1::/48 . fd00:1::/48"),
    NftElement(set="tunnel-ports", value="8472"),
    FORWARD,
    LOG,
    NAT,
    RAW,
]


def nft(bench: Any) -> list[dict[str, Any]]:
    return list(json.loads(bench.netns.run("nft", "-j", "list", "ruleset"))["nftables"])


def test_a_table_is_made_read_and_removed(bench: Any) -> None:
    bench.made(*TABLE)
    assert bench.converged(), bench.difference()
    listed = nft(bench)
    assert {item["chain"]["name"] for item in listed if "chain" in item} == {
        "forward",
        "logged",
        "postrouting",
        "raw-output",
    }
    assert {item["table"]["name"] for item in listed if "table" in item} == {"weft"}
    assert bench.remove(*reversed(TABLE)) == []
    assert bench.converged()
    assert not [item for item in nft(bench) if "table" in item]
    assert bench.remove(*reversed(TABLE)) == []


def test_many_elements(bench: Any) -> None:
    many = elements(*(f"10.{i // 200}.{i % 200}.0/24" for i in range(0, 600, 2)))
    bench.made(CLUSTER, *many)
    assert bench.converged()
    assert bench.remove(*many[:100]) == []
    assert bench.converged()


def test_prefixes_that_touch_stay_apart(bench: Any) -> None:
    bench.made(CLUSTER, *elements("10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24"))
    assert bench.converged(), bench.difference()


def test_an_element_that_takes_the_place_of_a_wider_one(bench: Any) -> None:
    wide, narrow = elements("10.1.0.0/16", "10.1.0.0/17")
    bench.made(CLUSTER, wide)
    del bench.desired[wide.key]
    bench.desired[narrow.key] = narrow
    assert bench.kernel.apply([Create(narrow), Remove(wide)]) == []
    assert bench.converged(), bench.difference()


def test_a_chain_changed_in_place(bench: Any) -> None:
    bench.made(*TABLE)
    hook = Hook(type="filter", hook="forward", priority=FILTER, policy="drop")
    new = NftChain(name="forward", hook=hook, rules=(rule(Jump("logged")),))
    assert bench.change(FORWARD, new) == []
    assert bench.converged(), bench.difference()


def test_a_set_of_another_type(bench: Any) -> None:
    bench.made(*TABLE)
    new = NftSet(name="tunnel-ports", type=("inet_service",), flags=("interval",))
    assert bench.change(PORTS, new) == []
    assert bench.converged(), bench.difference()


def test_rules_deleted_by_hand_are_missed(bench: Any) -> None:
    bench.made(*TABLE)
    bench.netns.run("nft", "flush", "chain", "inet", "weft", "forward")
    found = bench.read().objects[FORWARD.key]
    assert found.rules == ()
    assert bench.change(found, FORWARD) == []
    assert bench.converged(), bench.difference()


def test_a_wrong_rule_is_told_and_the_rest_done(bench: Any) -> None:
    wrong = NftChain(name="wrong", rules=(rule(Jump("nowhere")),))
    lost = NftElement(set="cluster4", value="10.300.0.0/16")
    failures = bench.create(*TABLE, wrong, lost)
    assert {failure.key for failure in failures} == {wrong.key, lost.key}
    assert all("\n" not in failure.reason and "nft: " in failure.reason for failure in failures)
    assert bench.holds(*TABLE)


@pytest.mark.parametrize(
    "damage",
    [
        "nft add rule inet weft c accept",
        """nft 'insert rule inet weft c counter comment "weft:nonsense"' """,
        "nft flush chain inet weft c",
        "nft -a list chain inet weft c | sed -n 's/.*dport 22 .*handle /delete rule inet weft c handle /p' | nft -f -",
        # the first one goes behind the second
        "rule=$(nft -a list chain inet weft c | grep 'dport 22 '); "
        "nft delete rule inet weft c handle ${rule##* }; nft add rule inet weft c ${rule%% # *}",
    ],
    ids=["one more", "foreign comment", "all gone", "one gone", "turned round"],
)
def test_rules_are_told_by_their_marks(bench: Any, damage: str) -> None:
    chain = NftChain(name="c", rules=(rule(TCP_DPORT.is_(22), ACCEPT), rule(IIFNAME.is_("eth0"), DROP)))
    bench.made(chain)
    assert bench.converged(), bench.difference()
    bench.netns.run("bash", "-c", damage)
    assert not bench.converged()
    assert bench.change(bench.read().objects[chain.key], chain) == []
    assert bench.converged(), bench.difference()


def test_other_tables_stay(bench: Any) -> None:
    theirs = "table ip other {\n\tchain c {\n\t\taccept\n\t}\n}\n"
    bench.netns.run("nft", "-f", "-", stdin=theirs)
    bench.made(*TABLE)
    bench.remove(*TABLE)
    assert bench.netns.run("nft", "list", "ruleset") == theirs


def test_nft_that_is_not_there(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.kernel.plumbing.tools.shutil.which", lambda *_, **__: None)
    bench.made(CLUSTER, *elements("10.1.0.0/16"))  # the kernel is asked for those itself
    (failure,) = bench.create(LOG)
    assert failure.key == LOG.key
    assert failure.reason == "nft is not installed: install nftables"


# -- iptables ----------------------------------------------------------------------------------------------------------


IN, OUT = IIFNAME.is_("weft*"), OIFNAME.is_("weft*")


def forward(backend: Any, family: Any = 4, *rules: Rule) -> IptablesChain:
    return IptablesChain(
        backend=backend,
        family=family,
        table="filter",
        parent="FORWARD",
        name="WEFT-FORWARD",
        rules=rules or (rule(IN, ACCEPT), rule(OUT, ACCEPT)),
    )


WAYS = [
    ("nft", 4, "iptables-nft"),
    ("nft", 6, "ip6tables-nft"),
    ("legacy", 4, "iptables-legacy"),
    ("legacy", 6, "ip6tables-legacy"),
]


@pytest.mark.parametrize(("backend", "family", "program"), WAYS)
def test_a_chain_and_its_jump(bench: Any, backend: str, family: int, program: str) -> None:
    bench.netns.run(program, "-P", "FORWARD", "DROP")
    bench.netns.run(program, "-A", "FORWARD", "-j", "DROP")
    chain = forward(backend, family)
    assert bench.kernel.facts("lo").iptables == {(family, backend)}
    bench.made(chain)
    assert bench.converged(), bench.difference()
    listed = bench.netns.run(program, "-S", "FORWARD").splitlines()
    assert listed == ["-P FORWARD DROP", "-A FORWARD -j WEFT-FORWARD", "-A FORWARD -j DROP"]

    bench.netns.run(program, "-I", "FORWARD", "-j", "DROP")  # another program comes first
    found = bench.read().objects[chain.key]
    assert found.parent == ""
    assert bench.change(found, chain) == []
    assert bench.converged(), bench.difference()
    assert bench.netns.run(program, "-S", "FORWARD").splitlines()[1] == "-A FORWARD -j WEFT-FORWARD"

    new = forward(backend, family, rule(IN, ACCEPT))
    assert bench.change(chain, new) == []
    assert bench.converged(), bench.difference()
    bench.desired.clear()
    assert bench.holds(new)
    assert bench.remove(new) == []
    assert "WEFT" not in bench.netns.run(program, "-S")
    assert bench.remove(new) == []


def test_looking_makes_no_tables(bench: Any) -> None:
    assert bench.read().objects == {}
    assert bench.kernel.facts("lo").iptables == frozenset()
    assert bench.netns.run("nft", "list", "ruleset") == ""
    assert bench.netns.run("cat", "/proc/thread-self/net/ip_tables_names") == ""


def test_a_rule_that_iptables_does_not_take(bench: Any) -> None:
    bench.netns.run("iptables-nft", "-P", "FORWARD", "DROP")
    good = forward("nft")
    wrong = IptablesChain(
        backend="nft", family=4, table="filter", parent="FORWARD", name="WEFT-X", rules=(rule(Jump("NOWHERE")),)
    )
    (failure,) = bench.create(good, wrong)
    assert failure.key == wrong.key and "WEFT-X" in failure.reason
    assert bench.holds(good)


# -- sysctl ------------------------------------------------------------------------------------------------------------

IP_FORWARD = Sysctl(name="net/ipv4/ip_forward", value="1")


def value(bench: Any, name: str) -> str:
    return str(bench.netns.run("cat", f"/proc/sys/{name}")).strip()


def record(bench: Any) -> dict[str, str]:
    file: Path = bench.run / "sysctl.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def test_a_sysctl_is_put_back(bench: Any) -> None:
    before = value(bench, IP_FORWARD.name)
    assert before == "0"
    bench.made(IP_FORWARD)
    assert value(bench, IP_FORWARD.name) == "1"
    assert record(bench) == {IP_FORWARD.name: "0"}
    assert bench.converged()
    bench.netns.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
    found = bench.read().objects[IP_FORWARD.key]
    assert found.value == "0"
    assert bench.change(found, IP_FORWARD) == []
    assert record(bench) == {IP_FORWARD.name: "0"}
    bench.desired.clear()
    assert bench.read().objects == {IP_FORWARD.key: IP_FORWARD}  # ours by the record
    assert bench.remove(IP_FORWARD) == []
    assert value(bench, IP_FORWARD.name) == before and record(bench) == {}
    assert bench.read().objects == {}


def test_the_record_keeps_what_was_before_us(bench: Any) -> None:
    sysctl = Sysctl(name="net/ipv4/conf/all/rp_filter", value="1")
    before = value(bench, sysctl.name)
    bench.made(sysctl)
    bench.netns.sh("sysctl -q -w net.ipv4.conf.all.rp_filter=2")
    assert bench.change(bench.read().objects[sysctl.key], sysctl) == []
    assert record(bench) == {sysctl.name: before} != {sysctl.name: "1"}


def test_a_sysctl_that_was_right_already_stays(bench: Any) -> None:
    bench.netns.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    bench.made(IP_FORWARD)
    assert record(bench) == {}
    assert bench.remove(IP_FORWARD) == []
    assert value(bench, IP_FORWARD.name) == "1"


def test_a_sysctl_of_a_device_waits_for_it_and_is_put_back(bench: Any) -> None:
    sysctl, bridge = Sysctl(name="net/ipv4/conf/weft-n/route_localnet", value="1"), Link(name="weft-n", type=Bridge())
    bench.made(sysctl, bridge)
    assert value(bench, sysctl.name) == "1" and record(bench) == {sysctl.name: "0"}
    del bench.desired[sysctl.key]
    assert bench.read().objects == {obj.key: obj for obj in (sysctl, bridge)}  # also for who finds it after a crash
    assert bench.remove(sysctl) == []
    assert value(bench, sysctl.name) == "0" and record(bench) == {}
    bench.made(sysctl)
    bench.netns.run("ip", "link", "del", "weft-n")
    assert bench.remove(sysctl) == []
    assert record(bench) == {}


def test_of_a_device_that_goes_with_the_need_nothing_is_kept(bench: Any) -> None:
    bridge = Link(name="weft-n", type=Bridge())
    sysctl = Sysctl(name="net/ipv4/conf/weft-n/proxy_arp", value="1", lasting=False)
    bench.made(bridge, sysctl)
    assert value(bench, sysctl.name) == "1" and record(bench) == {}
    assert bench.converged(), bench.difference()


def test_a_sysctl_in_a_container(bench: Any, container: Any) -> None:
    sysctl = Sysctl(name="net/ipv4/conf/lo/rp_filter", value="1", ns=container.path)
    bench.made(sysctl)
    assert container.run("cat", f"/proc/sys/{sysctl.name}").strip() == "1"
    assert value(bench, sysctl.name) == "0" and record(bench) == {}
    assert bench.converged()


@pytest.mark.parametrize(
    ("name", "wanted", "reason"),
    [
        ("net/ipv4/no_such", "1", "sysctl net/ipv4/no_such does not exist"),
        ("net/ipv4/ip_forward", "lots", "sysctl net/ipv4/ip_forward: the kernel does not take 'lots'"),
        ("../etc/passwd", "1", "'../etc/passwd' is not a sysctl"),
    ],
)
def test_a_sysctl_that_cannot_be(bench: Any, name: str, wanted: str, reason: str) -> None:
    (failure,) = bench.kernel.apply([Create(Sysctl(name=name, value=wanted))])
    assert failure.reason.startswith(reason)
    assert record(bench) == {} or wanted == "lots"


def test_old_values_of_devices_that_are_gone_are_forgotten(bench: Any) -> None:
    """A container that ends takes its device along, and nobody puts anything back."""
    bench.netns.sh("ip link add gone type bridge")
    host = Sysctl(name="net/ipv4/ip_forward", value="1")
    bench.made(host, Sysctl(name="net/ipv4/conf/gone/route_localnet", value="1"))
    record = bench.run / "sysctl.json"
    assert set(json.loads(record.read_text())) == {"net/ipv4/ip_forward", "net/ipv4/conf/gone/route_localnet"}
    bench.netns.sh("ip link del gone")
    bench.read()
    assert json.loads(record.read_text()) == {"net/ipv4/ip_forward": "0"}
