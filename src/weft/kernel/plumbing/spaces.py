"""The network namespaces that one read() or apply() works in: a netlink socket in each, devices by name and number.

A socket keeps its namespace alive, and with it a container's addresses and veth, long after the container has ended. So
sockets into containers' namespaces live as long as one call; only the host's stays open.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress

from weft.base.errors import NotFound, WeftError
from weft.hoststate import HOST
from weft.hoststate.links import NETNS_ALIAS
from weft.kernel.plumbing import links, netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.links import Device
from weft.kernel.plumbing.netlink import Netlink, Refused, attr, attributes, open_socket

LOOPBACK = 1
"""Its ifindex, in every namespace."""


class Space:
    """One namespace. Devices are looked up when first asked for and remembered until `forget()`."""

    def __init__(self, ns: str, netlink: Netlink) -> None:
        self.ns = ns
        self.netlink = netlink
        self._all: dict[int, Device] | None = None
        self._named: dict[str, Device | None] = {}

    def forget(self) -> None:
        self._all = None
        self._named.clear()

    def devices(self) -> dict[int, Device]:
        """All, by ifindex."""
        if self._all is None:
            found = self.netlink.dump(u.RTM_GETLINK, links.dump_filter(), links.decode)
            self._all = {device.index: device for device in found}
            self._named = {device.name: device for device in found}
        return self._all

    def find(self, name: str) -> Device | None:
        if name not in self._named:
            self._named[name] = None if self._all is not None else self._get(links.get_by_name(name))
        return self._named[name]

    def index(self, name: str) -> int:
        """Raises `Refused`."""
        device = self.find(name)
        if device is None:
            raise Refused(errno.ENODEV, f"there is no device {name}" + (f" in {self.ns}" if self.ns else ""))
        return device.index

    def name(self, index: int) -> str:
        device = self.at(index)
        return device.name if device else ""

    def at(self, index: int) -> Device | None:
        return self._get(links.get_by_index(index)) if self._all is None else self._all.get(index)

    def nsid(self, fd: int) -> int | None:
        """The number under which this namespace knows the one that `fd` is open on; None where it knows it not."""
        answer = self.netlink.request(u.RTM_GETNSID, 0, b"\0\0\0\0" + attr(u.NETNSA_FD, struct.pack("=I", fd)))
        found = attributes(answer, 4, len(answer)).get(u.NETNSA_NSID)
        nsid = struct.unpack("=i", found)[0] if found else -1
        return None if nsid < 0 else nsid

    def other_end(self, device: Device) -> Device | None:
        """The device a veth is paired with, in whichever namespace it is."""
        if device.link_nsid is None:
            return self.at(device.link)
        return self._get(links.get_by_index(device.link, device.link_nsid))

    def below(self, device: Device) -> Device | None:
        """The device a VXLAN device is tied to, in whichever namespace it is."""
        if not device.lower:
            return None
        return (
            self.at(device.lower)
            if device.link_nsid is None
            else self._get(links.get_by_index(device.lower, device.link_nsid))
        )

    @property
    def owned(self) -> bool:
        """Whether the namespace is one of ours (`weft.hoststate.Netns`)."""
        loopback = self.at(LOOPBACK) if self.ns else None
        return loopback is not None and loopback.alias == NETNS_ALIAS

    def number(self, fd: int) -> int:
        """As `nsid`, after giving it a number where it had none."""
        body = b"\0\0\0\0" + attr(u.NETNSA_NSID, struct.pack("=i", -1)) + attr(u.NETNSA_FD, struct.pack("=I", fd))
        with suppress(Refused):  # it had one
            self.netlink.request(u.RTM_NEWNSID, 0, body)
        found = self.nsid(fd)
        return -1 if found is None else found

    def _get(self, body: bytes) -> Device | None:
        try:
            answer = self.netlink.request(u.RTM_GETLINK, 0, body)
        except Refused as refused:
            if refused.errno in (errno.ENODEV, errno.EINVAL):  # EINVAL: no namespace has that number any more
                return None
            raise
        return links.decode(answer, 0, len(answer))


MOST = 200
"""Sockets open at once: file descriptors are limited, often to 1024."""


Expected = Callable[[str], int]
"""The cookie of the namespace that is meant by a path; 0 where none is named."""


def any_will_do(_path: str) -> int:
    return 0


REMEMBERED = 10_000
"""So many paths: what was at the longest unused one is cleared away long since."""


class Meant:
    """Which namespace is meant by a path, also after the last endpoint there is gone and what it left is cleared away: by then
    a pid may be another process's. The host's own is never meant: what is found there under another name would look like
    something to clear away, and would be all that is ours."""

    def __init__(self, expected: Expected, host: int) -> None:
        """`host`: the cookie of the host's own namespace."""
        self._expected, self._host = expected, host
        self._last: dict[str, int] = {}

    def check(self, path: str, cookie: int) -> WeftError | None:
        """Why a namespace, found at a path, is not the one that is meant."""
        if cookie == self._host:
            return NotFound(f"{path} is the host's own network namespace by now")
        if wanted := self._expected(path):
            self._last.pop(path, None)
            self._last[path] = wanted  # the last again
            if len(self._last) > REMEMBERED:
                del self._last[next(iter(self._last))]
        else:
            wanted = self._last.get(path, 0)
        if wanted not in (0, cookie):
            return NotFound(f"the network namespace that was {path} is gone: another one is there now")
        return None


