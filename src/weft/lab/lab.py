"""A lab as Python sees it.

with Lab.up(reference(), name="mine", store="etcd") as lab:
    lab.host("node-1").run(["ping", "-c1", "192.168.0.33"], check=True)
    lab.run("node-1", "c1", network="web")
    lab.host("node-1").container("c1").popen(["tcpdump", "-i", "eth0"])
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import msgspec

from weft.base.errors import Conflict, Denied, Failed, NotFound, Unsupported, WeftError
from weft.base.names import check_name
from weft.client import Client
from weft.lab import build, daemons, mesh, state
from weft.lab.daemons import Agent, Etcd
from weft.lab.host import Container, Host
from weft.lab.inside import ENVIRONMENT, Inside, complaint
from weft.lab.state import LabState
from weft.lab.topology import ROUTER, Place, Topology, reference

DEFAULT = "default"
"""The lab's name when none is given."""
WEFT = (sys.executable, "-m", "weft")
_END_SECONDS = 20.0
_CRASHED_SECONDS = 5.0  # for what is left of a crashed lab to end by itself

AgentCommand = Callable[[str, str], Sequence[str]]
"""(host, store URL) -> the agent's command line."""
Progress = Callable[[str], None]


def agent_command(host: str, url: str) -> Sequence[str]:
    return [*WEFT, "agent", "run", "--node", host, "--store", url, "--iface", build.UPLINK]


def _declared(place: Place) -> Iterator[str]:
    """What the topology says about a host as a node, for its agent."""
    yield from (f"--label={key}={value}" for key, value in sorted(place.labels.items()))
    if place.asn:
        yield f"--asn={place.asn}"


