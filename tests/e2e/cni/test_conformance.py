"""Every MUST of the CNI specification 1.1.0 that is about a plugin, and the SHOULDs that engines rely on; one test each, with
the section that says so."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from support.cni import HOST, SUBNETS, Engine, Object, Ran, config
from support.reach import client
from support.waiting import until
from weft.api import types as t
from weft.model import Bandwidth

PORT_RULE = "tcp . 8080 : "
ATTACHMENTS = "cni.dev/valid-attachments"
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
BEFORE: Object = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "tap0", "mac": "00:11:22:33:44:55", "mtu": 1400, "socketPath": "/run/tap.sock"}],
    "ips": [{"address": "10.9.0.5/16", "gateway": "10.9.0.1", "interface": 0}],
    "routes": [{"dst": "10.8.0.0/16", "gw": "10.9.0.1", "priority": 7}],
    "dns": {"nameservers": ["10.9.0.2"]},
}
"""The result of a plugin before ours."""
WRONG_PORTS: tuple[object, ...] = (
    {"hostPort": 80, "containerPort": 80},
    ["80:80"],
    [{"hostPort": 8080}],
    [{"hostPort": "8080", "containerPort": 80}],
    [{"hostPort": 0, "containerPort": 80}],
    [{"hostPort": 8080, "containerPort": 65536}],
    [{"hostPort": 8080, "containerPort": 80, "protocol": "icmp"}],
    [{"hostPort": 8080, "containerPort": 80, "hostIP": "here"}],
    [{"hostPort": 8080, "containerPort": 80, "hostIP": "203.0.113.99"}],
)
WRONG_RANGES: tuple[object, ...] = (
    [{"subnet": "10.50.0.0/16"}],
    [[{"rangeStart": "10.50.0.9"}]],
    [[{"subnet": "here"}]],
    [[{"subnet": "10.51.0.0/16"}]],
    [[{"subnet": "10.50.0.0/16", "rangeStart": "10.50.9.9", "rangeEnd": "10.50.9.8"}]],
    [[{"subnet": "10.50.0.0/16", "gateway": "10.50.0.77"}]],
    [[{"subnet": "10.50.0.0/16"}], [{"subnet": "10.50.0.0/16"}]],
    [[{"subnet": "10.50.0.0/16"}, {"subnet": "fd50::/48"}]],
)


@pytest.fixture
def added(engine: Engine, c1: Path) -> Any:
    """The result of an ADD whose DEL follows."""
    yield engine("ADD").well().out
    engine("DEL").well()


class TestAdd:
    def test_creates_the_interface(self, engine: Engine, added: Object) -> None:
        """2, ADD: "should either create the interface defined by CNI_IFNAME inside the container at CNI_NETNS"."""
        assert engine.links("c1") == {"eth0"}
        assert engine.addresses("c1") == {ip["address"] for ip in added["ips"]}

    def test_outputs_a_result(self, engine: Engine, added: Object) -> None:
        """2, ADD: "If the CNI plugin is successful, it must output a result structure on standard out"; 5, ADD Success:
        "an array of all interfaces created by the attachment, including any host-level interfaces"."""
        host, inside = added["interfaces"]
        assert host["name"] in engine.links() and "sandbox" not in host
        assert inside["name"] == "eth0" and inside["mac"].startswith("02:42:") and inside["mtu"] == 1500
        assert [ip["interface"] for ip in added["ips"]] == [1, 1]
        assert [r["dst"] for r in added["routes"]] == ["0.0.0.0/0", "::/0"]
        assert [r["gw"] for r in added["routes"]] == [ip["gateway"] for ip in added["ips"]]

    def test_sandbox_is_netns(self, engine: Engine, c1: Path) -> None:
        """5, ADD Success: "For interfaces created inside the container, this should be the value passed via CNI_NETNS"."""
        path = "/run//netns/c1"
        assert engine("ADD", CNI_NETNS=path).well().out["interfaces"][1]["sandbox"] == path
        engine("DEL").well()

    def test_a_second_interface(self, engine: Engine, c1: Path) -> None:
        """5, ADD Success: "an array of all interfaces created by the attachment"; "gateway: The default gateway for this
        subnet, if one exists": with `overlay` the way out is by another one. Its name leaves those of engines free."""
        over = config(network="over", driver="overlay", subnet="10.76.0.0/16")
        out = engine("ADD", over, ifname="eth1").well().out
        assert [(i["name"], "sandbox" in i) for i in out["interfaces"]][1:] == [("eth1", True), ("gw0", True)]
        assert engine.links("c1") == {"eth1", "gw0"}
        assert out["interfaces"][2]["mac"] in engine.sh("ip -n c1 link show dev gw0")
        (ip,) = out["ips"]
        assert (ip["interface"], "gateway" in ip) == (1, False)
        assert out["routes"] == [{"dst": "0.0.0.0/0", "gw": "172.30.0.1"}]
        engine("CHECK", {**over, "prevResult": out}, ifname="eth1").well()
        engine("ADD").well()
        assert engine.links("c1") == {"eth0", "eth1", "gw0"}
        engine("DEL").well()
        engine("DEL", over, ifname="eth1").well()
        assert engine.links("c1") == set()

    @pytest.mark.parametrize("version", VERSIONS)
    def test_version_of_the_result(self, engine: Engine, c1: Path, version: str) -> None:
        """5, ADD Success: "cniVersion: The same version supplied on input"; and what that version has."""
        out = engine("ADD", config(cniVersion=version)).well().out
        assert out["cniVersion"] == version
        assert [ip.get("version") for ip in out["ips"]] == (["4", "6"] if version < "1" else [None, None])
        assert ("mtu" in out["interfaces"][1]) == (version == "1.1.0")
        engine("DEL", config(cniVersion=version)).well()

    def test_previous_result(self, engine: Engine, c1: Path) -> None:
        """2, ADD: "it MUST handle prevResult by either passing it through, or modifying it appropriately"; 5: "must output
        it as their result, with any possible modifications made by that plugin included"."""
        out = engine("ADD", config(prevResult=BEFORE)).well().out
        assert out["interfaces"][0] == BEFORE["interfaces"][0] and len(out["interfaces"]) == 3
        assert out["ips"][0] == BEFORE["ips"][0] and [ip["interface"] for ip in out["ips"]] == [0, 2, 2]
        assert out["routes"][0] == BEFORE["routes"][0] and out["dns"] == BEFORE["dns"]
        engine("DEL", config(prevResult=out)).well()

    def test_interface_exists(self, engine: Engine, c1: Path) -> None:
        """2, ADD: "If an interface of the requested name already exists in the container, the CNI plugin MUST return with
        an error"."""
        engine.sh("ip -n c1 link add eth0 type bridge")
        assert engine("ADD").code == 100
        assert engine.veths() == set()
        engine("DEL").well()
        assert engine.links("c1") == {"eth0"}, "it is not ours"

    def test_twice(self, engine: Engine, added: Object) -> None:
        """2, ADD, the same; the first one stays as it was."""
        assert engine("ADD").code == 100
        assert engine.addresses("c1") == {ip["address"] for ip in added["ips"]}

    def test_two_interfaces(self, engine: Engine, added: Object) -> None:
        """2, ADD: "a given container ID may be added to a specific network more than once only if each addition is done
        with a different interface name"."""
        second = engine("ADD", ifname="eth1").well().out
        assert engine.addresses("c1", "eth1") == {ip["address"] for ip in second["ips"]}
        engine("DEL", ifname="eth1").well()
        assert engine.links("c1") == {"eth0"}

    def test_a_failed_one_leaves_nothing(self, engine: Engine, c1: Path) -> None:
        """3, Lifecycle: "A delete must still be executed even if the add fails"; ours has nothing to do then."""
        assert engine("ADD", config(runtimeConfig={"ips": ["10.99.0.1"]})).code == 7
        assert (engine.links("c1"), engine.veths()) == (set(), set())
        engine("DEL").well()


