"""Round trips over one TCP connection, and over UDP; runs by itself inside a container, needs only Python.

pingpong.py serve PORT            echoes on TCP and UDP; prints "ready"
pingpong.py ask HOST PORT COUNT   prints the sorted percentiles 0 … 100 of COUNT round trips, in ns, as JSON
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

SIZE = 64
"""Octets each way."""
WARM_UP = 200


def serve(port: int) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", port))
    threading.Thread(target=_echo_datagrams, args=(udp,), daemon=True).start()
    with socket.create_server(("0.0.0.0", port)) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            with connection:
                _echo(connection)


def _echo(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    receive, send = connection.recv, connection.sendall
    while data := receive(SIZE):
        send(data)


def _echo_datagrams(udp: socket.socket) -> None:
    while True:
        data, sender = udp.recvfrom(SIZE)
        udp.sendto(data, sender)


def ask(host: str, port: int, count: int) -> list[int]:
    """What is sent in one piece arrives in one piece: 64 octets, one at a time."""
    took = []
    payload = b"x" * SIZE
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        receive, send, now = connection.recv, connection.sendall, time.perf_counter_ns
        for _ in range(count + WARM_UP):
            start = now()
            send(payload)
            receive(SIZE)
            took.append(now() - start)
    took = sorted(took[WARM_UP:])
    return [took[(len(took) - 1) * share // 100] for share in range(101)]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(json.dumps(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
