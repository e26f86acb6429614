"""Every command against an agent of canned answers."""

from __future__ import annotations

import json
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest
import yaml

from support.canned import ANSWERS, COMMANDS, ENDPOINTS, FINDINGS, ILL, NETWORK_DOCUMENT, NETWORKS, NODES, WELL
from support.canned_agent import Asked, CannedAgent
from weft.api import declared as d
from weft.api import types as t
from weft.api.dump import HostDump, LinkDump, NamespaceDump, VxlanDump
from weft.base.errors import NotFound, Unavailable
from weft.cli.drivers import describe
from weft.model import Bandwidth, NamedPort, decode, encode
from weft.model.ports import parse

PUBLISHING = msgspec.structs.replace(ENDPOINTS[0], ports=(parse("8080:80"), parse("[fd00::5]:53-54/udp")))


def plain(value: object) -> object:
    """As it goes over the wire."""
    return json.loads(encode(value))


SHOWN: dict[str, str] = {
    "status": "status",
    "doctor": "doctor",
    "plan": "plan",
    "mesh status": "mesh",
    "node ls": "nodes",
    "node show node-1": "node",
    "network ls": "networks",
    "network show blue": "network",
    "endpoint ls": "endpoints",
    "endpoint show web": "endpoint",
    "attach web --network blue": "attach",
    "pool ls prod": "pools",
    "ipam show": "ipam",
    "endpoint move web web-2": "move",
    "endpoint label web tier=front": "label",
    "endpoint float web 203.0.113.7": "add_floating",
    "endpoint unfloat web 203.0.113.7": "remove_floating",
    "policy ls": "policies",
    "policy rm namespace/shop policy//last": "remove_policies",
}
"""Command line and operation: everything with `-o table|json|yaml`."""


@pytest.mark.parametrize(("line", "operation"), SHOWN.items())
class TestEveryShownThing:
    def test_json_is_the_api_type(self, line: str, operation: str, weft, agent) -> None:
        ran = weft(*line.split(), "-o", "json")
        assert (ran.status, ran.err) == (0, "")
        assert json.loads(ran.out) == plain(ANSWERS[operation])

    def test_yaml_is_the_api_type_or_the_document_of_what_can_be_declared(
        self, line: str, operation: str, weft, agent
    ) -> None:
        agent.answers["declared"] = d.Declared(documents=(NETWORK_DOCUMENT,))
        ran = weft(*line.split(), "--output", "yaml")
        assert ran.status == 0
        assert yaml.safe_load(ran.out) == (NETWORK_DOCUMENT if operation == "network" else plain(ANSWERS[operation]))

    @pytest.mark.parametrize("width", [100, 80])
    def test_the_table_fits(self, width: int, line: str, operation: str, weft, agent, monkeypatch) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        agent.answers |= {"status": ILL, "network": NETWORKS[1], "endpoint": ENDPOINTS[1]}
        ran = weft(*line.split())
        assert (ran.status, ran.err) == (0, "")
        assert ran.out.strip()
        if operation not in ("plan", "attach", "move"):  # commands are there to be pasted; a sentence wraps by itself
            assert max(map(len, ran.lines)) <= width
        assert "\x1b" not in ran.out


@pytest.mark.parametrize("kind", ["network", "endpoint", "node", "service"])
def test_several_are_shown_one_after_the_other(weft, agent: CannedAgent, kind: str) -> None:
    one, two = weft(kind, "show", "a"), weft(kind, "show", "a", "b")
    assert two.out == f"{one.out}\n{one.out}"
    single, several = (json.loads(weft(kind, "show", *names, "-o", "json").out) for names in (["a"], ["a", "b"]))
    assert several == [single, single]


