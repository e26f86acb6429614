"""The conformance list, as `dig` sees it: a stub resolver of somebody else's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import ip_address

import pytest

from support.nameservers import nothing, says, sockets, stub
from weft.dns import forward
from weft.dns.asker import Asker
from weft.dns.names import Names
from weft.dns.server import Server
from weft.model import Location, NamedPort
from weft.services.index import Member
from weft.services.model import Service, ServicePort
from weft.services.record import At


def location(name: str, *addresses: str) -> Location:
    parsed = tuple(map(ip_address, addresses))
    return Location(
        node="a", mac="02:00:00:00:00:01", name=name, addresses=parsed, ports=(NamedPort("http", "tcp", 8080),)
    )


def names() -> Names:
    found = Names()
    found.put_location("blue", "1", location("web", "10.0.0.1", "fd00::1"))
    found.put_location("blue", "2", location("four", "10.0.0.2"))
    for n in range(100):
        found.put_location("blue", f"many-{n}", location("many", f"10.0.1.{n}"))
    port = ServicePort(port=80, target="http", name="http")
    shop = Service(name="shop", network="blue", ports=(port,), addresses=(ip_address("10.0.9.1"),))
    each = Service(name="each", network="blue", ports=(port,), mode="names")
    for service in (shop, each):
        found.put_service(At("blue", service.name), service)
        found.put_members(At("blue", service.name), [Member("1", location("web", "10.0.0.1", "fd00::1"), "ready")])
    return found


SHORT = {
    "web": "10.0.0.1",
    "web A": "10.0.0.1",
    "WEB.bLUE AAAA": "fd00::1",
    "web.blue.weft.local": "10.0.0.1",
    "shop": "10.0.9.1",
    "tasks.shop": "10.0.0.1",
    "each": "10.0.0.1",
    "_http._tcp.shop SRV": "0 1 80 shop.blue.weft.local.",
    "_http._tcp.each SRV": "0 1 8080 web.blue.weft.local.",
    "-x 10.0.0.1": "web.blue.weft.local.",
    "-x fd00::1": "web.blue.weft.local.",
    "-x 10.0.9.1": "shop.blue.weft.local.",
    "weft.local SOA": "weft.local. hostmaster.weft.local. 1 3600 600 86400 5",
    "web +tcp": "10.0.0.1",
    "web +noedns": "10.0.0.1",
    "web +cookie": "10.0.0.1",
    "web +dnssec": "10.0.0.1",
    "www.example.org": "192.0.2.1",
    "www.example.org +tcp": "192.0.2.1",
}
"""Question → what `dig +short` prints."""

STATUS = {
    "four AAAA": "NOERROR, 0, qr aa rd ra",
    "web MX": "NOERROR, 0, qr aa rd ra",
    "web HTTPS": "NOERROR, 0, qr aa rd ra",
    "web NS": "NOERROR, 0, qr aa rd ra",
    "blue.weft.local": "NOERROR, 0, qr aa rd ra",
    "missing": "NXDOMAIN, 0, qr aa rd ra",
    "missing.weft.local": "NXDOMAIN, 0, qr aa rd ra",
    "web.red.weft.local": "NXDOMAIN, 0, qr aa rd ra",
    "web +norec": "NOERROR, 1, qr aa ra",
    "web ANY": "NOERROR, 2, qr aa rd ra",
    "web +edns=1 +noednsneg": "BADVERS, 0, qr rd ra",
    "web CH": "REFUSED, 0, qr rd ra",
    "web +opcode=4 +noedns": "NOTIMP, 0, qr rd ra",
    "www.example.org": "NOERROR, 1, qr rd ra",
    "many +ignore +bufsize=512": "NOERROR, 29, qr aa tc rd ra",
    "many +ignore +bufsize=1000": "NOERROR, 60, qr aa tc rd ra",
    "many +ignore +noedns": "NOERROR, 30, qr aa tc rd ra",
    "many": "NOERROR, 100, qr aa rd ra",
    "many +tcp": "NOERROR, 100, qr aa rd ra",
}
"""Question → status, answers, flags."""


@pytest.fixture
async def places(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, int]]:
    """Ports of containers that ask each a server of another kind."""
    monkeypatch.setattr(forward, "PATIENCE", 1)
    server, found = Server(names()), {}
    async with AsyncExitStack() as stack:
        kinds = {
            "good": says("@ 60 IN A 192.0.2.1"),
            "dead": nothing,
            "failing": says(rcode=2),
            "refusing": says(rcode=5),
        }
        stubs = {kind: [await stack.enter_async_context(stub(say))] for kind, say in kinds.items()}
        stubs |= {f"{kind}, then good": [*one, *stubs["good"]] for kind, one in stubs.items()}
        for kind, ones in stubs.items():
            udp, tcp = sockets()
            found[kind] = udp.getsockname()[1]
            upstreams = tuple(one.upstream for one in ones)
            server.add(Asker(id=kind, networks=("blue",), node="a", upstreams=upstreams), udp, tcp)
        yield found
        server.close()


async def dig(port: int, question: str, *options: str) -> str:
    arguments = ["@127.0.0.1", "-p", str(port), "+tries=1", "+time=5", *question.split(), *options]
    process = await asyncio.create_subprocess_exec("dig", "-r", *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()


async def test_what_is_answered(places: dict[str, int]) -> None:
    got = await asyncio.gather(*(dig(places["good"], question, "+short") for question in SHORT))
    assert dict(zip(SHORT, (text.strip() for text in got), strict=True)) == SHORT


def summary(text: str) -> str:
    """Of what dig prints."""
    status, flags, answers = (
        re.search(form, text) for form in (r"status: (\w+)", r"flags: ([a-z ]*)", r"ANSWER: (\d+)")
    )
    assert status and flags and answers and "malformed" not in text, text
    assert "WARNING" not in text.replace("WARNING: .local", ""), text
    return f"{status[1]}, {answers[1]}, {flags[1]}"


async def test_status_and_flags(places: dict[str, int]) -> None:
    got = await asyncio.gather(*(dig(places["good"], question) for question in STATUS))
    assert dict(zip(STATUS, map(summary, got), strict=True)) == STATUS


async def test_the_case_of_the_question_comes_back(places: dict[str, int]) -> None:
    for name in ("wEb.BLUE", "wWw.ExAmPle.oRg"):
        assert f";{name}." in await dig(places["good"], name)


async def test_edns_is_echoed_and_nothing_is_echoed_without(places: dict[str, int]) -> None:
    assert "EDNS: version: 0, flags:; udp: 1232" in await dig(places["good"], "web", "+bufsize=4000")
    assert "flags: do; udp: 1232" in await dig(places["good"], "web", "+dnssec")
    assert "EDNS" not in await dig(places["good"], "web", "+noedns")


async def test_how_long_nothing_is_to_be_remembered(places: dict[str, int]) -> None:
    for question in ("four AAAA", "missing", "missing.weft.local"):
        soa = re.search(r"^\S+\s+(\d+)\s+IN\s+SOA\s.* (\d+)$", await dig(places["good"], question), re.MULTILINE)
        assert soa and int(soa[1]) <= 5 and int(soa[2]) <= 5


async def test_what_comes_with_srv(places: dict[str, int]) -> None:
    text = await dig(places["good"], "_http._tcp.each SRV")
    assert re.search(r"web\.blue\.weft\.local\.\s+1\s+IN\s+A\s+10\.0\.0\.1", text)
    assert re.search(r"web\.blue\.weft\.local\.\s+1\s+IN\s+AAAA\s+fd00::1", text)


FAILING = {
    "dead": "SERVFAIL, 0",
    "failing": "SERVFAIL, 0",
    "refusing": "REFUSED, 0",
    "dead, then good": "NOERROR, 1",
    "failing, then good": "NOERROR, 1",
    "refusing, then good": "NOERROR, 1",
}


async def test_other_servers_that_fail(places: dict[str, int]) -> None:
    """Own names are answered all the same."""
    got = await asyncio.gather(*(dig(places[kind], "www.example.org") for kind in FAILING))
    assert {kind: summary(text).rpartition(",")[0] for kind, text in zip(FAILING, got, strict=True)} == FAILING
    own = await asyncio.gather(*(dig(places[kind], "web", "+short") for kind in FAILING))
    assert set(own) == {"10.0.0.1\n"}
