"""The codec, judged by dnspython."""

import contextlib
import struct
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.nameservers import rrset
from weft.dns import message
from weft.dns.message import (
    AA,
    AAAA,
    BADVERS,
    FORMERR,
    LARGEST,
    NOTIMP,
    NXDOMAIN,
    SERVFAIL,
    SRV,
    TC,
    A,
    Malformed,
    Query,
)

LABELS = st.lists(st.binary(min_size=1, max_size=63).filter(lambda label: not {*b".\\"} & {*label}), max_size=3)


def asked(name: str = "Web.Blue", type: str = "A", **options: Any) -> bytes:
    return dns.message.make_query(name, type, **options).to_wire()


def header(flags: int = 0x0100, questions: int = 1, answers: int = 0, authority: int = 0, additional: int = 0) -> bytes:
    return struct.pack(">6H", 0x1234, flags, questions, answers, authority, additional)


QUESTION = b"\3web\4blue\0\0\1\0\1"


@given(LABELS, st.sampled_from([1, 6, 12, 28, 33, 65, 255]), st.integers(0, 65535), st.booleans())
def test_a_question_is_read_as_it_was_meant(labels: list[bytes], type: int, size: int, signed: bool) -> None:
    name = dns.name.Name([*labels, b""])
    sent = dns.message.make_query(
        name, dns.rdatatype.RdataType.make(type), use_edns=0, payload=size, want_dnssec=signed
    )
    query = message.parse(sent.to_wire())
    assert query.name.encode("latin-1") == b".".join(labels).lower()
    assert (query.id, query.type, query.cls, query.signed) == (sent.id, type, 1, signed)
    assert query.size == sent.payload and query.question in sent.to_wire()


def test_a_dot_within_a_label_is_none_between_labels() -> None:
    assert message.parse(header() + b"\3a.b\0\0\1\0\1").name == "a\\.b"
    assert message.parse(header() + b"\1a\1b\0\0\1\0\1").name == "a.b"


ODD = st.lists(st.text("ab.\\", min_size=1, max_size=4).map(str.encode), max_size=3)


@given(ODD, ODD)
@example([b"a.b"], [b"a\\", b"b"])
def test_different_names_are_different_texts(one: list[bytes], other: list[bytes]) -> None:
    names = [
        message.parse(header() + b"".join(bytes((len(x),)) + x for x in labels) + b"\0\0\1\0\1").name
        for labels in (one, other)
    ]
    assert (names[0] == names[1]) == (one == other)


def test_a_client_without_edns_takes_512_octets() -> None:
    assert message.parse(asked(use_edns=False)).limit == 512
    assert message.parse(asked(use_edns=0, payload=100)).limit == 512
    assert message.parse(asked(use_edns=0, payload=1400)).limit == 1400


OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
BROKEN = {
    "nothing": (b"", None),
    "less than a header": (header()[:11], None),
    "an answer": (header(0x8100) + QUESTION, None),
    "another opcode": (header(0x2900) + QUESTION, NOTIMP),
    "no question": (header(questions=0), FORMERR),
    "two questions": (header(questions=2) + QUESTION + QUESTION, FORMERR),
    "a question that is not there": (header(), FORMERR),
    "a name that does not end": (header() + b"\3web", FORMERR),
    "a name without a type": (header() + b"\3web\0\0", FORMERR),
    "a pointer to itself": (header() + b"\xc0\x0c\0\1\0\1", FORMERR),
    "pointers in a circle": (header() + b"\1a\xc0\x0c\0\1\0\1", FORMERR),
    "a label of 64": (header() + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", FORMERR),
    "a label of a reserved kind": (header() + b"\x80a\0\0\1\0\1", FORMERR),
    "a name of 257": (header() + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", FORMERR),
    "a record that is not there": (header(additional=1) + QUESTION, FORMERR),
    "a record that is longer than the packet": (header(additional=1) + QUESTION + OPT[:-1] + b"\5abc", FORMERR),
    "two of EDNS": (header(additional=2) + QUESTION + OPT + OPT, FORMERR),
    "EDNS with a name": (header(additional=1) + QUESTION + b"\1a" + OPT, FORMERR),
    "65535 records that are not there": (header(answers=65535, authority=65535, additional=65535) + QUESTION, FORMERR),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_question(what: str) -> None:
    packet, rcode = BROKEN[what]
    with pytest.raises(Malformed) as refused:
        message.parse(packet)
    assert refused.value.rcode == rcode
    if rcode is not None:
        told = dns.message.from_wire(message.refusal(packet, rcode))
        assert (told.id, told.rcode()) == (0x1234, rcode) and told.flags & dns.flags.QR


def test_a_name_of_255_octets_is_one() -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"
    assert len(message.parse(header() + name + b"\0\1\0\1").name) == 253


@given(st.binary(max_size=100))
@example(header(additional=1) + QUESTION + b"\xc0")
def test_whatever_comes_is_a_question_or_malformed(packet: bytes) -> None:
    for read in (packet, header() + packet, header(additional=3) + QUESTION + packet):
        with contextlib.suppress(Malformed):
            message.parse(read)


@given(st.binary(max_size=100), st.integers(0, 3), st.booleans())
def test_whatever_another_server_says_is_an_answer_or_malformed(packet: bytes, records: int, question: bool) -> None:
    try:
        found = message.read(header(0x8180, int(question), records) + packet)
    except Malformed:
        return
    assert found.life < 2**31 and all(at + 4 <= len(packet) + 12 for at in found.ttls)


def query(size: int | None = None) -> Query:
    return message.parse(asked("wEb.Blue", use_edns=False if size is None else 0, payload=size or 1232))


def addresses(count: int) -> list[bytes]:
    return [message.record(message.ASKED, A, 5, bytes((10, 0, 0, n))) for n in range(count)]


def test_an_answer_is_one_for_others_as_well() -> None:
    soa = message.record(message.wire("weft.local"), SRV, 7, b"\0\0\0\1\0\x50" + message.wire("web-1.blue.weft.local"))
    more = message.record(message.wire("web-1.blue.weft.local"), AAAA, 1, bytes(16))
    got = dns.message.from_wire(message.reply(query(1400), 512, AA, addresses(3), [soa], [more]))
    assert got.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.RA
    assert got.question[0].name.to_text() == "wEb.Blue." and got.answer[0].name.to_text() == "wEb.Blue."
    assert [rr.to_text() for rr in got.answer[0]] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"] and got.answer[0].ttl == 5
    assert got.authority[0].to_text() == "weft.local. 7 IN SRV 0 1 80 web-1.blue.weft.local."
    assert got.additional[0].to_text() == "web-1.blue.weft.local. 1 IN AAAA ::" and got.payload == 1232


@pytest.mark.parametrize("size", [None, 512, 700, 1232])
def test_what_is_too_long_is_cut_between_records(size: int | None) -> None:
    one = query(size)
    packet = message.reply(one, one.limit, AA, addresses(100), (), addresses(1))
    got = dns.message.from_wire(packet)
    assert got.flags & dns.flags.TC and one.limit - 16 < len(packet) <= one.limit
    assert 20 < len(got.answer[0]) < 100 and not got.additional and (got.edns == 0) == (size is not None)
    assert not dns.message.from_wire(message.reply(one, LARGEST, AA, addresses(100))).flags & dns.flags.TC


def test_additional_records_may_be_missing_without_a_word() -> None:
    got = dns.message.from_wire(message.reply(query(), 512, AA, addresses(1), (), addresses(100)))
    assert not got.flags & dns.flags.TC and len(got.additional[0]) > 20


@pytest.mark.parametrize("rcode", [SERVFAIL, NXDOMAIN, BADVERS])
def test_a_failure(rcode: int) -> None:
    assert dns.message.from_wire(message.failure(query(1232), rcode)).rcode() == rcode


def test_another_server_is_asked_the_same_without_the_clients_options() -> None:
    sent = dns.message.make_query(
        "wEb.org", "AAAA", want_dnssec=True, options=[dns.edns.CookieOption(b"12345678", b"")]
    )
    sent.flags |= dns.flags.CD | dns.flags.AD
    got = dns.message.from_wire(message.forwarded(message.parse(sent.to_wire()), 77))
    assert got.id == 77 and got.flags == dns.flags.RD | dns.flags.CD | dns.flags.AD and got.question == sent.question
    assert got.question[0].name.to_text() == "wEb.org." and got.ednsflags == dns.flags.DO and not got.options
    plain = message.forwarded(message.parse(asked("wEb.org", use_edns=False)), 78)
    assert dns.message.from_wire(plain).edns == -1


def said(question: bytes, *answer: str, authority: tuple[str, ...] = (), rcode: int = 0, flags: int = 0) -> bytes:
    """By another server."""
    got = dns.message.make_response(dns.message.from_wire(question), recursion_available=True)
    got.answer = [rrset(line) for line in answer]
    got.authority = [rrset(line) for line in authority]
    got.set_rcode(dns.rcode.Rcode(rcode))
    got.flags |= flags
    return got.to_wire()


A20, A90 = "x.org. 20 IN A 192.0.2.1", "web.blue. 90 IN CNAME x.org."
NONE_FOR_15 = "org. 60 IN SOA a.org. b.org. 1 2 3 4 15"


@pytest.mark.parametrize(
    ("answer", "authority", "rcode", "life"),
    [
        ((A90, A20), (), 0, 20),
        ((A90,), ("org. 7 IN NS a.org.",), 0, 7),
        ((), (NONE_FOR_15,), 0, 15),
        ((), (NONE_FOR_15,), NXDOMAIN, 15),
        ((A90,), (NONE_FOR_15,), NXDOMAIN, 15),
        ((A20,), (NONE_FOR_15,), 0, 20),
        ((), (), NXDOMAIN, 0),
        ((), (), SERVFAIL, 0),
        (("x.org. 0 IN A 192.0.2.1",), (), 0, 0),
    ],
)
def test_how_long_an_answer_holds(answer: tuple[str], authority: tuple[str], rcode: int, life: int) -> None:
    packet = said(asked(use_edns=0), *answer, authority=authority, rcode=rcode)
    found = message.read(packet)
    assert (found.rcode, found.life, found.cut) == (rcode, life, False) and len(found.ttls) == len(answer + authority)


def test_an_answer_that_was_cut() -> None:
    assert message.read(said(asked(), A20, flags=TC)).cut


def test_an_older_answer_holds_shorter_and_is_for_who_asked_now() -> None:
    packet = said(asked("web.blue"), A90, A20)
    one = message.parse(asked("WEB.blue"))
    got = dns.message.from_wire(message.aged(packet, one, message.read(packet).ttls, 30))
    assert got.id == one.id and got.question[0].name.to_text() == "WEB.blue."
    assert sorted(found.ttl for found in got.answer) == [0, 60]


def test_whose_answer_it_is() -> None:
    packet = asked("Web.blue")
    id, question = int.from_bytes(packet[:2]), message.parse(packet).question
    right = said(packet, A90)
    assert message.answers(right, id, question) and message.answers(right, id, question.upper())
    assert not message.answers(right, id ^ 1, question)
    assert not message.answers(right, id, message.parse(asked("other.blue")).question)
    assert not message.answers(right, id, message.parse(asked("Web.blue", "AAAA")).question)
    assert not message.answers(packet, id, question) and not message.answers(right[:11], id, question)
    assert message.answers(message.refusal(packet, FORMERR), id, question)
    assert not message.answers(right[:2] + header(0x8180, 0)[2:], id, question)


def test_an_answer_that_is_too_long_is_to_be_asked_for_by_tcp() -> None:
    one = message.parse(asked(use_edns=False))
    packet = said(asked(use_edns=False), *(f"web.blue. 5 IN TXT {'x' * 200}{n}" for n in range(5)), rcode=NXDOMAIN)
    assert message.fitted(packet, one, 2000) == packet
    got = dns.message.from_wire(message.fitted(packet, one, 512))
    assert got.flags & dns.flags.TC and got.rcode() == NXDOMAIN and not got.answer