class TestStatus:
    def test_all_is_well(self, weft, agent) -> None:
        ran = weft("status")
        assert ran.lines[0] == "node-1 is converged: all is well"
        assert "store   etcd://10.0.0.1:2379,10.0.0.2:2379, connected for 2 h, at revision 4711" in ran.lines
        assert "node-4  192.168.0.33   silent  behind a router" in ran.lines
        assert "OBJECTS" not in ran.out and "PROBLEMS\n" not in ran.out.replace("PEERS  PROBLEMS", "")

    def test_objects_on_request(self, weft, agent) -> None:
        assert "route    6        6       0" in weft("status", "--verbose").lines

    def test_what_is_amiss_is_told_with_the_way_out(self, weft, agent: CannedAgent) -> None:
        agent.answers["status"] = ILL
        ran = weft("status")
        assert ran.status == 0
        text = " ".join(ran.out.split())
        assert text.startswith("node-1 is degraded: the store is lost: 10.0.0.1:2379: connection refused (and 2 more)")
        assert "lost for 1 min, at revision 4711: 10.0.0.1:2379: connection refused" in text
        assert "route 6 5 1" in text
        assert "Network is unreachable (ENETUNREACH): is weft.1 up? 5 attempts in 2 min, next in 1" in text
        assert "use driver vxlan with -O direct-routing=true for this network" in text
        assert "network a-network-with-a-rather-long-name, peer node-4" in text

    def test_a_problem_of_no_network_is_this_nodes(self, weft, agent: CannedAgent) -> None:
        agent.answers["status"] = msgspec.structs.replace(ILL, problems=(t.Problem(network="", peer="", text="old"),))
        lines = [line.rstrip() for line in weft("status").lines]
        assert lines[lines.index("PROBLEMS") + 1 :][:2] == ["this node", "    old"]

    def test_check(self, weft, agent: CannedAgent) -> None:
        assert weft("status", "--check").status == 0
        agent.answers["status"] = ILL
        ran = weft("status", "--check")
        assert ran.status == 1
        assert ran.err == (
            "weft: node-1 is degraded: the store is lost: 10.0.0.1:2379: connection refused; 1 object failed; "
            "node-4 is silent\n"
        )
        agent.answers["status"] = msgspec.structs.replace(WELL, healthy=False, reasons=("node-4 is silent: no packet",))
        ran = weft("status", "--check")
        assert (ran.status, ran.lines[0]) == (1, "node-1 is not well: node-4 is silent: no packet")
        assert ran.err == "weft: node-1 is not well: node-4 is silent: no packet\n"

    def test_a_node_alone(self, weft, agent: CannedAgent) -> None:
        alone = plain(WELL) | {"networks": [], "peers": []}
        agent.answers["status"] = decode(t.Status, json.dumps(alone).encode())
        ran = weft("status")
        assert "no networks: weft network create NAME" in ran.out
        assert "no other nodes" in ran.out


class TestStoreAway:
    def test_an_old_answer_is_marked_beside_it(self, weft, agent: CannedAgent) -> None:
        agent.marks["networks"] = (
            "2026-11-30T10:04:12Z the store is away: no leader; what other nodes have is not known"
        )
        ran = weft("network", "ls", "-o", "json")
        assert ran.status == 0 and json.loads(ran.out) == plain(NETWORKS), "what programs read is as ever"
        clock = datetime.fromisoformat("2026-11-30T10:04:12Z").astimezone().strftime("%H:%M:%S")
        assert ran.err == (f"weft: as of {clock}: the store is away: no leader; what other nodes have is not known\n")
        assert weft("node", "ls").err == ""


class TestDoctor:
    def test_the_worst_comes_first_with_what_to_do(self, weft, agent) -> None:
        ran = weft("doctor")
        assert [line.split()[0] for line in ran.lines[:3]] == ["RESULT", "error", "warning"]
        for finding in FINDINGS:
            assert finding.advice in " ".join(ran.out.split())
        assert ran.lines[-1] == "1 fine, 1 to look at, 1 wrong"

    def test_check(self, weft, agent: CannedAgent) -> None:
        ran = weft("doctor", "--check")
        assert (ran.status, ran.err.count("\n")) == (1, 1)
        agent.answers["doctor"] = FINDINGS[:2]
        assert weft("doctor", "--check").status == 0

    def test_all_hosts(self, weft, agent: CannedAgent) -> None:
        agent.answers["nodes"] = tuple(msgspec.structs.replace(NODES[0], name=f"node-{n}") for n in (1, 2, 3))
        agent.answers["doctor", "node-2"] = FINDINGS[:2]
        agent.answers["doctor", "node-3"] = Unavailable("node-3 cannot be asked: no agent runs there")
        ran = weft("doctor", "--all")
        heads = [line.split()[:3] for line in ran.lines[1:4] if line[0] != " "]
        assert ["error", "node-3", "agent"] in heads and ran.status == 0
        assert any(line.startswith("warning  node-1, node-2  mtu") for line in ran.lines), ran.out
        assert "ok" not in {line.split()[0] for line in ran.lines if line}
        assert ran.lines[-1] == "3 hosts: 2 fine, 2 to look at, 2 wrong"
        assert "node-3 cannot be asked" in " ".join(ran.out.split())
        told = json.loads(weft("doctor", "--all", "-o", "json").out)
        assert [(f["host"], f["check"]) for f in told if f["result"] == "error"][-1] == ("node-3", "agent")

    def test_what_shows_only_between_hosts(self, weft, agent: CannedAgent) -> None:
        agent.answers["doctor"] = FINDINGS[:1]
        agent.answers["nodes"] = tuple(msgspec.structs.replace(NODES[0], name=f"node-{n}") for n in (1, 2, 3))
        for number, vni in enumerate((1, 1, 7), 1):
            tunnel = LinkDump(name="weft.1", ifindex=9, kind="vxlan", alias="weft", vxlan=VxlanDump(vni=vni, port=8472))
            dump = HostDump(node=f"node-{number}", namespaces=(NamespaceDump(links=(tunnel,)),))
            agent.answers["kernel", f"node-{number}"] = dump
        found = json.loads(weft("doctor", "--all", "-o", "json").out)
        wrong = [(f["fault"], f["host"], f["fix"]) for f in found if f["result"] == "error"]
        assert wrong == [("vni-differs", "node-3", "ip link del weft.1")]

    def test_one_other_host(self, weft, agent: CannedAgent) -> None:
        agent.answers["nodes"] = (msgspec.structs.replace(NODES[0], name="node-2"),)
        agent.answers["doctor", "node-2"] = FINDINGS[:1]
        ran = weft("doctor", "--node", "node-2", "--check")
        assert (ran.status, ran.lines) == (0, ["1 host: 1 fine, 0 to look at, 0 wrong"])
        assert [(a.operation, a.node) for a in agent.asked] == [("nodes", ""), ("doctor", "node-2")]
        assert weft("doctor", "--node", "node-9").status == 4


