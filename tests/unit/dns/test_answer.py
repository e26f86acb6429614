"""What is answered to whom, judged by dnspython."""

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest
from dns.rcode import NOERROR, NXDOMAIN, REFUSED

from weft.base.errors import Invalid
from weft.base.net import IPAddress
from weft.dns import message
from weft.dns.answer import Answers, from_arpa
from weft.dns.asker import Asker, check_domain
from weft.dns.names import Names
from weft.model import Location, NamedPort
from weft.services.index import Member
from weft.services.model import Service, ServicePort
from weft.services.record import At

BOTH = Asker(id="1", networks=("blue", "green"), node="a")
GREEN = Asker(id="2", networks=("green",), node="b")


def location(name: str, *addresses: str, node: str = "a", port: int = 8080) -> Location:
    parsed: tuple[IPAddress, ...] = tuple(ip_address(address) for address in addresses)
    return Location(
        node=node, mac="02:00:00:00:00:01", name=name, addresses=parsed, ports=(NamedPort("http", "tcp", port),)
    )


def service(name: str, *addresses: str, target: int | str = "http", traffic: str = "any") -> Service:
    return Service(
        name=name,
        network="blue",
        ports=(ServicePort(port=80, target=target, name="web"), ServicePort(port=53, protocol="udp", name="dns")),
        addresses=tuple(ip_address(address) for address in addresses),
        mode="vip" if addresses else "names",
        traffic="any" if traffic == "any" else "local-first",
        aliases=(f"{name}-alias",),
    )


@pytest.fixture(scope="module")
def answers() -> Answers:
    names = Names()
    names.put_location("blue", "1", location("web", "10.0.0.1", "fd00::1"), ("www",))
    names.put_location("blue", "2", location("old", "10.0.0.2"))
    names.put_location("blue", "3", location("task.1", "10.0.0.3"))
    names.put_location("green", "4", location("other", "10.1.0.4", "fd01::4"))
    members = [
        Member("1", location("web", "10.0.0.1", "fd00::1", node="b"), "ready"),
        Member("2", location("old", "10.0.0.2", port=81), "ready"),
        Member("3", location("", "10.0.0.3"), "ready"),
        Member("9", location("slow", "10.0.0.9"), "unready"),
    ]
    for name, addresses in (("shop", ("10.0.9.1", "fd00::9:1")), ("four", ("10.0.9.2",)), ("each", ())):
        names.put_service(At("blue", name), service(name, *addresses))
        names.put_members(At("blue", name), members)
    names.put_service(At("blue", "near"), service("near", traffic="local-first"))
    names.put_members(At("blue", "near"), members)
    for number, member in enumerate(members):
        names.put_location("blue", f"same-{number}", member.location, ("same",))
    names.put_service(At("blue", "nobody"), service("nobody"))
    return Answers(names, "weft.local")


def ask(answers: Answers, name: str, type: str = "A", asker: Asker = BOTH, limit: int = 65535) -> dns.message.Message:
    sent = dns.message.make_query(name, type)
    packet = answers.answer(message.parse(sent.to_wire()), asker, limit)
    assert packet is not None, f"{name} would be asked elsewhere"
    got = dns.message.from_wire(packet)
    assert sent.is_response(got) and got.flags & dns.flags.RA and got.question == sent.question
    return got


def said(got: dns.message.Message) -> list[str]:
    return [data.to_text() for found in got.answer for data in found]


def goes_on(answers: Answers, name: str, type: str = "A", asker: Asker = BOTH) -> bool:
    """Other servers are asked."""
    return answers.answer(message.parse(dns.message.make_query(name, type).to_wire()), asker, 512) is None


@pytest.mark.parametrize(
    ("name", "type", "expected"),
    [
        ("web", "A", ["10.0.0.1"]),
        ("WeB.Blue", "AAAA", ["fd00::1"]),
        ("web.blue.weft.local", "A", ["10.0.0.1"]),
        ("WEB.weft.LOCAL", "A", ["10.0.0.1"]),
        ("www", "A", ["10.0.0.1"]),
        ("task.1.blue", "A", ["10.0.0.3"]),
        ("web", "ANY", ["10.0.0.1", "fd00::1"]),
        ("shop", "A", ["10.0.9.1"]),
        ("shop-alias.blue", "AAAA", ["fd00::9:1"]),
        ("tasks.shop", "AAAA", ["fd00::1"]),
        ("weft.local", "SOA", ["weft.local. hostmaster.weft.local. 1 3600 600 86400 5"]),
        ("1.0.0.10.in-addr.arpa", "PTR", ["web.blue.weft.local."]),
        ("1.9.0.10.in-addr.arpa", "PTR", ["shop.blue.weft.local."]),
        ("3.0.0.10.IN-ADDR.arpa", "PTR", ["task.1.blue.weft.local."]),
        (
            "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa",
            "PTR",
            ["other.green.weft.local."],
        ),
        ("_web._tcp.shop", "SRV", ["0 1 80 shop.blue.weft.local."]),
        ("_DNS._udp.shop.blue.weft.local", "SRV", ["0 1 53 shop.blue.weft.local."]),
    ],
)
def test_own_names(answers: Answers, name: str, type: str, expected: list[str]) -> None:
    got = ask(answers, name, type)
    assert (got.rcode(), said(got)) == (NOERROR, expected) and got.flags & dns.flags.AA


