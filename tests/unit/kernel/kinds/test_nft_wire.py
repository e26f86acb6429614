"""Sets and elements as the kernel has them. The bytes are those that nft 1.0.6 sends for the same."""

from __future__ import annotations

import pytest

from weft.base.errors import Invalid, Unsupported
from weft.hoststate import NftChain, NftElement, NftFlowDevice, NftFlowtable, NftSet
from weft.hoststate.firewall import BRIDGE, INET, Hook, Table
from weft.hoststate.rules import FoundRule
from weft.kernel.kinds import nft_batch, nft_types, nft_wire
from weft.kernel.kinds.nft_content import Content, Delta
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attr, attributes
from weft.kernel.plumbing.nfnl import NFGENMSG, message

HEAD = NFGENMSG.pack(u.NFPROTO_INET, 0, 0)


def nest(kind: int, *parts: bytes) -> bytes:
    return attr(kind | u.NLA_F_NESTED, b"".join(parts))


def be32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "big")


INTERVAL = ("interval",)
PREFIXES = NftSet(name="a4", type=("ipv4_addr",), flags=INTERVAL)
PORTS = NftSet(name="p", type=("inet_service",))
RANGES = NftSet(name="pi", type=("inet_service",), flags=INTERVAL)
INSIDE = NftSet(
    name="in6",
    type=(
        "ifname",
        "ipv6_addr",
        "ipv6_addr",
    ),
    flags=INTERVAL,
)
VNIS = NftSet(
    name="vnis",
    type=(
        "udp dport",
        "@th,96,24",
    ),
)
PUBLISHED = NftSet(
    name="pub",
    type=(
        "inet_proto",
        "inet_service",
    ),
    to=(
        "ipv4_addr",
        "inet_service",
    ),
)
VERDICTS = NftSet(name="v", type=("ipv4_addr",), to=("verdict",))
MARKS = NftSet(name="m", type=("mark",), to=("ether_addr",))
MARK_RANGES = NftSet(name="mi", type=("mark",), flags=INTERVAL)
MARK_AND_NAME = NftSet(
    name="mc",
    type=(
        "mark",
        "ifname",
    ),
)

GOLDEN_SETS = {
    PREFIXES: "090001007765667400000000070002006134000008000300000000040800040000000007080005000000000408000a0000000001"
    "0a000d000004020000000000",
    VNIS: "09000100776566740000000009000200766e69730000000008000300000000000800040000000344080005000000000808000a0000"
    "00000152000d000004000000000346"
    "00040d000000013e0014000407000000010c0004060000000104020000000126000407000000011e0004000000000104000000000204"
    "030000000304600000000404180000000000",
    VERDICTS: "090001007765667400000000060002007600000008000300000000080800040000000007080005000000000408000a0000000001"
    "08000600ffffff00080007000000000016000d000004020000000104000000000604000000000000",
}
"""Whole bodies of NFT_MSG_NEWSET, the identifier being 1, behind the family."""


@pytest.mark.parametrize("obj", GOLDEN_SETS)
def test_a_set_as_nft_makes_it(obj: NftSet) -> None:
    made = nft_wire.new_set(obj, 1)
    assert made.type == message(u.NFT_MSG_NEWSET) and made.flags == u.NLM_F_REQUEST | u.NLM_F_CREATE
    ours, theirs = made.body[NFGENMSG.size :], bytes.fromhex(GOLDEN_SETS[obj])
    assert attributes(ours, 0, len(ours)) == attributes(theirs, 0, len(theirs))


def key(data: str) -> str:
    return attr(u.NLA_F_NESTED | 1, attr(1, bytes.fromhex(data))).hex()


END = attr(3, b"\0\0\0\1").hex()
OPEN = attr(6, bytes.fromhex("010401000000")).hex()


def data(kind: int, payload: str) -> str:
    return attr(u.NLA_F_NESTED | 2, attr(kind, bytes.fromhex(payload))).hex()


