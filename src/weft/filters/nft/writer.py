"""What is known while a rule is written: what lies in the registers, and which protocols are sure."""

from __future__ import annotations

from weft.api.dump import NftElementDump, NftSetDump, NftTableDump
from weft.filters.nft.machine import REGISTERS, Go, verdict
from weft.filters.nft.sets import END, INTERVAL
from weft.filters.nft.terms import Term
from weft.filters.nft.values import PROTOCOLS, WRITE, key_kinds

_MOST = 8
"""Elements of an anonymous set that are written."""
_IMPLIES = {"icmp": ("ip", "icmp"), "icmpv6": ("ip6", "ipv6-icmp")}
_FAMILY_OF = {"ipv4": "ip", "ipv6": "ip6", "ip": "ip", "ip6": "ip6", "arp": "arp"}


class Writer:
    def __init__(self, table: NftTableDump) -> None:
        self._table = table
        self._family = table.family
        self._network = table.family if table.family in ("ip", "ip6", "arp") else ""
        self._transport = ""
        self._terms: dict[int, Term] = {}
        self._parts: list[str] = []
        self._implied: dict[
            str, int
        ] = {}  # places of parts that go without saying, once a field of that protocol follows

    def text(self) -> str:
        return " ".join(part for part in self._parts if part)

    def load(self, register: int, length: int = 4) -> Term:
        return self._terms.get(register) or Term("<register>", "hex", length)

    def store(self, register: int, term: Term) -> None:
        self._terms[register] = term

    def say(self, part: str) -> None:
        self._parts.append(part)

    def read(self, term: Term) -> Term:
        """A field that implies its protocol makes it unnecessary to name that before."""
        protocol = term.text.split(" ", 1)[0]
        for implied in _IMPLIES.get(protocol, (protocol,)):
            place = self._implied.pop(implied, None)
            if place is not None:
                self._parts[place] = ""
        return term

    @property
    def network(self) -> str:
        return self._network

    @property
    def transport(self) -> str:
        return self._transport

    def compare(self, term: Term, op: str, data: bytes) -> None:
        if term.fields and op == "==" and not term.mask:
            at = 0
            for field in term.fields:
                self.compare(field, op, data[at : at + field.length])
                at += field.length
            return
        value = term.write(data)
        if op == "<=" and self._parts and self._parts[-1].startswith(start := f"{term.whole()} >= "):
            self._parts[-1] = f"{term.whole()} {self._parts[-1].removeprefix(start)}-{value}"
            return
        if op == "==" and term.text in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
            self._transport = PROTOCOLS.get(data[0], "")
            self._implied[self._transport] = len(self._parts)
        elif op == "==" and term.text in ("meta nfproto", "meta protocol", "ether type"):
            self._network = _FAMILY_OF.get(value, "")
            self._implied[self._network] = len(self._parts)
        self.say(_comparison(term, op, data, value))

    def set_named(self, text: str) -> NftSetDump | None:
        return next((one for one in self._table.sets if one.name == text), None)

    def key(self, register: int, length: int) -> str:
        """All fields of a key that lie one after the other. Raises ValueError."""
        if length > REGISTERS:
            raise ValueError(length)
        found: list[str] = []
        at = register
        while at < register + max(length, 1):
            term = self.load(at)
            found.append(term.whole())
            at += max(4, (term.length + 3) & ~3)
        return " . ".join(found)

    def go(self, go: Go) -> str:
        return f"{go.code} {go.chain}".strip()

    @property
    def inet(self) -> bool:
        return self._family == "inet"

    @property
    def family(self) -> str:
        return self._family


def _comparison(term: Term, op: str, data: bytes, value: str) -> str:
    sign = "" if op == "==" else f"{op} "
    if (prefix := term.masked(data.ljust(term.length, b"\0"))) is not None:
        return f"{term.text} {sign}{prefix}"
    if term.mask and term.kind in ("state", "status") and not any(data):
        bits = term.write(term.mask)
        return f"{term.text} {bits}" if op == "!=" else f"{term.text} ! {bits}"
    if term.mask and term.kind == "flags":
        if op == "!=" and not any(data):
            return f"tcp flags {term.write(term.mask)}"
        return f"tcp flags {sign}{term.write(data)} / {term.write(term.mask)}"
    if term.mask and term.text == "ip dscp":
        return f"ip dscp {sign}0x{data[0] >> 2:02x}"
    if term.mask:
        return f"{term.whole()} {op} {value}"
    return f"{term.text} {sign}{value}"


def elements(found: NftSetDump) -> str:
    kinds = key_kinds(found.key_type)
    shown: list[str] = []
    elements = sorted(found.elements, key=lambda one: (one.key, not one.flags & END))
    single = bool(found.flags & INTERVAL) and not found.fields
    for place, one in enumerate(elements):
        if one.flags & END:
            continue
        if len(shown) == _MOST:
            shown.append("…")
            break
        text = _key(one.key, kinds)
        if single:
            following = elements[place + 1].key if place + 1 < len(elements) else b""
            text = _interval(one.key, following, kinds)
        elif one.end and one.end != one.key:
            text = f"{text}-{_key(one.end, kinds)}"
        shown.append(text + _leads_to(found, one))
    return "{ " + ", ".join(shown) + " }"


def _leads_to(found: NftSetDump, one: NftElementDump) -> str:
    if one.verdict:
        go = verdict(one.verdict)
        return f" : {go.code} {go.chain}".rstrip()
    if not one.data:
        return ""
    kinds = key_kinds(found.data_type)
    size = found.data_length
    if len(one.data) == 2 * size or (kinds == ["ip"] and len(one.data) == 8):  # a first and a last address
        half = len(one.data) // 2
        return " : " + _interval(one.data[:half], _next(one.data[half:]), kinds)
    return f" : {_key(one.data, kinds)}"


def _next(last: bytes) -> bytes:
    number = int.from_bytes(last, "big") + 1
    return number.to_bytes(len(last), "big") if number < 1 << len(last) * 8 else b""


def _key(key: bytes, kinds: list[str]) -> str:
    found, at = [], 0
    for kind in kinds or ["hex"]:
        size = {"ip": len(key) if len(kinds) == 1 else 4, "mac": 6, "number": 2, "name": 16, "protocol": 1}.get(kind, 4)
        size = len(key) if len(kinds) == 1 else size
        found.append(WRITE[kind](key[at : at + size]))
        at += (size + 3) & ~3
    return " . ".join(found)


def _interval(first: bytes, after: bytes, kinds: list[str]) -> str:
    """`after`: the value after the last one, b"" where there is none."""
    size = len(first)
    low = int.from_bytes(first, "big")
    high = int.from_bytes(after, "big") - 1 if after else (1 << size * 8) - 1
    text = _key(first, kinds)
    if low == high:
        return text
    span = high - low + 1
    if kinds == ["ip"] and span & (span - 1) == 0 and low % span == 0:
        return f"{text}/{size * 8 - span.bit_length() + 1}"
    return f"{text}-{_key(high.to_bytes(size, 'big'), kinds)}"
