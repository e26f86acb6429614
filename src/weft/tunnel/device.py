"""TUN and TAP devices (Documentation/networking/tuntap.rst, linux/if_tun.h)."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress

PATH = "/dev/net/tun"
TUNSETIFF, TUNSETPERSIST, TUNSETOFFLOAD, TUNGETIFF = 0x400454CA, 0x400454CB, 0x400454D0, 0x800454D2
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_PERSIST = 0x0001, 0x0002, 0x1000, 0x4000, 0x0800
_IFREQ = struct.Struct("16sH22x")
_CSUM, _TSO4, _TSO6, _TSO_ECN, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
_OFFLOADS = (_CSUM | _TSO4 | _TSO6 | _TSO_ECN | _USO4 | _USO6, _CSUM | _TSO4 | _TSO6 | _TSO_ECN)
"""What is asked for, the best first: USO came with Linux 6.2."""


def there() -> bool:
    """Whether devices can be made."""
    try:
        os.close(os.open(PATH, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def attach(name: str, flags: int = IFF_TUN) -> int:
    """A descriptor of the device, in the calling thread's namespace; it is made where it is not there. `flags`: its kind, and
    how it is used. Raises OSError."""
    fd = os.open(PATH, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, _IFREQ.pack(name.encode(), IFF_NO_PI | flags))
    except OSError:
        os.close(fd)
        raise
    return fd


def persist(fd: int) -> None:
    """The device stays when nobody has it. Raises OSError."""
    fcntl.ioctl(fd, TUNSETPERSIST, 1)


def lasts(fd: int) -> bool:
    """Whether the descriptor has a device, and one that stays."""
    try:
        answer = fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ.size))
    except OSError:  # EBADFD: it was removed
        return False
    return bool(_IFREQ.unpack(answer)[1] & IFF_PERSIST)


def super_packets(name: str, kind: int = IFF_TUN) -> int:
    """A descriptor of a device that is there, by which super-packets come and go as far as the kernel has them. Raises
    OSError."""
    socket.if_nametoindex(name)  # or else it would be made
    fd = attach(name, kind | IFF_VNET_HDR)
    if not lasts(fd):
        os.close(fd)
        raise OSError(errno.ENODEV, f"{name} is gone")
    for offload in _OFFLOADS:
        with suppress(OSError):
            fcntl.ioctl(fd, TUNSETOFFLOAD, offload)
            break
    return fd
