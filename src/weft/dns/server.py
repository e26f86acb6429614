"""The server: one for all containers of a host, in the agent's event loop."""

from __future__ import annotations

import socket
from collections.abc import Callable

from weft.base.net import family
from weft.dns.asker import DOMAIN, Asker, Upstream
from weft.dns.names import Names

Opener = Callable[[Asker, Upstream, socket.SocketKind], socket.socket]
"""Opens a socket of the upstream's family in the host's namespace, or, for one `inside`, in the asker's: not connected, not
blocking. Raises OSError."""


def host_socket(asker: Asker, upstream: Upstream, kind: socket.SocketKind) -> socket.socket:
    """An `Opener` that knows the host's namespace only. Raises OSError for an upstream inside."""
    if upstream.inside:
        raise OSError(f"no way into {asker.id}")
    where = socket.AF_INET if family(upstream.address) == 4 else socket.AF_INET6
    return socket.socket(where, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


class Server:
    """`names` may change at any time between two questions. `domain`: in which all own names are, too. `cache`: how many
    answers of other servers are kept; 0 for none."""

    def __init__(self, names: Names, opener: Opener = host_socket, domain: str = DOMAIN, cache: int = 10_000) -> None:
        self._names = names

    def add(self, asker: Asker, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer what `asker` asks at these sockets: `udp` is bound, `tcp` listens. The server closes them when the asker is
        removed. Wants to be called in the event loop."""
        raise NotImplementedError

    def change(self, asker: Asker) -> None:
        """It has other networks or upstreams from now on; its sockets stay."""
        raise NotImplementedError

    def remove(self, id: str) -> None:
        """An asker is gone: its sockets are closed, and what was asked for it is answered to nobody. One that is not known is
        fine."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove all of them."""
        raise NotImplementedError
