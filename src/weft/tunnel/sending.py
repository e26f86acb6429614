"""From a device to other hosts: what packets and frames have in common.

One read gives one of them, or one of up to 64 KB that the kernel leaves to be cut. What is for one host goes in one call
(`weft.tunnel.batch`). So neither costs a call for each packet. It is sent as soon as it is read. What has come meanwhile is
read without waiting, and sent together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from weft.tunnel.batch import Batch
from weft.tunnel.packet import VNET
from weft.tunnel.worker import Worker

_BUFFERS, _ROOM = 32, VNET.size + 65535 + 18
_PATIENCE = 8
"""How often something is read before it is looked again whether there is more, when there was none."""


class Sending(Worker):
    def run(self) -> None:
        """For ever. Raises OSError when a device is gone."""
        buffers = [memoryview(bytearray(_ROOM)) for _ in range(_BUFFERS)]
        first, batch = buffers[0], Batch(self)
        alone, patience = 0, 1
        while True:
            for fd in self.ready(batch):
                octets = os.readv(fd, [first])
                self.take(first[:octets], batch)
                batch.flush()
                alone += 1
                if alone >= patience:  # to look in vain each time would cost half as much again
                    alone, patience = 0, 1 if self._meanwhile(fd, buffers, batch) else _PATIENCE

    def _meanwhile(self, fd: int, buffers: list[memoryview], batch: Batch) -> bool:
        """What has come since, as long as there is something; whether there was anything."""
        found = 0
        while True:
            before = found
            try:
                for buffer in buffers:
                    octets = os.preadv(fd, [buffer], -1, os.RWF_NOWAIT)
                    found += 1
                    self.take(buffer[:octets], batch)
            except BlockingIOError:
                pass
            batch.flush()
            if found - before < len(buffers):
                return found > 0

    def ready(self, batch: Batch) -> Iterable[int]:
        """Descriptors to be read next; that may wait."""
        raise NotImplementedError

    def take(self, received: memoryview, batch: Batch) -> None:
        """One of them, as it was read: with its virtio-net header."""
        raise NotImplementedError

    def too_big(self, remote: str, one: memoryview) -> None:
        raise NotImplementedError
