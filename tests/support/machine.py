"""A stand-in for a virtual machine, run inside a lab's host: NAME GUEST. The host has the TAP device NAME, as a hypervisor
makes one; every frame is carried to and from another, `eth0` in the network namespace GUEST, whose stack is the machine's."""

import ctypes
import fcntl
import os
import select
import struct
import sys
from pathlib import Path

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000


def tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def main(name: str, guest: str) -> None:
    outer = tap(name)
    with Path(f"/run/netns/{guest}").open() as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
    inner = tap("eth0")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    to = {outer: inner, inner: outer}
    while True:
        for fd in select.select([outer, inner], [], [])[0]:
            try:
                os.write(to[fd], os.read(fd, 65536))
            except OSError:  # the other one is not up yet
                continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