class TestEnvironment:
    @pytest.mark.parametrize(
        ("command", "missing"),
        [
            *(("ADD", name) for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")),
            *(("CHECK", name) for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")),
            *(("DEL", name) for name in ("CNI_CONTAINERID", "CNI_IFNAME")),
            ("ADD", "CNI_COMMAND"),
        ],
    )
    def test_required(self, engine: Engine, c1: Path, command: str, missing: str) -> None:
        """2, "Required environment parameters"; 5, Error 4: "The error message must contain the names of invalid
        variables"."""
        ran = engine(command, config(prevResult=BEFORE), **{missing: None})
        assert ran.code == 4 and missing in ran.msg

    @pytest.mark.parametrize("id", ["-c1", ".c", "c/1", "c 1", "é", "c:1"])
    def test_container_id(self, engine: Engine, c1: Path, id: str) -> None:
        """2, Parameters: "Must start with an alphanumeric character, optionally followed by any combination of one or more
        alphanumeric characters, underscore (), dot (.) or hyphen (-)"."""
        ran = engine("ADD", CNI_CONTAINERID=id)
        assert ran.code == 4 and "CNI_CONTAINERID" in ran.msg

    @pytest.mark.parametrize("name", ["a" * 16, "é" * 8, "..", "a/b", "a b", "a:b", "eth%d"])
    def test_interface_name(self, engine: Engine, c1: Path, name: str) -> None:
        """2, Parameters: CNI_IFNAME: "if the plugin is unable to use this interface name it must return an error"."""
        ran = engine("ADD", ifname=name)
        assert ran.code == 4 and "CNI_IFNAME" in ran.msg
        assert engine.links("c1") == set()

    @pytest.mark.parametrize("command", ["", "add", "UPDATE"])
    def test_command(self, engine: Engine, command: str) -> None:
        """2, Parameters: CNI_COMMAND."""
        assert engine(command).code == 4

    @pytest.mark.parametrize("path", ["/run/netns/none", "/run/weft", "/proc/self/ns/net", "/proc/self/ns/mnt", "c1"])
    def test_netns(self, engine: Engine, c1: Path, path: str) -> None:
        """5, Error 3: "Container unknown or does not exist"; else 4. The host itself is no container."""
        ran = engine("ADD", CNI_NETNS=path)
        assert ran.code == (3 if path.endswith("none") else 4 if "mnt" not in path else ran.code), ran
        assert path in ran.msg


class TestErrors:
    def test_exit_status_and_version(self, engine: Engine) -> None:
        """2, Errors: "A plugin must exit with a return code of 0 on success, and non-zero on failure"; 5, Error:
        "cniVersion: The protocol version in use"."""
        ran = engine("ADD", config(cniVersion="0.4.0", network="none"), CNI_NETNS="/none")
        assert ran.status == 1 and ran.out["cniVersion"] == "0.4.0"

    @pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "2.0.0", "", "1.1"])
    def test_1_version(self, engine: Engine, version: str) -> None:
        """5, Error 1: "Incompatible CNI version"."""
        ran = engine("ADD", config(cniVersion=version))
        assert ran.code == 1 and ran.out["cniVersion"] == "1.1.0"

    @pytest.mark.parametrize(
        "field",
        [
            {"subnetz": "10.7.0.0/16"},
            {"ipam": {"type": "host-local"}},
            {"runtimeConfig": {"portMappings": [{"hostPorts": 8080, "containerPort": 80}]}},
            {"runtimeConfig": {"bandwidth": {"unshapedSubnets": ["10.0.0.0/8"]}}},
            {"runtimeConfig": {"ipRanges": [[{"range": "10.50.0.0/24"}]]}},
            {"runtimeConfig": {"deviceID": "0000:04:00.5"}},
        ],
        ids=lambda field: "-".join(next(iter(v), k) if isinstance(v, dict) else k for k, v in field.items()),
    )
    def test_2_field(self, engine: Engine, c1: Path, field: Object) -> None:
        """5, Error 2: "The error message must contain the key and value of the unsupported field"."""
        ran = engine("ADD", config(**field))
        ((key, value),) = field.items()
        if key == "runtimeConfig":
            ((key, value),) = value.items()
        assert ran.code == 2 and key in ran.msg
        leaf = value
        while isinstance(leaf, (dict, list)):
            leaf = next(iter(leaf.values())) if isinstance(leaf, dict) else leaf[0]
        assert str(leaf) in ran.msg
        assert engine.links("c1") == set()

    def test_5_io(self, engine: Engine, c1: Path) -> None:
        """5, Error 5: "I/O failure. For example, failed to read network config bytes from stdin"."""
        line = " ".join(engine.command("ADD"))
        done = engine.host.run(["bash", "-c", f"{line} <&-"], timeout=30)
        assert Ran(done.returncode, done.stdout, done.stderr).code == 5
        assert engine("ADD", " " * 2**24 + " {}").code == 5

    @pytest.mark.parametrize("text", ["", "{", "[1", "nul", '{"a": NaN}', "{}{}", '{"a": 1e999}', "[" * 5000, "[]"])
    def test_6_decode(self, engine: Engine, text: str) -> None:
        """5, Error 6: "Failed to decode content"."""
        assert engine("ADD", text).code == 6

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": ""},
            {"name": "a/b"},
            {"name": None},
            {"network": None},
            {"network": "none"},
            {"network": 7},
            {"network": None, "driver": "bridge"},
            {"network": None, "driver": "none", "subnet": "10.77.0.0/16"},
            {"options": {"vni": 3}},
            {"prevResult": {"ips": {}}},
            {"prevResult": []},
            {"runtimeConfig": {"ips": ["here"]}},
            {"runtimeConfig": {"mac": "here"}},
            {"runtimeConfig": {"aliases": "web"}},
            {"runtimeConfig": {"aliases": {"net": [1]}}},
            *({"runtimeConfig": {"portMappings": wrong}} for wrong in WRONG_PORTS),
            *({"runtimeConfig": {"ipRanges": wrong}} for wrong in WRONG_RANGES),
            {"args": {"cni": []}},
            {"args": {"cni": {"labels": [{"key": "a"}]}}},
        ],
        ids=str,
    )
    def test_7_config(self, engine: Engine, c1: Path, wrong: Object) -> None:
        """5, Error 7: "Invalid network config"."""
        ran = engine("ADD", config(**wrong))
        assert ran.code == 7
        engine("DEL", config()).well()


