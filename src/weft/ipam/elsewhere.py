"""What only those ways to give addresses do whose networks are made elsewhere, by somebody who is asked, may refuse, and may be
away. All others have nothing to do here.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.base.net import IPAddress
from weft.model import Endpoint, Network


class Elsewhere:
    async def make(self, network: Network) -> Network:
        """The network as it is to be written down. Raises WeftError: nothing was made."""
        return network

    async def check_unused(self, network: Network) -> None:
        """Raises Conflict where others still use what would go with it."""

    async def unmake(self, network: Network) -> None:
        """What was made with it. Raises WeftError."""

    async def wait(self, endpoint: Endpoint) -> None:
        """For what has to happen elsewhere before its packets pass. Raises Failed."""

    async def part(self, endpoints: Sequence[Endpoint]) -> None:
        """Give back what they had elsewhere, now that their interfaces are gone. What cannot be given back now is later."""

    async def let_go(self, network: Network, address: IPAddress) -> None:
        """Nobody has attached with an address that was kept."""