class Lab:
    """A living lab. Make one with `up`, find one with `open`."""

    def __init__(self, directory: Path, kept: LabState) -> None:
        if kept.init is None:
            raise NotFound(f"lab '{directory.name}' is not complete: `weft lab down` clears it away")
        self.directory = directory
        self.name = directory.name
        self.topology = kept.topology
        self.store = kept.store
        self.init = kept.init
        self.fabric = Inside("the lab's fabric", kept.init, kept.init, directory)
        self.hosts = {
            n: Host(n, kept.holders[n], kept.init, directory) for n in kept.topology.names() if n in kept.holders
        }
        self.agent_command: AgentCommand = agent_command
        self.weft: Sequence[str] = WEFT

    # ------------------------------------------------------------------------------------------------ up and down

    @classmethod
    def up(
        cls,
        topology: Topology | None = None,
        *,
        name: str = DEFAULT,
        store: str = "sqlite",
        agents: bool = True,
        command: AgentCommand = agent_command,
        progress: Progress = lambda step: None,
    ) -> Lab:
        """A complete lab, or an error and nothing left behind.

        `command` says how an agent is started. `progress` is told each step before it is begun.
        Raises Conflict (it is up), Invalid, Denied, Unsupported, Failed.
        """
        topology = topology or reference()
        directory = _directory(name)
        url = daemons.store_url(store, topology, directory)
        if store in ("etcd", "mesh") and shutil.which("etcd") is None:
            raise Unsupported("etcd is not installed: `apt install etcd-server`, or use --store sqlite")
        state.check_directory(directory, topology.names())
        lock = state.claim(directory, 0 if _lives(directory) else _CRASHED_SECONDS)
        with ExitStack() as undo:
            undo.callback(take_down, name)
            try:
                progress("namespaces")
                kept = LabState(topology=topology, store=url)
                state.prepare(directory, kept)
                mesh.prepare(directory, url)
                fabric = build.start(directory, lock)
            finally:
                os.close(lock)  # init has it now, and whoever clears up needs it
            undo.callback(os.close, fabric.pipe)
            lab = _built(directory, msgspec.structs.replace(kept, init=fabric.init), progress)
            lab.agent_command = command
            lab._start_daemons(agents, progress)
            progress("complete")
            complete = msgspec.structs.replace(state.read(directory / "state.json", LabState), complete=True)
            state.save(directory / "state.json", complete)
            undo.pop_all()
        fabric.keep()
        return lab

    @classmethod
    def open(cls, name: str = DEFAULT) -> Lab:
        """The lab of this name that is up. Raises NotFound, Denied (from within a lab)."""
        directory = _directory(name)
        kept = state.load(directory)
        if kept is None or not kept.alive:
            up = f"weft lab up{'' if name == DEFAULT else f' --name {name}'}"
            raise NotFound(f"no lab '{name}' is up: start it with `{up}`")
        return cls(directory, kept)

    def down(self) -> None:
        take_down(self.name)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _start_daemons(self, agents: bool, progress: Progress) -> None:
        etcd = self.etcd()
        if etcd:
            progress("etcd")
            etcd.start()
            etcd.wait_ready()
        if agents:
            progress("agents")
            started = [self.agent(place.name) for place in self.topology.hosts]
            for agent in started:
                agent.start()
            for agent in started:
                progress(f"agent of {agent.inside.name}")
                agent.wait_ready(ready=agent.connected if mesh.is_mesh(self.store) else None)

    # ------------------------------------------------------------------------------------------------- its parts

    def host(self, name: str) -> Host:
        """Raises NotFound."""
        try:
            return self.hosts[name]
        except KeyError:
            raise NotFound(f"no host '{name}' in lab '{self.name}': it has {', '.join(self.hosts)}") from None

    def inside(self, target: str) -> Inside:
        """HOST or HOST/CONTAINER. Raises NotFound."""
        host, _, container = target.partition("/")
        return self.host(host).container(container) if container else self.host(host)

    def agent(self, host: str) -> Agent:
        """Raises NotFound."""
        place = self.host(host)
        if host not in {h.name for h in self.topology.hosts}:
            nodes = ", ".join(h.name for h in self.topology.hosts)
            raise NotFound(f"{host} runs no agent: those with one are {nodes}")
        command = (*self.agent_command(host, self.store), *_declared(self.topology.place(host)), *self._secret())
        return Agent("agent", place, place.own, command, place.socket)

    def _secret(self) -> Iterator[str]:
        """Where agents find what they share, if the store is theirs."""
        if mesh.is_mesh(self.store):
            yield f"--mesh-secret={mesh.secret_file(self.directory)}"

    def etcd(self) -> Etcd | None:
        if not self.store.startswith("etcd://"):
            return None
        return daemons.etcd(self.host(ROUTER), self.directory, self.store)

    def need_etcd(self) -> Etcd:
        """Raises NotFound."""
        etcd = self.etcd()
        if etcd is None:
            raise NotFound(f"lab '{self.name}' has no etcd: bring it up with `weft lab up --store etcd`")
        return etcd

    # --------------------------------------------------------------------------------------------- what it can do

    def link(self, host: str, up: bool, *, cable: bool = False) -> None:
        """Takes a host's uplink down, as an administrator does or (`cable`) by loss of carrier; or brings it back.

        Bringing it back restores its addresses and routes, which the kernel drops when an administrator takes it down.
        """
        place = self.topology.place(self.host(host).name)
        if not up and not cable:
            self.host(host).must("link down", ["ip", "link", "set", build.UPLINK, "down"])
            return
        self.fabric.must("link", ["ip", "link", "set", build.port(host), "up" if up else "down"])
        if up:
            build.configure_uplink(self.host(host), self.topology, place)

    def run(self, host: str, name: str, *, network: str, ip: Sequence[str] = ()) -> None:
        """A container: a named network namespace in the host, attached to `network`. All or nothing.

        Raises Conflict (the name is taken), NotFound, Failed: what `weft attach` said.
        """
        place = self.host(host)
        if check_name("container", name) in place.containers():
            raise Conflict(
                f"{host} already has a container '{name}': choose another name or `weft lab rm {host} {name}`"
            )
        record = place.own / "containers" / name
        wished = [word for address in ip for word in ("--ip", address)]
        with ExitStack() as undo:
            place.must("container", ["ip", "netns", "add", name])
            undo.callback(place.run, ["ip", "netns", "del", name])
            place.must("container", ["ip", "-n", name, "link", "set", "lo", "up"])
            state.save(record, Container(network))
            undo.callback(record.unlink)
            self._weft(place, ["attach", name, "--network", network, *wished, *_dns(place, network)])
            undo.pop_all()

    def rm(self, host: str, name: str) -> None:
        """Detaches a container and removes it with its processes. When detaching fails the rest is done all the same.

        Raises NotFound, Failed.
        """
        place = self.host(host)
        container = place.container(name)
        with ExitStack() as rest:
            rest.callback(place.must, "container", ["ip", "netns", "del", container.within[-1]])
            rest.callback(place.run, ["bash", "-c", 'ip netns pids "$1" | xargs -r kill -KILL', "-", name])
            with suppress(FileNotFoundError):
                (place.own / "containers" / name).unlink()
            with suppress(NotFound):  # it was never attached, or is detached already
                self._weft(place, ["detach", name])

    def network_of(self, host: str, container: str) -> str | None:
        """What `run` attached it to; None for a namespace that was made by other means."""
        try:
            return state.read(self.host(host).own / "containers" / container, Container).network
        except FileNotFoundError:
            return None

    def _weft(self, place: Host, words: Sequence[str]) -> None:
        result = place.run([*self.weft, *words], timeout=60)
        if result.returncode:
            said = complaint(result.stderr).removeprefix("weft: ") or f"exit status {result.returncode}"
            kind = NotFound if result.returncode == NotFound.exit_status else Failed
            raise kind(f"{place.name}: {said}")