class TestDel:
    def test_removes_the_interface(self, engine: Engine, c1: Path) -> None:
        """2, DEL: "should either delete the interface defined by CNI_IFNAME inside the container at CNI_NETNS"."""
        out = engine("ADD").well().out
        ran = engine("DEL", config(prevResult=out)).well()
        assert ran.text == "" and (engine.links("c1"), engine.veths()) == (set(), set())

    def test_previous_result_may_be_missing(self, engine: Engine, c1: Path) -> None:
        """2, DEL: "Plugins should still return without error if prevResult is empty"."""
        for previous in ({}, {"prevResult": None}, {"prevResult": {}}):
            engine("ADD").well()
            engine("DEL", config(**previous)).well()
            assert engine.links("c1") == set()

    def test_many_times(self, engine: Engine, c1: Path) -> None:
        """2, DEL: "Plugins MUST accept multiple DEL calls for the same (CNI_CONTAINERID, CNI_IFNAME) pair, and return
        success if the interface in question, or any modifications added, are missing"."""
        engine("DEL").well()
        engine("ADD").well()
        for _ in range(3):
            engine("DEL").well()

    @pytest.mark.parametrize("netns", [None, "", "/run/netns/other", "nonsense"])
    def test_without_netns(self, engine: Engine, c1: Path, netns: str | None) -> None:
        """2, DEL: "Optional environment parameters: CNI_NETNS"."""
        engine("ADD").well()
        engine("DEL", CNI_NETNS=netns).well()
        assert engine.links("c1") == set()

    def test_after_the_container_ended(self, engine: Engine, c1: Path) -> None:
        """2, DEL: "always complete a DEL action without error to the fullest extent possible, even if some resources or
        state are missing"."""
        address = engine("ADD").well().out["ips"][0]["address"]
        engine.remove("c1")
        engine("DEL").well()
        engine.container("c1")
        again = engine("ADD", config(runtimeConfig={"ips": [address]})).well().out
        assert again["ips"][0]["address"] == address, "it is free"
        engine("DEL").well()

    def test_after_the_interface_was_lost(self, engine: Engine, c1: Path) -> None:
        """2, DEL, the same."""
        engine("ADD").well()
        engine.sh("ip -n c1 link del eth0")
        engine("DEL").well()
        assert engine.veths() == set()

    def test_only_its_own(self, engine: Engine, added: Object) -> None:
        """3: "An attachment may be uniquely identified by the (CNI_CONTAINERID, CNI_IFNAME) tuple"."""
        engine("DEL", ifname="eth1").well()
        engine("DEL", name="c2", CNI_NETNS="/run/netns/c1").well()
        engine("DEL", config(name="other")).well()
        assert engine.links("c1") == {"eth0"}

    def test_under_another_configuration(self, engine: Engine, c1: Path) -> None:
        """2, DEL: best effort: what ADD would refuse is no reason to leave the interface."""
        engine("ADD").well()
        engine("DEL", {"cniVersion": "1.1.0", "name": "net", "type": "weft-cni", "what": "ever", "network": 7}).well()
        assert engine.links("c1") == set()


