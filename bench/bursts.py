"""Short bursts of load on demand; runs by itself inside a container, needs only Python.

bursts.py serve PORT      takes what streams bring; prints "ready"
bursts.py ask HOST TRIPS_PORT CONNECTS_PORT PORT

A connection to TRIPS_PORT (`bench.pingpong`) and four to PORT are open as long as it runs. It says "ready", then answers each
line of its input with a line:

trips COUNT           p50, p99 and mean of COUNT round trips, in µs
connections COUNT     µs for each of COUNT new connections to CONNECTS_PORT (`bench.connects`), one after the other
stream COUNT OCTETS   how long OCTETS took over each of COUNT connections at once, and the CPU time of both ends, in seconds

So what is compared with each other runs within milliseconds, and no process is started in between.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

SIZE = 64
"""Octets each way, of a round trip."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: a closed connection leaves nothing behind that would keep its port."""


def trips(connection: socket.socket, count: int) -> tuple[float, float, float]:
    receive, send, now = connection.recv, connection.sendall, time.perf_counter_ns
    payload, took = b"x" * SIZE, []
    begun = before = now()
    for _ in range(count):
        send(payload)
        receive(SIZE)
        after = now()
        took.append(after - before)
        before = after
    took.sort()
    return took[count // 2] / 1000, took[count * 99 // 100] / 1000, (before - begun) / count / 1000


def connections(host: str, port: int, count: int) -> float:
    begun = time.perf_counter_ns()
    for _ in range(count):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            connection.connect((host, port))
    return (time.perf_counter_ns() - begun) / count / 1000


def stream(connections: list[socket.socket], octets: int) -> tuple[float, float]:
    """Threads' CPU time has all that the kernel did in their names."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(connections)) as pool:
        cpu = sum(pool.map(_send, connections, [octets] * len(connections)))
    return time.perf_counter() - begun, cpu


def _send(connection: socket.socket, octets: int) -> float:
    """Until all of it was taken: the CPU time of both ends."""
    before, chunk = time.thread_time(), memoryview(bytes(_CHUNK))
    connection.sendall(_ASKED.pack(octets))
    while octets:
        octets -= connection.send(chunk[:octets])
    (taken,) = _TOLD.unpack(connection.recv(_TOLD.size, socket.MSG_WAITALL))
    return float(taken) + time.thread_time() - before


def serve(port: int) -> None:
    with socket.create_server(("0.0.0.0", port)) as server:
        print("ready", flush=True)
        while True:
            threading.Thread(target=_take, args=(server.accept()[0],), daemon=True).start()


def _take(connection: socket.socket) -> None:
    buffer = bytearray(_CHUNK)
    with connection:
        while asked := connection.recv(_ASKED.size, socket.MSG_WAITALL):
            before, (left,) = time.thread_time(), _ASKED.unpack(asked)
            while left:
                left -= connection.recv_into(buffer, min(left, _CHUNK))
            connection.sendall(_TOLD.pack(time.thread_time() - before))


_ASKED, _TOLD, _CHUNK, STREAMS = struct.Struct("=Q"), struct.Struct("=d"), 1 << 18, 4
"""How many octets come, and the CPU time that taking them took."""


def ask(host: str, trips_port: int, connects_port: int, port: int) -> None:
    some = [socket.create_connection((host, where), timeout=10) for where in (trips_port, *[port] * STREAMS)]
    for connection in some:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("ready", flush=True)
    for line in sys.stdin:
        what, *words = line.split()
        count, *rest = map(int, words)
        if what == "trips":
            print(*trips(some[0], count), flush=True)
        elif what == "connections":
            print(connections(host, connects_port, count), flush=True)
        else:
            print(*stream(some[1 : 1 + count], *rest), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        ask(sys.argv[2], *map(int, sys.argv[3:6]))
