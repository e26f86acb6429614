"""Generic netlink: families of messages that have a name, and get a number when their module is loaded
(linux/genetlink.h)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TypeVar

from weft.base.errors import Unsupported
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, Refused, attr, attributes, open_socket

T = TypeVar("T")

HEAD = struct.Struct("=BBH")
"""struct genlmsghdr: command, version, -."""
_U16 = struct.Struct("=H")


def number(netlink: Netlink, name: bytes) -> int:
    """The family's; the kernel loads its module if it is there. Raises Refused (ENOENT: it has none)."""
    head = HEAD.pack(u.CTRL_CMD_GETFAMILY, 1, 0)
    answer = netlink.request(u.GENL_ID_CTRL, 0, head + attr(u.CTRL_ATTR_FAMILY_NAME, name))
    found: int = _U16.unpack(attributes(answer, HEAD.size, len(answer))[u.CTRL_ATTR_FAMILY_ID])[0]
    return found


def call(ns: str, names: tuple[bytes, ...], work: Callable[..., T], *, lacking: str) -> T:
    """What `work` returns, given a socket in the namespace and the numbers of these families. Raises WeftError; Unsupported,
    with the text `lacking`, where the kernel has one of them not."""

    def inside() -> T:
        netlink = Netlink(open_socket(u.NETLINK_GENERIC))
        try:
            return work(netlink, *(_numbered(netlink, name, lacking) for name in names))
        finally:
            netlink.close()

    return netns.call(ns, inside)


def _numbered(netlink: Netlink, name: bytes, lacking: str) -> int:
    try:
        return number(netlink, name)
    except Refused as refused:
        if refused.errno != errno.ENOENT:
            raise
        raise Unsupported(lacking) from None
