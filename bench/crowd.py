"""Round trips of many at once, over UDP; runs by itself inside a container, needs only Python. It asks what `bench.pingpong`
serves.

crowd.py HOST PORT SOCKETS SECONDS   prints how many round trips there were in a second; each socket waits for its answer
"""

from __future__ import annotations

import select
import socket
import sys
import time

SIZE = 64
"""Octets each way."""
PATIENCE = 0.2
"""Seconds without an answer, after which a socket asks again."""


def ask(host: str, port: int, sockets: int, seconds: float) -> float:
    poll = select.poll()
    by_fd: dict[int, socket.socket] = {}
    for _ in range(sockets):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((host, port))
        sock.setblocking(False)
        by_fd[sock.fileno()] = sock
        poll.register(sock, select.POLLIN)
    asked = dict.fromkeys(by_fd, 0.0)
    found, begin, looked = 0, time.monotonic(), 0.0
    while (now := time.monotonic()) < begin + seconds:
        if now > looked + PATIENCE:
            looked = now
            for fd in [fd for fd, when in asked.items() if when < now - PATIENCE]:
                by_fd[fd].send(bytes(SIZE))
                asked[fd] = now
        for fd, _ in poll.poll(1000 * PATIENCE):
            by_fd[fd].recv(SIZE)
            by_fd[fd].send(bytes(SIZE))
            asked[fd] = now
            found += 1
    return found / (now - begin)


if __name__ == "__main__":
    print(ask(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