class TestCheck:
    def test_right_after_add(self, engine: Engine, added: Object) -> None:
        """2, CHECK: "The plugin must handle CHECK being called immediately after an ADD"; no output on success."""
        assert engine("CHECK", config(prevResult=added)).well().text == ""

    @pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
    def test_in_earlier_versions(self, engine: Engine, c1: Path, version: str) -> None:
        """2, CHECK, since 0.4.0."""
        out = engine("ADD", config(cniVersion=version)).well().out
        engine("CHECK", config(cniVersion=version, prevResult=out)).well()
        engine("DEL", config(cniVersion=version)).well()

    def test_not_before_0_4_0(self, engine: Engine, added: Object) -> None:
        assert engine("CHECK", config(cniVersion="0.3.1", prevResult=added)).code == 1

    def test_consults_the_previous_result(self, engine: Engine, added: Object) -> None:
        """2, CHECK: "The plugin must consult the prevResult to determine the expected interfaces and addresses"."""
        assert engine("CHECK").code == 7
        others = [{**ip, "address": "10.50.1.99/24"} for ip in added["ips"]]
        assert engine("CHECK", config(prevResult={**added, "ips": others})).code == 103
        assert engine("CHECK", config(prevResult={**added, "interfaces": []})).code == 103

    def test_allows_for_later_plugins(self, engine: Engine, added: Object) -> None:
        """2, CHECK: "The plugin must allow for a later chained plugin to have modified networking resources, e.g.
        routes"."""
        engine.sh("ip -n c1 route add 10.88.0.0/16 dev eth0; ip -n c1 address add 10.88.0.1/32 dev eth0")
        more = {"address": "10.88.0.1/32", "interface": 1}
        changed = {**added, "ips": [*added["ips"], more], "routes": [*added["routes"], {"dst": "10.88.0.0/16"}]}
        changed["interfaces"] = [*added["interfaces"], {"name": "ifb0"}]
        engine("CHECK", config(prevResult=changed)).well()

    def test_notices_what_is_missing(self, engine: Engine, added: Object) -> None:
        """2, CHECK: "should return an error if a resource included in the CNI Result type (interface, address or route)
        was created by the plugin, and is listed in prevResult, but is missing or in an invalid state"."""
        agent = engine.lab.agent(HOST).process()
        assert agent and agent.signal(signal.SIGSTOP)  # it would put eth0 right between the two commands
        engine.sh("ip -n c1 link set eth0 down name was0 && ip -n c1 link add eth0 type bridge")
        agent.signal(signal.SIGCONT)
        ran = engine("CHECK", config(prevResult=added))
        assert ran.code == 103 and "eth0" in ran.msg

    def test_gives_time_to_converge(self, engine: Engine, added: Object) -> None:
        """2, CHECK: "should allow a reasonable convergence delay": what the agent repairs within a second is well; "other
        resources not tracked in the Result type … Firewall rules"."""
        engine.sh("ip -n c1 address flush dev eth0; nft delete table inet weft")
        engine("CHECK", config(prevResult=added)).well()
        assert engine.addresses("c1") == {ip["address"] for ip in added["ips"]}
        assert "postrouting" in engine.sh("nft list table inet weft")

    def test_no_such_attachment(self, engine: Engine, c1: Path) -> None:
        """5, Error 3: "Container unknown"."""
        out = engine("ADD").well().out
        engine("DEL").well()
        assert engine("CHECK", config(prevResult=out)).code == 3


