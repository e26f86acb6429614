"""Elements of sets of nftables to the kernel's octets and back; what operations change, found without looking at the rest."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from socket import AF_INET6, inet_ntop
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weft.hoststate import Key, NftChain, NftElement, NftSet
from weft.hoststate.firewall import BRIDGE, INET
from weft.hoststate.rules import FoundRule
from weft.kernel.kinds import nft_wire
from weft.kernel.kinds.nft_content import TABLES, Content, NftObject, delta, merge
from weft.reconcile.protocol import Change, Create, Op, Remove


def prefix(bits: int, network: Any) -> st.SearchStrategy[Any]:
    return st.tuples(st.integers(0, (1 << bits) - 1), st.integers(0, bits)).map(lambda t: network(t, strict=False))


def text(net: IPv4Network | IPv6Network) -> str:
    address = inet_ntop(AF_INET6, net.network_address.packed) if net.version == 6 else str(net.network_address)
    return address if net.prefixlen == net.max_prefixlen else f"{address}/{net.prefixlen}"


V4, V6 = prefix(32, IPv4Network), prefix(128, IPv6Network)
SINGLE: dict[str, st.SearchStrategy[str]] = {
    "ipv4_addr": st.ip_addresses(v=4).map(str),
    "ipv6_addr": st.ip_addresses(v=6).map(lambda a: inet_ntop(AF_INET6, IPv6Address(a).packed)),
    "inet_service": st.integers(0, 65535).map(str),
    "inet_proto": st.sampled_from(["tcp", "udp", "sctp", "1", "255"]),
    "ether_addr": st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":")),
    "mark": st.integers(0, (1 << 32) - 1).map(lambda mark: f"{mark:#010x}"),
    "ifname": st.text("abc.-0", min_size=1, max_size=15).map(lambda name: f'"{name}"'),
}
RANGES = SINGLE | {
    "ipv4_addr": V4.map(text),
    "ipv6_addr": V6.map(text),
    "inet_service": st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(
        lambda t: str(t[0]) if t[0] == t[1] else f"{min(t)}-{max(t)}"
    ),
}


@st.composite
def sets(draw: st.DrawFn) -> tuple[NftSet, list[NftElement]]:
    interval = draw(st.booleans())
    fields = draw(st.lists(st.sampled_from(sorted(SINGLE)), min_size=1, max_size=4))
    to = draw(st.lists(st.sampled_from(sorted(SINGLE)), max_size=2))
    if interval and len(fields) > 1:
        fields = [field for field in fields if field != "mark"] or ["ipv4_addr"]
    values = st.tuples(*((RANGES if interval else SINGLE)[field] for field in fields)).map(" . ".join)
    leads = st.tuples(*(SINGLE[field] for field in to)).map(" . ".join)
    flags = ("interval",) if interval else ()
    obj = NftSet(name="s", type=tuple(fields), flags=flags, to=tuple(to))
    several = not interval or len(fields) > 1  # else neighbours are looked at together
    found = draw(st.lists(st.tuples(values, leads), max_size=4 if several else 1, unique_by=lambda t: t[0]))
    return obj, [NftElement(set="s", value=value, to=to) for value, to in found]


@given(sets())
def test_there_and_back(made: tuple[NftSet, list[NftElement]]) -> None:
    obj, elements = made
    declared = nft_wire.new_set(obj, 1).body
    assert nft_wire.decode_set(declared, 0, len(declared), INET, "") == obj
    encode = nft_wire.encoder(obj)
    body = nft_wire.elements(obj, [encode(element) for element in elements], new=True).body
    found = list(nft_wire.read_elements(obj, nft_wire.decode_elements(body, 0, len(body))))
    assert sorted(found, key=str) == sorted(elements, key=str)


@given(st.lists(st.integers(0, 65535), min_size=2, max_size=12, unique=True), st.randoms())
def test_ranges_that_may_touch(bounds: list[int], random: Any) -> None:
    """In any order: from each bound up to, but without, the next one; the last one to the end."""
    bounds.sort()
    spans = [(low, high - 1) for low, high in pairwise([*bounds, 65536])]
    values = [f"{low}-{high}" if low != high else str(low) for low, high in spans]
    obj = NftSet(name="s", type=("inet_service",), flags=("interval",))
    encode = nft_wire.encoder(obj)
    chosen = [value for value in values if random.random() < 0.7]
    shuffled = random.sample(chosen, len(chosen))
    body = nft_wire.elements(obj, [encode(NftElement(set="s", value=value)) for value in shuffled], new=True).body
    found = nft_wire.read_elements(obj, nft_wire.decode_elements(body, 0, len(body)))
    assert [element.value for element in found] == chosen


# -- changes -----------------------------------------------------------------------------------------------------------

OBJECTS: list[NftObject] = [
    *(NftSet(name=name, type=(kind,)) for name in "ab" for kind in ("ipv4_addr", "inet_service")),
    *(NftElement(set=name, value=value, to=to) for name in "ab" for value in "12" for to in ("", "x")),
    *(NftChain(name=name, rules=rules) for name in ("c", "d") for rules in ((), (FoundRule("weft:1"),))),
    NftChain(name="c", table=BRIDGE),
    NftSet(name="a", type=("ipv4_addr",), table=BRIDGE),
    NftElement(set="a", value="1", table=BRIDGE),
]
State = dict[Key, NftObject]


def consistent(objects: Mapping[Key, NftObject]) -> State:
    """Without elements of sets that are not there."""
    return {key: obj for key, obj in objects.items() if not isinstance(obj, NftElement) or obj.holder in objects}


states = st.lists(st.sampled_from(OBJECTS)).map(lambda objects: consistent({obj.key: obj for obj in objects}))


@given(states, states, st.randoms())
def test_a_change_leads_from_one_content_to_the_other(before: State, after: State, random: Any) -> None:
    content = Content()
    content.put(before.values())
    ops: list[Op] = [Remove(obj) for key, obj in before.items() if key not in after]
    for key, obj in after.items():
        old = before.get(key)
        if old is None:
            ops.append(Create(obj))
        elif old != obj:
            ops.append(Change(old, obj))
    random.shuffle(ops)
    change = delta(content, ops)
    assert bool(change) == (before != after)
    assert change.emptied == tuple(
        table
        for table in TABLES
        if any(obj.table == table for obj in before.values()) and not any(obj.table == table for obj in after.values())
    )
    merge(content, change)
    assert content.objects() == after
    assert not delta(content, ops)
