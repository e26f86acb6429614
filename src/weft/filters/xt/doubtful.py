"""Matches whose answer is not in the packet: rates, times, quotas, what a program or another packet did. Their text is
written as far as it is known, and they are doubted; those that choose by chance are a lottery."""

from __future__ import annotations

import struct

from weft.filters.state import Lottery
from weft.filters.xt.match import Decode, Given, Match, doubt, words
from weft.filters.xt.words import address, not_, quoted, text

_SCALE = 10_000
_UNITS = (("day", _SCALE * 86_400), ("hour", _SCALE * 3_600), ("min", _SCALE * 60), ("sec", _SCALE))


def limit(given: Given) -> Match:
    average, burst = struct.unpack_from("=II", given.data)
    burst_text = f"--limit-burst {burst}" if burst != 5 else ""
    return Match(words(f"--limit {_rate(average)}", burst_text), doubt("how many such packets have come lately"))


def _rate(period: int) -> str:
    """print_rate() of libxt_limit."""
    if not period:
        return "inf"
    last = next((n for n in range(1, 4) if period > _UNITS[n][1] or _UNITS[n][1] // period < _UNITS[n][1] % period), 4)
    name, length = _UNITS[last - 1]
    return f"{length // period}/{name}"


def statistic(given: Given) -> Match:
    """Random: a lottery that is won or not. Each n-th packet: one of n."""
    mode, flags = struct.unpack_from("=HH", given.data)
    inv = not_(flags & 1)
    if mode == 0:
        (chance,) = struct.unpack_from("=I", given.data, 4)
        shown = f"--mode random {inv}--probability {chance / 0x80000000:.11f}"
        return Match(shown, lambda _run, _packet: Lottery(2))
    every, packet = struct.unpack_from("=II", given.data, 4)
    shown = f"--mode nth {inv}--every {every + 1} --packet {packet}"
    return Match(shown, lambda _run, _packet: Lottery(every + 1))


def recent(given: Given) -> Match:
    seconds, hits, checks, inv = struct.unpack_from("=IIBB", given.data)
    name, side = text(given.data[10:210]), given.data[210]
    what = ((1, "--rcheck"), (2, "--set"), (4, "--update"), (8, "--remove"))
    asked = next((word for bit, word in what if checks & bit), "")
    mask = _mask(given.data[211:], given.family) if given.revision else ""
    shown = words(
        f"{not_(inv)}{asked}",
        f"--seconds {seconds}" if seconds else "",
        f"--hitcount {hits}" if hits else "",
        f"--name {name}",
        mask,
        "--rdest" if side else "--rsource",
    )
    if checks & 2:
        return Match(shown, lambda _run, _packet: not inv)
    return Match(shown, doubt(f"who is in the list of recent addresses {name}"))


def _mask(data: bytes, family: int) -> str:
    return f"--mask {address(data[1:], family)}"


def string(given: Given) -> Match:
    return Match(_string(given.data), doubt("what is in the packet's content"))


def _string(data: bytes) -> str:
    start, end = struct.unpack_from("=HH", data)
    algorithm, pattern = text(data[4:20]), data[20:148]
    length, flags = data[148], data[149]
    shown = pattern[:length]
    if all(32 <= octet < 127 for octet in shown):
        wanted = f"--string {quoted_always(shown.decode())}"
    else:
        wanted = f'--hex-string "|{shown.hex()}|"'
    limits = words(f"--from {start}" if start else "", f"--to {end}" if end not in (0, 65535) else "")
    return words(f"{not_(flags & 1)}{wanted}", f"--algo {algorithm}", limits, "--icase" if flags & 2 else "")


def quoted_always(value: str) -> str:
    found = quoted(value)
    return found if found.startswith('"') else f'"{found}"'


def connlimit(given: Given) -> Match:
    mask = given.data[:16]
    most, flags = struct.unpack_from("=II", given.data, 16)
    length = sum(octet.bit_count() for octet in mask[: 4 if given.family == 4 else 16])
    shown = f"--connlimit-{'upto' if flags & 1 else 'above'} {most} --connlimit-mask {length}"
    return Match(
        words(shown, "--connlimit-daddr" if flags & 2 else "--connlimit-saddr"),
        doubt("how many connections there are"),
    )


def quota(given: Given) -> Match:
    flags, left = struct.unpack_from("=I4xQ", given.data)
    return Match(f"{not_(flags & 1)}--quota {left}", doubt("how much of the quota is left"))


def nfacct(given: Given) -> Match:
    return Match(f"--nfacct-name {text(given.data[:32])}", lambda _run, _packet: True)


def helper(given: Given) -> Match:
    (inv,) = struct.unpack_from("=i", given.data)
    return Match(f"{not_(inv)}--helper {quoted(text(given.data[4:34]))}", doubt("which helper the connection has"))


def cgroup(given: Given) -> Match:
    if given.revision == 0:
        identifier, inv = struct.unpack_from("=II", given.data)
        shown = f"{not_(inv)}--cgroup {identifier}"
    else:
        path, _, not_path, not_number = given.data[:4]
        end = 4 + (4096 if given.revision == 1 else 512)
        shown = f"{not_(not_path)}--path {text(given.data[4:end])}" if path else f"{not_(not_number)}--cgroup"
    return Match(shown, doubt("of which control group the sending program is"))


def socket(given: Given) -> Match:
    flags = given.data[0] if given.data else 0
    names = ("--transparent", "--nowildcard", "--restore-skmark")
    shown = words(*(name for place, name in enumerate(names) if flags >> place & 1))
    return Match(shown, doubt("whether a program here has a socket for the packet"))


_DOUBTED = {
    "hashlimit": "how many such packets have come lately",
    "time": "what time it is",
    "u32": "what is in the packet's content",
    "bpf": "what a program of BPF says",
    "ipvs": "what IPVS does with the connection",
    "policy": "whether the packet is of an IPsec tunnel",
    "connbytes": "how much the connection has carried",
    "connlabel": "which labels the connection has",
    "realm": "which realm its route has",
    "osf": "which system sent it",
    "cluster": "which node of a cluster is to take it",
    "cpu": "which processor handles it",
    "rateest": "what a rate estimator says",
    "devgroup": "which group its device is of",
    "sctp": "which chunks the packet has",
    "dccp": "which type the packet is of",
    "ecn": "which bits of ECN it has",
    "esp": "which SPI it has",
    "ah": "which SPI it has",
    "frag": "which fragment it is",
    "rt": "which routing header it has",
}


def unknown(name: str) -> Decode:
    why = _DOUBTED.get(name, f"what the match {name} says, which is not known here")
    return lambda _given: Match("", doubt(why))


MATCHES: dict[str, Decode] = {
    "limit": limit,
    "statistic": statistic,
    "recent": recent,
    "string": string,
    "connlimit": connlimit,
    "quota": quota,
    "nfacct": nfacct,
    "helper": helper,
    "cgroup": cgroup,
    "socket": socket,
}
