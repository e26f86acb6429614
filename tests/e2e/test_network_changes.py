"""Networks change while containers are in them, with traffic: what is forbidden ends at once, what is not loses nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path as File

import pytest

from support.reach import OUTSIDE, Container, client, make_network, namespaces, run_everywhere, shown, weft
from support.snapshot import difference, snapshot
from support.talk import HELD, Held, Path, Server
from support.traffic import Pair, Traffic
from support.waiting import until
from weft.api import types as t
from weft.lab import Lab

SECONDS = 1.0
"""After which nothing of what is forbidden may get through any more."""


def ns(lab: Lab, host: str, container: str = "") -> str:
    holder = f"/proc/{lab.host(host).holder.pid}"
    return f"{holder}/root/run/netns/{container}" if container else f"{holder}/ns/net"


class Scene:
    """`red` reaches `green`, both VXLAN, masqueraded. `red` has containers on two hosts. Connections from one on node-1 lead
    to `green` on both hosts, to outside, and to `red` itself on node-2."""

    def __init__(self, lab: Lab, undo: ExitStack) -> None:
        self.lab, self.undo = lab, undo
        make_network(lab, "red", "vxlan", "10.71.0.0/16", "fd71::/48", reach="green")
        make_network(lab, "green", "vxlan", "10.72.0.0/16", "fd72::/48", reach="red")
        self.inside: list[Container] = run_everywhere(lab, "red", ("node-1", "node-2"))
        self.paths: dict[str, Path] = {}
        self.servers: dict[str, Server] = {}
        self._container("node-1", "red", "caller")
        for host, network in (("node-1", "green"), ("node-2", "green"), ("node-2", "red")):
            name = f"{network}-{host[-1]}-server"
            for address in self._container(host, network, name).addresses:
                self._path(f"{name}, IPv{address.version}", ns(lab, host, name), str(address.ip))
        self._path("outside", ns(lab, "outside"), OUTSIDE[4])

    def _container(self, host: str, network: str, name: str) -> t.EndpointInfo:
        namespaces(self.lab.host(host), [name])
        return client(self.lab, host).attach(t.Attach(target=name, network=network, name=name))

    def _path(self, name: str, server: str, address: str) -> None:
        if server not in self.servers:
            self.servers[server] = self.undo.enter_context(closing(Server(server)))
        self.paths[name] = Path(
            name, ns(self.lab, "node-1", "caller"), self.servers[server], address, 0, name == "outside"
        )

    def open(self) -> dict[str, Held]:
        found = {name: self._open(path) for name, path in self.paths.items()}
        assert all(held.passes() for held in found.values())
        return found

    def _open(self, path: Path) -> Held:
        made: list[Held] = []

        def opens() -> bool:  # networks have just come to reach each other
            try:
                made.append(path.held(HELD[0]))
            except OSError:
                return False
            return True

        until(opens, 20, path.name)
        return made[0]


@pytest.fixture(scope="module")
def scene(lab: Lab) -> Iterator[Scene]:
    with ExitStack() as undo:
        yield Scene(lab, undo)


@pytest.mark.parametrize(
    ("change", "back", "ends"),
    [
        ("-O reach=self", "-O reach=green", ("green",)),
        ("-O reach=self --internal", "--no-internal -O reach=green", ("green", "outside")),
    ],
)
def test_open_connections_end_that_are_forbidden(
    scene: Scene, tmp_path: File, change: str, back: str, ends: tuple[str, ...]
) -> None:
    one, other = scene.inside
    held = scene.open()
    doomed = {name for name in held if name.startswith(ends)}
    assert doomed and doomed != set(held)
    with Traffic(tmp_path, [Pair(one.inside, other.inside, str(other.address(4)))]) as traffic:
        done = weft(scene.lab, "node-1", "network", "set", "red", *change.split())
        assert done.returncode == 0, done
        returned = time.monotonic()
        for first in (False, True):
            alive = {name for name in sorted(held) if held[name].passes(server_first=first, seconds=SECONDS / 5)}
            assert alive == set(held) - doomed, f"{time.monotonic() - returned:.2f} s after"
        traffic.flows()
        assert traffic.lost() == 0
        assert weft(scene.lab, "node-1", "network", "set", "red", *back.split()).returncode == 0
    for each in held.values():
        each.close()
    for each in scene.open().values():  # and all is open again
        each.close()


def test_what_stays_allowed_loses_nothing_and_back_is_as_before(scene: Scene, tmp_path: File) -> None:
    """VXLAN, from host to host. Interfaces in containers and the hosts' devices have the MTU that was asked for."""
    one, other = scene.inside
    hosts = [scene.lab.host(name) for name in ("node-1", "node-2")]

    def change(words: str) -> None:
        done = weft(scene.lab, "node-1", "network", "set", "red", *words.split())
        assert done.returncode == 0, done

    def mtus() -> set[int]:
        """Of the containers' interfaces."""
        return {link["mtu"] for each in scene.inside for link in shown(each.inside, "ip -j link show eth0")}

    def narrow() -> list[int]:
        """How many devices of each host have 1300 octets: tunnel, bridge, and the container's other end."""
        return [sum(link["mtu"] == 1300 for link in shown(host, "ip -j link")) for host in hosts]

    before = [snapshot(host) for host in hosts]
    usual = mtus()
    with Traffic(tmp_path, [Pair(one.inside, other.inside, str(other.address(4)))]) as traffic:
        change("--mtu 1300")
        until(lambda: mtus() == {1300} and min(narrow()) >= 3, 5, lambda: f"1300: {mtus()}, {narrow()}")
        for there, back in (("--label tier=web", "--label tier-"), ("-O masquerade=false", "-O masquerade-")):
            change(there)
            traffic.flows()
            change(back)
        change("-O spoofing=allow -O dns=off")
        traffic.flows()
        change("-O spoofing- -O dns- --mtu auto")
        until(lambda: mtus() == usual and max(narrow()) == 0, 5, lambda: f"{usual}: {mtus()}, {narrow()}")
        traffic.flows()
        assert traffic.lost() == 0

    def differences() -> str:
        return "\n".join(difference(was, snapshot(host)) for was, host in zip(before, hosts, strict=True)).strip()

    until(lambda: not differences(), 5, differences)
