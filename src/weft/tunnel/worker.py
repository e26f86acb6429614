"""What all workers have in common: what they go by is read again upon a signal; counters; how often others are told."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import time
from contextlib import suppress

from weft.tunnel.counters import SLOT

_PR_SET_PDEATHSIG = 1
_NICE = -10
"""As the kernel's own forwarding, packets go before what the host's processes do, as far as that can be said of a process."""
_RARELY = 100_000
"""New objects until unreachable ones are looked for: a packet leaves none."""
_TOLD_PER_SECOND = 200
"""ICMP messages: a flood of packets to nowhere is not answered one by one."""


class Worker:
    """`sock`: the UDP socket, which both directions share. `count`: what is counted now."""

    count: memoryview

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._second, self._told = 0, 0

    def obey(self, parent: int) -> None:
        """Ends with the process that started this one; reads again upon SIGHUP, which was blocked until now."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit("its parent has ended")
        with suppress(OSError):  # it may be forbidden
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        gc.freeze()
        gc.set_threshold(_RARELY)
        signal.signal(signal.SIGHUP, lambda *_: self.reread())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        self.reread()

    @property
    def port(self) -> int:
        """Of UDP, the same on all hosts."""
        raise NotImplementedError

    def run(self) -> None:
        """For ever. Raises OSError when a device is gone."""
        raise NotImplementedError

    def reread(self) -> None:
        """What it goes by, upon a change."""
        raise NotImplementedError

    def drop(self, reason: str, packets: int = 1) -> None:
        self.count[SLOT[reason]] += packets

    def told_enough(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._told = second, 0
        self._told += 1
        return self._told > _TOLD_PER_SECOND
