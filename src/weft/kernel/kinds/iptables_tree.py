"""The chains that lead from an address to a chain, as `iptables-save` prints them. Pure.

From the root on, each chain asks for the next bits of the address, and the last ones for whole addresses. Where all addresses
agree in the next bits, these are skipped. A chain is called after the prefix that it is of: an address that comes or goes
changes the chains of its own prefixes only.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

from weft.base.names import digest
from weft.base.net import Family
from weft.hoststate.rules.iptables import CHAIN_PREFIX

STEP = 3
"""So many bits are asked for at a time: 8 rules at most."""
MOST = 8
"""Addresses in one chain."""

End = Literal["source", "destination"]
Rules = dict[str, list[str]]
"""By chain."""

_AF: dict[Family, socket.AddressFamily] = {4: socket.AF_INET, 6: socket.AF_INET6}
_BITS: dict[Family, int] = {4: 32, 6: 128}
_LEAF = {
    "source": re.compile(r"-s (\S+)/(?:32|128) ! -d \1/\d+ -g (\S+)"),
    "destination": re.compile(r"! -s (\S+)/(?:32|128) -d \1/\d+ -g (\S+)"),
}


def root(name: str) -> str:
    return f"{CHAIN_PREFIX}{name}"


def belongs(chain: str, name: str) -> bool:
    """Whether it is one of this map's."""
    return chain == root(name) or chain.startswith(f"{root(name)}-")


def elements(end: End, rules: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Addresses, and where they are led to, by the chains of a map."""
    found = (_LEAF[end].fullmatch(line) for lines in rules.values() for line in lines)
    return {leaf[1]: leaf[2] for leaf in found if leaf}


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
            lines += (self._leaf(address) for _, address in some)
            return
        away = self._bits - depth
        while some[0][0] >> away == some[-1][0] >> away:
            away = max(0, away - STEP)
        for prefix, group in groupby(some, lambda it: it[0] >> away):
            part = list(group)
            if len(part) == 1:
                lines.append(self._leaf(part[0][1]))
                continue
            asked = f"{self._text(prefix << away)}/{self._bits - away}"
            child = f"{self._root}-{digest('prefix', asked).hex()[:10]}"
            lines.append(f"{'-s' if self._end == 'source' else '-d'} {asked} -g {child}")
            self._grow(child, self._bits - away, part)

    def _text(self, number: int) -> str:
        return socket.inet_ntop(self._af, number.to_bytes(self._octets, "big"))

    def _leaf(self, address: str) -> str:
        whole = f"{address}/{self._bits}"
        source, no = (f"-s {whole}", "! ") if self._end == "source" else (f"! -s {whole}", "")
        return f"{source} {no}-d {whole} -g {self._to[address]}"