class TestMesh:
    def test_status_says_what_is_amiss(self, weft, agent) -> None:
        ran = weft("mesh", "status")
        assert "voters   1 of 2 voters up" in ran.out and "node-9 at 192.168.1.9 has another secret" in ran.out

    def test_voters(self, weft, agent) -> None:
        assert [line.split()[:2] for line in weft("mesh", "voters").lines] == [
            ["VOTER", "ADDRESS"],
            ["node-1", "*"],
            ["node-2", "192.168.1.254"],
        ]
        ran = weft("mesh", "voters", "-o", "json")
        assert json.loads(ran.out) == plain(ANSWERS["mesh"])["voters"]

    @pytest.mark.parametrize("word", ["recover", "leave"])
    def test_what_cannot_be_undone_is_asked_first(self, word: str, weft, agent: CannedAgent) -> None:
        assert weft("mesh", word).status == 2 and agent.asked == []
        assert weft("mesh", word, "--yes").status == 0
        assert [asked.operation for asked in agent.asked] == [f"{word}_mesh"]


class TestPlan:
    def test_commands_are_not_folded(self, weft, agent, monkeypatch) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        assert weft("plan").lines == list(COMMANDS)

    def test_of_one_network(self, weft, agent: CannedAgent) -> None:
        weft("plan", "--network", "blue")
        assert agent.asked == [Asked("plan", {"network": "blue"}, b"")]

    def test_is_empty_when_converged(self, weft, agent: CannedAgent) -> None:
        agent.answers["plan"] = t.PlanReply(commands=())
        ran = weft("plan")
        assert (ran.status, ran.out) == (0, "")
        assert ran.err.startswith("nothing to do: ")  # for people only


