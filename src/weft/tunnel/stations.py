"""Tables of frames as they are looked up for each frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from weft.tunnel.frame import CLEAR, SEALED, head
from weft.tunnel.sleeve import ALL, Place, Sleeve, Station
from weft.tunnel.ways import canonical


class Way(NamedTuple):
    """How frames of one network get to a host: what is ahead of them in a datagram, and as what of that is vouched for
    (`weft.tunnel.seal`), which is without what changes on the way. `remote`: where the datagrams go. `mtu`: of packets, 0
    where only the underlay's counts."""

    number: int
    remote: str
    mtu: int
    head: bytes
    quiet: bytes


class Hosts:
    """Where hosts are. Raises ValueError for what is no address."""

    def __init__(self, places: Mapping[int, Place]) -> None:
        self._places = {n: place._replace(remote=canonical(place.remote)) for n, place in places.items()}
        self.addresses: Set[str] = frozenset(place.remote for place in self._places.values())

    def address(self, number: int) -> str:
        """Of the host itself; "" where it is not known."""
        place = self._places.get(number)
        return place.remote if place else ""

    def next(self, number: int) -> str:
        """Where datagrams for the host go: to it, or to the one that passes them on; "" where that is not known."""
        place = self._places.get(number)
        return self.address(place.via or number) if place else ""

    def mtu(self, number: int) -> int:
        place = self._places.get(number)
        return place.mtu if place else 0

    def onward(self, number: int) -> str:
        """Where a datagram for the host goes that another one sent here: straight, so that none goes round; "" where it
        is not to be passed on."""
        place = self._places.get(number)
        return place.remote if place and not place.via else ""

    def sent(self, number: int, address: str, *, straight: bool = False) -> bool:
        """Whether a datagram of the host may come from this address: its own; or, unless it came straight, that of another
        one, which passed it on."""
        place = self._places.get(number)
        return place is not None and (address == place.remote or (not straight and address in self.addresses))


class Stations:
    """Who is where in one network. `places`: the numbers of the hosts, by MAC address."""

    def __init__(self, table: Sleeve, hosts: Hosts) -> None:
        self._table, self._hosts = table, hosts
        named = {bytes.fromhex(mac.replace(":", "")): at for mac, at in table.stations.items() if mac != ALL}
        self.places = {mac: stations[0].number for mac, stations in named.items()}
        self._ways = {mac: tuple(self._to(stations)) for mac, stations in named.items()}
        self._all = tuple(self._to(table.stations.get(ALL, ())))

    def find(self, mac: bytes) -> tuple[Way, ...]:
        """Where a frame for this address goes."""
        return self._ways.get(mac, self._all)

    def _to(self, stations: tuple[Station, ...]) -> Iterator[Way]:
        table, hosts = self._table, self._hosts
        kind = SEALED if table.encrypted else CLEAR
        for number, direct in stations:
            remote = hosts.address(number) if direct else hosts.next(number)
            if remote and number != table.number:
                about = (table.number, number, table.network, kind)
                yield Way(number, remote, 0 if direct else hosts.mtu(number), head(*about), head(*about, hops=0))
