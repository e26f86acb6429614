"""New TCP connections, one after the other; runs by itself inside a container, needs only Python.

connects.py serve PORT            takes connections and lets them go; prints "ready"
connects.py ask HOST PORT COUNT   prints the seconds that COUNT connections took
"""

from __future__ import annotations

import socket
import struct
import sys
import time

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


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
