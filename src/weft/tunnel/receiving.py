"""From other hosts to a device: what packets and frames have in common.

One call gives up to 64 KB of datagrams from one host, all of one size but the last (UDP_GRO, Linux 5.0). Who sent them and
where they go is looked at before anything else; those that follow each other in a flow are written as one super-packet.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from socket import CMSG_SPACE, SOL_UDP

from weft.tunnel.counters import SLOT
from weft.tunnel.packet import PLAIN
from weft.tunnel.worker import Worker

UDP_GRO = 104
"""linux/udp.h."""
_ROOM = 1 << 16
_PACKETS, _OCTETS = SLOT["received packets"], SLOT["received octets"]

Part = bytes | bytearray | memoryview


class Receiving(Worker):
    def run(self) -> None:
        """For ever. Raises OSError when the device is gone."""
        whole = memoryview(bytearray(len(PLAIN) + _ROOM))  # a single packet is written with its header in one piece
        buffer, space = [whole[len(PLAIN) :]], CMSG_SPACE(4)
        receive = self.sock.recvmsg_into
        while True:
            octets, ancillary, _, sender = receive(buffer, space)
            size = octets
            for level, kind, value in ancillary:
                if level == SOL_UDP and kind == UDP_GRO:
                    size = int.from_bytes(value, sys.byteorder)
            self.take(whole[: len(PLAIN) + octets], size, sender[0], sender[1])

    def take(self, received: memoryview, size: int, host: str, port: int) -> None:
        """Datagrams behind an empty virtio-net header. `size`: of each of them but the last."""
        raise NotImplementedError

    def write(self, fd: int, parts: Sequence[Part], packets: int) -> None:
        """To the device: a virtio-net header, and what follows it."""
        try:
            octets = os.writev(fd, parts)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise
            self.drop("not taken by the device", packets)  # it is down, or takes no super-packets of this kind
            return
        self.count[_PACKETS] += packets
        self.count[_OCTETS] += octets - len(PLAIN)