class TestStatus:
    def test_ready(self, engine: Engine) -> None:
        """2, STATUS: "A plugin must exit with a zero (success) return code if the plugin is ready to service ADD
        requests"."""
        assert engine("STATUS").well().text == ""
        engine("STATUS", config(network=None, driver="bridge", subnet="10.78.0.0/16")).well()

    def test_not_ready(self, engine: Engine) -> None:
        """2, STATUS: "it must exit with a non-zero return code and output an error on standard out"; 50: "cannot service
        ADD requests"."""
        assert engine("STATUS", config(network="none")).code == 50
        assert engine("STATUS", config(socket="/run/none.sock")).code == 50

    def test_is_not_relied_on(self, engine: Engine, c1: Path) -> None:
        """2, STATUS: "A plugin MUST NOT rely on STATUS being called"."""
        bad = config(network="late", driver="bridge", subnet="10.79.0.0/24", options={"node-prefix": 28})
        engine("ADD", bad).well()
        engine("DEL", bad).well()

    def test_not_before_1_1_0(self, engine: Engine) -> None:
        assert engine("STATUS", config(cniVersion="1.0.0")).code == 1


class TestVersion:
    @pytest.mark.parametrize("version", [*VERSIONS, "0.2.0", "9.9.9"])
    def test_version(self, engine: Engine, version: str) -> None:
        """5, VERSION: "cniVersion: The value of cniVersion specified on input; supportedVersions: A list of supported
        specification versions". 2: CNI_COMMAND alone is required."""
        missing = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"))
        out = engine("VERSION", {"cniVersion": version}, **missing).well().out
        assert out == {"cniVersion": version, "supportedVersions": list(VERSIONS)}

    def test_without_configuration(self, engine: Engine) -> None:
        """As older engines call it."""
        assert engine("VERSION", "").well().out["cniVersion"] == "1.1.0"