ELEMENTS: list[tuple[NftSet, str, str, list[str]]] = [
    (PREFIXES, "10.1.0.0/24", "", [key("0a010000"), END + key("0a010100")]),
    (PREFIXES, "255.255.255.0/24", "", [key("ffffff00") + OPEN]),
    (PREFIXES, "10.3.0.7", "", [key("0a030007"), END + key("0a030008")]),
    (PORTS, "8472", "", [key("2118")]),
    (RANGES, "1000-2000", "", [key("03e8"), END + key("07d1")]),
    (RANGES, "65000-65535", "", [key("fde8") + OPEN]),
    (
        INSIDE,
        '"eth0" . fd00::/64 . fd01::1',
        "",
        [
            key("65746830" + 24 * "0" + "fd" + 30 * "0" + "fd01" + 26 * "0" + "01")
            + attr(
                u.NLA_F_NESTED | 10,
                attr(1, bytes.fromhex("65746830" + 24 * "0" + "fd" + 14 * "0" + 16 * "f" + "fd01" + 26 * "0" + "01")),
            ).hex()
        ],
    ),
    (VNIS, "8472 . 0x9", "", [key("2118000000000900")]),
    (PUBLISHED, "tcp . 80", "10.1.1.1 . 8080", [key("0600000000500000") + data(1, "0a0101011f900000")]),
    (VERDICTS, "1.2.3.4", "jump c", [key("01020304") + data(u.NLA_F_NESTED | 2, "08000100fffffffd0600020063000000")]),
    (VERDICTS, "1.2.3.5", "drop", [key("01020305") + data(u.NLA_F_NESTED | 2, "0800010000000000")]),
    (MARKS, "0x00000012", "02:00:00:00:00:01", [key("12000000") + data(1, "020000000001")]),
    (MARK_RANGES, "0x00000010-0x00000020", "", [key("00000010"), END + key("00000021")]),
    (MARK_AND_NAME, '0x00000010 . "lo"', "", [key("100000006c6f" + 28 * "0")]),
]


@pytest.mark.parametrize(("holder", "value", "to", "expected"), ELEMENTS)
def test_an_element_as_nft_sends_it_and_back(holder: NftSet, value: str, to: str, expected: list[str]) -> None:
    element = NftElement(set=holder.name, value=value, to=to)
    encoded = nft_wire.encoder(holder)(element)
    listed = b"".join(attr(u.NLA_F_NESTED | 1, bytes.fromhex(each)) for each in expected)
    assert encoded.hex() == listed.hex()
    body = nft_wire.elements(holder, [encoded], new=True).body
    assert list(nft_wire.read_elements(holder, nft_wire.decode_elements(body, 0, len(body)))) == [element]


@pytest.mark.parametrize("obj", {holder for holder, *_ in ELEMENTS})
def test_a_set_and_back(obj: NftSet) -> None:
    body = nft_wire.new_set(obj, 1).body
    assert nft_wire.decode_set(body, 0, len(body), INET, "") == obj


def test_neighbours_share_a_bound() -> None:
    """In whatever order the kernel tells them; and nft puts an end before the first of all."""
    encode = nft_wire.encoder(PREFIXES)
    values = ["10.1.0.0/24", "10.1.1.0/24", "10.1.2.0-10.1.2.9", "255.0.0.0/8"]
    parts = [encode(NftElement(set="a4", value=value)) for value in reversed(values)]
    first = attr(u.NLA_F_NESTED | 1, bytes.fromhex(END + key("00000000")))
    body = nft_wire.elements(PREFIXES, [*parts, first], new=True).body
    found = nft_wire.read_elements(PREFIXES, nft_wire.decode_elements(body, 0, len(body)))
    assert [element.value for element in found] == values


