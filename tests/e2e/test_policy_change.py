"""Policy that changes under traffic: nothing is refused that is allowed before and after, nothing passes that is forbidden
before and after, and open connections go on or end as the new policy says. On a bridge, routed, through an overlay, by a
published port; in both families."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import pytest

from support.cluster import Cluster
from support.reach import UNDERLAY, client, make_network, namespaces
from support.talk import HELD, NEVER, ONCE, Flood, Held, Path, Server, each
from support.waiting import note, until
from weft.api import types as t
from weft.lab import Lab
from weft.model import PublishedPort

HOSTS = ("node-1", "node-2")
SECONDS, EVERY = 4.0, 0.1
"""So long policy flips, and so often."""
OFFSET = 8000
DENIED, ALLOWED = HELD
ALL = [*ONCE, *HELD]
PEERS = {"selector": "app == 'client'"}, {"nets": ["10.0.0.0/8", "fd00::/8"]}
OUTSIDE = {"nets": ["203.0.113.0/24", "2001:db8:203::/64", "192.168.0.0/16", "fd00:192:168::/47"]}


def document(name: str, selector: str, direction: str, rules: Sequence[dict[str, Any]]) -> dict[str, Any]:
    spec = {"selector": selector, "types": [direction.capitalize()], direction: list(rules)}
    return {"apiVersion": "weft/v1", "kind": "Policy", "metadata": {"name": name, "namespace": ""}, "spec": spec}


def documents(ports: Sequence[int], version: int = 0) -> list[dict[str, Any]]:
    """Servers take clients at these ports, and clients may send there; said in one of two ways."""
    peer, port = PEERS[version], {"ports": list(ports)}
    refused = [{"action": "Deny", "protocol": "TCP", "destination": {"ports": list(NEVER)}}] * version
    taken = [{"action": "Allow", "protocol": "TCP", "source": it, "destination": port} for it in (peer, OUTSIDE)]
    sent = {"selector": "app == 'server'"} if version else {"nets": ["10.0.0.0/8", "fd00::/8"]}
    sends = {"action": "Allow", "protocol": "TCP", "destination": {**sent, **port}}
    return [
        document("servers", "app == 'server'", "ingress", [*refused, *taken]),
        document("clients", "app == 'client'", "egress", [*refused, sends]),
    ]


class Scene:
    """A client and a server in networks of three kinds; the overlay's are on two hosts."""

    def __init__(self, lab: Lab, undo: ExitStack) -> None:
        self.lab, self.cluster = lab, Cluster(lab)
        make_network(lab, "near", "bridge", "10.61.0.0/16", "fd61::/48")
        make_network(lab, "flat", "routed", "10.62.0.0/16", "fd62::/48")
        make_network(lab, "wide", "overlay", "10.63.0.0/16", "fd63::/64")
        self.paths: list[Path] = []
        for network, host in (("near", "node-1"), ("flat", "node-1"), ("wide", "node-2")):
            source = self._container("node-1", network, "client")
            found = self._container(host, network, "server")
            server = undo.enter_context(closing(Server(self._ns(host, f"{network}-server"))))
            for address in found.addresses:
                name = f"{network}, IPv{address.version}"
                self.paths.append(Path(name, self._ns("node-1", source.name), server, str(address.ip)))
            if network == "near":
                outside = self._ns("outside")
                for family in (4, 6):
                    address = UNDERLAY["node-1"][family]
                    self.paths.append(Path(f"published, IPv{family}", outside, server, address, OFFSET))

    def _container(self, host: str, network: str, app: str) -> t.EndpointInfo:
        name = f"{network}-{app}"
        namespaces(self.lab.host(host), [name])
        ports = [PublishedPort(host_port=port + OFFSET, container_port=port, protocol="tcp") for port in (*ALL, *NEVER)]
        return client(self.lab, host).attach(
            t.Attach(
                target=name,
                network=network,
                name=name,
                labels={"app": app},
                ports=tuple(ports) if (network, app) == ("near", "server") else (),
            )
        )

    def _ns(self, host: str, container: str = "") -> str:
        holder = f"/proc/{self.lab.host(host).holder.pid}"
        return f"{holder}/root/run/netns/{container}" if container else f"{holder}/ns/net"

    def apply(self, found: Sequence[dict[str, Any]], *, wait: bool = True) -> None:
        """`wait`: until all hosts enforce it."""
        sources = tuple(t.PolicySource(place="test", document=document) for document in found)
        client(self.lab, "node-1").apply_policies(t.ApplyPolicies(documents=sources, wait=wait))

    def open(self, port: int) -> list[Held]:
        return [path.held(port) for path in self.paths]


@pytest.fixture(scope="module")
def scene(lab: Lab) -> Iterator[Scene]:
    with ExitStack() as undo:
        made = Scene(lab, undo)
        made.apply(documents(ALL))
        yield made


@pytest.fixture(autouse=True)
def opened(scene: Scene) -> None:
    scene.apply(documents(ALL))
    assert _shut(scene) == []


