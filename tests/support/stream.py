"""Both ends of a TCP transfer whose every octet is checked; run as a program inside a container.

stream.py serve PORT           prints "SECONDS OCTETS" as they come, and at the end "intact OCTETS" or "broken at OCTETS"
stream.py send ADDRESS PORT    sends numbered blocks at a limited rate until SIGTERM; at the end prints "sent OCTETS
                               RETRANSMITTED", where the second counts segments
"""

from __future__ import annotations

import select
import signal
import socket
import struct
import sys
import time

BLOCK = 1 << 13
PAUSE = 0.01
"""Octets of a block, seconds between two: 6.5 Mbit/s."""
_TOLD = 0.02
_TOTAL_RETRANS = 100  # offset of tcpi_total_retrans in struct tcp_info, linux/tcp.h


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def block(number: int) -> bytes:
    return struct.pack("!Q", number) * (BLOCK // 8)


def serve(port: int) -> None:
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        say("listening")
        connection, _ = server.accept()
    received, rest, number, told = 0, b"", 0, 0.0
    with connection:
        while data := connection.recv(1 << 16):
            received += len(data)
            rest += data
            while len(rest) >= BLOCK:
                if rest[:BLOCK] != block(number):
                    say(f"broken at {received}")
                    return
                rest, number = rest[BLOCK:], number + 1
            if time.monotonic() - told > _TOLD:
                told = time.monotonic()
                say(f"{told:.3f} {received}")
        say(f"{'broken at' if rest else 'intact'} {received}")


def send(address: str, port: int) -> None:
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    with socket.create_connection((address, port), timeout=30) as connection:
        connection.settimeout(None)
        number = 0
        while not ending:
            connection.sendall(block(number))
            number += 1
            select.select([], [], [], PAUSE)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # the other end closes when it has everything
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        say(f"sent {number * BLOCK} {struct.unpack_from('=I', info, _TOTAL_RETRANS)[0]}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        send(sys.argv[2], int(sys.argv[3]))
