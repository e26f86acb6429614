"""The chains that lead from an address to a chain, as `iptables-save` prints them. Pure.

From the root on, each chain asks for the next bits of the address, and the last ones for whole addresses. Where all addresses
agree in the next bits, these are skipped. A chain is called after the prefix that it is of: an address that comes or goes
changes the chains of its own prefixes only. What comes back to its sender was translated on its way, as by a port of the
host, and is led nowhere.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal

from weft.base.names import digest
from weft.base.net import Family
from weft.hoststate.rules.iptables import CHAIN_PREFIX

STEP = 3
"""So many bits are asked for at a time: 8 rules at most."""
MOST = 4
"""Addresses in one chain: two rules each."""

End = Literal["source", "destination"]
Rules = dict[str, list[str]]
"""By chain."""

_AF: dict[Family, socket.AddressFamily] = {4: socket.AF_INET, 6: socket.AF_INET6}
_BITS: dict[Family, int] = {4: 32, 6: 128}
_SIDES: dict[End, str] = {"source": "-s", "destination": "-d"}
_ITSELF = "-m conntrack --ctstate DNAT -j RETURN"


def root(name: str) -> str:
    return f"{CHAIN_PREFIX}{name}"


def belongs(chain: str, name: str) -> bool:
    """Whether it is one of this map's."""
    return chain == root(name) or chain.startswith(f"{root(name)}-")


def elements(family: Family, end: End, rules: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Addresses, and where they are led to, by the chains of a map."""
    leaf = re.compile(rf"{_SIDES[end]} (\S+)/{_BITS[family]} -g (\S+)")
    found = (leaf.fullmatch(line) for lines in rules.values() for line in lines)
    return {it[1]: it[2] for it in found if it}


def tree(name: str, family: Family, end: End, to: Mapping[str, str]) -> Rules:
    """The chains of a map in which addresses lead there."""
    return _Tree(name, family, end, to).rules


class _Tree:
    def __init__(self, name: str, family: Family, end: End, to: Mapping[str, str]) -> None:
        self._root, self._af, self._bits, self._end, self._to = root(name), _AF[family], _BITS[family], end, to
        self._octets = self._bits // 8
        self.rules: Rules = {}
        numbers = ((int.from_bytes(socket.inet_pton(self._af, address), "big"), address) for address in to)
        self._grow(self._root, 0, sorted(numbers))

    def _grow(self, chain: str, depth: int, some: Sequence[tuple[int, str]]) -> None:
        """`depth`: so many bits are known."""
        lines = self.rules[chain] = []
        if len(some) <= MOST:
            lines += (line for _, address in some for line in self._leaf(address))
            return
        away = self._bits - depth
        while some[0][0] >> away == some[-1][0] >> away:
            away = max(0, away - STEP)
        for prefix, group in groupby(some, lambda it: it[0] >> away):
            part = list(group)
            if len(part) == 1:
                lines += self._leaf(part[0][1])
                continue
            asked = f"{self._text(prefix << away)}/{self._bits - away}"
            child = f"{self._root}-{digest('prefix', asked).hex()[:10]}"
            lines.append(f"{_SIDES[self._end]} {asked} -g {child}")
            self._grow(child, self._bits - away, part)

    def _text(self, number: int) -> str:
        return socket.inet_ntop(self._af, number.to_bytes(self._octets, "big"))

    def _leaf(self, address: str) -> Iterator[str]:
        whole = f"{address}/{self._bits}"
        yield f"-s {whole} -d {whole} {_ITSELF}"
        yield f"{_SIDES[self._end]} {whole} -g {self._to[address]}"
