"""Who asks for names, and which other servers are asked in its name."""

from __future__ import annotations

import msgspec

from weft.base.net import IPAddress

PORT = 53
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

    @property
    def usable(self) -> tuple[Upstream, ...]:
        """Those that may be asked in its name."""
        return tuple(u for u in self.upstreams if u.inside or self.outside)