def _dns(place: Host, network: str) -> Iterator[str]:
    """What makes commands in a container ask for names, where its network has them, and /etc is the host's own."""
    with suppress(WeftError):  # there is no such network, or no agent: `weft attach` will say it
        named = Client(str(place.socket)).network(network, brief=True).options.get("dns") == "on"
        if named and place.run(["mountpoint", "-q", "/etc"]).returncode == 0:
            yield "--dns"


def _built(directory: Path, kept: LabState, progress: Progress) -> Lab:
    """The lab without its daemons. What is made is in state.json before the next thing is begun."""
    state.save(directory / "state.json", kept)
    fabric = Lab(directory, kept).fabric
    progress("hosts")
    pids = build.hold(fabric, kept.topology)
    holders = build.holders(fabric.init, pids)
    kept = msgspec.structs.replace(kept, holders=holders)
    state.save(directory / "state.json", kept)
    lab = Lab(directory, kept)
    progress("links")
    build.wire(fabric, lab.hosts, kept.topology, pids)
    return lab


def _directory(name: str) -> Path:
    """Raises Denied within that lab: there its processes have other pids, and it would seem dead."""
    directory = state.directory_of(name)
    if os.environ.get(ENVIRONMENT) == str(directory):
        raise Denied(f"lab '{name}' cannot be led from within: use `weft lab` outside of its hosts")
    return directory


def _lives(directory: Path) -> bool:
    kept = state.load(directory)
    return kept is not None and kept.alive


def take_down(name: str = DEFAULT) -> bool:
    """Ends a lab, complete or not, and removes all of it; whether there was one. Raises Denied, Failed, Conflict."""
    directory = _directory(name)
    if not directory.exists():
        return False
    kept = state.load(directory)
    if kept and kept.init:
        try:
            kept.init.signal(signal.SIGKILL)
        except PermissionError:
            raise Denied(f"lab '{name}' is another account's: take it down as that one, or as root") from None
        if not kept.init.wait(_END_SECONDS):
            raise Failed(f"lab '{name}': process {kept.init.pid} has not ended in {_END_SECONDS:.0f} s: try again")
    state.clear(directory, _CRASHED_SECONDS)
    return True
