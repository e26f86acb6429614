from __future__ import annotations

from ipaddress import ip_interface

import pytest

from weft.base.errors import Invalid
from weft.model import Endpoint, Namespace, PublishedPort, decode, encode
from weft.model.ports import first_clash, parse


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("80", "80:80/tcp"),
        ("8080:80", "8080:80/tcp"),
        ("8080:80/udp", "8080:80/udp"),
        ("8000-8010:80-90/sctp", "8000-8010:80-90/sctp"),
        ("8000-8010", "8000-8010:8000-8010/tcp"),
        ("192.168.1.5:53:5353/udp", "192.168.1.5:53:5353/udp"),
        ("192.168.1.5:53", "192.168.1.5:53:53/tcp"),
        ("[fd00::5]:443:8443", "[fd00::5]:443:8443/tcp"),
        ("[::]:443", "[::]:443:443/tcp"),
        (":80", "0:80/tcp"),
        ("0:80", "0:80/tcp"),
        (":80-82/udp", "0:80-82/udp"),
        ("192.168.1.5::53/udp", "192.168.1.5:0:53/udp"),
        ("[::]:0:443", "[::]:0:443/tcp"),
    ],
)
def test_as_it_is_written(text: str, whole: str) -> None:
    port = parse(text)
    assert str(port) == whole
    assert parse(whole) == port
    assert decode(PublishedPort, encode(port)) == port


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is not a published port: write it like 8080:80"),
        ("http", "is not a published port"),
        ("fd00::5:80:80", "is not a published port"),
        ("80:80:80", "is not a published port"),
        ("80:", "is not a published port"),
        ("80/icmp", "'icmp' is none of tcp, udp, sctp"),
        ("0", "say which port it leads to: :80 leads to port 80"),
        ("0-3:80-83", "is not a published port"),
        ("-3:80", "is not a published port"),
        ("/udp", "is not a published port"),
        ("65535-65536", "ports are 1 to 65535"),
        ("1:65536", "ports are 1 to 65535"),
        ("90-80", "90-80 runs backwards"),
        ("80-90:80", "11 ports of the host for another number of the container's"),
        ("300.1.1.1:80", "'300.1.1.1' is not an IP address"),
        ("[::1]:80", "publish on 127.0.0.1"),
    ],
)
def test_what_is_none(text: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "families", "overlap"),
    [
        ("80", "80:8080", (4, 6), True),
        ("80", "80/udp", (4, 6), False),
        ("80", "81", (4, 6), False),
        ("80-85", "85-90", (4, 6), True),
        ("80-84", "85-90", (4, 6), False),
        ("80", "10.0.0.1:80", (4, 6), True),
        ("10.0.0.1:80", "10.0.0.2:80", (4, 6), False),
        ("10.0.0.1:80", "10.0.0.1:80:81", (4, 6), True),
        ("0.0.0.0:80", "10.0.0.1:80", (4, 6), True),
        ("0.0.0.0:80", "[::]:80", (4, 6), False),
        ("0.0.0.0:80", "80", (4, 6), True),
        ("0.0.0.0:80", "80", (6,), False),
        ("80", "80", (), False),
        ("[fd00::1]:80", "80", (4,), False),
    ],
)
def test_overlaps(one: str, other: str, families: tuple[int, ...], overlap: bool) -> None:
    a, b = parse(one), parse(other)
    assert (first_clash((a, b), families) is not None) is overlap  # type: ignore[arg-type]
    assert (first_clash((b, a), families) is not None) is overlap  # type: ignore[arg-type]


def endpoint(addresses: str, *ports: str) -> Endpoint:
    return Endpoint(
        id="0123456789abcdef",
        name="web",
        network="blue",
        node="node-1",
        container="web",
        namespace=Namespace(path="/run/netns/web", cookie=1),
        interface="eth0",
        mac="02:42:0a:01:00:02",
        addresses=tuple(map(ip_interface, addresses.split())),
        ports=tuple(map(parse, ports)),
    )


def test_an_endpoints_ports_suit_it() -> None:
    both = endpoint("10.1.0.2/24 fd00::2/64", "80", "80/udp", "[::]:81", "0.0.0.0:81")
    assert decode(Endpoint, encode(both)) == both
    with pytest.raises(Invalid, match=r"\[fd00::9\]:80:80/tcp cannot be reached: it has no IPv6 address"):
        endpoint("10.1.0.2/24", "[fd00::9]:80")
    with pytest.raises(Invalid, match=r"80-90/tcp and 10.9.9.9:85/tcp are the same port"):
        endpoint("10.1.0.2/24", "80-90", "10.9.9.9:85")


def test_an_endpoint_of_an_older_version_publishes_nothing() -> None:
    whole = encode(endpoint("10.1.0.2/24")).replace(b',"ports":[]', b"")
    assert b'"ports"' not in whole and decode(Endpoint, whole).ports == ()
