"""Hosts of a lab that run flannel instead of Weft (the stand-in `support.flanneld`), and the registry they share.

registry = Registry.up(lab)                        an etcd in the router's namespace
registry.configure("/coreos.com/network", Network="40.15.0.0/16", Backend={"Type": "vxlan"})
host = Flannel(lab, "node-2", registry, "/coreos.com/network")
host.start()
host.container("web")                              plain Linux, on a bridge with the subnet's first address
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from support.waiting import until
from weft.lab import Lab, daemons
from weft.lab.daemons import Etcd
from weft.lab.inside import Inside
from weft.lab.process import Process
from weft.lab.topology import ROUTER

_TESTS = Path(__file__).parents[1]
_ADDRESS = f"192.168.1.1:{daemons.ETCD_PORT}"


@dataclass(frozen=True)
class Registry:
    """An etcd that is nobody's store: Weft keeps its own elsewhere."""

    etcd: Etcd
    address: str = _ADDRESS

    @classmethod
    def up(cls, lab: Lab) -> Registry:
        """It ends with the lab."""
        found = cls(daemons.etcd(lab.host(ROUTER), lab.directory, f"etcd://{_ADDRESS}"))
        found.start()
        return found

    def start(self) -> None:
        self.etcd.start()
        self.etcd.wait_ready()

    def stop(self) -> None:
        self.etcd.end(signal.SIGKILL)

    def ctl(self, *words: str, input: str | None = None) -> str:
        command = ["etcdctl", f"--endpoints=http://{_ADDRESS}", *words]
        done = self.etcd.inside.run(["env", "ETCDCTL_API=3", *command], input=input, timeout=20)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def configure(self, prefix: str, **config: Any) -> None:
        self.put(f"{prefix}/config", json.dumps(config))

    def put(self, key: str, value: str, *options: str) -> None:
        self.ctl("put", *options, "--", key, value)

    def value(self, key: str) -> str:
        """ "" where there is none."""
        return self.ctl("get", "--print-value-only", "--", key).removesuffix("\n")

    def delete(self, key: str) -> None:
        assert self.ctl("del", "--", key).strip() == "1", f"there is no {key}"

    def leases(self, prefix: str) -> dict[str, dict[str, Any]]:
        """What each key below `subnets` says, by the rest of its name."""
        listed = self._listed(prefix)
        return {key: json.loads(value) for key, (value, _) in listed.items()}

    def key_of(self, prefix: str, public_ip: str) -> str:
        """The rest of the key's name; "" where that host has none."""
        return next((key for key, value in self.leases(prefix).items() if value["PublicIP"] == public_ip), "")

    def revision(self, prefix: str, name: str) -> int:
        """Of the last put of a lease."""
        return self._listed(prefix)[name][1]["mod_revision"]

    def etcd_lease(self, prefix: str, name: str) -> tuple[int, int]:
        """The etcd lease behind a key, and the seconds it has left."""
        number = self._listed(prefix)[name][1]["lease"]
        told = json.loads(self.ctl("lease", "timetolive", f"{number:x}", "--write-out=json"))
        return number, told["ttl"]

    def compact(self) -> None:
        """Forgets all changes up to now."""
        found = json.loads(self.ctl("get", "/", "--limit=1", "--write-out=json"))
        self.ctl("compact", str(found["header"]["revision"]))

    def _listed(self, prefix: str) -> dict[str, tuple[str, dict[str, int]]]:
        below = f"{prefix}/subnets/"
        keys = self.ctl("get", "--prefix", "--keys-only", "--", below).split()
        found: dict[str, tuple[str, dict[str, int]]] = {}
        for key in keys:
            told = json.loads(self.ctl("get", "--write-out=json", "--", key))
            for kv in told.get("kvs", []):
                numbers = {
                    name: int(kv.get(name, 0)) for name in ("lease", "mod_revision", "create_revision", "version")
                }
                found[key.removeprefix(below)] = (self.value(key), numbers)
        return found


