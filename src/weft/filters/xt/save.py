"""Rules of iptables-nft in the language of iptables. What its extensions do stands in expressions `match` and `target`; the
rest it writes as nft does, and that is turned back here (nft_rule_to_iptables_command_state() in iptables)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

from weft.base.attributes import attributes, each, name, number
from weft.filters.xt.decode import match_text, target_text, written
from weft.filters.xt.sets import Ipsets
from weft.filters.xt.words import masked, not_, protocol, quoted, span

_NETWORK, _TRANSPORT = 1, 2
_META = {3: "mark", 6: "iif", 7: "oif", 16: "protocol"}
_UNITS = {1: "sec", 60: "min", 3600: "hour", 86_400: "day"}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_VERDICTS = {0: "DROP", 1: "ACCEPT", 3: "QUEUE", -5 & 0xFFFFFFFF: "RETURN"}
_JUMP, _GOTO = -3 & 0xFFFFFFFF, -4 & 0xFFFFFFFF
_HEADER = ("source", "destination", "iif", "oif", "protocol", "fragment")


class Spec(NamedTuple):
    """`text`: as iptables-save writes it, behind `-A CHAIN`. `whole`: nothing of it is missing there."""

    text: str
    whole: bool


class _Loaded(NamedTuple):
    field: str
    length: int
    mask: bytes = b""


def spec(expressions: bytes, family: str, sets: Ipsets) -> Spec:
    """`expressions`: NFTA_RULE_EXPRESSIONS. `family`: "ip", "ip6"."""
    found = _Rule(family, sets)
    for _, data in each(expressions):
        outer = attributes(data)
        found.add(name(outer, 1), attributes(outer.get(2, b"")))
    return found.spec()


class _Rule:
    def __init__(self, family: str, sets: Ipsets) -> None:
        self._family = family
        self._sets = sets
        self._whole = True
        self._registers: dict[int, _Loaded] = {}
        self._header: dict[str, str] = {}
        self._matches: list[str] = []
        self._target = ""
        self._protocol = ""
        self._own: list[str] = []

    def spec(self) -> Spec:
        header = [self._header[slot] for slot in _HEADER if slot in self._header]
        words = [*header, *self._matches, *([self._target] if self._target else [])]
        return Spec(" ".join(words), self._whole)

    def add(self, kind: str, found: dict[int, bytes]) -> None:
        known: dict[str, Callable[[dict[int, bytes]], None]] = {
            "payload": self._payload,
            "meta": self._meta,
            "bitwise": self._bitwise,
            "cmp": self._cmp,
            "range": self._range,
            "immediate": self._immediate,
            "match": self._match,
            "target": self._extension_target,
            "limit": self._limit,
            "log": self._log,
            "counter": lambda _found: None,
        }
        if kind in known:
            known[kind](found)
        else:
            self._whole = False

    # -- what is loaded ------------------------------------------------------------------------------------------------

    def _payload(self, found: dict[int, bytes]) -> None:
        base, offset, length = number(found, 2), number(found, 3), number(found, 4)
        source, destination = (12, 16) if self._family == "ip" else (8, 24)
        fields = {
            (_NETWORK, source): "source",
            (_NETWORK, destination): "destination",
            (_TRANSPORT, 0): "sport" if length in (2, 4) else "",
            (_TRANSPORT, 2): "dport",
            (_TRANSPORT, 13): "flags",
        }
        if self._family == "ip":
            fields |= {(_NETWORK, 6): "fragment", (_NETWORK, 9): "protocol"}
        self._registers[number(found, 1)] = _Loaded(fields.get((base, offset), ""), length)

    def _meta(self, found: dict[int, bytes]) -> None:
        if 3 in found:  # nftrace, by the target TRACE
            self._target = "-j TRACE"
            return
        key = number(found, 2)
        self._registers[number(found, 1)] = _Loaded(_META.get(key, ""), 4)

    def _bitwise(self, found: dict[int, bytes]) -> None:
        old = self._registers.get(number(found, 1), _Loaded("", 0))
        self._registers[number(found, 2)] = old._replace(mask=_value(found, 4))
        self._whole = self._whole and not any(_value(found, 5))

    # -- what is asked of it -------------------------------------------------------------------------------------------

    def _cmp(self, found: dict[int, bytes]) -> None:
        loaded = self._registers.get(number(found, 1), _Loaded("", 0))
        operator, value = number(found, 2), _value(found, 3)
        if operator > 1:
            self._whole = False
            return
        inv = not_(operator == 1)
        match loaded.field:
            case "source" | "destination":
                option = "-s" if loaded.field == "source" else "-d"
                self._header[loaded.field] = f"{inv}{option} {self._net(value, loaded.mask)}"
            case "iif" | "oif":
                text = value.split(b"\0", 1)[0].decode(errors="replace")
                more = "" if b"\0" in value or len(value) >= 16 else "+"
                self._header[loaded.field] = f"{inv}-{'i' if loaded.field == 'iif' else 'o'} {text}{more}"
            case "protocol":
                self._protocol = protocol(value[0])
                self._header["protocol"] = f"{inv}-p {self._protocol}"
            case "fragment":
                self._header["fragment"] = "-f" if operator == 1 else "! -f"
            case "mark":
                mask = int.from_bytes(loaded.mask or b"\xff" * 4, sys.byteorder)
                self._matches.append(f"-m mark {inv}--mark {masked(int.from_bytes(value, sys.byteorder), mask)}")
            case "sport" | "dport" if len(value) == 4:  # both ports in one
                self._port("sport", inv, *[int.from_bytes(value[:2], "big")] * 2)
                self._port("dport", inv, *[int.from_bytes(value[2:], "big")] * 2)
            case "sport" | "dport":
                self._port(loaded.field, inv, *[int.from_bytes(value, "big")] * 2)
            case "flags":
                flags = f"{inv}--tcp-flags {_flags(loaded.mask[0] if loaded.mask else 0xFF)} {_flags(value[0])}"
                self._option(flags)
            case _:
                self._whole = False

    def _range(self, found: dict[int, bytes]) -> None:
        loaded = self._registers.get(number(found, 1), _Loaded("", 0))
        low, high = (int.from_bytes(_value(found, kind), "big") for kind in (3, 4))
        if loaded.field in ("sport", "dport"):
            self._port(loaded.field, not_(number(found, 2) == 1), low, high)
        else:
            self._whole = False

    def _port(self, field: str, inv: str, low: int, high: int) -> None:
        self._option(f"{inv}--{field} {span(low, high)}")

    def _option(self, text: str) -> None:
        """Of the protocol's own match, which has all of them behind one -m: ports, then flags."""
        beginning = f"-m {self._protocol}"
        if not self._own:
            self._matches.append(beginning)
        place = next(n for n, match in enumerate(self._matches) if match.startswith(beginning))
        self._own.append(text)
        self._own.sort(key=lambda option: [name in option for name in ("--tcp-flags", "--dport", "--sport")])
        self._matches[place] = " ".join([beginning, *self._own])

    def _net(self, value: bytes, mask: bytes) -> str:
        """A prefix of whole octets is compared with so many octets; any other with a mask."""
        size = 4 if self._family == "ip" else 16
        at = ip_address(value.ljust(size, b"\0"))
        bits = int.from_bytes((mask or b"\xff" * len(value)).ljust(size, b"\0"), "big")
        whole = (1 << size * 8) - 1
        length = bits.bit_count()
        if bits != whole ^ (whole >> length):
            return f"{at}/{ip_address(bits.to_bytes(size, 'big'))}"
        return f"{at}/{length}"

    # -- extensions and verdicts ---------------------------------------------------------------------------------------

    def _match(self, found: dict[int, bytes]) -> None:
        self._whole = self._whole and written(name(found, 1))
        self._matches.append(match_text(name(found, 1), number(found, 2), found.get(3, b""), self._family, self._sets))

    def _extension_target(self, found: dict[int, bytes]) -> None:
        self._whole = self._whole and written(name(found, 1))
        self._target = target_text(name(found, 1), number(found, 2), found.get(3, b""), self._family, self._sets)

    def _immediate(self, found: dict[int, bytes]) -> None:
        verdict = attributes(attributes(found.get(2, b"")).get(2, b""))
        if not verdict:  # a value for nftrace
            return
        code = number(verdict, 1)
        if code in (_JUMP, _GOTO):
            self._target = f"-{'g' if code == _GOTO else 'j'} {name(verdict, 2)}"
        else:
            self._target = f"-j {_VERDICTS.get(code, code)}"

    def _limit(self, found: dict[int, bytes]) -> None:
        rate, unit, burst = number(found, 1), number(found, 2), number(found, 3)
        inverted = number(found, 5) & 1
        more = f" --limit-burst {burst}" if burst != 5 else ""
        self._matches.append(f"-m limit --limit {_rate(rate, unit)}{more}")
        self._whole = self._whole and not inverted

    def _log(self, found: dict[int, bytes]) -> None:
        """Of NFLOG; LOG is a target."""
        prefix, group, threshold = name(found, 2), number(found, 1), number(found, 4)
        words = ["-j NFLOG"]
        words += [f"--nflog-prefix {quoted(prefix)}"] if prefix else []
        words += [f"--nflog-group {group}"] if group else []
        words += [f"--nflog-size {number(found, 3)}"] if number(found, 3) else []
        words += [f"--nflog-threshold {threshold}"] if threshold not in (0, 1) else []
        self._target = " ".join(words)


def _rate(rate: int, unit: int) -> str:
    return f"{rate}/{_UNITS.get(unit, f'{unit}s')}"


def _flags(bits: int) -> str:
    return ",".join(word for place, word in enumerate(_FLAGS) if bits >> place & 1) or "NONE"


def _value(found: dict[int, bytes], kind: int) -> bytes:
    return attributes(found.get(kind, b"")).get(1, b"")
