"""Who asks for names, and which other servers are asked in its name."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

import msgspec

from weft.base.errors import Invalid
from weft.base.net import IPAddress

ADDRESS, PORT = IPv4Address("127.0.0.11"), 53
"""Where containers ask."""
LONGEST_DOMAIN = 100
_DOMAIN = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*")
DOMAIN = "weft.local"
"""The domain that all own names have, too, unless the operator chose another one."""


class Upstream(msgspec.Struct, frozen=True):
    """Another server, which is asked for what is no own name. `inside`: it is asked from the container's own namespace,
    as if the container itself asked; otherwise from the host's."""

    address: IPAddress
    port: int = PORT
    inside: bool = False

    def __str__(self) -> str:
        return f"{self.address} port {self.port}{' from inside' if self.inside else ''}"


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """A container. `id`: whatever tells it from all others on this host. `networks`: whose names it sees; where two of them
    have the same name, the earlier one's counts. `node`: its host, whose members may come first. `outside`: whether
    servers may be asked from the host's namespace; not for a container that has only internal networks, which must not reach
    outside by questions. It is refused at once what is no own name, unless there are upstreams `inside`. `upstreams`: in the
    order in which they are asked. `single`: names without a dot that are no own names are asked there, too; otherwise there
    are no such names."""

    id: str
    networks: tuple[str, ...]
    node: str
    outside: bool = True
    upstreams: tuple[Upstream, ...] = ()
    single: bool = False


def check_domain(text: str) -> str:
    """A domain that names can be in: with the longest of these it still is a name. Raises Invalid."""
    if len(text) > LONGEST_DOMAIN or not _DOMAIN.fullmatch(text):
        raise Invalid(
            f"'{text[:80]}' is not a domain for names: write it like weft.local, in lower case and with at most "
            f"{LONGEST_DOMAIN} characters"
        )
    return text
