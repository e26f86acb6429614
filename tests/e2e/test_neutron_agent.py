"""Driver `neutron` with all that it stands on: Neutron's server and its message queue, Debian's agent and Open vSwitch on two
hosts, one of which keeps security groups by flows, the other one by iptables and the hybrid bridge; and a machine's TAP.

The tests are steps of one story: to start all this takes most of a minute.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from support import docker, images
from support.cloud import Cloud
from support.docker import Engine
from support.reach import client, weft
from support.waiting import until
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.lab.topology import flat

PORT = 8000
SERVER = f"""
import socket
with socket.create_server(("", {PORT})) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as sock:
            sock.sendall(b"hello")
"""
HOSTS = {"c1": "node-1", "c2": "node-2", "vm": "node-1"}
CREATE = shlex.split(
    "network create -d weft --ipam-driver weft --subnet 10.30.0.0/24 -o weft.network=green -o weft.driver=neutron "
    "-o weft.security-groups=web"
)
TABLES = ("Port name,tag", "Interface name,external_ids")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass
class Story:
    """`group`: the security group of all three."""

    lab: Lab
    cloud: Cloud
    group: str
    before: list[str]
    machines: dict[str, Inside]
    addresses: dict[str, str]

    def inside(self, name: str) -> Inside:
        return self.machines.get(name) or self.lab.host(HOSTS[name]).container(name)

    def pings(self, one: str, other: str) -> bool:
        return self.inside(one).run(["ping", "-c1", "-W1", self.addresses[other]]).returncode == 0

    def asks(self, one: str, other: str) -> bool:
        ask = f"exec 3<>/dev/tcp/{self.addresses[other]}/{PORT} && head -c5 <&3"
        return self.inside(one).run(["timeout", "1", "bash", "-c", ask]).stdout == "hello"

    def ports(self) -> list[str]:
        return sorted(port["id"] for port in self.cloud.list("ports"))

    def rule(self, **values: object) -> str:
        made = self.cloud.make("security_group_rule", security_group_id=self.group, ethertype="IPv4", **values)
        return str(made["id"])

    def switches(self) -> list[str]:
        """What each host's switch says of its ports."""
        listed = (f"--format=csv --columns={table.split()[1]} list {table.split()[0]}" for table in TABLES)
        words = tuple(listed)
        return sorted(
            line for host in self.cloud.hosts for each in words for line in self.cloud.vsctl(host, each).splitlines()
        )


