"""The lab of a run, and what operations and faults do to it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from chaos.model import FIFO, HOSTS, SPARE, STEADY, Box, published
from weft.api import types as t
from weft.base.errors import Failed, NotFound, WeftError
from weft.client import Client
from weft.lab import Lab, reference
from weft.lab.daemons import Etcd
from weft.lab.lab import WEFT
from weft.lab.process import PROC

RUN = "/run/w"
"""The agents' run directory: on the host's own /run, which is small, so that it can be filled."""
_RUN_SIZE = "4m"
_SETTINGS = f"""
run-dir = "{RUN}"
socket = "/run/weft/weft.sock"
presence-ttl = 10
resync = 20
block-idle = 2
"""
_HOLD_TIME = 9  # of BGP, in seconds
_SCRIPT_SECONDS = 60
_never = threading.Event()


def pause(seconds: float) -> None:
    """For polls, and for how long a fault stays."""
    _never.wait(seconds)


class World:
    """`patience`: seconds that a request to an agent may take."""

    def __init__(self, lab: Lab, folder: Path, patience: float = 10.0) -> None:
        self.lab, self.folder, self.patience = lab, folder, patience

    @classmethod
    def up(cls, name: str, folder: Path) -> World:
        """A lab with the steady networks and containers in it. Raises WeftError."""
        settings = folder / "weft.toml"
        settings.write_text(_SETTINGS)

        def command(host: str, url: str) -> list[str]:
            words = ["--node", host, "--store", url, "--iface", "eth0", "--config", str(settings)]
            return [*WEFT, "agent", "run", *words]

        lab = Lab.up(reference(), name=name, store="etcd", agents=False, command=command)
        try:
            world = cls(lab, folder)
            for host in HOSTS:
                world.sh(host, f"mount -o remount,size={_RUN_SIZE} /run; mkdir {RUN}; mkfifo {FIFO}")
                lab.agent(host).start()
            for host in HOSTS:
                lab.agent(host).wait_ready()
            world._populate()
        except BaseException:
            lab.down()
            raise
        return world

    def _populate(self) -> None:
        first = self.client(HOSTS[0])
        first.set_bgp(t.SetBgp(hold_time=_HOLD_TIME))
        for net in STEADY.nets.values():
            first.create_network(net.as_network())
        for host in HOSTS:
            self.make_namespace(host, SPARE)
        for box in STEADY.boxes.values():
            self.make_namespace(box.host, box.name)
            self._attach_when_known(box)

    def _attach_when_known(self, box: Box) -> None:
        """Its host hears of a network a moment after it was made elsewhere, and has no subnet in it before."""
        request = t.Attach(target=box.name, network=box.net, ports=published(box.port))
        for _ in range(100):
            try:
                self.client(box.host).attach(request)
                return
            except NotFound:
                pause(0.1)
        self.client(box.host).attach(request)

    # Asking.

    def socket(self, host: str) -> str:
        return str(self.lab.host(host).socket)

    def client(self, host: str) -> Client:
        return Client(self.socket(host), timeout=self.patience)

    def endpoint(self, box: Box) -> t.EndpointInfo:
        """As its host knows it. Raises NotFound."""
        found = [e for e in self.client(box.host).endpoints(network=box.net) if e.name == box.name]
        if not found:
            raise NotFound(f"no endpoint {box.name} in {box.net}")
        return found[0]

    def knows_network(self, name: str) -> bool:
        """Whether any host does."""
        return any(net.name == name for host in HOSTS for net in self.client(host).networks())

    # Hosts and containers.

    def sh(self, host: str, script: str) -> str:
        """Raises Failed."""
        try:
            done = self.lab.host(host).run(["bash", "-c", script], timeout=_SCRIPT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{host}: {script[:200]!r}: no end of it within {_SCRIPT_SECONDS} s") from None
        if done.returncode:
            raise Failed(f"{host}: {script[:200]!r}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def namespaces(self, host: str) -> list[str]:
        """All that have names, Weft's own as well."""
        return self.sh(host, "ls /run/netns").split()

    def namespace(self, box: Box) -> str:
        """Its path, as seen from outside of the lab."""
        return str(PROC / str(self.lab.host(box.host).holder.pid) / "root/run/netns" / box.name)

    def make_namespace(self, host: str, name: str) -> None:
        if name not in self.namespaces(host):
            self.sh(host, f"ip netns add {name} && ip -n {name} link set lo up")

    def remove_namespace(self, host: str, name: str) -> None:
        if name in self.namespaces(host):
            self.sh(host, f"ip netns del {name}")

    # Agents.

    def start_agent(self, host: str) -> None:
        agent = self.lab.agent(host)
        agent.start()
        agent.wait_ready()

    def kill_while_starting(self, host: str, pick: int) -> None:
        """Three times, at moments of its start that `pick` says."""
        agent = self.lab.agent(host)
        for number in range(3):
            agent.end(signal.SIGKILL)
            agent.start()
            pause((pick * (number + 1) % 17) / 20)
        self.start_agent(host)

    # etcd.

    @property
    def etcd(self) -> Etcd:
        return self.lab.need_etcd()

    def etcd_end(self, how: signal.Signals) -> None:
        self.etcd.end(how)

    def etcd_start(self) -> None:
        self.etcd.start()
        self.etcd.wait_ready()

    def etcd_signal(self, number: signal.Signals) -> None:
        process = self.etcd.process()
        if process:
            process.signal(number)

    def etcdctl(self, *words: str) -> str:
        return self.lab.host("router").must("etcdctl", ["etcdctl", *words])

    @property
    def _backup(self) -> Path:
        return self.lab.directory / "store/backup"

    def etcd_save(self) -> None:
        self._backup.unlink(missing_ok=True)
        self.etcdctl("snapshot", "save", str(self._backup))

    def etcd_restore(self) -> None:
        """As etcd's documentation says: with an empty data directory."""
        data = self.lab.directory / "store/etcd"
        self.etcd.end(signal.SIGTERM)
        shutil.rmtree(data)
        peer = "http://127.0.0.1:2380"
        cluster = ["--initial-cluster", f"default={peer}", "--initial-advertise-peer-urls", peer]
        self.etcdctl("snapshot", "restore", str(self._backup), "--name", "default", "--data-dir", str(data), *cluster)
        self.etcd_start()

    def etcd_empty(self) -> None:
        """Its data are lost, and it starts anew."""
        self.etcd.end(signal.SIGTERM)
        shutil.rmtree(self.lab.directory / "store/etcd")
        self.etcd_start()

    def restore_from_agents(self) -> None:
        """What an operator does then, as soon as an agent has noticed. Raises WeftError."""
        deadline = time.monotonic() + _SCRIPT_SECONDS
        while True:
            try:
                self.client(HOSTS[0]).restore_store()
                return
            except WeftError:
                if time.monotonic() > deadline:
                    raise
            pause(0.2)

    def recover(self) -> None:
        """Whatever fault was on is over: for the end of a run that failed."""
        for host in HOSTS:
            process = self.lab.agent(host).process()
            if process:
                process.signal(signal.SIGCONT)
        with suppress(Failed):
            self.etcd_signal(signal.SIGCONT)
