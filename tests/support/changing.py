"""A service in a lab whose members change under load: members that say who they are, and clients that count what fails."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from support import calls
from support.calls import ANSWER, HEALTH, KEPT, Outcome
from support.reach import NODES, client, make_network, namespaces
from support.waiting import until
from weft.api import services as s
from weft.api import types as t
from weft.base.errors import NotFound
from weft.kernel.plumbing import netns
from weft.lab import Lab
from weft.lab.inside import Inside, InsideProcess
from weft.services.model import Health, ServicePort

QUICK = Health(kind="http", port=HEALTH, interval=0.2, timeout=2.0, fall=2)
_ENTRY = re.compile(r"^tcp\s+6 (\d+) ESTABLISHED .*?sport=(\d+) ", re.MULTILINE)


@dataclass
class Member:
    """`pid`: of its server, in the host's pid namespace."""

    name: str
    host: str
    endpoint: t.EndpointInfo
    process: InsideProcess


@dataclass
class Kept:
    """An open connection. `member`: who took it."""

    member: str
    client: socket.socket

    def passes(self) -> bool:
        said = str(time.monotonic_ns()).encode()
        try:
            self.client.sendall(said)
            heard = b""
            while len(heard) < len(said) and (more := self.client.recv(100)):
                heard += more
        except OSError:
            return False
        return heard == said

    @property
    def port(self) -> int:
        return int(self.client.getsockname()[1])


class World:
    """A network with the service `web`. Members and clients are called NETWORK-NAME. `undo` takes all of it away, also
    what there is of it where this fails."""

    def __init__(self, lab: Lab, network: str, driver: str, number: int, undo: ExitStack) -> None:
        self.lab, self.network, self._undo = lab, network, undo
        self.members: dict[str, Member] = {}
        subnets = f"10.{number}.0.0/16", f"fd00:{number}::/48" if driver == "routed" else f"fd00:{number}::/56"
        undo.callback(self._take_away)
        make_network(lab, network, driver, *subnets)
        self.service = client(lab, "node-1").create_service(
            s.CreateService(
                name="web",
                network=network,
                select="app=web",
                ports=(ServicePort(port=ANSWER), ServicePort(port=KEPT)),
                health=QUICK,
                drain=600,
            )
        )

    def _take_away(self) -> None:
        with suppress(NotFound):
            client(self.lab, "node-1").remove_network(self.network, force=True)
        for host in NODES:
            there = self.lab.host(host)
            for name in there.containers():
                if name.startswith(f"{self.network}-"):
                    there.run(["ip", "netns", "del", name], check=True)

    @property
    def ref(self) -> str:
        return f"{self.network}/web"

    def address(self, family: int) -> str:
        return next(str(a) for a in self.service.service.addresses if a.version == family)

    # Members.

    def attached(self, name: str, host: str, labels: dict[str, str]) -> t.EndpointInfo:
        """Clients have the same name on each host: what they are called in the network differs."""
        full = f"{self.network}-{name}"
        namespaces(self.lab.host(host), [full])
        self.lab.host(host).run(["ip", "-n", full, "link", "set", "lo", "up"], check=True)
        return client(self.lab, host).attach(t.Attach(target=full, network=self.network, labels=labels))

    def joined(self, name: str, host: str) -> Member:
        """A new member; its server runs before anybody is told of it."""
        found = self.attached(name, host, {"app": "web"})
        process = self.inside(name, host).popen([sys.executable, "-S", calls.__file__, "serve", name])
        self._undo.callback(_end, process)
        assert process.stdout and process.stdout.readline() == "listening\n"
        self.members[name] = Member(name, host, found, process)
        return self.members[name]

    def label(self, name: str, *, member: bool) -> None:
        """Makes it a member, or none any more."""
        change = t.Label(labels={"app": "web"}) if member else t.Label(remove=("app",))
        client(self.lab, "node-1").label(self.members[name].endpoint.id, change)

    def says(self, name: str, how: signal.Signals) -> None:
        """From now on its health check is answered with 503 (SIGUSR1) or 200 (SIGUSR2)."""
        self.members[name].process.send_signal(how)

    def killed(self, name: str) -> None:
        """Its server."""
        _end(self.members[name].process)

    def drain(self, name: str, *, back: bool = False, by: str = "node-1") -> None:
        """`by`: whose agent does it."""
        client(self.lab, by).drain(self.ref, s.Drain(member=self.members[name].endpoint.id, back=back))

    def answers(self, name: str) -> None:
        """It has answered all that came before: it does so in their order."""
        member = self.members[name]

        def ask() -> bytes:
            with socket.create_connection((str(member.endpoint.addresses[0].ip), ANSWER), timeout=10) as made:
                return made.recv(100)

        assert netns.call(self.path("client", "node-1"), ask).decode() == name

    def removed(self, name: str) -> None:
        member = self.members.pop(name)
        client(self.lab, member.host).detach(f"{self.network}-{name}")
        _end(member.process)
        self.lab.host(member.host).run(["ip", "netns", "del", f"{self.network}-{name}"], check=True)

    def states(self, host: str = "node-1") -> dict[str, str]:
        """By members' names, as a host's agent knows them."""
        found = client(self.lab, host).service(self.ref).members
        return {m.name.removeprefix(f"{self.network}-"): m.state for m in found}

    def until(self, **states: str) -> None:
        """Members are just these, in these states, to all agents."""
        for host in NODES:
            until(
                lambda h=host: self.states(h) == states,  # type: ignore[misc]
                20,
                lambda h=host: f"{self.network}, {h}: {states}, not {self.states(h)}",  # type: ignore[misc]
            )

    def publish(self, *ports: str) -> None:
        """No others of the hosts' ports lead to it."""
        client(self.lab, "node-1").set_service(self.ref, s.SetService(publish=ports))

    # Clients.

    def inside(self, name: str, host: str) -> Inside:
        return self.lab.host(host).container(f"{self.network}-{name}")

    def path(self, name: str, host: str) -> str:
        return f"/proc/{self.lab.host(host).holder.pid}/root/run/netns/{self.network}-{name}"

    def kept(self, host: str, family: int) -> Kept:
        """A connection by the client on that host, whoever takes it."""
        return self.kept_from(self.path("client", host), self.address(family), KEPT)

    def kept_from(self, path: str, address: str, port: int) -> Kept:
        def connect() -> socket.socket:
            made = socket.create_connection((address, port), timeout=5)
            made.settimeout(2)
            return made

        made = netns.call(path, connect)
        self._undo.callback(made.close)
        return Kept(made.recv(100).decode().strip(), made)

    def one_of_each(self, host: str, family: int, names: Sequence[str]) -> dict[str, Kept]:
        """A connection that is kept to each of these members."""
        found: dict[str, Kept] = {}
        until(lambda: self._another(found, host, family) >= set(names), 20, f"a connection to each of {names}")
        return {name: found[name] for name in names}

    def _another(self, found: dict[str, Kept], host: str, family: int) -> set[str]:
        made = self.kept(host, family)
        if found.setdefault(made.member, made) is not made:
            made.client.close()
        return set(found)

    def remaining(self, host: str, kept: Kept) -> int:
        """Seconds that conntrack gives a connection that says nothing."""
        space = ["ip", "netns", "exec", f"weft-{self.network}"]
        there = self.lab.host(host).run(["ip", "netns", "list"], check=True).stdout.split()
        words = [*(space if f"weft-{self.network}" in there else ()), "conntrack", "-L", "-p", "tcp"]
        family = ["-f", "ipv6"] if ":" in kept.client.getsockname()[0] else []
        said = self.lab.host(host).run([*words, *family], check=True).stdout
        return max((int(left) for left, port in _ENTRY.findall(said) if int(port) == kept.port), default=0)