class TestNetwork:
    def test_create(self, weft, agent: CannedAgent) -> None:
        line = (
            "network create blue --driver vxlan --subnet 40.15.0.0/16 --subnet fd00:40:15::/48 "
            "-O vni=7 -O reserve=a=b --internal --mtu 1400 --label team=payments"
        )
        ran = weft(*line.split())
        assert (ran.status, ran.err) == (0, "")
        assert ran.out == "created network blue: vxlan, 40.15.0.0/16, fd00:40:15::/48\n"
        asked = decode(t.CreateNetwork, agent.asked[0].body).network
        assert plain(asked) == {
            "name": "blue",
            "driver": "vxlan",
            "subnets": ["40.15.0.0/16", "fd00:40:15::/48"],
            "pools": [],
            "options": {"vni": "7", "reserve": "a=b"},
            "internal": True,
            "mtu": 1400,
            "share": "",
            "bridge": "",
            "data": {},
            "labels": {"team": "payments"},
        }

    @pytest.mark.parametrize("former", ["-o", "--option"])
    def test_a_drivers_options_may_be_given_as_they_once_were(self, weft, agent: CannedAgent, former: str) -> None:
        ran = weft(*f"network create blue --driver vxlan --subnet 40.15.0.0/16 {former} vni=7 -o json".split())
        assert (ran.status, ran.err) == (
            0,
            "weft: note: -o says how to show it; a driver's option is now given as -O vni=7\n",
        )
        assert json.loads(ran.out)["name"] == "blue"
        assert decode(t.CreateNetwork, agent.asked[0].body).network.options == {"vni": "7"}

    @pytest.mark.parametrize(
        ("line", "status", "message"),
        [
            ("blue --subnet 10.1.0.5/16 --driver vxlan -o xml", 2, "'xml' is none of 'table', 'json', 'yaml'"),
            ("blue --subnet 10.1.0.5/16 --driver vxlan", 1, "did you mean 10.1.0.0/16?"),
            ("blue --subnet ten --driver vxlan", 1, "'ten' is not a prefix"),
            ("Blue! --subnet 10.1.0.0/16 --driver vxlan", 1, "'Blue!' is not a network name"),
            ("blue --subnet 10.1.0.0/16 --driver vxlan --mtu 99", 1, "MTU 99 is outside 576 to 65535"),
            ("blue --subnet 10.1.0.0/16 --driver vxlan -O vni", 2, "'vni' is not KEY=VALUE"),
            ("blue --subnet 10.1.0.0/16 --driver vxlan -O vni=1 -O vni=2", 2, "vni is given twice"),
            ("blue --driver vxlan", 2, "network create: --subnet: missing"),
            ("blue --driver warp", 2, "network create: --subnet: missing"),
            ("blue --subnet 10.1.0.0/16", 2, "needs --driver DRIVER, as in `weft network create blue"),
        ],
    )
    def test_create_refused_before_the_agent_is_asked(
        self, line: str, status: int, message: str, weft, agent: CannedAgent
    ) -> None:
        ran = weft("network", "create", *line.split())
        assert (ran.status, ran.out, agent.asked) == (status, "", [])
        assert message in ran.err

    @pytest.mark.parametrize("line", ["create web -n blue -l app=web --port 80", "set web"])
    def test_a_time_that_is_no_number_is_refused(self, line: str, weft, agent: CannedAgent) -> None:
        """It would be sent as null, which means that nothing is asked for."""
        ran = weft("service", *line.split(), "--drain", "nan")
        assert (ran.status, ran.out, agent.asked) == (2, "", [])
        assert "nan is no number of seconds" in ran.err

    def test_show_names_problems(self, weft, agent: CannedAgent) -> None:
        agent.answers["network"] = NETWORKS[1]
        ran = weft("network", "show", NETWORKS[1].name)
        assert NETWORKS[1].problems[0] in " ".join(ran.out.split())

    def test_show_names_options_as_they_are_given(self, weft, agent) -> None:
        assert (
            "options    direct-routing=true, port=8472, underlay=ipv4, vni=1" in weft("network", "show", "blue").lines
        )

    def test_show_says_what_fast_means_here(self, weft, agent: CannedAgent) -> None:
        agent.answers["network"] = msgspec.structs.replace(NETWORKS[1], fast="untracked: this and that")
        assert "fast       untracked: this and that" in weft("network", "show", NETWORKS[1].name).lines

    def test_rm(self, weft, agent: CannedAgent) -> None:
        assert weft("network", "rm", "blue", "--force").out == "removed network blue\n"
        assert agent.asked == [Asked("remove_network", {"name": "blue", "force": "true"}, b"")]

    def test_set_asks_for_what_is_said_and_tells_what_became_of_it(self, weft, agent: CannedAgent) -> None:
        agent.answers["set_network"] = t.NetworkSet(
            network=NETWORKS[1],
            changes=(t.NetworkChange(what="mtu", old=None, new=1400), t.NetworkChange(what="dns", old="on", new="off")),
            notes=("reserve: in use now: 10.1.3.2 by web on node-1",),
        )
        ran = weft(
            *("network", "set", "blue", "-O", "dns=off", "-O", "reserve-", "--mtu", "auto"),
            *("--no-internal", "--label", "tier=front", "--label", "old-"),
        )
        name = NETWORKS[1].name
        assert ran.lines[:2] == [f"network {name}: mtu is 1400 (was auto)", f"network {name}: dns is off (was on)"]
        assert "note: network blue: reserve: in use now: 10.1.3.2 by web on node-1" in ran.err
        [asked] = agent.asked
        assert json.loads(asked.body) == {
            "options": {"dns": "off"},
            "remove": ["reserve"],
            "mtu": 0,
            "internal": False,
            "labels": {"tier": "front"},
            "remove_labels": ["old"],
        }

    def test_set_without_anything_to_set_is_wrong_usage(self, weft) -> None:
        assert weft("network", "set", "blue").status == 2
        assert weft("network", "set", "blue", "--mtu", "big").status == 2

    def test_drivers_need_no_agent(self, weft) -> None:
        ran = weft("network", "drivers")
        assert ran.status == 0
        assert "  -O vni=NUMBER  [fixed]" in ran.lines
        assert ran.out.count("-O node-prefix=") == 1
        assert max(map(len, ran.lines)) <= 100
        assert json.loads(weft("network", "drivers", "vxlan", "-o", "json").out) == plain(describe("vxlan"))

    def test_every_driver_option_is_explained(self) -> None:
        assert [(d.name, o.name) for d in describe() for o in d.options if not o.help] == []

    def test_unknown_driver(self, weft) -> None:
        ran = weft("network", "drivers", "pigeon")
        assert ran.status == 1
        assert ran.err.startswith("weft: unknown driver 'pigeon': choose one of aws-vpc, bridge, ")


