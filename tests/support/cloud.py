"""A small OpenStack in a lab: RabbitMQ, Neutron's server, and on each host that takes part Open vSwitch and Neutron's agent.

All of it is the real thing. What is particular is only that the switches run in user space, so that no kernel module is needed:
their tunnels' addresses have to be on a bridge of theirs, and so these have a wire of their own from host to host.
Everything lives in the lab's namespaces and ends with the lab.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from support.neutron_server import PYTHON
from support.switches import SCHEMA
from support.waiting import until
from weft.kernel.plumbing import netns
from weft.lab import Lab
from weft.lab.host import Host
from weft.lab.inside import Inside
from weft.lab.process import Process

SERVE, MACHINE = (Path(__file__).with_name(name) for name in ("cloud_serve.py", "machine.py"))
RABBIT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
API, QUEUE = 9696, 5672
SOCKET = "/run/openvswitch/db.sock"
PATIENCE = 120.0
"""Seconds for a program to come up, on a machine that has other things to do."""

SERVER = """[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
service_plugins = router
transport_url = rabbit://guest:guest@{address}:{queue}/
api_paste_config = {paste}
state_path = {folder}
rpc_workers = 1
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
agent_down_time = 3600
[database]
connection = sqlite:///{folder}/neutron.db?timeout=20
[ml2]
type_drivers = local,flat,vlan,vxlan
tenant_network_types = vxlan
mechanism_drivers = openvswitch
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:1000
[oslo_concurrency]
lock_path = {folder}/lock
[oslo_policy]
policy_file = {folder}/policy.yaml
"""

AGENT = """[DEFAULT]
host = {host}
transport_url = rabbit://guest:guest@{address}:{queue}/
state_path = {folder}
[ovs]
datapath_type = netdev
local_ip = {local}
ovsdb_connection = unix:{socket}
[agent]
tunnel_types = vxlan
root_helper = env
report_interval = 300
[securitygroup]
firewall_driver = {firewall}
[oslo_concurrency]
lock_path = {folder}/lock
"""


class Cloud:
    """`at`: the host of the lab that the server and the queue are on. `firewalls`: the two that take part, each with its
    agent's driver for security groups."""

    def __init__(self, lab: Lab, at: str, firewalls: dict[str, str], folder: Path) -> None:
        self.lab, self.at, self.folder, self._firewalls = lab, lab.host(at), folder, firewalls
        self.hosts = tuple(firewalls)
        self.address = str(lab.topology.place(at).addresses[0].ip)
        self.url = f"http://{self.address}:{API}"
        self._processes: dict[tuple[str, str], Process] = {}

    # -- processes -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """At once, as far as one need not wait for the other: each takes its time alone."""
        self._configure()
        self._resolve()
        self._queue()
        self.at.must("tables", [str(PYTHON), str(SERVE), str(self.folder)])
        self._run(self.at, "api", [str(PYTHON), str(SERVE), str(self.folder), self.address, str(API)])
        for name in self.hosts:
            self._switch(name)
        self._wire()
        until(lambda: self._listens(QUEUE), PATIENCE, lambda: f"RabbitMQ: {self._said(self.at.name, 'rabbit')}")
        config = f"--config-file={self.folder}/neutron.conf"
        self._run(self.at, "rpc", [str(PYTHON.with_name("neutron-rpc-server")), config])
        for name in self.hosts:
            self._agent(name)
        until(self.answers, PATIENCE, lambda: f"Neutron's server: {self._said(self.at.name, 'api')}")
        until(self._joined, PATIENCE, lambda: f"Neutron's agents: {self._said(self.hosts[0], 'agent')}")

    def _agent(self, name: str) -> None:
        own = self.folder / name
        said = {"host": name, "address": self.address, "queue": QUEUE, "folder": own, "socket": SOCKET}
        (own / "agent.conf").write_text(AGENT.format(**said, local=self._local(name), firewall=self._firewalls[name]))
        self._run(self.lab.host(name), "agent", ["neutron-openvswitch-agent", f"--config-file={own}/agent.conf"])

    def pause(self, *names: str, ends: bool = False) -> None:
        """The server's programs keep their connections and answer nothing, until it ends."""
        for name in names:
            self._processes[self.at.name, name].signal(signal.SIGCONT if ends else signal.SIGSTOP)

    def _run(self, host: Host, name: str, argv: list[str]) -> None:
        self._processes[host.name, name] = host.detach(argv, self.folder / f"{host.name}-{name}.log")

    def _said(self, host: str, name: str) -> str:
        return (self.folder / f"{host}-{name}.log").read_text(errors="replace")[-2000:]

    def _configure(self) -> None:
        (self.folder / "policy.yaml").write_text("{}")
        paste = PYTHON.parents[1] / "etc/neutron/api-paste.ini"
        said = {"address": self.address, "queue": QUEUE, "folder": self.folder, "paste": paste}
        (self.folder / "neutron.conf").write_text(SERVER.format(**said))

    def _resolve(self) -> None:
        """No name server is reached from in there, and each question would be waited for."""
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        for name in {*self.hosts, self.at.name}:
            self.lab.host(name).must("names", ["mount", "--bind", f"{self.folder}/resolv.conf", "/etc/resolv.conf"])

    def _queue(self) -> None:
        base = self.folder / "rabbit"
        base.mkdir()
        (base / "rabbit.conf").write_text("loopback_users = none\n")
        settings = {
            "HOME": base,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.address,
            "RABBITMQ_MNESIA_BASE": base,
            "RABBITMQ_LOG_BASE": base,
            "RABBITMQ_PID_FILE": base / "pid",
            "RABBITMQ_CONFIG_FILE": base / "rabbit.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": base / "plugins",
            "RABBITMQ_CONF_ENV_FILE": base / "none",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._run(self.at, "rabbit", ["env", *(f"{key}={value}" for key, value in settings.items()), RABBIT])

    def _switch(self, name: str) -> None:
        host, own = self.lab.host(name), self.folder / name
        own.mkdir()
        host.must("switch", ["mkdir", "-p", str(Path(SOCKET).parent)])
        host.must("switch", ["ovsdb-tool", "create", f"{own}/conf.db", SCHEMA])
        places = ["env", *(f"OVS_{place}DIR={own}" for place in ("LOG", "DB", "SYSCONF"))]
        self._run(host, "ovsdb", [*places, "ovsdb-server", f"{own}/conf.db", f"--remote=punix:{SOCKET}"])
        until(lambda: host.run(["test", "-S", SOCKET]).returncode == 0, 20, "the switch's database")
        self.vsctl(name, "--no-wait init")
        self._run(host, "vswitchd", [*places, "ovs-vswitchd", f"unix:{SOCKET}", "-vconsole:warn"])

    def _wire(self) -> None:
        one, other = (self.lab.host(name).holder.pid for name in self.hosts)
        pair = f"ip link add eth1 netns {one} type veth peer name eth1 netns {other}"
        subprocess.run(pair.split(), check=True, timeout=20)
        for name in self.hosts:
            host = self.lab.host(name)
            host.must("wire", ["ip", "link", "set", "eth1", "up"])
            self.vsctl(name, "add-br br-phy -- set Bridge br-phy datapath_type=netdev -- add-port br-phy eth1")
            host.must("wire", ["ip", "address", "add", f"{self._local(name)}/24", "dev", "br-phy"])
            host.must("wire", ["ip", "link", "set", "br-phy", "up"])

    def _local(self, name: str) -> str:
        return f"10.99.0.{1 + self.hosts.index(name)}"

    # -- Neutron -------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """JSON; None where there is none. Raises OSError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)

        def inside() -> bytes:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text: bytes = answer.read()
                return text

        text = netns.call(f"/proc/{self.at.holder.pid}/ns/net", inside)
        return json.loads(text) if text else None

    def list(self, what: str, **query: str) -> list[dict[str, Any]]:
        path = "&".join(f"{key}={value}" for key, value in query.items())
        return list(self.ask("GET", f"/v2.0/{what}?{path}")[what.replace("-", "_")])

    def make(self, what: str, **values: object) -> dict[str, Any]:
        return dict(self.ask("POST", f"/v2.0/{what.replace('_', '-')}s", {what: values})[what])

    def answers(self) -> bool:
        try:
            self.list("networks")
        except OSError:
            return False
        return True

    def active(self, port: str) -> bool:
        return bool(self.ask("GET", f"/v2.0/ports/{port}")["port"]["status"] == "ACTIVE")

    def _joined(self) -> bool:
        """The agents, and their tunnels."""
        return len(self.list("agents")) == 2 and all("vxlan" in self.vsctl(name, "show") for name in self.hosts)

    def _listens(self, port: int) -> bool:
        return bool(self.at.run(["ss", "-Hltn", f"sport = :{port}"]).stdout)

    # -- hosts ---------------------------------------------------------------------------------------------------------

    def vsctl(self, host: str, words: str) -> str:
        return self.lab.host(host).must("ovs-vsctl", ["ovs-vsctl", "--timeout=20", *shlex.split(words)])

    def machine(self, host: str, name: str, port: dict[str, Any]) -> Inside:
        """A virtual machine, plugged as Nova does it. The commands in it are its own."""
        place, tap = self.lab.host(host), f"tap{port['id'][:11]}"
        ids = f"attached-mac={port['mac_address']} external_ids:iface-id={port['id']} external_ids:iface-status=active"
        place.must("machine", ["ip", "netns", "add", name])
        self._run(place, name, [sys.executable, str(MACHINE), tap, name])
        log = self.folder / f"{host}-{name}.log"
        until(lambda: "ready" in log.read_text(), 20, lambda: f"the machine: {log.read_text()}")
        place.must("machine", ["ip", "link", "set", tap, "mtu", "1450", "up"])
        self.vsctl(host, f"add-port br-int {tap} -- set Interface {tap} external_ids:{ids} external_ids:vm-uuid=vm")
        (given,) = port["fixed_ips"]
        subnet = self.ask("GET", f"/v2.0/subnets/{given['subnet_id']}")["subnet"]
        inside = place.container(name)
        length = subnet["cidr"].partition("/")[2]
        for words in (
            f"link set eth0 mtu 1450 address {port['mac_address']} up",
            f"address add {given['ip_address']}/{length} dev eth0",
            "link set lo up",
        ):
            inside.must("machine", ["ip", *words.split()])
        return inside