class TestGc:
    @pytest.fixture
    def three(self, engine: Engine) -> Any:
        """Containers attached: c1, c2 in `net`, c3 in `other`."""
        for name, network in (("c1", "net"), ("c2", "net"), ("c3", "other")):
            engine.container(name)
            engine("ADD", config(name=network), name=name).well()
        yield
        for network in ("net", "other"):
            engine("GC", config(name=network, **{ATTACHMENTS: []})).well()

    def test_removes_what_is_not_valid(self, engine: Engine, three: None) -> None:
        """2, GC: "A plugin SHOULD remove as many stale resources as possible"; "No output on success". Attachments of
        another network configuration are not its business."""
        valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth7"}]
        assert engine("GC", config(**{ATTACHMENTS: valid}), CNI_CONTAINERID=None).well().text == ""
        assert [engine.links(name) for name in ("c1", "c2", "c3")] == [{"eth0"}, set(), {"eth0"}]

    def test_of_ended_containers(self, engine: Engine, three: None) -> None:
        """2, GC: "MAY assume that the isolation domain has been deleted"."""
        for name in ("c1", "c2"):
            engine.remove(name)
        engine("GC", config(**{ATTACHMENTS: None})).well()
        assert {e.owner for e in engine.endpoints()} == {"cni/other/c3/eth0"}

    def test_not_what_others_attached(self, engine: Engine, three: None) -> None:
        """2, GC: "Clean up any stale resources" of "this network": what somebody else attached there is none of them."""
        engine.container("c4")
        own = client(engine.lab, HOST).attach(t.Attach(target="c4", network="blue"))
        engine("GC", config(**{ATTACHMENTS: []})).well()
        assert {e.owner or e.name for e in engine.endpoints()} == {"cni/other/c3/eth0", own.name}
        client(engine.lab, HOST).detach("c4")

    def test_twice(self, engine: Engine, three: None) -> None:
        """2, GC: it "should generally complete without error", also when nothing is left to do."""
        for _ in range(2):
            engine("GC", config(**{ATTACHMENTS: []})).well()
        assert {e.owner for e in engine.endpoints()} == {"cni/other/c3/eth0"}

    def test_without_a_list(self, engine: Engine, three: None) -> None:
        """2, GC, Input: "It contains an additional key". Without it nothing is removed."""
        assert engine("GC").code == 7
        assert engine("GC", config(**{ATTACHMENTS: [{"containerID": "c1"}]})).code == 7
        assert len(engine.endpoints()) == 3

    def test_not_before_1_1_0(self, engine: Engine) -> None:
        assert engine("GC", config(cniVersion="1.0.0", **{ATTACHMENTS: []})).code == 1


class TestNetworks:
    INLINE: ClassVar[Object] = {
        "network": "green",
        "driver": "bridge",
        "subnets": ["10.70.0.0/16", "fd70::/48"],
        "internal": True,
    }

    def test_made_where_it_is_missing(self, engine: Engine, c1: Path) -> None:
        out = engine("ADD", config(**self.INLINE)).well().out
        assert out["ips"][0]["address"].startswith("10.70.")
        assert {r["dst"] for r in out["routes"]} == {"10.70.0.0/16", "fd70::/48"}, "internal: no default route"
        engine("DEL", config(**self.INLINE)).well()
        engine("ADD", config(**{**self.INLINE, "options": {"node-prefix": 0}})).well()  # the default
        engine("DEL").well()

    @pytest.mark.parametrize(
        "other", [{"driver": "vxlan"}, {"subnets": ["10.70.0.0/16"]}, {"internal": False}, {"mtu": 1400}], ids=str
    )
    def test_another_definition(self, engine: Engine, c1: Path, other: Object) -> None:
        engine("ADD", config(**self.INLINE)).well()
        engine("DEL").well()
        ran = engine("ADD", config(**{**self.INLINE, **other}))
        assert ran.code == 7 and "green exists" in ran.msg
        assert engine.links("c1") == set()

    def test_subnet_of_another_network(self, engine: Engine, c1: Path) -> None:
        ran = engine("ADD", config(network="clash", driver="bridge", subnet=SUBNETS[0]))
        assert ran.code == 100 and "blue" in ran.msg


