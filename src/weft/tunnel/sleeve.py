"""What the pump goes by where it carries frames: a file for each TAP device, called as it is, and one of this host.

    sleeve network 7 number 3 local 192.168.1.68 port 6783 mtu 1376 encrypted
    station 02:42:0a:14:00:04 5
    station 00:00:00:00:00:00 5

Frames to a station go to the host with that number and come from there. All zeros: hosts that get what is for many, or for a
station that nobody knows. Where hosts are is said once for all devices, in the file `sleeve`:

    host 5 192.168.1.254
    host 6 192.168.0.33 via 5 mtu 1300

Hosts that encrypt have the key of all keys in the file `.sleeve.key`: a line in hexadecimal digits; a second one is what it was
before, which is taken from those hosts that have no other yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from weft.tunnel import table

HOSTS = "sleeve"
"""The file that says where hosts are; also whose counters are those of all devices together."""
KEY = ".sleeve.key"
FIRST = "sleeve "
"""How a file of a TAP device begins."""
ALL = "00:00:00:00:00:00"
LAST = 1023
"""The largest number of a host."""
_HEAD = re.compile(
    r"sleeve network (\d+) number (\d+) local ([0-9a-f.:]+) port (\d+) mtu (\d+) (encrypted|clear)", re.ASCII
)
_MORE = re.compile(r"(?:via (\d+))? ?(?:mtu (\d+))?", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Station(NamedTuple):
    """At the host with this number; `direct`: whatever way that host is reached by otherwise, straight."""

    number: int
    direct: bool = False


class Sleeve(NamedTuple):
    """`stations`: the hosts, by MAC address; several for ALL."""

    network: int
    number: int
    local: str
    port: int
    mtu: int
    encrypted: bool
    stations: Mapping[str, tuple[Station, ...]] = {}

    @property
    def runs_on(self) -> tuple[str, int]:
        """What the socket is for, which all devices of a host share."""
        return self.local, self.port


class Place(NamedTuple):
    """Where a host is: at its underlay address, or, where it is not reached, behind the host with the number `via`. `mtu`: of
    the packets that this way carries, 0 where that is not known to be less than the underlay's."""

    remote: str
    via: int = 0
    mtu: int = 0


def first_line(network: int, number: int, local: str, port: int, mtu: int, encrypted: bool) -> str:
    how = "encrypted" if encrypted else "clear"
    return f"sleeve network {network} number {number} local {local} port {port} mtu {mtu} {how}"


def station(mac: str, there: Station) -> str:
    return f"station {mac} {there.number}" + (" direct" if there.direct else "")


def host(number: int, place: Place) -> str:
    more = (f" {word} {value}" for word, value in (("via", place.via), ("mtu", place.mtu)) if value)
    return f"host {number} {place.remote}" + "".join(more)


def parse(text: str) -> Sleeve:
    """Raises ValueError."""
    first, *others = text.splitlines() or [""]
    found = _HEAD.fullmatch(first)
    if found is None:
        raise ValueError(f"'{first}' does not say whose frames these are")
    network, number, local, port, mtu, how = found.groups()
    stations: dict[str, tuple[Station, ...]] = {}
    for each in others:
        match each.split():
            case ["station", mac, there, *direct] if _MAC.fullmatch(mac) and direct in ([], ["direct"]):
                before = stations.get(mac, ()) if mac == ALL else ()
                stations[mac] = (*before, Station(_number(there), bool(direct)))
            case _:
                raise ValueError(f"'{each}' does not say where a station is")
    if int(network) >= 1 << 24 or int(port) >= 1 << 16:
        raise ValueError(f"'{first}': networks have numbers below {1 << 24}, ports below {1 << 16}")
    return Sleeve(int(network), _number(number), local, int(port), int(mtu), how == "encrypted", stations)


def parse_hosts(text: str) -> dict[int, Place]:
    """Raises ValueError."""
    places = {}
    for each in text.splitlines():
        match each.split():
            case ["host", number, remote, *more] if about := _MORE.fullmatch(" ".join(more)):
                via, mtu = about.groups()
                places[_number(number)] = Place(remote, _number(via) if via else 0, int(mtu or 0))
            case _:
                raise ValueError(f"'{each}' does not say where a host is")
    return places


def _number(text: str) -> int:
    """Raises ValueError."""
    if not text.isdecimal() or not 1 <= int(text) <= LAST:
        raise ValueError(f"'{text}' is no number of a host: these go from 1 to {LAST}")
    return int(text)


def lines(found: Sleeve) -> Iterator[str]:
    yield first_line(*found[:-1])
    yield from (station(mac, there) for mac, all_there in found.stations.items() for there in all_there)


def hosts(folder: Path) -> dict[int, Place]:
    """None where it is said of none. Raises OSError, ValueError."""
    with suppress(FileNotFoundError):
        return parse_hosts((folder / HOSTS).read_text())
    return {}


def keys(folder: Path) -> list[bytes]:
    """The newest first. Raises OSError, ValueError."""
    with suppress(FileNotFoundError):
        return [bytes.fromhex(line) for line in (folder / KEY).read_text().split()]
    return []


def give_key(folder: Path, key: bytes) -> None:
    """From now on this one, and the one before for those who have no other yet. Raises OSError."""
    try:
        known = keys(folder)
    except ValueError:
        known = []
    if known[:1] != [key]:
        table.put(folder / KEY, [each.hex() for each in (key, *known[:1])])
