"""Hosts with an overlay network and a service in it, whose connections a balancer of choice spreads, put into real kernels'
namespaces as the agent would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import lab
from support.answering import CLIENT, SERVER
from support.namespaces import Home
from support.routed import Host, Router
from weft.compile import services
from weft.datapaths.driver import gather
from weft.datapaths.registry import DRIVERS
from weft.hoststate.union import Source
from weft.model import Location
from weft.services.index import Member, State
from weft.services.model import Service

DRIVER = DRIVERS["overlay"]


class Scene:
    """`placed`: the containers on each host, a letter each. `states`: of those that are members; all that are not in there
    are "out". Use it as `with scene:`."""

    def __init__(
        self, home: Home, run: Path, patch: pytest.MonkeyPatch, balancer: str, placed: Mapping[str, str]
    ) -> None:
        self._patch, self._run, self.states = patch, run, dict[str, State]()
        self._last: tuple[Service, dict[str, State]] | None = None
        options = {"vni": 300, "balancer": balancer}
        net, router = lab.network("overlay", (4, 6), internal=True, options=options), Router(home)
        self.hosts: list[Host] = []
        for name, containers in placed.items():
            self._named(run / name)
            host = Host(home, router, name, net, run / name, run / name / "named")
            self.hosts.append(host)
            for container in containers:
                host.attach(container, ord(container))
        for host in self.hosts:
            for other in self.hosts:
                if other is not host:
                    host.knows(other)
        self.containers = {name: ns for host in self.hosts for name, ns in host.containers.items()}
        self.located = {
            name: Location(node=host.name, mac=ep.mac, addresses=tuple(a.ip for a in ep.addresses), name=name)
            for host in self.hosts
            for name, ep in host.endpoints.items()
        }

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.close()
        for folder in self._run.glob("*/named"):
            for path in (*folder.glob("*"), folder):
                subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)

    def _named(self, run: Path) -> None:
        """Where a host has its own namespaces, as /run/netns is the whole machine's."""
        self._patch.setattr("weft.hoststate.links.NAMED", f"{run / 'named'}/")

    def service(self, service: Service, **states: State) -> None:
        """As it is from now on, with these members in another state. Converges."""
        self.states |= states
        if (service, self.states) == self._last:
            return
        self._last = service, dict(self.states)
        there = [Member(n, self.located[n], state) for n, state in self.states.items() if state != "out"]
        for host in self.hosts:
            self._named(host.run)
            at = DRIVER.balancer(host.site)
            assert at is not None
            own = services.answer(host.site, at, services.virtual(service, there, host.name))
            found = [*services.common(host.site, at), *own]
            host.want(Source("service", "blue", service.name), gather(found))
            self._locations(host)
            host.converge()
            for endpoint in host.endpoints.values():  # as members have it (weft.compile.endpoint)
                self.inside(host, f"bridge link set dev {endpoint.host_interface} hairpin on")

    def _locations(self, host: Host) -> None:
        for name, there in self.located.items():
            if there.node != host.name:
                found = DRIVER.location(host.site, lab.node(there.node), there)
                host.want(Source("location", "blue", name), gather(found))

    def namespace(self, host: Host) -> str:
        """The path of the network's own."""
        return f"{host.run}/named/weft-blue"

    def inside(self, host: Host, line: str) -> str:
        """The output of a command there."""
        return str(host.ns.run("nsenter", f"--net={self.namespace(host)}", *line.split()))

    def ask(self, client: str, *targets: str) -> list[list[str] | str]:
        """As `support.answering.ask`."""
        script = [sys.executable, "-SIc", CLIENT, *targets]
        found: list[list[str] | str] = json.loads(self.containers[client].run(*script))
        return found

    def counted(self, client: str, target: str, number: int) -> Counter[str]:
        """Who answered so many times, or what kind of failure there was."""
        return Counter(said if isinstance(said, str) else said[0] for said in self.ask(client, *[target] * number))


@contextmanager
def served(scene: Scene, names: str, *ports: str) -> Iterator[None]:
    """Each of these containers answers at PROTOCOL/PORT, as `support.answering.serving` has it."""
    programs = []
    try:
        for name in names:
            command = ["nsenter", f"--net={scene.containers[name].path}", sys.executable, "-SIc", SERVER, name, *ports]
            programs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for program in programs:
            assert program.stdout and program.stdout.readline() == "ready\n"
        yield
    finally:
        for program in programs:
            program.terminate()
            program.communicate()
