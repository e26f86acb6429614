"""What the host's own resolv.conf says, followed as it changes: whom the host asks for names, containers ask, too."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from weft.dns.asker import Upstream
from weft.dns.resolvconf import parse

log = logging.getLogger(__name__)

FILE = Path("/etc/resolv.conf")
Mark = tuple[int, int, int]
"""(Time of the last change in nanoseconds, inode, octets): what tells a file from the one before it. Some kernels' clock for
the first stands still for milliseconds, in which a file is emptied and written."""


class HostConf:
    """`upstreams`: its name servers, asked from the host's namespace, in which a loopback address is one, too. `search`: its
    domains, with spaces between."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file
        self._mark: Mark | None = None
        self.upstreams: tuple[Upstream, ...] = ()
        self.search = ""

    async def follow(self) -> None:
        """Look whether it is another one. What cannot be read says nothing."""
        try:
            found = await asyncio.to_thread(self._read)
        except OSError as error:
            if self._mark is not None:
                log.warning("%s cannot be read: %s", self._file, error.strerror)
            self._mark, self.upstreams, self.search = None, (), ""
            return
        if found is not None:
            self._mark, told = found[0], parse(found[1])
            self.upstreams, self.search = tuple(map(Upstream, told.nameservers)), " ".join(told.search)

    def _read(self) -> tuple[Mark, str] | None:
        """None where it is the one that is known. Raises OSError."""
        found = self._file.stat()
        mark = found.st_mtime_ns, found.st_ino, found.st_size
        return None if mark == self._mark else (mark, self._file.read_text(errors="replace"))