class TestNode:
    def test_this_one_has_a_star(self, weft, agent) -> None:
        assert [line.split("  ")[0] for line in weft("node", "ls").lines[1:]] == ["node-1 *", "node-4"]

    def test_show(self, weft, agent) -> None:
        lines = weft("node", "show", "node-1").lines
        assert lines[0] == "node       node-1 (this one)"
        assert lines[-1] == "blue     40.15.43.0/24, fd00:40:15:2b::/64"

    def test_rm_tells_what_went_with_it(self, weft, agent: CannedAgent) -> None:
        assert weft("node", "rm", "node-3").out == "removed node node-3, with it 40.15.56.0/24\n"
        assert agent.asked == [Asked("remove_node", {"name": "node-3"}, b"")]

    def test_show_another(self, weft, agent: CannedAgent) -> None:
        agent.answers["node"] = NODES[1]
        assert "holds no subnets" in weft("node", "show", "node-4").lines


class TestEndpoint:
    def test_ls_asks_for_what_was_wished(self, weft, agent: CannedAgent) -> None:
        weft("endpoint", "ls", "--network", "blue", "--node", "node-1")
        assert agent.asked == [Asked("endpoints", {"network": "blue", "node": "node-1"}, b"")]

    def test_container_ids_are_short_in_the_list_and_whole_in_show(self, weft, agent) -> None:
        assert " ffffffffffff..." in weft("endpoint", "ls", "--columns", "id,container").out
        assert "f" * 64 in weft("endpoint", "show", "web").out


class TestPool:
    def test_what_is_asked(self, weft, agent: CannedAgent) -> None:
        assert weft("pool", "add", "prod", "10.8.0.0/16", "--nodes", "rack=b", "--disable").out == (
            "added pool 10.8.0.0/16 to network prod\n"
        )
        assert weft("pool", "set", "prod", "10.8.0.0/16", "--enable").status == 0
        assert weft("pool", "rm", "prod", "10.8.0.0/16").out == "removed pool 10.8.0.0/16 from network prod\n"
        added, changed, removed = agent.asked
        prefix = ip_network("10.8.0.0/16")
        assert decode(t.AddPool, added.body) == t.AddPool(subnet=prefix, nodes="rack=b", disabled=True)
        assert decode(t.SetPool, changed.body) == t.SetPool(subnet=prefix, nodes=None, disabled=False)
        assert removed.params == {"name": "prod", "subnet": "10.8.0.0/16"}

    @pytest.mark.parametrize(
        ("line", "status", "text"),
        [
            ("add prod 10.8.0.1/16", 1, "did you mean 10.8.0.0/16?"),
            ("add prod 10.8.0.0/16 --nodes rack==b", 1, "'rack==b' in selector 'rack==b' is none of KEY=VALUE"),
            ("set prod 10.8.0.0/16", 2, "nothing to change: give --nodes, --disable, --enable"),
            ("set prod 10.8.0.0/16 --masquerade --nodes !", 1, "'!' in selector"),
            ("set prod 10.8.0.0/16 --nodes !", 1, "'!' in selector"),
            ("rm prod everything", 1, "is not a prefix"),
        ],
    )
    def test_refused_before_the_agent_is_asked(self, line: str, status: int, text: str, weft, agent) -> None:
        ran = weft("pool", *line.split())
        assert ran.status == status and text in " ".join(ran.err.split()) and not agent.asked


