"""Namespaces of `weft check`: made, told from all others, removed; and sockets in them.

One has a name below /run/netns that begins with `weftcheck-`, and its loopback device has the alias `weft:check`: both have
to be so before it is removed. To all others it is a container like any.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from weft.base.errors import Failed, NotFound, WeftError
from weft.kernel.plumbing import links, netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, open_socket
from weft.kernel.plumbing.spaces import LOOPBACK, Space

FOLDER = Path("/run/netns")
PREFIX, ALIAS = "weftcheck-", "weft:check"
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PROBE = 10, 23, 3
"""linux/in.h: packets are not cut, and what is known of the way's MTU is not minded: so a black hole is found each time."""


def path(name: str) -> str:
    return str(FOLDER / f"{PREFIX}{name}")


def make(name: str) -> str:
    """The path of a new namespace, with its loopback device up. Blocks. Raises Conflict, Denied, Failed."""
    where = path(name)
    netns.make(where, _prepare)
    return where


def _prepare() -> None:
    netlink = Netlink(open_socket())
    try:
        alias = Message(u.RTM_SETLINK, u.NLM_F_REQUEST, links.alias(LOOPBACK, ALIAS))
        netlink.batch_or_raise([alias, Message(u.RTM_SETLINK, u.NLM_F_REQUEST, links.flags(LOOPBACK, up=True))])
    finally:
        netlink.close()


def unmake(where: str) -> None:
    """If it is one of these. Blocks. Raises Failed, Denied."""
    with contextlib.suppress(NotFound):
        if _is_ours(where):
            netns.unmake(where)


def left() -> list[str]:
    """The paths of all that are there. Blocks."""
    found = sorted(map(str, FOLDER.glob(f"{PREFIX}*"))) if FOLDER.is_dir() else []
    return [where for where in found if _is_ours_or_empty(where)]


def _is_ours_or_empty(where: str) -> bool:
    try:
        return _is_ours(where)
    except WeftError:
        return False


def _is_ours(where: str) -> bool:
    if not Path(where).name.startswith(PREFIX):
        return False

    def look() -> bool:
        netlink = Netlink(open_socket())
        try:
            device = Space(where, netlink).devices().get(LOOPBACK)
            return device is not None and device.alias == ALIAS
        except Refused as refused:
            raise Failed(refused.text) from None
        finally:
            netlink.close()

    return netns.call(where, look)


# -- sockets -----------------------------------------------------------------------------------------------------------


def listening(where: str) -> tuple[socket.socket, socket.socket]:
    """One that takes TCP connections, one that takes datagrams, of both families where the host has IPv6. Blocks. Raises
    NotFound, Failed."""
    tcp = _bound(where, socket.SOCK_STREAM)
    try:
        tcp.listen(128)
        return tcp, _bound(where, socket.SOCK_DGRAM)
    except BaseException:
        tcp.close()
        raise


def _bound(where: str, kind: socket.SocketKind) -> socket.socket:
    def inside() -> socket.socket:
        try:
            sock = socket.socket(socket.AF_INET6, kind)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            anywhere = "::"
        except OSError:
            sock, anywhere = socket.socket(socket.AF_INET, kind), ""
        try:
            sock.setblocking(False)
            sock.bind((anywhere, 0))
        except BaseException:
            sock.close()
            raise
        return sock

    try:
        return netns.call(where, inside)
    except OSError as error:
        raise Failed(f"no socket in {where}: {error.strerror}") from None


def asking(where: str, version: int, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """A socket by which something is asked; its datagrams are not cut. Blocks. Raises NotFound, OSError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6

    def inside() -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            if kind is not socket.SOCK_STREAM:
                level, option = (
                    (socket.IPPROTO_IP, IP_MTU_DISCOVER) if version == 4 else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
                )
                sock.setsockopt(level, option, PROBE)
        except BaseException:
            sock.close()
            raise
        return sock

    return netns.call(where, inside)