@pytest.mark.parametrize("name", ["tasks.shop", "tasks.shop-alias.blue", "each", "each.blue.weft.local", "tasks.each"])
def test_members_are_those_that_take_connections(answers: Answers, name: str) -> None:
    assert sorted(said(ask(answers, name))) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_the_first_one_is_another_one_each_time(answers: Answers) -> None:
    assert len({said(ask(answers, "each"))[0] for _ in range(100)}) == 3
    for name in ("near", "same"):
        assert {said(ask(answers, name))[-1] for _ in range(100)} == {"10.0.0.1"}, "the one on another host comes last"


def test_of_very_many_as_many_are_said_as_there_is_room_for(answers: Answers) -> None:
    names = Names()
    for n in range(5000):
        names.put_location(
            "blue", str(n), location("many", str(ip_address(2**24 * 10 + n)), node="a" if n < 10 else "b")
        )
    one = Answers(names, "weft.local")
    for limit, least in ((512, 28), (65535, 4000)):
        got = ask(one, "many", limit=limit)
        assert least <= len(set(said(got))) < least + 100 and got.flags & dns.flags.TC
    few, others = said(ask(one, "many", limit=512)), said(ask(one, "many", limit=512))
    assert set(few) != set(others)


def test_how_long_they_may_be_remembered(answers: Answers) -> None:
    assert [ask(answers, name).answer[0].ttl for name in ("web", "shop", "tasks.shop", "each")] == [1, 5, 1, 1]


EMPTY = [
    ("old", "AAAA", "old."),
    ("four", "AAAA", "four."),
    ("OLD.blue.weft.local", "AAAA", "weft.local."),
    ("web", "MX", "web."),
    ("web", "TXT", "web."),
    ("shop", "HTTPS", "shop."),
    ("nobody", "A", "nobody."),
    ("_web._tcp.shop", "A", "_web._tcp.shop."),
    ("_web._tcp.nobody", "SRV", "_web._tcp.nobody."),
    ("1.0.0.10.in-addr.arpa", "A", "1.0.0.10.in-addr.arpa."),
    ("weft.local", "A", "weft.local."),
    ("blue.weft.local", "A", "weft.local."),
]
NOT_THERE = [
    ("missing", "A", "."),
    ("missing", "MX", "."),
    ("other.blue.weft.local", "A", "weft.local."),
    ("red.weft.local", "A", "weft.local."),
    ("web.red.weft.local", "A", "weft.local."),
    ("_web._tcp.weft.local", "SRV", "weft.local."),
    ("_ftp._tcp.shop.weft.local", "SRV", "weft.local."),
    ("_web._udp.shop", "SRV", "."),
    ("a.b.c.d.weft.local", "AAAA", "weft.local."),
]


@pytest.mark.parametrize(
    ("name", "type", "zone", "rcode"), [(*one, NOERROR) for one in EMPTY] + [(*one, NXDOMAIN) for one in NOT_THERE]
)
def test_there_is_nothing_of_that_type_or_no_such_name(
    answers: Answers, name: str, type: str, zone: str, rcode: dns.rcode.Rcode
) -> None:
    got = ask(answers, name, type)
    assert (got.rcode(), got.answer, got.additional) == (rcode, [], [])
    (soa,) = got.authority
    assert soa.name.to_text().lower() == zone and soa.ttl == soa[0].minimum == 5


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("example.org", "A"),
        ("web.red", "A"),
        ("xweft.local", "A"),
        ("local", "NS"),
        ("org", "DS"),
        (".", "NS"),
        ("8.0.0.10.in-addr.arpa", "PTR"),
        ("_web._tcp.example.org", "SRV"),
        ("_dmarc.example.org", "TXT"),
        ("_ftp._tcp.web.blue", "SRV"),
        ("nonsense.in-addr.arpa", "PTR"),
    ],
)
def test_everything_else_is_asked_elsewhere(answers: Answers, name: str, type: str) -> None:
    assert goes_on(answers, name, type)


