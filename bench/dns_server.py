"""Programs that `bench.dns` runs: Weft's server with one name, another server that answers everything, a client, a table."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import msgspec

from weft.dns.asker import Asker, Upstream
from weft.dns.message import wire
from weft.dns.names import Names
from weft.dns.server import Server
from weft.model import Location, encode

_ANSWER = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\xc0\0\2\1"


def names(name: str, address: str, upstream: str) -> None:
    """Weft's server in this namespace, until it is ended."""
    asyncio.run(_names(name, address, upstream))


async def _names(name: str, address: str, upstream: str) -> None:
    table = Names()
    table.put_location("blue", "1", _location(name, IPv4Address(address)))
    udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    udp.bind(("127.0.0.12", 0))
    tcp.bind(udp.getsockname())
    tcp.listen(16)
    server = Server(table)
    asker = Asker(id="1", networks=("blue",), node="a", upstreams=(Upstream(ip_address(upstream)),))
    server.add(asker, udp, tcp)
    host, port = udp.getsockname()
    print("ready")
    print(encode({"address": host, "port": port}).decode(), flush=True)
    await asyncio.Event().wait()


def other() -> None:
    """Until it is ended, answers every question that has no EDNS with one address, which holds for 30 s."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 53))
        print("ready", flush=True)
        while True:
            packet, source = sock.recvfrom(4096)
            sock.sendto(packet[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + packet[12:] + _ANSWER, source)


class Asked(msgspec.Struct, frozen=True):
    """Answers per second, and the microseconds that each one took."""

    rate: float
    times: tuple[float, ...]


def ask(host: str, port: str, name: str, seconds: str, outstanding: str) -> None:
    """So many questions are under way at any time. `*` in the name is another number each time."""
    questions = (_question(name.replace("*", f"{os.getpid()}-{n}"), n & 0xFFFF) for n in itertools.count())
    sent, times, now = dict[bytes, float](), list[float](), time.perf_counter
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((host, int(port)))

        def send() -> None:
            packet = next(questions)
            sent[packet[:2]] = now()
            sock.send(packet)

        begin = now()
        for _ in range(int(outstanding)):
            send()
        while now() < begin + float(seconds):
            answer = sock.recv(512)
            times.append(1e6 * (now() - sent.pop(answer[:2])))
            send()
        rate = len(times) / (now() - begin)
    print(encode(Asked(rate, tuple(times))).decode())


def _question(name: str, id: int) -> bytes:
    return id.to_bytes(2) + b"\1\0\0\1\0\0\0\0\0\0" + wire(name) + b"\0\1\0\1"


def memory(count: str) -> None:
    """Says the MB that a table of so many names takes, without and with what is known of the containers."""
    start = _resident()
    first = int(IPv4Address("10.0.0.0"))
    known = {f"{n:016x}": _location(f"container-{n}", IPv4Address(first + n)) for n in range(int(count))}
    gc.collect()
    before, table = _resident(), Names()
    for id, location in known.items():
        table.put_location("blue", id, location)
    gc.collect()
    after = _resident()
    print((after - before) / 1e6, (after - start) / 1e6)


def _location(name: str, address: IPv4Address) -> Location:
    return Location(node="a", mac="02:00:00:00:00:01", name=name, addresses=(address,))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


PROGRAMS: dict[str, Callable[..., None]] = {"names": names, "other": other, "ask": ask, "memory": memory}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
