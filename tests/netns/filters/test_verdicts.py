"""What comes of packets in tables of the old iptables: jumps, returns, policies, targets, and rules that cannot be judged."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from support.namespaces import Home
from support.xtables import seen
from support.xtables_cases import connection
from weft.api.dump import FiltersDump
from weft.filters.state import End, Run
from weft.filters.xt import Ipsets, legacy
from weft.kernel.host import ipsets, xtables


def _asked(netns: Home, rules: str, hook: str, table: str = "filter", **about: Any) -> tuple[End, Run]:
    netns.run("iptables-legacy-restore", stdin=f"*{table}\n{rules}\nCOMMIT\n")
    dump = FiltersDump(xtables=xtables.tables(), ipsets=ipsets.sets())
    (base,) = (b for b in legacy(dump, Ipsets(dump.ipsets)) if b.hook == hook and b.family == "ip")
    run = Run(seen(**{"src": "10.0.0.1", "dst": "10.0.0.2", "connection": connection("new"), **about}), "ip", hook)
    return base.run(run), run


def test_a_chain_returns_to_where_it_was_called(netns: Home) -> None:
    rules = ":FORWARD DROP\n:A - \n:B - \n-A FORWARD -j A\n-A FORWARD -p tcp -j ACCEPT\n-A A -g B\n-A A -j DROP\n-A B -j RETURN"
    end, run = _asked(netns, rules, "forward")
    assert (end.action, end.where().text) == ("accept", "-A FORWARD -p tcp -j ACCEPT")
    assert [where().text for where in run.passed] == ["-A FORWARD -j A", "-A A -g B"]


def test_a_return_of_a_built_in_chain_is_its_policy(netns: Home) -> None:
    end, _ = _asked(netns, ":FORWARD DROP\n-A FORWARD -p tcp -j RETURN\n-A FORWARD -j ACCEPT", "forward")
    assert (end.action, end.where().handle, end.where().chain) == ("drop", 0, "FORWARD")


def test_a_rule_without_target_only_counts(netns: Home) -> None:
    end, _ = _asked(netns, "-A FORWARD -p tcp\n-A FORWARD -j REJECT", "forward")
    assert (end.action, end.where().text) == ("reject", "-A FORWARD -j REJECT --reject-with icmp-port-unreachable")
    assert end.where().remedy == "iptables-legacy -t filter -D FORWARD -j REJECT --reject-with icmp-port-unreachable"
    assert end.where().show == "iptables-legacy -t filter -S FORWARD 2"


def test_what_a_doubtful_jump_would_do_is_doubted_and_the_rest_goes_on(netns: Home) -> None:
    rules = ":A - \n-A FORWARD -m limit --limit 1/min -j A\n-A FORWARD -j ACCEPT\n-A A -p udp -j ACCEPT\n-A A -j DROP"
    end, run = _asked(netns, rules, "forward")
    assert end.action == "accept"
    assert [(doubt.where.text, doubt.action) for doubt in run.told()] == [("-A A -j DROP", "drop")]


def test_a_mark_that_is_only_maybe_set_is_told(netns: Home) -> None:
    _, run = _asked(netns, "-A FORWARD -m limit --limit 1/min -j MARK --set-mark 5", "forward", "mangle")
    assert run.seen.mark == 0
    assert "mark" in run.unsure


def test_marks_go_to_the_connection_and_back(netns: Home) -> None:
    rules = (
        "-A PREROUTING -j MARK --set-xmark 0x12/0xff\n-A PREROUTING -j CONNMARK --save-mark --nfmask 0xf0 --ctmask 0xff\n"
        "-A PREROUTING -j MARK --set-mark 0\n-A PREROUTING -j CONNMARK --restore-mark"
    )
    _, run = _asked(netns, rules, "prerouting", "mangle", mark=0x300)
    assert run.seen.connection is not None
    assert (run.seen.connection.mark, run.seen.mark) == (0x10, 0x10)


def test_addresses_and_ports_are_translated(netns: Home) -> None:
    rules = (
        ":DOCKER - \n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
        "-A DOCKER -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:8080"
    )
    end, _ = _asked(netns, rules, "prerouting", "nat", local={ip_address("10.0.0.2"): "local"})
    told = end.translation
    assert told is not None
    assert (told.kind, str(told.address), told.port) == ("dnat", "172.17.0.2", 8080)
    assert told.where.text == "-A DOCKER -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:8080"


def test_a_network_is_mapped_onto_another(netns: Home) -> None:
    end, _ = _asked(netns, "-A PREROUTING -d 10.0.0.0/24 -j NETMAP --to 192.168.7.0/24", "prerouting", "nat")
    assert end.translation is not None
    assert str(end.translation.address) == "192.168.7.2"


def test_masquerade_is_up_to_the_device(netns: Home) -> None:
    end, _ = _asked(netns, "-A POSTROUTING -s 10.0.0.0/24 ! -o br0 -j MASQUERADE", "postrouting", "nat", oif="eth0")
    assert end.translation is not None
    assert (end.translation.kind, end.translation.address) == ("masquerade", None)
    end, _ = _asked(netns, "-A POSTROUTING -s 10.0.0.0/24 ! -o br0 -j MASQUERADE", "postrouting", "nat", oif="br0")
    assert (end.action, end.translation) == ("accept", None)


def test_one_of_several_is_drawn(netns: Home) -> None:
    rules = "-A OUTPUT -m statistic --mode nth --every 3 --packet 0 -j DNAT --to-destination 10.0.0.7"
    end, run = _asked(netns, rules, "output", "nat")
    assert (run.drawn, end.translation is not None) == ([3], True)
    end, run = _asked(netns, rules, "output", "nat", draws=(1,))
    assert (run.drawn, end.translation) == ([3], None)


def test_what_is_not_tracked(netns: Home) -> None:
    _, run = _asked(netns, "-A PREROUTING -j CT --notrack", "prerouting", "raw")
    assert run.notrack


def test_a_target_that_depends_on_programs_is_a_doubt(netns: Home) -> None:
    end, run = _asked(netns, "-A PREROUTING -p tcp -j TPROXY --on-port 1", "prerouting", "mangle")
    assert end.action == "accept"
    assert [doubt.why for doubt in run.told()] == ["whether a program here has a socket for the packet"]