def test_a_network_that_the_asker_is_not_in_has_no_names_for_it(answers: Answers) -> None:
    assert said(ask(answers, "other", asker=GREEN)) == ["10.1.0.4"]
    for name in ("web", "shop", "tasks.shop", "_web._tcp.shop"):
        full = f"{name}.blue.weft.local"
        assert ask(answers, full, "SRV", GREEN).rcode() == NXDOMAIN and goes_on(answers, f"{name}.blue", asker=GREEN)
    assert ask(answers, "web", asker=GREEN).rcode() == NXDOMAIN
    assert goes_on(answers, "1.0.0.10.in-addr.arpa", "PTR", GREEN)


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "db.localhost"])
def test_localhost_is_the_container_itself(answers: Answers, name: str) -> None:
    assert said(ask(answers, name)) == ["127.0.0.1"] and said(ask(answers, name, "AAAA")) == ["::1"]
    assert ask(answers, name, "TXT").rcode() == NOERROR and not said(ask(answers, name, "TXT"))
    assert ask(answers, "notlocalhost").rcode() == NXDOMAIN


def test_single_labels_are_asked_elsewhere_where_that_is_wanted(answers: Answers) -> None:
    asker = Asker(id="1", networks=("blue",), node="a", single=True)
    assert goes_on(answers, "missing", asker=asker) and said(ask(answers, "web", asker=asker)) == ["10.0.0.1"]
    assert ask(answers, "missing.weft.local", asker=asker).rcode() == NXDOMAIN


def test_srv_names_the_members_and_their_own_ports(answers: Answers) -> None:
    for name in ("_web._tcp.each", "_web._tcp.tasks.shop.blue"):
        got = ask(answers, name, "SRV")
        assert sorted(said(got)) == ["0 1 8080 web.blue.weft.local.", "0 1 81 old.blue.weft.local."]
        more = {(found.name.to_text(), data.to_text()) for found in got.additional for data in found}
        web = "web.blue.weft.local."
        assert more == {(web, "10.0.0.1"), (web, "fd00::1"), ("old.blue.weft.local.", "10.0.0.2")}
    got = ask(answers, "_web._tcp.shop", "SRV")
    assert [data.to_text() for found in got.additional for data in found] == ["10.0.9.1", "fd00::9:1"]
    assert sorted(said(ask(answers, "_dns._udp.each", "SRV")))[0] == "0 1 53 old.blue.weft.local."


def test_other_classes_and_versions(answers: Answers) -> None:
    chaos = message.parse(dns.message.make_query("version.bind", "TXT", "CH").to_wire())
    assert dns.message.from_wire(answers.answer(chaos, BOTH, 512) or b"").rcode() == REFUSED
    newer = message.parse(dns.message.make_query("web", "A", use_edns=1).to_wire())
    assert dns.message.from_wire(answers.answer(newer, BOTH, 512) or b"").rcode() == dns.rcode.BADVERS


@pytest.mark.parametrize(
    "name", ["256.0.0.10.in-addr.arpa", "0.0.10.in-addr.arpa", "01.0.0.10.in-addr.arpa", "ip6.arpa"]
)
def test_no_reverse_names(name: str) -> None:
    assert from_arpa(name) is None


def test_odd_reverse_names_of_v6() -> None:
    assert from_arpa(".".join(["z"] * 32) + ".ip6.arpa") is from_arpa(".".join(["10"] * 16) + ".ip6.arpa") is None


@pytest.mark.parametrize(
    "text", ["", ".", "Weft.local", "weft..local", "weft.local.", "-a", "a b", "a" * 64, "a." * 50 + "a"]
)
def test_no_domain(text: str) -> None:
    with pytest.raises(Invalid, match="is not a domain for names"):
        check_domain(text)


def test_domains() -> None:
    assert [check_domain(text) for text in ("weft.local", "cluster", "a-b.c_d")] == ["weft.local", "cluster", "a-b.c_d"]


def test_a_second_domain_has_the_same_names() -> None:
    names, asker = Names(), Asker(id="1", networks=("blue",), node="a")
    names.put_location("blue", "1", location("web", "10.0.0.1"))
    one = Answers(names, "weft.local", "weave.local")
    for name in ("web.weave.local", "web.blue.weave.local", "web.weft.local"):
        assert said(ask(one, name, asker=asker)) == ["10.0.0.1"]
    missing = ask(one, "nobody.weave.local", asker=asker)
    assert (missing.rcode(), missing.authority[0].name.to_text()) == (dns.rcode.NXDOMAIN, "weave.local.")
    assert said(ask(one, "1.0.0.10.in-addr.arpa", "PTR", asker)) == ["web.blue.weft.local."]


def test_the_longest_names_fit(answers: Answers) -> None:
    names, long, domain = Names(), "a" * 63, ".".join(["d" * 49] * 2) + "d"
    names.put_location(long, "1", location(long, "10.0.0.1"))
    asker = Asker(id="1", networks=(long,), node="a")
    one = Answers(names, check_domain(domain))
    (full,) = said(ask(one, "1.0.0.10.in-addr.arpa", "PTR", asker))
    assert said(ask(one, full, asker=asker)) == ["10.0.0.1"]