class TestIpam:
    def test_show(self, weft, agent: CannedAgent) -> None:
        assert weft("ipam", "show", "prod").lines == [
            "prod (routed, 197.19.0.0/16)",
            "3 addresses in use, 1 outside their node's blocks, 1 cooling down",
            "BLOCK           NODE    USED  BORROWED  COOLING  FREE",
            "197.19.3.64/26  node-1  2     1         1        61",
        ]

    def test_check_fails_while_something_is_wrong(self, weft, agent: CannedAgent) -> None:
        ran = weft("ipam", "check")
        assert ran.status == 1 and "1 fixed, 1 wrong" in ran.out and "1 fault found: duplicate" in ran.err
        assert "--fix" in ran.err and "--fix" not in weft("ipam", "check", "--fix").err
        assert [decode(t.CheckIpam, a.body).fix for a in agent.asked] == [False, True]
        agent.answers["check_ipam"] = t.IpamCheck(faults=(), addresses=3, blocks=1, endpoints=2)
        ran = weft("ipam", "check", "--network", "prod")
        assert (ran.status, ran.out) == (0, "looked at 3 claimed addresses, 1 block, 2 endpoints: nothing is wrong\n")

    def test_check_as_json(self, weft, agent: CannedAgent) -> None:
        ran = weft("ipam", "check", "-o", "json")
        assert ran.status == 1 and json.loads(ran.out) == plain(ANSWERS["check_ipam"])


