"""resolv.conf, as the C library reads it (resolv.conf(5)). Pure."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

import msgspec

from weft.base.net import IPAddress


class ResolvConf(msgspec.Struct, frozen=True):
    """`nameservers`: all of them, link-local ones with their interface; the C library asks the first three. `search`: domains.
    `options`: such as "ndots:1"."""

    nameservers: tuple[IPAddress, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As a file."""
        lines = [f"nameserver {address}" for address in self.nameservers]
        if self.search:
            lines.append(f"search {' '.join(self.search)}")
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> ResolvConf:
    """What cannot be read is left out, as the C library does. The last of `search` and `domain` counts; of `options`, all."""
    nameservers: list[IPAddress] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or not line.startswith(words[0]):
            continue
        match words[0], words[1:]:
            case "nameserver", [address, *_]:
                with contextlib.suppress(ValueError):
                    nameservers.append(ip_address(address))
            case "search", found:
                search = tuple(found)
            case "domain", [found, *_]:
                search = (found,)
            case "options", found:
                options += found
            case _:
                pass
    return ResolvConf(tuple(nameservers), search, tuple(options))
