"""What lies in a register, as text: where it was read from."""

from __future__ import annotations

import msgspec

from weft.filters.nft import act, ct, meta, payload
from weft.filters.nft.values import WRITE, prefix

_LINK = {(0, 6): ("ether daddr", "mac"), (6, 6): ("ether saddr", "mac"), (12, 2): ("ether type", "ethertype")}
_IP = {
    (1, 1): ("ip dscp", "hex"),
    (2, 2): ("ip length", "number"),
    (4, 2): ("ip id", "number"),
    (6, 2): ("ip frag-off", "hex"),
    (8, 1): ("ip ttl", "number"),
    (9, 1): ("ip protocol", "protocol"),
    (12, 4): ("ip saddr", "ip"),
    (16, 4): ("ip daddr", "ip"),
}
_IP6 = {
    (4, 2): ("ip6 length", "number"),
    (6, 1): ("ip6 nexthdr", "protocol"),
    (7, 1): ("ip6 hoplimit", "number"),
    (8, 16): ("ip6 saddr", "ip"),
    (24, 16): ("ip6 daddr", "ip"),
}
_ARP = {(6, 2): ("arp operation", "operation"), (14, 4): ("arp saddr ip", "ip"), (24, 4): ("arp daddr ip", "ip")}
_ARP |= {(8, 6): ("arp saddr ether", "mac"), (18, 6): ("arp daddr ether", "mac")}
_PORTS = {(0, 2): "sport", (2, 2): "dport"}
_TCP = {(4, 4): ("sequence", "number"), (8, 4): ("ackseq", "number"), (13, 1): ("flags", "flags")}
_ICMP = {(0, 1): "type", (1, 1): "code", (4, 2): "id", (6, 2): "sequence"}
_META = {"mark": "mark", "iifname": "name", "oifname": "name", "ibrname": "name", "obrname": "name", "sdifname": "name"}
_META |= {"iifkind": "name", "oifkind": "name", "l4proto": "protocol", "nfproto": "nfproto", "protocol": "ethertype"}
_META |= {"pkttype": "pkttype", "ipsec": "exists"}
_ALONE = frozenset(("iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "iifgroup", "oifgroup"))
_CT = {"state": "state", "status": "status", "mark": "mark", "direction": "direction", "protocol": "protocol"}
_CT |= dict.fromkeys(("saddr", "daddr", "ip-saddr", "ip-daddr", "ip6-saddr", "ip6-daddr"), "ip")
_CT |= {"proto-src": "number", "proto-dst": "number", "helper": "name"}
_CT_WORDS = {"ip-saddr": "ip saddr", "ip-daddr": "ip daddr", "ip6-saddr": "ip6 saddr", "ip6-daddr": "ip6 daddr"}


class Term(msgspec.Struct, frozen=True):
    """`kind`: how values of it are written. `value`: octets that are known. `mask`, `xor`: what was computed of it.
    `fields`: those that it is made of, where nft reads several at once."""

    text: str
    kind: str
    length: int
    value: bytes | None = None
    mask: bytes = b""
    xor: bytes = b""
    fields: tuple[Term, ...] = ()

    def write(self, data: bytes) -> str:
        return WRITE[self.kind](data)

    def whole(self) -> str:
        """With what was computed of it."""
        if self.value is not None:
            return self.write(self.value)
        if not self.mask:
            return self.text
        ones = bytes(b"\xff" * len(self.mask))
        if not any(self.xor):
            return f"{self.text} & {self._operand(self.mask)}"
        if self.mask == ones:
            return f"{self.text} ^ {self._operand(self.xor)}"
        if bytes(m ^ x for m, x in zip(self.mask, self.xor, strict=True)) == ones:
            return f"{self.text} | {self._operand(self.xor)}"
        return f"{self.text} & {self._operand(self.mask)} ^ {self._operand(self.xor)}"

    def _operand(self, data: bytes) -> str:
        return self.write(data) if self.kind in ("mark", "ip") else "0x" + data.hex()

    def masked(self, data: bytes) -> str | None:
        """The prefix that a comparison with this is about, None where it is another one."""
        length = prefix(self.mask) if self.kind == "ip" and self.mask and not any(self.xor) else None
        return None if length is None else f"{self.write(data)}/{length}"


def of_payload(found: payload.Payload, network: str, transport: str) -> Term:
    """`network`, `transport`: the protocols that the rule has made sure of, "" for none."""
    place, length = (found.offset, found.length), found.length
    names = {payload.LINK: _LINK, payload.NETWORK: {"ip": _IP, "ip6": _IP6, "arp": _ARP}.get(network, _IP | _IP6)}
    if known := names.get(found.base, {}).get(place):
        return Term(*known, length)
    if fields := _joined(names.get(found.base, {}), found):
        return Term(" . ".join(field.text for field in fields), "hex", length, fields=fields)
    if found.base == payload.NETWORK and (bits := _beginning(network, found)):
        return bits
    if found.base == payload.TRANSPORT:
        if transport in ("icmp", "icmpv6", "ipv6-icmp") and place in _ICMP:
            name = "icmp" if transport == "icmp" else "icmpv6"
            return Term(f"{name} {_ICMP[place]}", name if place == (0, 1) else "number", length)
        if place in _PORTS:
            return Term(f"{transport or 'th'} {_PORTS[place]}", "number", length)
        if transport == "tcp" and place in _TCP:
            word, kind = _TCP[place]
            return Term(f"tcp {word}", kind, length)
    base = ("ll", "nh", "th", "ih")[found.base] if found.base < 4 else "ih"
    return Term(f"@{base},{found.offset * 8},{length * 8}", "hex", length)


def _joined(known: dict[tuple[int, int], tuple[str, str]], found: payload.Payload) -> tuple[Term, ...]:
    """Fields that lie one after the other there; none where they do not fill it."""
    fields, at, end = list[Term](), found.offset, found.offset + found.length
    while at < end:
        size = next((size for start, size in known if start == at and at + size <= end), 0)
        if not size:
            return ()
        fields.append(Term(*known[at, size], size))
        at += size
    return tuple(fields)


def _beginning(network: str, found: payload.Payload) -> Term | None:
    """The first octets of an address: nft compares with a prefix of whole octets so."""
    for (offset, length), (text, kind) in ({"ip6": _IP6}.get(network) or _IP).items():
        if kind == "ip" and found.offset == offset and found.length < length:
            mask = (b"\xff" * found.length).ljust(length, b"\0")
            return Term(text, kind, length, mask=mask, xor=bytes(length))
    return None


def of_meta(found: meta.Meta) -> Term:
    text = found.key if found.key in _ALONE else f"meta {found.key}"
    return Term(text, _META.get(found.key, "own"), meta.LENGTHS.get(found.key, 4))


def of_ct(found: ct.Ct, length: int) -> Term:
    direction = "" if found.direction is None else ("original ", "reply ")[found.direction & 1]
    return Term(f"ct {direction}{_CT_WORDS.get(found.key, found.key)}", _CT.get(found.key, "own"), length)


_FIB_FLAGS = ("saddr", "daddr", "mark", "iif", "oif")


def of_fib(found: act.Fib) -> Term:
    about = " . ".join(word for bit, word in enumerate(_FIB_FLAGS) if found.flags >> bit & 1)
    result = {act.OIF_INDEX: "oif", act.OIF_NAME: "oifname", act.TYPE: "type"}.get(found.result, "?")
    kind = "exists" if found.flags & act.PRESENT else {"oifname": "name", "type": "type"}.get(result, "own")
    return Term(f"fib {about} {result}", kind, 16 if result == "oifname" else 4)