class TestCapabilities:
    def test_all_that_there_are(self, engine: Engine, c1: Path) -> None:
        subnet = engine("ADD").well().out["ips"][0]["address"].rpartition(".")[0]
        engine("DEL").well()
        wishes = {
            "ips": [f"{subnet}.77/24"],
            "mac": "02:00:00:00:00:07",
            "dns": {"servers": ["10.9.9.9"], "searches": ["here.example"]},
            "aliases": ["db", "primary"],
            "portMappings": [],
            "labels": {"zone": "a"},
            "bandwidth": None,
        }
        more = {"dns": {"nameservers": ["1.1.1.1"], "domain": "example"}, "labels": {"tier": "back"}}
        args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=Web_0;IP=10.50.1.1;WHAT=ever"
        out = engine("ADD", config(runtimeConfig=wishes, **more), CNI_ARGS=args).well().out
        assert out["ips"][0]["address"] == f"{subnet}.77/24"
        assert out["interfaces"][1]["mac"] == "02:00:00:00:00:07"
        assert out["dns"] == {"nameservers": ["10.9.9.9"], "domain": "example", "search": ["here.example"]}
        (endpoint,) = engine.endpoints()
        assert (endpoint.name, endpoint.policy_namespace) == ("web_0", "shop")
        assert endpoint.labels == {
            "aliases": "db,primary",
            "tier": "back",
            "zone": "a",
            "io.kubernetes.pod.name": "Web_0",
            "io.kubernetes.pod.namespace": "shop",
        }
        engine("DEL").well()

    def test_port_mappings(self, engine: Engine, c1: Path) -> None:
        """Conventions, "Dynamic Plugin specific fields": portMappings: "Pass mapping from ports on the host to ports in the
        container network namespace"."""
        mappings = [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "name": "http"},
            {"hostPort": 8053, "containerPort": 53, "protocol": "udp", "hostIP": "192.168.1.11"},
        ]
        wish = config(runtimeConfig={"portMappings": mappings})
        out = engine("ADD", wish).well().out
        (endpoint,) = engine.endpoints()
        assert list(map(str, endpoint.ports)) == ["8080:80/tcp", "192.168.1.11:8053:53/udp"]
        assert list(map(str, endpoint.named_ports)) == ["http=80/tcp"]
        assert PORT_RULE in engine.sh("nft list table inet weft")
        engine("CHECK", {**wish, "prevResult": out}).well()
        engine.container("c2")
        ran = engine("ADD", config(runtimeConfig={"portMappings": mappings[:1]}), name="c2")
        assert ran.code == 100 and "port 8080/tcp leads to c1" in ran.msg
        assert (engine.links("c2"), len(engine.veths())) == (set(), 1)
        engine("DEL").well()
        assert PORT_RULE not in engine.sh("nft list table inet weft")
        engine("ADD", config(runtimeConfig={"portMappings": mappings[:1]}), name="c2").well()
        engine("DEL", name="c2").well()

    def test_ip_ranges(self, engine: Engine, c1: Path) -> None:
        """Conventions, the same: ipRanges: "Dynamically configure the IP range(s) for address allocation"."""
        subnet = engine("ADD").well().out["ips"][0]["address"].rpartition(".")[0]
        engine("DEL").well()
        ours = {
            "subnet": SUBNETS[0],
            "rangeStart": f"{subnet}.91",
            "rangeEnd": f"{subnet}.92",
            "gateway": f"{subnet}.1",
        }
        wish = config(runtimeConfig={"ipRanges": [[{"subnet": "10.77.0.0/16"}, ours], [{"subnet": SUBNETS[1]}]]})
        engine.container("c2")
        engine.container("c3")
        given = [engine("ADD", wish, name=name).well().out["ips"] for name in ("c1", "c2")]
        assert [ips[0]["address"] for ips in given] == [f"{subnet}.91/24", f"{subnet}.92/24"]
        assert all(ips[1]["address"].startswith("fd50:") for ips in given)
        ran = engine("ADD", wish, name="c3")
        assert ran.code == 101 and f"{subnet}.91-{subnet}.92" in ran.msg
        assert engine.links("c3") == set()
        for name in ("c1", "c2"):
            engine("DEL", wish, name=name).well()

    def test_arguments(self, engine: Engine, c1: Path) -> None:
        subnet = engine("ADD").well().out["ips"][0]["address"].rpartition(".")[0]
        engine("DEL").well()
        out = engine("ADD", CNI_ARGS=f"IP={subnet}.78;MAC=02:00:00:00:00:08").well().out
        assert (out["ips"][0]["address"], out["interfaces"][1]["mac"]) == (f"{subnet}.78/24", "02:00:00:00:00:08")
        engine("DEL").well()
        for wrong in ("WHAT=ever", "nonsense", "IP=1;WHAT=ever"):
            ran = engine("ADD", CNI_ARGS=wrong)
            assert ran.code == 4 and "CNI_ARGS" in ran.msg


CHAINED: dict[str, Object] = {
    "vxlan": {"network": "chv", "driver": "vxlan", "subnets": ["10.91.0.0/16", "fd91::/48"], "options": {"vni": 91}},
    "routed": {"network": "chr", "driver": "routed", "subnets": ["10.92.0.0/16", "fd92::/48"]},
    "overlay": {"network": "cho", "driver": "overlay", "subnets": ["10.93.0.0/16", "fd93::/64"]},
}


def reference(engine: Engine, name: str) -> Engine:
    """A plugin of CNI's own, to be chained behind ours."""
    found = Path("/usr/lib/cni") / name
    if not found.exists():
        pytest.skip("needs Debian's containernetworking-plugins")
    return Engine(engine.lab, found)


@pytest.mark.parametrize("driver", ["vxlan", "routed", "overlay"])
def test_what_a_chained_plugin_sets_stays(engine: Engine, c1: Path, driver: str) -> None:
    """Conventions, "tuning": MAC address and MTU were put back within a second. The container is still reached."""
    tuning, first = reference(engine, "tuning"), config(cniVersion="1.0.0", **CHAINED[driver])
    ours = engine("ADD", first).well().out
    wish = {"mac": "c2:b0:57:49:47:f1", "mtu": 1300, "promisc": True}
    second = {"cniVersion": "1.0.0", "name": "net", "type": "tuning", **wish, "prevResult": ours}
    changed = tuning("ADD", second).well().out
    own = client(engine.lab, HOST)
    until(lambda: own.endpoints(owner="cni/net/c1/eth0")[0].mac == wish["mac"], 30, "the agent's notice")
    tuning("CHECK", {**second, "prevResult": changed}).well()
    engine("CHECK", {**first, "prevResult": changed}).well()
    until(lambda: own.plan().commands == () and own.status().state == "converged", 5, "nothing is put back")
    assert engine.sh("ip netns exec c1 ping -c1 -W2 203.0.113.10")
    engine("DEL", first).well()