@pytest.fixture(scope="module")
def story(lab_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("cloud")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OS_CLIENT_CONFIG_FILE", str(folder / "clouds.yaml"))
        environment.setenv("OS_CLOUD", "devstack")
        with Lab.up(flat(3), name="neutron") as lab:
            cloud = Cloud(lab, "node-3", {"node-1": "openvswitch", "node-2": "iptables_hybrid"}, folder)
            known = {"auth_type": "none", "network_endpoint_override": cloud.url}
            (folder / "clouds.yaml").write_text(json.dumps({"clouds": {"devstack": known}}))
            cloud.start()
            yield _told(lab, cloud)


def _told(lab: Lab, cloud: Cloud) -> Story:
    group = cloud.make("security_group", name="web")["id"]
    story = Story(lab, cloud, group, [], {}, {})
    story.rule(direction="egress")
    story.rule(direction="ingress", protocol="icmp")
    create = "network create green --driver neutron --subnet 10.30.0.0/24 -O security-groups=web"
    made = weft(lab, "node-1", *shlex.split(create))
    assert made.returncode == 0, made.stderr
    until(lambda: any(n.name == "green" for n in client(lab, "node-2").networks()), 20, "the other host to know of it")
    story.before = story.ports()
    for name in ("c1", "c2"):
        lab.run(HOSTS[name], name, network="green")
        story.addresses[name] = str(client(lab, HOSTS[name]).endpoint(name).addresses[0].ip)
        # This switch sends on what the kernel leaves to devices to sum up (docs/datapaths/neutron.md).
        lab.host(HOSTS[name]).container(name).must("offload", ["ethtool", "-K", "eth0", "tx", "off"])
    (net,) = cloud.list("networks")
    port = cloud.make("port", network_id=net["id"], security_groups=[group], **_of_machine(HOSTS["vm"]))
    story.machines["vm"] = cloud.machine(HOSTS["vm"], "vm", port)
    story.addresses["vm"] = port["fixed_ips"][0]["ip_address"]
    until(lambda: cloud.active(port["id"]), 60, "the machine's port to be active")
    for name in HOSTS:
        log = cloud.folder / f"{name}.log"
        story.inside(name).detach(["python3", "-c", SERVER], log)
        until(lambda log=log: "ready" in log.read_text(), 20, f"{name} to serve")  # type: ignore[misc]
    return story


def _of_machine(host: str) -> dict[str, Any]:
    return {"device_owner": "compute:nova", "device_id": "vm", "binding:host_id": host}


def test_containers_and_a_virtual_machine_reach_each_other(story: Story) -> None:
    for one, other in permutations(HOSTS, 2):
        until(lambda one=one, other=other: story.pings(one, other), 20, f"{one} to reach {other}")  # type: ignore[misc]
    found = {port["name"]: port for port in story.cloud.list("ports") if port["device_owner"] == "compute:weft"}
    assert {name: (p["status"], p["binding:host_id"]) for name, p in found.items()} == {
        name: ("ACTIVE", HOSTS[name]) for name in ("c1", "c2")
    }
    assert not found["c1"]["binding:vif_details"]["ovs_hybrid_plug"]
    assert found["c2"]["binding:vif_details"]["ovs_hybrid_plug"]
    for name, device in (("c1", "tap"), ("c2", "qvo")):
        assert story.cloud.vsctl(HOSTS[name], f"get Port {device}{found[name]['id'][:11]} tag").strip() == "1"


def test_security_groups_hold_both_ways(story: Story) -> None:
    """A rule that is made lets in at once, and one that is taken away shuts out again."""
    pairs = list(permutations(HOSTS, 2))
    assert [pair for pair in pairs if story.asks(*pair)] == []
    rule = story.rule(direction="ingress", protocol="tcp", port_range_min=PORT, port_range_max=PORT)
    for pair in pairs:
        until(lambda pair=pair: story.asks(*pair), 30, f"{pair} to speak TCP")  # type: ignore[misc]
    story.cloud.ask("DELETE", f"/v2.0/security-group-rules/{rule}")
    for pair in pairs:
        until(lambda pair=pair: not story.asks(*pair), 30, f"{pair} to be apart")  # type: ignore[misc]
    assert all(story.pings(*pair) for pair in pairs)


def test_nobody_sends_in_anothers_name(story: Story) -> None:
    """That is Neutron's to see to, with either firewall."""
    for name, other in (("c1", "vm"), ("c2", "vm")):
        inside = story.inside(name)
        inside.must("address", ["ip", "address", "add", "10.30.0.250/24", "dev", "eth0"])
        assert inside.run(["ping", "-c1", "-W1", "-I", "10.30.0.250", story.addresses[other]]).returncode
        inside.must("address", ["ip", "address", "del", "10.30.0.250/24", "dev", "eth0"])
        assert story.pings(name, other)


def test_traffic_goes_on_without_neutron_and_an_agent_that_begins_anew_changes_nothing(story: Story) -> None:
    before = story.switches()
    story.cloud.pause("api", "rpc")
    for host in story.cloud.hosts:
        assert story.lab.agent(host).end(signal.SIGKILL)
    assert all(story.pings(*pair) for pair in permutations(HOSTS, 2))
    for host in story.cloud.hosts:
        story.lab.agent(host).start()
        story.lab.agent(host).wait_ready()
    for host in story.cloud.hosts:
        until(lambda host=host: client(story.lab, host).status().state == "converged", 30, f"{host} to converge")  # type: ignore[misc]
        assert client(story.lab, host).plan().commands == ()
    assert story.switches() == before
    assert all(story.pings(*pair) for pair in permutations(HOSTS, 2))
    story.cloud.pause("api", "rpc", ends=True)
    until(story.cloud.answers, 60, "Neutron to be back")


@pytest.fixture
def engines(story: Story, tmp_path: Path) -> Iterator[list[Engine]]:
    """Docker and Weft's plugin on both hosts, with the network."""
    docker.needed()
    made = [Engine(story.lab.host(host), tmp_path / host) for host in story.cloud.hosts]
    image = images.layer(tmp_path)
    try:
        for engine in made:
            engine.start()
            engine.start_plugin()
            engine.docker("import", str(image), docker.IMAGE)
            engine.docker(*CREATE, "green")
        yield made
    finally:
        for engine in made:
            if engine.daemon is not None:
                engine.end()
            if engine.plugin is not None:
                engine.end_plugin()
            engine.clean()


def test_docker_run_on_two_hosts(story: Story, engines: list[Engine]) -> None:
    before = story.ports()
    for engine, name in zip(engines, ("d1", "d2"), strict=True):
        engine.run(name, network="green")
        shown = engine.on(name, "green")
        story.addresses[name] = shown["IPAddress"]
        (port,) = story.cloud.list("ports", mac_address=shown["MacAddress"])
        assert (port["status"], port["fixed_ips"][0]["ip_address"]) == ("ACTIVE", shown["IPAddress"])
    for engine, name in zip(engines, ("d1", "d2"), strict=True):
        for other in {*HOSTS, "d1", "d2"} - {name}:
            reaches = partial(engine.pings, name, story.addresses[other])
            until(reaches, 20, f"{name} to reach {other}\n{engine.tail()}")
    for engine, name in zip(engines, ("d1", "d2"), strict=True):
        engine.docker("rm", "-f", name)
        engine.docker("network", "rm", "green")
    assert story.ports() == before
    assert story.cloud.list("networks"), "it is another's, too"


def test_nothing_is_left(story: Story) -> None:
    for name in ("c1", "c2"):
        story.lab.rm(HOSTS[name], name)
    (machine,) = (port["id"] for port in story.cloud.list("ports") if port["device_owner"] == "compute:nova")
    story.cloud.ask("DELETE", f"/v2.0/ports/{machine}")
    assert story.ports() == story.before
    left = [line for line in story.switches() if "weft" in line or '"qvo' in line]
    assert left == []
    for host in story.cloud.hosts:
        names = {link["ifname"] for link in json.loads(story.lab.host(host).run(["ip", "-j", "link"]).stdout)}
        assert not any(name.startswith(("qbr", "qvb", "qvo", "weft")) for name in names), names
    removed = weft(story.lab, "node-1", "network", "rm", "green")
    assert removed.returncode == 0, removed.stderr
    assert story.cloud.list("networks") == []
