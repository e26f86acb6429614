"""Published ports of services that this host cannot give them: an endpoint or a program here has one already.

Who makes a service sees only its own host, so each other one looks for itself, and tells what it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator

from weft.base.errors import Conflict, Failed, Invalid
from weft.base.net import FAMILIES, Family
from weft.cluster.view import View
from weft.kernel.host import listeners
from weft.model import PublishedPort
from weft.model.ports import PortIndex
from weft.services.model import Service
from weft.services.record import SERVICES, At


class Published:
    def __init__(self, view: View) -> None:
        self._view = view
        self.wake = asyncio.Event()
        """Ports may have come or gone."""
        self._held: dict[At, tuple[str, ...]] = {}
        """Ports that programs hold, in words."""

    async def run(self, interval: Callable[[], float]) -> None:
        """For ever. `interval`: the seconds between looks at what programs hold."""
        while True:
            self.wake.clear()
            wanted = [(service, self._families(service)) for service in self._services()]
            self._held = await asyncio.to_thread(_held, wanted) if wanted else {}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval()):
                    await self.wake.wait()

    def problems(self) -> Iterator[tuple[At, str]]:
        index = PortIndex[str]()
        for endpoint in self._view.endpoints.values():
            for port in endpoint.ports:
                index.add(port, endpoint.families, f"{endpoint.name} in network {endpoint.network}")
        for service in self._services():
            at = At(service.network, service.name)
            for port in service.published:
                if (holder := index.holder(port, self._families(service))) is not None:
                    yield at, f"port {port.outer} of this host leads to {holder}: publish another, or detach that"
            yield from ((at, text) for text in self._held.get(at, ()))

    def _services(self) -> Iterator[Service]:
        found = self._view.table(SERVICES).by("network", "name").values()
        return (service for inside in found for service in inside.values() if service.published)

    def _families(self, service: Service) -> tuple[Family, ...]:
        network = self._view.networks.get(service.network)
        return network.families if network else FAMILIES


def _held(wanted: Iterable[tuple[Service, tuple[Family, ...]]]) -> dict[At, tuple[str, ...]]:
    """Blocks."""
    found = {}
    for service, families in wanted:
        texts = tuple(text for port in service.published if (text := _holder(port, families)))
        if texts:
            found[At(service.network, service.name)] = texts
    return found


def _holder(port: PublishedPort, families: Iterable[Family]) -> str:
    try:
        listeners.check_free(port, [fam for fam in families if fam in port.families])
    except (Conflict, Failed) as error:
        return str(error)
    except Invalid:
        pass  # it is published at an address that another host has
    return ""