def _end(process: InsideProcess) -> None:
    process.kill()
    process.communicate(timeout=10)


class Load:
    """Clients that connect all the time, each so many times a second."""

    def __init__(self, clients: Sequence[tuple[Inside, str, int]], rate: float) -> None:
        """`clients`: where each is, the address and the port that it calls."""
        words = [sys.executable, "-S", calls.__file__, "call"]
        self._running = [(i, i.popen([*words, address, str(port), str(rate)])) for i, address, port in clients]
        self.outcomes: list[Outcome] = []
        self.began = time.monotonic()

    def __enter__(self) -> Load:
        for _, process in self._running:
            assert process.stdout and process.stdout.readline() == "calling\n"
        return self

    def __exit__(self, *_: object) -> None:
        for _, process in self._running:
            process.send_signal(signal.SIGTERM)
        said: list[tuple[Inside, str]] = []
        for inside, process in self._running:
            try:
                said.append((inside, process.communicate(timeout=20)[0]))
            except subprocess.TimeoutExpired:
                process.kill()
        for inside, text in said:
            found: dict[str, Any] = json.loads(text)
            found["failed"] = [(at, f"{inside.name}: {how}") for at, how in found["failed"]]
            self.outcomes.append(Outcome(**found))

    @property
    def failed(self) -> list[tuple[float, str]]:
        return [failure for outcome in self.outcomes for failure in outcome.failed]

    @property
    def made(self) -> int:
        return sum(outcome.all for outcome in self.outcomes)

    @property
    def rate(self) -> float:
        return sum(outcome.all / outcome.seconds for outcome in self.outcomes)

    def by(self, member: str) -> int:
        return sum(outcome.made.get(member, 0) for outcome in self.outcomes)