class TestAttach:
    def test_attach(self, weft, agent: CannedAgent) -> None:
        line = (
            "attach 4711 --network blue --name web --ip 40.15.43.2 --ip fd00:40:15:2b::2 "
            "--mac 02-42-28-0F-2B-02 --interface eth1 --label tier=front --label app="
        )
        ran = weft(*line.split())
        assert ran.out == "attached web to blue: 40.15.43.2/24, fd00:40:15:2b::2/64 on eth0\n"
        assert json.loads(
            agent.asked[0].body
        ) == {  # and nothing that is as it is anyway: an older agent may not know it
            "target": "4711",
            "network": "blue",
            "name": "web",
            "interface": "eth1",
            "addresses": ["40.15.43.2", "fd00:40:15:2b::2"],
            "mac": "02:42:28:0f:2b:02",
            "labels": {"tier": "front", "app": ""},
        }

    def test_what_policy_selects_it_by(self, weft, agent: CannedAgent) -> None:
        weft(
            *[
                "attach",
                "web",
                "-n",
                "blue",
                "--namespace",
                "shop",
                "--port-name",
                "http=8080",
                "--port-name",
                "dns=53/udp",
            ]
        )
        asked = decode(t.Attach, agent.asked[0].body)
        assert asked.policy_namespace == "shop"
        assert asked.named_ports == (NamedPort("http", "tcp", 8080), NamedPort("dns", "udp", 53))

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ("--label a/b/c=x", "'a/b/c' is not a label's key"),
            ("--label a=/x", "label a cannot be '/x'"),
            ("--namespace A", "'A' is not a namespace's name"),
            ("--port-name http", "'http' is not a named port"),
            ("--port-name 80=80", "'80' is not a port's name"),
            ("--port-name http=0", "named port http: 0 is not a port"),
            ("--port-name http=80/icmp", "named port http: 'icmp' is none of tcp, udp, sctp"),
            ("--port-name http=80 --port-name http=81", "named port http/tcp is given twice"),
        ],
    )
    def test_what_policy_could_not_select_by(self, weft, agent: CannedAgent, more: str, why: str) -> None:
        ran = weft(*f"attach web -n blue {more}".split())
        assert ran.status == 1 and why in ran.err and len(ran.err.splitlines()) == 1 and agent.asked == []

    def test_labels_are_changed(self, weft, agent: CannedAgent) -> None:
        agent.answers["label"] = msgspec.structs.replace(
            ENDPOINTS[0], policy_namespace="shop", named_ports=(NamedPort("http", "tcp", 8080),)
        )
        line = "endpoint label web tier=front empty= old- --namespace shop --port-name http=8080 --port-name x-"
        ran = weft(*line.split())
        assert ran.out == (
            "web of blue on node-1: namespace shop, labels app=shop, tier=front, named ports http=8080/tcp\n"
        )
        assert decode(t.Label, agent.asked[0].body) == t.Label(
            labels={"tier": "front", "empty": ""},
            remove=("old",),
            policy_namespace="shop",
            named_ports=(NamedPort("http", "tcp", 8080),),
            remove_ports=("x",),
        )
        assert agent.asked[0].params == {"ref": "web"}

    @pytest.mark.parametrize(
        ("what", "status", "why"),
        [
            ("", 2, "nothing is to be changed"),
            ("tier", 2, "'tier' is not KEY=VALUE"),
            ("a=1 a-", 1, "label a is to be set and to be removed"),
            ("weft.bandwidth/ingress=1mbit", 1, "limits are set when a container is attached"),
            ("a=b/c", 1, "label a cannot be 'b/c'"),
        ],
    )
    def test_labels_that_cannot_be(self, weft, agent: CannedAgent, what: str, status: int, why: str) -> None:
        ran = weft("endpoint", "label", "web", *what.split())
        assert ran.status == status and why in ran.err and agent.asked == []

    def test_endpoints_by_their_labels(self, weft, agent: CannedAgent) -> None:
        agent.answers["endpoints"] = (msgspec.structs.replace(ENDPOINTS[0], policy_namespace="shop"),)
        line = ("--selector", "tier == 'front'", "--namespace", "shop", "--columns", "+labels")
        ran = weft("endpoint", "ls", *line)
        assert agent.asked[0].params == {"selector": "tier == 'front'", "policy_namespace": "shop"}
        assert "NAMESPACE  LABELS" in ran.out and "app=shop," in ran.out and "tier=front" in ran.out
        ran = weft("endpoint", "ls")
        assert "NAMESPACE" in ran.out and "LABELS" not in ran.out

    def test_published_ports(self, weft, agent: CannedAgent) -> None:
        agent.answers["attach"] = agent.answers["endpoint"] = PUBLISHING
        agent.answers["endpoints"] = (PUBLISHING, ENDPOINTS[1])
        ran = weft("attach", "web", "--network", "blue", "-p", "8080:80", "--publish", "[fd00::5]:53-54:53-54/udp")
        assert ran.out.endswith(" on eth0, published 8080:80/tcp, [fd00::5]:53-54:53-54/udp\n")
        assert plain(decode(t.Attach, agent.asked[0].body))["ports"] == [
            {"host_port": 8080, "container_port": 80, "protocol": "tcp", "host_ip": None, "count": 1},
            {"host_port": 53, "container_port": 53, "protocol": "udp", "host_ip": "fd00::5", "count": 2},
        ]
        assert "PUBLISHED" in weft("endpoint", "ls").out
        assert "8080:80/tcp, [fd00::5]:53-54:53-54/udp" in weft("endpoint", "show", "web").out

    def test_floating_addresses(self, weft, agent: CannedAgent) -> None:
        floats = msgspec.structs.replace(
            ENDPOINTS[0], floating=(ip_address("203.0.113.7"), ip_address("2001:db8:f::7"))
        )
        agent.answers |= {"attach": floats, "endpoint": floats, "endpoints": (floats, ENDPOINTS[1])}
        agent.answers |= {"add_floating": floats}
        ran = weft("attach", "web", "--network", "blue", "--floating", "203.0.113.7", "--floating", "2001:DB8:F::7")
        assert ran.out.endswith(" on eth0, floating 203.0.113.7, 2001:db8:f::7\n")
        assert decode(t.Attach, agent.asked[0].body).floating == floats.floating
        assert "FLOATING" in weft("endpoint", "ls").out
        assert json.loads(weft("endpoint", "show", "web", "-o", "json").out)["floating"] == [
            "203.0.113.7",
            "2001:db8:f::7",
        ]
        assert "203.0.113.7, 2001:db8:f::7" in weft("endpoint", "show", "web").out
        ran = weft("endpoint", "float", "web", "203.0.113.7", "2001:DB8:F::7")
        assert ran.out == "web of blue on node-1: floating 203.0.113.7, 2001:db8:f::7\n"
        assert decode(t.Float, agent.asked[-1].body).addresses == floats.floating
        ran = weft("endpoint", "unfloat", "web", "203.0.113.7", "2001:DB8:F::7")
        assert ran.out == "web of blue on node-1: floating none\n"
        assert agent.asked[-1].params == {"ref": "web", "addresses": "203.0.113.7,2001:db8:f::7"}
        for word in ("float", "unfloat"):
            ran = weft("endpoint", word, "web", "nonsense")
            assert ran.status == 1 and "nonsense" in ran.err and ran.err.count("\n") == 1

    def test_limits(self, weft, agent: CannedAgent) -> None:
        limited = msgspec.structs.replace(
            ENDPOINTS[0], bandwidth=Bandwidth(ingress=10**8, egress=10**6, egress_burst=9)
        )
        agent.answers["attach"] = agent.answers["endpoint"] = limited
        words = "--ingress 100mbit --egress 1000000 --egress-burst 9"
        ran = weft("attach", "web", "--network", "blue", *words.split())
        assert ran.out.endswith(" on eth0, ingress 100mbit, egress 1mbit (burst 9)\n")
        assert decode(t.Attach, agent.asked[0].body).bandwidth == limited.bandwidth
        assert "ingress 100mbit, egress 1mbit (burst 9)" in weft("endpoint", "show", "web").out

    def test_limits_that_are_none(self, weft, agent: CannedAgent) -> None:
        ran = weft("attach", "web", "--network", "blue", "--ingress", "fast")
        assert ran.status == 1 and ran.err.startswith("weft: 'fast' is not a rate: write it like 100mbit")
        assert agent.asked == []

    def test_a_port_that_is_none(self, weft, agent: CannedAgent) -> None:
        ran = weft("attach", "web", "--network", "blue", "-p", "80:x")
        assert ran.status == 1 and ran.err.startswith("weft: '80:x' is not a published port: write it like 8080:80")
        assert agent.asked == []

    def test_paths_are_made_absolute(self, weft, agent: CannedAgent, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "netns").mkdir()
        monkeypatch.chdir(tmp_path)
        weft("attach", "netns/test", "--network", "blue")
        weft("detach", "./netns/test")
        assert decode(t.Attach, agent.asked[0].body).target == f"{tmp_path}/netns/test"
        assert agent.asked[1].params == {"target": f"{tmp_path}/netns/test"}

    def test_this_process_is_named_by_its_pid(self, weft, agent: CannedAgent) -> None:
        weft("detach", "/proc/self/ns/net")
        pid = Path("/proc/self").readlink()
        assert agent.asked[0].params == {"target": f"/proc/{pid}/ns/net"}

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ("--ip 10.1.0.300", "'10.1.0.300' is not an IP address"),
            ("--mac 01:00:5e:00:00:01", "is a multicast MAC address"),
        ],
    )
    def test_refused_before_the_agent_is_asked(self, wrong: str, message: str, weft, agent: CannedAgent) -> None:
        ran = weft("attach", "4711", "--network", "blue", *wrong.split())
        assert (ran.status, agent.asked) == (1, [])
        assert message in ran.err

    def test_detach(self, weft, agent: CannedAgent) -> None:
        assert weft("detach", "web", "--network", "blue").out == "detached web\n"
        agent.answers["detach"] = NotFound("web is not attached")
        ran = weft("detach", "web")
        assert (ran.status, ran.out, ran.err) == (4, "", "weft: web is not attached\n")
        ran = weft("detach", "web", "--if-attached")
        assert (ran.status, ran.out) == (0, "nothing to do: web is not attached\n")


