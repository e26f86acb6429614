"""Who reaches whom at this moment: a ping from every container to every address of every other, and the published ports."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from chaos import probes
from chaos.model import BEHIND_ROUTER, HOSTS, Box, Model
from chaos.world import World
from weft.base.net import IPAddress
from weft.kernel.plumbing import netns
from weft.lab.process import PROC
from weft.lab.topology import OUTSIDE

_WAIT = 1.0
_TRIES = 3
_FAMILIES = (4, 6)


@dataclass
class _Question:
    source: Box
    target: Box
    address: IPAddress
    wanted: bool
    answered: bool = False

    def __str__(self) -> str:
        a, b = self.source, self.target
        return f"{a.name} ({a.host}, {a.net}) → {b.name} ({b.host}, {b.net}) {self.address}"


def addresses(world: World) -> dict[str, tuple[IPAddress, ...]]:
    """By container."""
    return {e.name: tuple(a.ip for a in e.addresses) for e in world.client(HOSTS[0]).endpoints()}


def reachability(world: World, model: Model) -> Iterator[str]:
    questions = list(_questions(model, addresses(world)))
    sources = {q.source.name: q.source for q in questions}
    sockets = {
        (name, family): probes.open_socket(world.namespace(box), family)
        for name, box in sources.items()
        for family in _FAMILIES
    }
    try:
        for _ in range(_TRIES):
            _ask(sockets, [q for q in questions if q.wanted != q.answered or not q.wanted])
            if all(q.answered for q in questions if q.wanted):
                break
    finally:
        for sock in sockets.values():
            sock.close()
    for q in questions:
        if q.wanted != q.answered:
            yield f"no answer: {q}" if q.wanted else f"an answer that must not be: {q}"


def _questions(model: Model, found: dict[str, tuple[IPAddress, ...]]) -> Iterator[_Question]:
    boxes = [box for box in model.boxes.values() if box.name in found]
    for source in boxes:
        for target in boxes:
            wanted = model.reaches(source, target)
            if source is not target:
                yield from (_Question(source, target, address, wanted) for address in found[target.name])
        for target in boxes:  # what floats is known on hosts of one segment
            near = BEHIND_ROUTER not in (source.host, target.host)
            if source.net == "rt" and near and source is not target:
                yield from (_Question(source, target, a, True) for a in target.floating_addresses)


def _ask(sockets: dict[tuple[str, int], socket.socket], questions: list[_Question]) -> None:
    """Sends each once, and takes what comes within `_WAIT`."""
    poll, by_fd = select.poll(), {sock.fileno(): (sock, family) for (_, family), sock in sockets.items()}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    by_number = {(n >> 16 | 0x7000, n & 0xFFFF): q for n, q in enumerate(questions)}
    for (ident, number), q in by_number.items():
        probes.send(sockets[q.source.name, q.address.version], q.address, ident, number)
    deadline = time.monotonic() + _WAIT
    while (left := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            sock, family = by_fd[fd]
            for key in probes.replies(sock, family):
                if key in by_number:
                    by_number[key].answered = True


def ports(world: World, model: Model) -> Iterator[str]:
    """A connection from outside to each port that is published, which the container's kernel takes."""
    outside = str(PROC / str(world.lab.host(OUTSIDE).holder.pid) / "ns/net")
    for box in [b for b in model.boxes.values() if b.port]:
        server = netns.call(
            world.namespace(box), lambda: socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
        )
        with server:
            for host in world.lab.topology.place(box.host).addresses:
                if not netns.call(outside, lambda at=host.ip, port=box.port: _connects(at, port)):  # type: ignore[misc]
                    yield f"port {box.port} of {box.host} ({host.ip}) does not lead to {box.name} of {box.net}"


def _connects(address: IPAddress, port: int) -> bool:
    try:
        socket.create_connection((str(address), port), timeout=3).close()
    except OSError:
        return False
    return True