@dataclass
class Flannel:
    """One flanneld and the containers behind it. Several on a host: with prefixes of their own, and names of their own."""

    lab: Lab
    name: str
    registry: Registry
    prefix: str
    tag: str = "net"
    masquerade: bool = True
    process: Process | None = None
    _given: int = field(default=1)
    _containers: list[str] = field(default_factory=list)

    @property
    def host(self) -> Inside:
        return self.lab.host(self.name)

    @property
    def log(self) -> Path:
        return self.lab.host(self.name).own / f"flanneld-{self.tag}.log"

    def start(self, *options: str) -> Flannel:
        """Returns when it has a lease, and the bridge stands."""
        self.host.must("forwarding", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        words = ["--etcd-endpoint", self.registry.address, "--etcd-prefix", self.prefix, "--iface", "eth0"]
        words += ["--subnet-file", self.env_file, *(["--ip-masq"] if self.masquerade else []), *options]
        program = ["env", f"PYTHONPATH={_TESTS}", sys.executable, "-m", "support.flanneld", *words]
        before = self.said().count("lease ")
        self.process = self.host.detach(program, self.log)
        until(lambda: self.said().count("lease ") > before or not self.alive, 20, lambda: f"a lease: {self.said()}")
        assert self.alive, self.said()
        if self._bridged():
            return self
        gateway = f"{self.subnet.network_address + 1}/{self.subnet.prefixlen}"
        self._batch(
            f"link add {self.bridge} mtu {self.mtu} type bridge",
            f"addr add {gateway} dev {self.bridge}",
            f"link set {self.bridge} up",
        )
        return self

    @property
    def bridge(self) -> str:
        return f"cni-{self.tag}"

    @property
    def env_file(self) -> str:
        return f"/run/flannel/{self.tag}.env"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """-9, as a crash does; what it has made stays."""
        assert self.process is not None and self.process.signal(signal.SIGKILL)
        assert self.process.wait(10)

    def leave(self) -> None:
        """For good: its containers too. What flanneld itself has made stays."""
        self.kill()
        names = [f"netns del {name}" for name in self._containers]
        self._batch(*names, f"link del {self.bridge}")
        self._containers.clear()

    def renew(self) -> None:
        """As it does an hour before the lease ends."""
        before = self.said().count("lease renewed")
        assert self.process is not None and self.process.signal(signal.SIGUSR1)
        until(lambda: self.said().count("lease renewed") > before, 10, "a renewal")

    @property
    def env(self) -> dict[str, str]:
        """What it has written down for whoever makes containers."""
        lines = self.host.must("subnet.env", ["cat", self.env_file]).splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Interface(self.env["FLANNEL_SUBNET"]).network

    @property
    def mtu(self) -> int:
        return int(self.env["FLANNEL_MTU"])

    @property
    def public_ip(self) -> str:
        return str(self.lab.topology.place(self.name).addresses[0].ip)

    def container(self, name: str) -> Plain:
        """A namespace with a veth to the bridge."""
        self._given += 1
        address = self.subnet.network_address + self._given
        port = f"{self.tag}{self._given}"
        self._batch(
            f"netns add {name}",
            f"link add {port} mtu {self.mtu} master {self.bridge} type veth peer name eth0 mtu {self.mtu} netns {name}",
            f"link set {port} up",
        )
        lines = ["link set lo up", "link set eth0 up", f"addr add {address}/{self.subnet.prefixlen} dev eth0"]
        lines.append(f"route add default via {self.subnet.network_address + 1}")
        self._batch(*lines, within=("-n", name))
        self._containers.append(name)
        return Plain(name, self.name, self.lab.host(self.name).container(name), address)

    def _bridged(self) -> bool:
        return self.host.run(["ip", "link", "show", "dev", self.bridge]).returncode == 0

    def _batch(self, *lines: str, within: Sequence[str] = ()) -> None:
        self.host.must("plain Linux", ["ip", *within, "-batch", "-"], input="\n".join(lines))


@dataclass(frozen=True)
class Plain:
    """A container that is not Weft's."""

    name: str
    host: str
    inside: Inside
    ip: IPv4Address

    def address(self, family: int) -> str:
        assert family == 4
        return str(self.ip)
