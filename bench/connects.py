"""New TCP connections, one after the other; runs by itself inside a container, needs only Python.

connects.py serve PORT            takes connections and lets them go; prints "ready"
connects.py ask HOST PORT COUNT   prints the seconds that COUNT connections took
connects.py turns PORT COUNT HOST…  prints, as JSON, how many connections a second each host takes: the median of bundles of
                                  20, which the hosts have in turns until each has had COUNT connections
"""

from __future__ import annotations

import json
import socket
import statistics
import struct
import sys
import time

_BUNDLE = 20
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: a closed connection leaves nothing behind that would keep its port."""


def serve(port: int) -> None:
    with socket.create_server(("0.0.0.0", port), backlog=512) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            connection.close()


def ask(host: str, port: int, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            connection.connect((host, port))
    return time.perf_counter() - start


def turns(hosts: list[str], port: int, count: int) -> list[float]:
    """What disturbs for longer than a bundle takes disturbs all of them alike; what is shorter, the median leaves out."""
    took: list[list[float]] = [[] for _ in hosts]
    for number in range(count // _BUNDLE):
        for place in range(len(hosts)):
            which = (place + number) % len(hosts)
            took[which].append(ask(hosts[which], port, _BUNDLE))
    return [_BUNDLE / statistics.median(each) for each in took]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    elif sys.argv[1] == "turns":
        print(json.dumps(turns(sys.argv[4:], int(sys.argv[2]), int(sys.argv[3]))))
    else:
        print(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
