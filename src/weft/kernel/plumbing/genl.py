"""Generic netlink: families of messages that have a name, and get a number when their module is loaded
(linux/genetlink.h)."""

from __future__ import annotations

import struct

from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, attr, attributes

HEAD = struct.Struct("=BBH")
"""struct genlmsghdr: command, version, -."""
_U16 = struct.Struct("=H")


def number(netlink: Netlink, name: bytes) -> int:
    """The family's; the kernel loads its module if it is there. Raises Refused (ENOENT: it has none)."""
    head = HEAD.pack(u.CTRL_CMD_GETFAMILY, 1, 0)
    answer = netlink.request(u.GENL_ID_CTRL, 0, head + attr(u.CTRL_ATTR_FAMILY_NAME, name))
    found: int = _U16.unpack(attributes(answer, HEAD.size, len(answer))[u.CTRL_ATTR_FAMILY_ID])[0]
    return found