class Spaces:
    """Opened as they are needed, closed together: use as a context manager. `nsids` is filled with the paths of the
    namespaces that the host has numbers for: a watcher is told these numbers. `meant`: another namespace than the one that
    is meant by a path (a pid or a name was given again) counts as gone."""

    def __init__(self, host: Space, host_fd: int, nsids: dict[int, str], meant: Meant | None = None) -> None:
        self._meant = meant
        self._host_fd = host_fd
        self._nsids = nsids
        self._open: dict[str, Space] = {HOST: host}
        self._numbers: dict[tuple[str, str], int | None] = {}
        self._visited: set[str] = set()
        host.forget()

    def __enter__(self) -> Spaces:
        return self

    def __exit__(self, *_: object) -> None:
        for ns, space in self._open.items():
            if ns != HOST:
                space.netlink.close()

    @property
    def host(self) -> Space:
        return self._open[HOST]

    def open(self, namespaces: Iterable[str]) -> dict[str, WeftError]:
        """Those that could not be opened, and why."""
        wanted = [ns for ns in namespaces if ns not in self._open]
        failed: dict[str, WeftError] = {}
        for ns, sock in netns.open_all(wanted, open_socket).items() if wanted else ():
            if isinstance(sock, WeftError):
                failed[ns] = sock
            elif self._meant is not None and (wrong := self._meant.check(ns, netns.cookie_of(sock))):
                sock.close()
                failed[ns] = wrong
            else:
                self._open[ns] = Space(ns, Netlink(sock))
        self._visited.update(self._open)
        return failed

    def get(self, ns: str) -> Space:
        """Raises NotFound, Denied."""
        for error in self.open([ns]).values():
            raise error
        space = self._open[ns] = self._open.pop(ns)  # the last used is the last to be closed
        if len(self._open) > MOST:
            oldest = next(name for name in self._open if name != HOST)
            self._open.pop(oldest).netlink.close()
        return space

    def drop(self, ns: str) -> None:
        """A namespace that is about to end: a socket in it would keep it."""
        self._visited.discard(ns)
        if ns in self._open:
            self._open.pop(ns).netlink.close()
        self.forget()

    def fd(self, ns: str) -> int:
        """A new descriptor of that namespace, for the caller to close. Raises NotFound, Denied."""
        return os.dup(self._host_fd) if ns == HOST else netns.open_path(ns)

    def number(self, space: Space, ns: str) -> int | None:
        """What `space` calls the namespace at `ns`. None: nothing (yet), or it is gone."""
        key = (space.ns, ns)
        if key not in self._numbers:
            try:
                fd = self.fd(ns)
            except WeftError:
                return None
            try:
                self._numbers[key] = space.nsid(fd)
            except Refused:  # `ns` opens, but is not a network namespace any more
                return None
            finally:
                os.close(fd)
        return self._numbers[key]

    def leads_to(self, space: Space, device: Device, ns: str) -> bool:
        """Whether the other end of `device`, which is in `space`, is in the namespace at `ns`."""
        if device.link_nsid is None:
            return ns == space.ns
        return device.link_nsid == self.number(space, ns)

    def where(self, space: Space, device: Device) -> str:
        """The path of the namespace of the device's other end, "?" where it is none of those that are open."""
        return next((ns for ns in tuple(self._open) if self.leads_to(space, device, ns)), "?")

    def remember_numbers(self) -> None:
        """Namespaces get their number when the first veth leads there, so this comes at the end of a call; those that no
        veth of the host leads to are given one."""
        for ns in self._visited - {HOST}:
            try:
                fd = self.fd(ns)
            except WeftError:
                continue
            try:
                number = self.host.number(fd)
            except Refused:  # it opens, but is not a network namespace any more
                continue
            finally:
                os.close(fd)
            for former in [n for n, path in list(self._nsids.items()) if path == ns and n != number]:
                self._nsids.pop(former, None)
            self._nsids[number] = ns

    def forget(self) -> None:
        """After links were made or removed."""
        self._numbers.clear()
        for space in self._open.values():
            space.forget()