@pytest.mark.parametrize("driver", ["vxlan", "routed"])
def test_routes_that_a_chained_plugin_moves_stay_there(engine: Engine, c1: Path, driver: str) -> None:
    """The plugin "sbr" moves them to a table of its own, with our protocol number on them: they were removed there."""
    sbr, first = reference(engine, "sbr"), config(cniVersion="1.0.0", **CHAINED[driver])
    ours = engine("ADD", first).well().out
    assert sbr("ADD", {"cniVersion": "1.0.0", "name": "net", "type": "sbr", "prevResult": ours}).status == 0
    until(lambda: client(engine.lab, HOST).status().state == "converged", 5, "the agent")
    engine("CHECK", {**first, "prevResult": ours}).well()
    assert "default" in engine.sh("ip -n c1 route show table 100")
    assert engine.sh("ip -n c1 route show table main; ip -n c1 -6 route show default") == ""
    own = ours["ips"][0]["address"].partition("/")[0]
    assert engine.sh(f"ip netns exec c1 ping -I {own} -c1 -W2 203.0.113.10")
    engine("DEL", first).well()


def test_a_container_without_ipv6(engine: Engine, c1: Path) -> None:
    """As the reference plugins do, IPv6 is switched on for our interface; what a pod sets afterwards is the pod's."""
    off = "ip netns exec c1 sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
    engine.sh(f"{off} net.ipv6.conf.default.disable_ipv6=1")
    out = engine("ADD").well().out
    assert engine.addresses("c1") == {ip["address"] for ip in out["ips"]} and len(out["ips"]) == 2
    engine.sh(off)
    own = client(engine.lab, HOST)
    until(
        lambda: any("IPv6 is switched off on eth0" in p.text for p in own.status().problems), 30, "the agent's notice"
    )
    assert own.status().state == "converged"
    engine("CHECK", config(prevResult=out)).well()
    engine("DEL").well()


def test_chained_before_another(engine: Engine, c1: Path) -> None:
    """3, "Adding an attachment": the reference plugin `portmap` takes our result, and gives it back."""
    other = reference(engine, "portmap")
    ours = engine("ADD", config(cniVersion="1.0.0")).well().out
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    chained = {"cniVersion": "1.0.0", "name": "net", "type": "portmap", "runtimeConfig": ports, "prevResult": ours}
    given_back = {key: value for key, value in other("ADD", chained).well().out.items() if value}
    assert given_back == ours
    engine("CHECK", config(cniVersion="1.0.0", prevResult=ours)).well()
    other("DEL", chained).well()
    engine("DEL", config(cniVersion="1.0.0", prevResult=ours)).well()


def test_a_network_needs_no_restart(engine: Engine, c1: Path) -> None:
    """Networks removed and made again under the same name."""
    green = TestNetworks.INLINE
    for _ in range(2):
        engine("ADD", config(**green)).well()
        engine("DEL").well()
        until(lambda: not engine.endpoints(), 5, "the endpoint's end")
        engine.sh(
            f"curl -s --fail -X DELETE --unix-socket /run/weft/weft.sock http://weft/v1/networks/{green['network']}"
        )

    def test_bandwidth(self, engine: Engine, c1: Path) -> None:
        """Conventions, "bandwidth": rates in bits per second, bursts in bits; as a kubelet says it, who names no burst of its
        own, and with 0 for none."""
        most = 2**31 - 1
        wishes = {"ingressRate": 10_000_000, "ingressBurst": most, "egressRate": 2_000_000, "egressBurst": 0}
        name = engine("ADD", config(runtimeConfig={"bandwidth": wishes})).well().out["interfaces"][0]["name"]
        [endpoint] = engine.endpoints()
        assert endpoint.bandwidth == Bandwidth(ingress=10_000_000, ingress_burst=2**28, egress=2_000_000)
        shown = json.loads(engine.sh("tc -j qdisc show"))
        rates = {q["dev"]: q["options"]["rate"] * 8 for q in shown if q["kind"] == "tbf"}
        assert rates == {name: 10_000_000, f"weftq{name[4:14]}": 2_000_000}
        engine("DEL").well()
        assert not [q for q in json.loads(engine.sh("tc -j qdisc show")) if q["kind"] == "tbf"]
        assert engine.sh("ip link show type ifb") == ""

    @pytest.mark.parametrize(
        "wishes", [{"ingressRate": "1M"}, {"egressRate": -1}, {"ingressBurst": 80}, {"egressRate": True}]
    )
    def test_bandwidth_that_is_none(self, engine: Engine, c1: Path, wishes: Object) -> None:
        assert engine("ADD", config(runtimeConfig={"bandwidth": wishes})).code == 7
        assert engine.links("c1") == set()
