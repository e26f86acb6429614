from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.canned import ANSWERS, ENDPOINTS, LOST, WELL
from support.canned_agent import CannedAgent, Raw, canned_agent
from support.cni import Object, Ran, config
from weft.api import types as t
from weft.base.errors import ERRORS, Failed, Invalid
from weft.base.names import check_ifname, check_name
from weft.cni import plugin
from weft.model import decode

ENDPOINT = msgspec.structs.replace(
    ENDPOINTS[0],
    owner="cni/net/c1/eth0",
    routes=(
        t.RouteInfo(destination=ip_network("0.0.0.0/0"), gateway=ip_address("40.15.43.1")),
        t.RouteInfo(destination=ip_network("fd01::/64")),
    ),
)
Call = Callable[..., Ran]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[CannedAgent]:
    answers = {**ANSWERS, "attach": ENDPOINT, "endpoints": (ENDPOINT,)}
    with canned_agent(tmp_path / "weft.sock", answers) as running:
        yield running


@pytest.fixture
def call(agent: CannedAgent, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The plugin in this process, against canned answers."""

    def run(command: str, stdin: Object | bytes | None = None, deaf: bool = False, **environment: str) -> Ran:
        told: list[str] = []
        whole = stdin if isinstance(stdin, bytes) else json.dumps(config(socket=agent.socket, **(stdin or {}))).encode()
        monkeypatch.setattr(plugin, "read_stdin", lambda: whole)
        monkeypatch.setattr(plugin, "write_stdout", lambda text: told.append(text) or not deaf)
        monkeypatch.setattr(plugin, "enter_check", lambda netns: None)
        values = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0"}
        status = plugin.Run().status({k.encode(): v.encode() for k, v in {**values, **environment}.items()})
        return Ran(status, "".join(told))

    return run


class TestJson:
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )

    @given(values)
    def test_says_what_json_says(self, value: Any) -> None:
        assert json.loads(plugin.dumps(value)) == value
        assert plugin.loads(json.dumps(value).encode()) == value

    @given(st.text())
    def test_refuses_what_json_refuses(self, text: str) -> None:
        try:
            expected = json.loads(text, parse_constant=lambda _: math.inf)
        except ValueError:
            expected = math.inf
        if expected is math.inf:
            with pytest.raises(ValueError):
                plugin.loads(text.encode(errors="surrogatepass"))
        else:
            assert plugin.loads(text.encode()) == expected

    @pytest.mark.parametrize("text", [b"\xff", b"[1e400]", b"-Infinity", b"1" * 5000, b'{"a":1,}', b"[1 2]"])
    def test_refuses(self, text: bytes) -> None:
        with pytest.raises(ValueError):
            plugin.loads(text)

    def test_depth(self) -> None:
        with pytest.raises((ValueError, RecursionError)):
            plugin.loads(b"[" * 100_000)


class TestNames:
    @given(st.text(max_size=80))
    def test_fits_an_endpoint(self, name: str) -> None:
        if fit := plugin.fit(name):
            assert check_name("endpoint", fit) == fit

    @given(st.text(max_size=17))
    def test_interface_names_are_the_agent_s(self, name: str) -> None:
        if plugin.is_ifname(name):
            assert check_ifname(name) == name

    @given(st.text(max_size=20))
    def test_owners_are_quoted(self, owner: str) -> None:
        text = owner.encode(errors="ignore").decode()
        assert unquote(plugin.quoted(text)) == text and plugin.quoted(text).isascii()

    def test_arguments(self) -> None:
        assert plugin.arguments("") == {}
        assert plugin.arguments("IgnoreUnknown=true;A=b=c;;IP=") == {"A": "b=c", "IP": ""}
        with pytest.raises(plugin.Failure) as caught:
            plugin.arguments("IgnoreUnknown=0;A=b")
        assert caught.value.code == plugin.ENVIRONMENT


class TestAdd:
    def test_asks_for(self, call: Call, agent: CannedAgent) -> None:
        definition = {"driver": "vxlan", "subnet": "10.1.0.0/16", "options": {"vni": 7}, "mtu": 1400}
        capabilities = {"runtimeConfig": {"ips": ["10.1.0.7/16"], "mac": "02:00:00:00:00:01", "aliases": ["db"]}}
        call("ADD", {**definition, **capabilities}, CNI_ARGS="K8S_POD_NAME=Web").well()
        asked = decode(t.Attach, agent.asked[0].body)
        assert asked.definition and (asked.definition.name, asked.definition.mtu) == ("blue", 1400)
        assert asked.definition.options == {"vni": 7}
        assert (asked.target, asked.interface, asked.owner) == ("/run/netns/c1", "eth0", "cni/net/c1/eth0")
        assert asked.exclusive and asked.name == "web" and asked.addresses == (ip_address("10.1.0.7"),)
        assert asked.labels == {"aliases": "db", "io.kubernetes.pod.name": "Web"}

    def test_ports_and_ranges(self, call: Call, agent: CannedAgent) -> None:
        mappings = [
            {"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "10.9.0.1"},
            {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": ""},
            {"hostPort": 81, "containerPort": 81, "protocol": None},
        ]
        sets = [
            [{"subnet": "10.1.0.0/16", "rangeStart": "10.1.0.9"}, {"subnet": "10.2.0.0/16"}],
            [{"subnet": "fd00::/64"}],
        ]
        call("ADD", {"runtimeConfig": {"portMappings": mappings, "ipRanges": sets}}).well()
        asked = decode(t.Attach, agent.asked[0].body)
        assert list(map(str, asked.ports)) == ["10.9.0.1:8080:80/tcp", "53:5353/udp", "81:81/tcp"]
        assert list(map(str, asked.ranges)) == ["10.1.0.9-10.1.255.255", "10.2.0.0/16", "fd00::/64"]

    def test_what_policy_selects_it_by(self, call: Call, agent: CannedAgent) -> None:
        """Namespace and labels, and the names of ports, of which two may be published by different ports of the host."""
        mappings = [
            {"hostPort": 8080, "containerPort": 80, "name": "http"},
            {"hostPort": 8081, "containerPort": 80, "name": "http"},
            {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "name": "dns"},
            {"hostPort": 9, "containerPort": 9},
        ]
        wishes = {"portMappings": mappings, "labels": {"tier": "front"}}
        args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"
        call("ADD", {"namespace": "files", "labels": {"tier": "x", "app": "y"}, "runtimeConfig": wishes}, CNI_ARGS=args)
        call("ADD", {"namespace": "files"}).well()
        call("ADD", {}).well()
        with_args, by_file, bare = (decode(t.Attach, a.body) for a in agent.asked)
        assert (with_args.policy_namespace, with_args.name) == ("shop", "web")
        assert list(map(str, with_args.named_ports)) == ["http=80/tcp", "dns=5353/udp"] and len(with_args.ports) == 4
        assert with_args.labels.items() >= {"tier": "front", "app": "y"}.items()
        assert (by_file.policy_namespace, bare.policy_namespace, bare.named_ports) == ("files", "", ())
        assert b"policy_namespace" not in agent.asked[2].body, "an agent of an earlier version takes it"

    def test_aliases_as_podman_has_them(self, call: Call, agent: CannedAgent) -> None:
        call("ADD", {"runtimeConfig": {"aliases": {"net": ["db", "x"], "other": ["y"]}}}).well()
        call("ADD", {"runtimeConfig": {"aliases": {"other": ["y"]}}}).well()
        asked = [decode(t.Attach, a.body) for a in agent.asked]
        assert [a.labels for a in asked] == [{"aliases": "db,x"}, {}]
        assert [a.aliases for a in asked] == [("db", "x"), ()]

    def test_names_are_asked_of_the_network_s_own_server(self, call: Call, agent: CannedAgent) -> None:
        """Unless the configuration, the engine or a plugin before this one names another."""
        agent.answers["attach"] = msgspec.structs.replace(ENDPOINT, resolver="127.0.0.11")
        assert call("ADD").well().out["dns"] == {"options": ["ndots:0"], "nameservers": ["127.0.0.11"]}
        told = {"dns": {"search": ["example"], "options": ["ndots:2"]}}
        assert call("ADD", told).well().out["dns"] == {**told["dns"], "nameservers": ["127.0.0.11"]}
        others = {"dns": {"nameservers": ["10.9.0.2"]}}
        assert call("ADD", others).well().out["dns"] == others["dns"]

    def test_gateway_is_what_a_default_route_uses(self, call: Call) -> None:
        out = call("ADD").well().out
        assert [ip.get("gateway") for ip in out["ips"]] == ["40.15.43.1", None]
        assert out["routes"] == [{"dst": "0.0.0.0/0", "gw": "40.15.43.1"}, {"dst": "fd01::/64", "scope": 253}]

    @pytest.mark.parametrize("version", plugin.VERSIONS)
    def test_previous_result_in_the_version_asked_for(self, call: Call, version: str) -> None:
        before = {
            "interfaces": [{"name": "tap0", "mtu": 9, "pciID": "x", "own": 1}],
            "ips": [{"address": "fd00::1/64", "version": "6"}, {"address": "10.0.0.1/8"}],
            "routes": [{"dst": "::/0", "advmss": 7}],
            "more": {"kept": True},
        }
        out = call("ADD", {"cniVersion": version, "prevResult": before}).well().out
        late = version == "1.1.0"
        assert set(out["interfaces"][0]) == {"name", "own"} | ({"mtu", "pciID"} if late else set())
        assert [ip.get("version") for ip in out["ips"]] == (["6", "4", "4", "6"] if version < "1" else [None] * 4)
        assert ("advmss" in out["routes"][0]) == late
        assert out["more"] == {"kept": True}
        assert [ip["interface"] for ip in out["ips"][2:]] == [2, 2]

    @pytest.mark.parametrize("depth", range(100, 1000, 60))
    def test_what_cannot_be_said_again_is_found_before_anything_is_made(
        self, call: Call, agent: CannedAgent, depth: int
    ) -> None:
        deep = "[" * depth + "]" * depth
        text = json.dumps(config(socket=agent.socket, prevResult={"more": "deep"})).replace('"deep"', deep)
        ran = call("ADD", text.encode())
        assert ran.status == 0 or agent.asked == []

    @pytest.mark.parametrize("cls", ERRORS.values(), ids=lambda cls: cls.code)
    def test_errors_of_the_agent(self, call: Call, agent: CannedAgent, cls: Any) -> None:
        agent.answers["attach"] = cls("this is why")
        ran = call("ADD")
        assert ran.code == plugin.OF_AGENT[cls.code] and ran.msg == "this is why "

    @pytest.mark.parametrize(
        "raw", [Raw(200, b"<html>"), Raw(200, b"[]"), Raw(200, b""), Raw(500, b"[]"), Raw(404, b"{}")], ids=repr
    )
    def test_strange_answers(self, call: Call, agent: CannedAgent, raw: Raw) -> None:
        agent.answers["attach"] = raw
        assert call("ADD").code in (plugin.IO, plugin.REFUSED, plugin.UNEXPECTED)

    def test_breaks_off(self, call: Call, agent: CannedAgent) -> None:
        del agent.answers["attach"]
        assert call("ADD").code == plugin.LATER

    def test_what_nobody_reads_is_taken_back(self, call: Call, agent: CannedAgent) -> None:
        ran = call("ADD", deaf=True)
        assert ran.status == 1
        assert [a.operation for a in agent.asked] == ["attach", "detach"]
        assert agent.asked[1].params == {"owner": "cni/net/c1/eth0"}


class TestGc:
    def test_goes_on_past_errors(self, call: Call, agent: CannedAgent) -> None:
        agent.answers["endpoints"] = tuple(
            msgspec.structs.replace(ENDPOINT, owner=f"cni/net/{name}/eth0") for name in ("c1", "c2", "c3")
        )
        agent.answers["detach"] = Failed("it is stuck")
        ran = call("GC", {plugin.ATTACHMENTS: [{"containerID": "c2", "ifname": "eth0"}]})
        assert ran.code == plugin.REFUSED and ran.msg.count("it is stuck") == 3
        assert [a.params for a in agent.asked[1:]] == [{"owner": "cni/net/c1/eth0"}, {"owner": "cni/net/c3/eth0"}]


class TestStatus:
    def test_states(self, call: Call, agent: CannedAgent) -> None:
        call("STATUS").well()
        agent.answers["status"] = msgspec.structs.replace(WELL, state="starting")
        assert call("STATUS").code == plugin.UNAVAILABLE
        agent.answers["status"] = msgspec.structs.replace(WELL, state="degraded", store=LOST)
        ran = call("STATUS")
        assert ran.code == plugin.LIMITED and "connection refused" in ran.msg

    @pytest.mark.parametrize(
        ("subnet", "used", "code"), [("10.0.0.0/28", 12, 0), ("10.0.0.0/28", 13, 50), ("fd00::/126", 2, 50)]
    )
    def test_no_address_left(self, call: Call, agent: CannedAgent, subnet: str, used: int, code: int) -> None:
        network = msgspec.structs.replace(WELL.networks[0], subnets=(ip_network(subnet),), endpoints=used)
        agent.answers["status"] = msgspec.structs.replace(WELL, networks=(network,))
        ran = call("STATUS")
        assert (ran.code if ran.status else 0) == code

    def test_no_subnet_here(self, call: Call, agent: CannedAgent) -> None:
        network = msgspec.structs.replace(WELL.networks[0], subnets=())
        problem = t.Problem(network="blue", peer="", text="all are taken")
        agent.answers["status"] = msgspec.structs.replace(WELL, networks=(network,), problems=(problem,))
        ran = call("STATUS")
        assert ran.code == plugin.UNAVAILABLE and "all are taken" in ran.msg


class TestCapitals:
    """Engines are written in Go, which reads keys in any case and so writes them in whichever its authors liked."""

    def test_as_containerd_s_cri_writes_them(self, call: Call, agent: CannedAgent) -> None:
        runtime = {
            "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
            "bandwidth": {"IngressRate": 10_000_000, "IngressBurst": 2**32 - 1, "EgressRate": 0, "EgressBurst": 0},
            "dns": {"Servers": ["10.96.0.10"], "Searches": ["svc.cluster.local"], "Options": ["ndots:5"]},
            "ipRanges": [[{"Subnet": "40.15.0.0/16", "RangeStart": "40.15.43.9", "RangeEnd": "", "Gateway": ""}]],
        }
        out = call("ADD", {"runtimeConfig": runtime, "dns": {"Domain": "example"}}).well().out
        asked = decode(t.Attach, agent.asked[-1].body)
        assert [str(p) for p in asked.ports] == ["8080:80/tcp"]
        assert asked.bandwidth is not None and asked.bandwidth.ingress == 10_000_000
        assert [str(r.first) for r in asked.ranges] == ["40.15.43.9"]
        dns = {"nameservers": ["10.96.0.10"], "search": ["svc.cluster.local"], "options": ["ndots:5"]}
        assert out["dns"] == {**dns, "domain": "example"}

    def test_of_the_configuration_itself(self, call: Call, agent: CannedAgent) -> None:
        before = {"Interfaces": [{"Name": "lo", "Sandbox": "/run/netns/c1"}], "IPs": [{"Address": "127.0.0.1/8"}]}
        said = {"CNI": {"Labels": [{"Key": "tier", "Value": "back"}], "IPS": ["40.15.43.7"]}}
        out = (
            call("ADD", {"Args": said, "PrevResult": before, "RuntimeConfig": {"Mac": "02:00:00:00:00:01"}}).well().out
        )
        asked = decode(t.Attach, agent.asked[-1].body)
        assert (asked.labels, asked.mac) == ({"tier": "back"}, "02:00:00:00:00:01")
        assert [str(a) for a in asked.addresses] == ["40.15.43.7"]
        assert out["interfaces"][0] == {"name": "lo", "sandbox": "/run/netns/c1"}
        assert out["ips"][0] == {"address": "127.0.0.1/8"}

    def test_of_attachments_that_are_to_stay(self, call: Call, agent: CannedAgent) -> None:
        call("GC", {"cni.dev/valid-attachments": [{"ContainerID": "c1", "IfName": "eth0"}]}).well()
        assert [asked.operation for asked in agent.asked] == ["endpoints"]


class TestCheck:
    BEFORE: ClassVar[Object] = {
        "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}],
        "ips": [{"address": str(a), "interface": 0} for a in ENDPOINT.addresses],
    }

    def test_faults(self, call: Call, agent: CannedAgent) -> None:
        agent.answers["check"] = t.EndpointCheck(endpoint=ENDPOINT, faults=("link eth0: missing", "route"))
        ran = call("CHECK", {"prevResult": self.BEFORE})
        assert ran.code == plugin.AMISS and "link eth0: missing; route" in ran.msg
        agent.answers["check"] = t.EndpointCheck(endpoint=ENDPOINT)
        call("CHECK", {"prevResult": self.BEFORE}).well()
        agent.answers["check"] = t.EndpointCheck(
            endpoint=msgspec.structs.replace(ENDPOINT, addresses=(ip_interface("10.0.0.9/8"),))
        )
        assert call("CHECK", {"prevResult": self.BEFORE}).code == plugin.AMISS

    def test_refusals(self, call: Call, agent: CannedAgent) -> None:
        agent.answers["check"] = Invalid("an agent of another version")
        assert call("CHECK", {"prevResult": self.BEFORE}).code == plugin.CONTAINER


def test_imports_next_to_nothing() -> None:
    """Each of these would cost more than all the rest."""
    code = (
        "import sys; sys.argv = ['x']; before = set(sys.modules)\n"
        f"exec(compile(open({plugin.__file__!r}).read(), 'plugin', 'exec'), {{'__name__': 'plugin'}})\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['_json', '_socket']\n"