class TestAgent:
    def test_only_what_is_given_goes_before_the_file(self, weft, monkeypatch, tmp_path: Path) -> None:
        ran_with: list[object] = []
        monkeypatch.setattr("weft.agent.main.run", ran_with.append)
        monkeypatch.delenv("WEFT_SOCKET", raising=False)
        file = tmp_path / "weft.toml"
        file.write_text('node = "from-file"\niface = "eth7"\nlog-level = "warning"\n')
        line = f"agent run --config {file} --node node-9 --store sqlite:///x --socket /run/x.sock --log-format json"
        assert weft(*line.split()).status == 0
        config = ran_with[0]()
        assert (config.node, config.iface, config.log_level) == ("node-9", "eth7", "warning")
        assert (config.store, config.socket_path, config.log_format) == ("sqlite:///x", "/run/x.sock", "json")

    def test_the_socket_may_come_before_the_verb(self, weft, monkeypatch, tmp_path: Path) -> None:
        ran_with: list[object] = []
        monkeypatch.setattr("weft.agent.main.run", ran_with.append)
        file = tmp_path / "weft.toml"
        file.write_text("")
        assert weft("--socket", "/run/y.sock", "agent", "run", "-c", str(file)).status == 0
        assert ran_with[0]().socket_path == "/run/y.sock"

    def test_no_such_file(self, weft) -> None:
        ran = weft("agent", "run", "--config", "/nonexistent/weft.toml")
        assert (ran.status, ran.err) == (1, "weft: no configuration file /nonexistent/weft.toml\n")

    def test_purge_asks(self, weft, monkeypatch, tmp_path: Path) -> None:
        purged: list[object] = []
        monkeypatch.setattr("weft.agent.main.purge", lambda config: purged.append(config) or ["link weft-blue"])
        file = tmp_path / "weft.toml"
        file.write_text("")
        monkeypatch.setattr("sys.stdin.isatty", lambda: False)
        ran = weft("agent", "purge", "-c", str(file))
        assert (ran.status, purged) == (2, [])
        assert "give --yes" in ran.err
        ran = weft("agent", "purge", "-c", str(file), "--yes")
        assert (ran.status, ran.out, len(purged)) == (0, "removed link weft-blue\n", 1)