def test_an_interval_that_is_closed_by_the_next_only() -> None:
    encode = nft_wire.encoder(PREFIXES)
    one, other = (encode(NftElement(set="a4", value=value)) for value in ("10.1.0.0/24", "10.1.1.0/24"))
    body = nft_wire.elements(PREFIXES, [one[: len(one) // 2 - 4], other], new=True).body
    found = nft_wire.read_elements(PREFIXES, nft_wire.decode_elements(body, 0, len(body)))
    assert [element.value for element in found] == ["10.1.0.0/24", "10.1.1.0/24"]


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("ipv4_addr", "10.300.0.0/16"),
        ("ipv4_addr", "10.1"),
        ("ipv4_addr", "10.1.0.0/33"),
        ("ipv4_addr", "10.2.0.0-10.1.0.0"),
        ("ipv6_addr", "10.1.0.1"),
        ("inet_service", "65536"),
        ("inet_service", "-1"),
        ("inet_proto", "256"),
        ("ether_addr", "02:00"),
        ("ifname", '"sixteen-letters-"'),
        ("mark", "x"),
        ("ipv4_addr . inet_service", "10.1.0.1"),
        ("ipv4_addr", "10.1.0.1 . 80"),
    ],
)
def test_what_is_no_value_of_a_type(type: str, value: str) -> None:
    for flags in ((), INTERVAL):
        encode = nft_wire.encoder(NftSet(name="s", type=tuple(type.split(" . ")), flags=flags))
        with pytest.raises(Invalid, match="is not of type"):
            encode(NftElement(set="s", value=value))


def test_types_that_are_none_of_ours() -> None:
    with pytest.raises(Unsupported):
        nft_types.shape(("ct_state",))
    with pytest.raises(Unsupported):
        nft_types.shape(("@ih,0,8",))
    theirs = attr(u.NFTA_SET_NAME, b"s\0") + attr(u.NFTA_SET_KEY_TYPE, b"\0\0\0\x1a")
    head = NFGENMSG.pack(u.NFPROTO_INET, 0, 0)
    found = nft_wire.decode_set(head + theirs, 0, len(head + theirs), INET, "")
    assert found == NftSet(name="s", type=("type 0x1a",))
    assert found is not None and list(nft_wire.read_elements(found, [])) == []
    anonymous = attr(u.NFTA_SET_FLAGS, b"\0\0\0\1")
    assert nft_wire.decode_set(head + anonymous, 0, len(head + anonymous), INET, "") is None


def test_messages_tell_their_objects() -> None:
    """As few as hold the elements, but for those of which it is to be known which one is refused."""
    many = [NftElement(set="p", value=str(i)) for i in range(10_000)]
    there = Content(sets={(INET, "p"): PORTS})
    packets, complaints = nft_batch.transaction(there, Delta(elements=many), set())
    assert not complaints and 1 < len(packets) < 10
    assert [obj for packet in packets for obj in packet.objects] == many
    assert all(len(packet.message.body) < 1 << 16 for packet in packets)
    packets, _ = nft_batch.transaction(there, Delta(elements=many), {many[5].key, many[7].key})
    assert [obj for packet in packets if len(packet.objects) == 1 for obj in packet.objects] == [many[5], many[7]]


def test_what_cannot_be_sent_is_told() -> None:
    wrong, lost = NftElement(set="p", value="lots"), NftElement(set="q", value="1")
    strange = NftSet(name="r", type=("ct_state",))
    _, complaints = nft_batch.transaction(
        Content(sets={(INET, "p"): PORTS}), Delta(elements=[wrong, lost], sets=[strange]), set()
    )
    assert complaints.keys() == {wrong.key, lost.key, strange.key}


# -- flowtables --------------------------------------------------------------------------------------------------------

SHORT, DEVICE = NftFlowtable(name="short"), NftFlowDevice(flowtable="short", dev="weft0")
NAMED = "01000000 0900010077656674 00000000 0a00020073686f7274 000000"
"""Family, table and name."""
HOOK = "0800010000000000 0800020000000000"


@pytest.mark.parametrize(
    ("message", "kind", "octets"),
    [
        (nft_wire.new_flowtable(SHORT), 22, f"{NAMED} 14000380 {HOOK}"),
        (nft_wire.flow_device(DEVICE, new=True), 22, f"{NAMED} 24000380 {HOOK} 10000380 0a000100 776566743000 0000"),
        (nft_wire.flow_device(DEVICE, new=False), 24, f"{NAMED} 24000380 {HOOK} 10000380 0a000100 776566743000 0000"),
        (nft_wire.del_flowtable(SHORT), 24, NAMED),
    ],
)
def test_flowtables_as_nft_sends_them(message: Message, kind: int, octets: str) -> None:
    """But for the flags, which are none: older kernels know no attribute for them."""
    assert (message.type & 0xFF, message.body) == (kind, bytes.fromhex(octets))


def test_flowtables_are_read() -> None:
    """With their devices, which are few or many."""
    listed = nest(u.NFTA_FLOWTABLE_HOOK_DEVS, *(attr(1, name) for name in (b"weft0\0", b"eth0\0")))
    hook = attr(1, be32(0)) + attr(2, be32(0))
    table = attr(1, b"weft\0") + attr(2, b"short\0")
    devices = [DEVICE, NftFlowDevice(flowtable="short", dev="eth0")]
    for body, expected in (
        (HEAD + table + nest(3, hook, listed), (SHORT, devices)),
        (HEAD + table + nest(3, hook), (SHORT, [])),
        (HEAD + attr(1, b"other\0") + attr(2, b"short\0") + nest(3, hook), None),
        (NFGENMSG.pack(99, 0, 0) + table + nest(3, hook), None),
    ):
        assert nft_wire.decode_flowtable(body, 0, len(body), "") == expected


# -- chains and rules --------------------------------------------------------------------------------------------------


def chain(family: str, *attrs: bytes) -> NftChain | None:
    body = HEAD + attr(u.NFTA_CHAIN_TABLE, b"weft\0") + attr(u.NFTA_CHAIN_NAME, b"c\0") + b"".join(attrs)
    return nft_wire.decode_chain(body, 0, len(body), Table(family), "")  # type: ignore[arg-type]


def base(kind: str, number: int, priority: int, *devices: bytes) -> tuple[bytes, ...]:
    hook = attr(u.NFTA_HOOK_HOOKNUM, be32(number)) + attr(u.NFTA_HOOK_PRIORITY, be32(priority)) + b"".join(devices)
    return attr(u.NFTA_CHAIN_TYPE, kind.encode() + b"\0"), nest(u.NFTA_CHAIN_HOOK, hook)


def test_chains() -> None:
    """The policy of a chain that was given none is to accept."""
    assert chain("inet") == NftChain(name="c")
    assert chain("inet", *base("nat", 4, 99)) == NftChain(
        name="c", hook=Hook(type="nat", hook="postrouting", priority=99)
    )
    dropping = chain("bridge", *base("filter", 0, -300), attr(u.NFTA_CHAIN_POLICY, be32(0)))
    wanted = Hook(type="filter", hook="prerouting", priority=-300, policy="drop")
    assert dropping == NftChain(name="c", table=BRIDGE, hook=wanted)
    names = [attr(1, b"eth1\0"), attr(1, b"eth0\0")]
    for devices, found in (
        ((attr(u.NFTA_HOOK_DEV, b"eth0\0"),), ("eth0",)),
        ((nest(u.NFTA_HOOK_DEVS, *names),), ("eth0", "eth1")),
    ):
        hook = Hook(type="filter", hook="ingress", priority=5, devices=found)
        got = chain("netdev", *base("filter", 0, 5, *devices), attr(u.NFTA_CHAIN_POLICY, be32(1)))
        assert got == NftChain(name="c", table=Table("netdev"), hook=hook)
    theirs = HEAD + attr(u.NFTA_CHAIN_TABLE, b"filter\0") + attr(u.NFTA_CHAIN_NAME, b"c\0")
    assert nft_wire.decode_chain(theirs, 0, len(theirs), INET, "") is None


def expression(name: bytes, *data: bytes) -> bytes:
    return nest(u.NFTA_LIST_ELEM, attr(u.NFTA_EXPR_NAME, name + b"\0"), nest(u.NFTA_EXPR_DATA, *data))


def verdict(code: int, *to: bytes) -> bytes:
    inner = nest(u.NFTA_DATA_VERDICT, attr(u.NFTA_VERDICT_CODE, be32(code)), *to)
    return expression(b"immediate", attr(1, be32(0)), nest(u.NFTA_IMMEDIATE_DATA, inner))


@pytest.mark.parametrize(
    ("comment", "expressions", "expected"),
    [
        ("", [verdict(0)], FoundRule("")),
        ("weft:0123456789ab", [verdict(1)], FoundRule("weft:0123456789ab")),
        ("weft:somebody else's", [verdict(-3, attr(2, b"on\0"))], FoundRule("", (), ("on",))),
        (
            "weft:0123456789ab",
            [
                expression(b"lookup", attr(2, be32(1)), attr(1, b"hosts4\0")),
                expression(b"lookup", attr(2, be32(1)), attr(1, b"__set3\0")),
                expression(b"dynset", attr(1, b"seen\0"), attr(3, be32(0))),
                expression(b"counter"),
                verdict(-4, attr(2, b"there\0")),
            ],
            FoundRule("weft:0123456789ab", ("hosts4", "seen"), ("there",)),
        ),
        ("", [expression(b"flow_offload", attr(1, b"short\0"))], FoundRule("", (), (), ("short",))),
    ],
)
def test_rules(comment: str, expressions: list[bytes], expected: FoundRule) -> None:
    body = HEAD + attr(u.NFTA_RULE_TABLE, b"weft\0") + attr(u.NFTA_RULE_CHAIN, b"c\0")
    body += nest(u.NFTA_RULE_EXPRESSIONS, *expressions)
    if comment:
        text = comment.encode() + b"\0"
        body += attr(u.NFTA_RULE_USERDATA, bytes((0, len(text))) + text)
    assert nft_wire.decode_rule(body, 0, len(body), INET) == ("c", expected)
    assert nft_wire.decode_rule(body, 0, len(body), Table("inet", "other")) is None
