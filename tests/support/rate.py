"""How fast an amount of data gets through, as the receiver sees it."""

from __future__ import annotations

import subprocess
import sys

from weft.lab.inside import Inside

_RECEIVE = """
import socket, sys, time
sock = socket.create_server((sys.argv[1], 5201), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
connection, _ = sock.accept()
first, octets = None, 0
while some := connection.recv(1 << 18):
    last = time.monotonic()
    if first is None:
        first = last
    else:
        octets += len(some)
print(octets * 8 / (last - first))
"""
_SEND = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 5201), timeout=20)
left = int(sys.argv[2])
while left > 0:
    left -= connection.send(bytes(min(left, 65536)))
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
"""


def throughput(source: Inside, target: Inside, address: str, octets: int) -> float:
    """Of one TCP connection, bit/s of payload between the first octets and the last. `address`: the target's."""
    receive = [sys.executable, "-SIc", _RECEIVE, address]
    with target.popen(receive, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout and server.stdout.readline() == "ready\n"
            source.run([sys.executable, "-SIc", _SEND, address, str(octets)], check=True, timeout=60)
            return float(server.stdout.readline())
        finally:
            server.kill()