def _shut(scene: Scene) -> list[str]:
    shut = []
    for path in scene.paths:
        try:
            path.held(ALLOWED).close()
        except OSError as error:
            shut.append(f"{path.name} ({error})")
    return shut


def ended(some: list[Held], *, server_first: bool = False) -> None:
    """Waits for it."""

    def alive() -> list[str]:
        return each(some, lambda held: not held.passes(server_first=server_first))

    until(lambda: not alive(), 5, lambda: f"the end of {alive()}")


def dead(held: Held) -> bool:
    return not held.passes() and not held.passes(server_first=True)


def test_policy_flips_and_no_connection_notices(scene: Scene) -> None:
    writes = [scene.cluster.metric(host, "weft_kernel_writes_total") for host in HOSTS]
    began, flips, pause = time.monotonic(), 0, threading.Event()
    with ExitStack() as stack:
        floods = [stack.enter_context(Flood(path, ONCE[0], 3)) for path in scene.paths]
        probes = [stack.enter_context(Flood(path, NEVER[0], 0.3)) for path in scene.paths]
        while time.monotonic() - began < SECONDS:
            flips += 1
            scene.apply(documents([*ALL, 1000 + flips % 7], version=flips % 2), wait=False)
            pause.wait(max(0.0, began + flips * EVERY - time.monotonic()))
        stack.close()
    made = sum(flood.made for flood in floods)
    note(f"{flips} flips in {SECONDS:g} s, {made / SECONDS:.0f} connections a second on {len(floods)} paths")
    assert [line for flood in floods for line in flood.failed] == []
    assert min(flood.made for flood in floods) > 20 and made > 200 * SECONDS
    assert flips > 5 * SECONDS
    assert [flood.made for flood in probes] == [0] * len(probes) and all(len(flood.failed) > 3 for flood in probes)
    assert not any(path.server.wrong for path in scene.paths)
    after = [scene.cluster.metric(host, "weft_kernel_writes_total") for host in HOSTS]
    assert all(now - before > flips for before, now in zip(writes, after, strict=True)), "policy came to the kernel"


def test_open_connections_end_or_go_on(scene: Scene) -> None:
    """Whoever speaks first, also without an agent, with another one, and when somebody empties conntrack."""
    orders = {first: (scene.open(DENIED), scene.open(ALLOWED)) for first in (False, True)}
    everything = [held for pair in orders.values() for some in pair for held in some]
    with ExitStack() as undo:
        for held in everything:
            undo.callback(held.close)
        assert each(everything, Held.passes) == []
        scene.apply(documents([*ONCE, ALLOWED]))
        began = time.monotonic()
        for first, (denied, allowed) in orders.items():
            ended(denied, server_first=first)
            assert each(allowed, lambda h, f=first: h.passes(server_first=f)) == []  # type: ignore[misc]
        note(f"forbidden connections of {len(scene.paths)} paths ended within {time.monotonic() - began:.1f} s")
        denied, allowed = ([held for pair in orders.values() for held in pair[n]] for n in (0, 1))
        for host in HOSTS:
            scene.cluster.end(host, signal.SIGKILL)
        assert (each(denied, dead), each(allowed, Held.passes)) == ([], [])
        for host in HOSTS:
            scene.cluster.start(host)
        scene.cluster.settled(HOSTS)
        assert (each(denied, dead), each(allowed, Held.passes)) == ([], [])
        for host in HOSTS:
            scene.cluster.sh(
                host,
                "for n in '' $(ip netns list | grep -o '^weft-[a-z]*'); do ${n:+ip netns exec $n} conntrack -F; done",
            )
        assert each(denied, dead) == []


def test_an_agent_that_was_away_ends_what_is_forbidden_meanwhile(scene: Scene) -> None:
    scene.cluster.end("node-2", signal.SIGKILL)
    paths = [path for path in scene.paths if path.name.startswith("wide")]
    held = [path.held(DENIED) for path in paths]
    with ExitStack() as undo:
        for one in held:
            undo.callback(one.close)
        servers = documents([*ONCE, ALLOWED])[:1]
        scene.apply(servers)
        assert each(held, Held.passes) == [], "only the server's own host judges what it takes"
        scene.cluster.start("node-2")
        ended(held)


def test_a_label_that_changes_counts_on_the_other_host(scene: Scene) -> None:
    """The client's, on node-1, changed by the server's host: that takes it no more, and ends what is open."""
    paths = [path for path in scene.paths if path.name.startswith("wide")]
    held = [path.held(ALLOWED) for path in paths]
    with ExitStack() as undo:
        for one in held:
            undo.callback(one.close)
        client(scene.lab, "node-2").label("wide-client", t.Label(labels={"app": "nobody"}))
        undo.callback(client(scene.lab, "node-1").label, "wide-client", t.Label(labels={"app": "client"}))
        ended(held)
        until(lambda: len(_shut(scene)) == len(paths), 5, lambda: f"{_shut(scene)} to be all that is shut")
    until(lambda: not _shut(scene), 5, lambda: f"{_shut(scene)} to be open again")
