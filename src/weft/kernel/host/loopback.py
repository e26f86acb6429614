"""A container's loopback device is brought up where nothing else is done in it. What others make of it afterwards is theirs."""

from __future__ import annotations

from weft.kernel.plumbing import links, netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.kernel.plumbing.spaces import LOOPBACK


def bring_up(path: str) -> None:
    """In the namespace at this path. Blocks. Raises NotFound, Denied, Refused."""

    def inside() -> None:
        netlink = Netlink(open_socket())
        try:
            netlink.request(u.RTM_SETLINK, 0, links.flags(LOOPBACK, up=True))
        finally:
            netlink.close()

    netns.call(path, inside)
