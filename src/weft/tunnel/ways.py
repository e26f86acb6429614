"""A table as it is looked up for each packet."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from weft.tunnel.table import HERE, Table

Network = tuple[int, int]
"""The first address, as a number, and how many bits of an address say nothing about it (0 for a single one)."""
WIDTH = {4: 32, 6: 128}


def packed(address: str) -> bytes:
    """Raises ValueError."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        raise ValueError(f"'{address}' is no address") from None


def canonical(address: str) -> str:
    """As sockets write it. Raises ValueError."""
    return socket.inet_ntop(socket.AF_INET6 if ":" in address else socket.AF_INET, packed(address))


def network(prefix: str) -> tuple[int, Network]:
    """(4 or 6, the network). Raises ValueError."""
    address, _, length = prefix.partition("/")
    version = 6 if ":" in address else 4
    first = int.from_bytes(packed(address), "big")
    if not length.isdecimal() or int(length) > WIDTH[version]:
        raise ValueError(f"'{prefix}' is no prefix")
    host_bits = WIDTH[version] - int(length)
    return version, (first >> host_bits << host_bits, host_bits)


class Remotes:
    """Which host an address is at, of one family: the longest prefix counts. Hosts' subnets are of one size, or of a few:
    for each there is one look into a dictionary, however many hosts there are."""

    def __init__(self, peers: Iterable[tuple[Network, str]]) -> None:
        by_size: dict[int, dict[int, str]] = {}
        for (first, bits), remote in peers:
            by_size.setdefault(bits, {})[first >> bits] = remote
        self._sizes = sorted(by_size.items())

    def find(self, address: int) -> str | None:
        for bits, networks in self._sizes:
            remote = networks.get(address >> bits)
            if remote is not None:
                return remote
        return None


class Sender:
    """A host that packets come from. `networks`: where its containers are, by version; `proven`: the addresses, source and
    destination as they stand in a header, of packets that were let in before."""

    def __init__(self, networks: dict[int, tuple[Network, ...]]) -> None:
        self.networks = networks
        self.proven: set[bytes] = set()

    def prove(self, ends: bytes) -> None:
        if len(self.proven) > _KNOWN:
            self.proven.clear()
        self.proven.add(ends)


class Ways:
    """A table as packets ask for it: `remotes` by IP version; `own`, and by host's address what comes from there, as networks
    by version. Raises ValueError for what is no prefix or address."""

    def __init__(self, table: Table) -> None:
        parsed = [(*network(prefix), remote) for prefix, remote in table.prefixes.items()]
        peers = [each for each in parsed if each[2] != HERE]
        canonical(table.local)
        self.port = table.port
        self.remotes = {v: Remotes((net, remote) for version, net, remote in peers if version == v) for v in (4, 6)}
        self.own = _by_version((version, net) for version, net, remote in parsed if remote == HERE)
        self.known: dict[bytes, str] = {}
        """Where addresses are that were looked for before."""
        self.base = {v: nets[0][0] for v, nets in self.own.items() if nets}
        grouped: dict[str, list[tuple[int, Network]]] = {}
        for version, net, remote in peers:
            grouped.setdefault(canonical(remote), []).append((version, net))
        self.senders = {remote: Sender(_by_version(networks)) for remote, networks in grouped.items()}

    def find(self, address: bytes, version: int) -> str | None:
        """Which host it is at."""
        remotes = self.remotes.get(version)  # a program of this host's can write into the device what is no IP packet
        whole = 8 * len(address) == WIDTH.get(version)
        found = remotes.find(int.from_bytes(address, "big")) if remotes and whole else None
        if found is not None:
            if len(self.known) > _KNOWN:
                self.known.clear()
            self.known[address] = found
        return found


_KNOWN = 65_536


def _by_version(networks: Iterable[tuple[int, Network]]) -> dict[int, tuple[Network, ...]]:
    listed = list(networks)
    return {v: tuple(net for version, net in listed if version == v) for v in (4, 6)}


def within(address: int, networks: tuple[Network, ...]) -> bool:
    return any(address >> bits << bits == first for first, bits in networks)
