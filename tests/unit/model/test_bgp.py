"""What may be declared about BGP, and how it is refused: one line that names the value and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from weft.base.errors import Invalid
from weft.model import BgpPeer, BgpSecret, BgpSettings, decode, encode
from weft.model.bgp import canonical
from weft.model.codec import convert

TOR = {"name": "tor", "address": "192.168.1.1", "asn": 65001}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "Tor!"}, "'Tor!' is not a bgp peer name"),
        ({"asn": 0}, "bgp peer tor: AS 0 is none: choose 1 to 4294967294"),
        ({"asn": 1 << 32}, "bgp peer tor: AS 4294967296 is none"),
        ({"asn": 23456}, "bgp peer tor: AS 23456 is none"),
        ({"nodes": "rack=a,=b"}, "'=b' in selector 'rack=a,=b' is none of KEY=VALUE"),
        ({"address": "224.0.0.1"}, "bgp peer tor: 224.0.0.1 is multicast"),
        ({"address": "127.0.0.1"}, "bgp peer tor: 127.0.0.1 is a loopback address"),
        ({"address": "0.0.0.0"}, "bgp peer tor: 0.0.0.0 is no address"),
        ({"address": "fe80::1"}, "bgp peer tor: fe80::1 is link-local"),
        ({"address": "tor.example"}, "'tor.example' is not an IP address"),
        ({"hold_time": 2}, "bgp peer tor: hold-time 2 is outside 3 to 65535 seconds (RFC 4271)"),
        ({"password": 'a"b'}, "bgp peer tor: a password is 1 to 80 printable ASCII characters without '\"'"),
        ({"password": "a\nb"}, "bgp peer tor: a password is 1 to 80"),
        ({"password": "x" * 81}, "bgp peer tor: a password is 1 to 80"),
        ({"password": "ключ"}, "bgp peer tor: a password is 1 to 80"),
        ({"accept": ("10.0.0.0/8-",)}, "'10.0.0.0/8-' is none of PREFIX, PREFIX+"),
        ({"accept": ("10.0.0.1/8",)}, "did you mean 10.0.0.0/8?"),
        ({"accept": ("all", "10.0.0.0/8")}, "'all' is none of PREFIX"),
        ({"accept": ("10.0.0.0/8 ]; evil; [",)}, "is none of PREFIX"),
        ({"accept": ("10.0.0.0/255.0.0.0",)}, "is none of PREFIX"),
        ({"accept": ("10.0.0.0/8{1٦,24}",)}, "is none of PREFIX"),
        ({"accept": ("10.0.0.0/٨",)}, "is none of PREFIX"),
        ({"announce": ("fd00::%x/64",)}, "is none of PREFIX"),
        ({"accept": ("10.0.0.0/8{7,9}",)}, "10.0.0.0/8{7,9}: lengths go up from 8 to at most 32"),
        ({"announce": ("10.0.0.0/8{24,16}",)}, "lengths go up"),
        ({"announce": ("fd00::/8",)}, "fd00::/8 is not IPv4 as the session is: add another peer, by its IPv6"),
        ({"communities": ("64512",)}, "'64512' is no community: write 64512:100"),
        ({"communities": ("64512:65536",)}, "'64512:65536' is no community"),
        ({"communities": ("1:2:4294967296",)}, "is no community"),
        ({"communities": ("1:2:3:4",)}, "is no community"),
        ({"communities": ("١٢:٣",)}, "'١٢:٣' is no community"),
        ({"communities": ("64512:１",)}, "'64512:１' is no community"),
        ({"communities": ("64512:1\n",)}, "is no community"),
        ({"med": -1}, "bgp peer tor: med -1 is outside 0 to"),
    ],
)
def test_bad_peer(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as refused:
        convert(BgpPeer, {**TOR, **changed})
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_peer_with_everything_comes_back_as_it_was() -> None:
    peer = convert(
        BgpPeer,
        {
            **TOR,
            "nodes": "rack=a",
            "password": "it's a \\secret",
            "hold_time": 3,
            "accept": ("0.0.0.0/0", "10.0.0.0/8+", "10.0.0.0/8{9,9}"),
            "announce": ("none",),
            "communities": ("65535:65535", "4294967295:1:2"),
        },
    )
    assert decode(BgpPeer, encode(peer)) == peer


def test_patterns_are_told_to_bird_in_one_way() -> None:
    given = ("010.0.0.0/8", "10.0.0.0/8{009,024}", "FD00:0::/8+", "10.0.0.0/8")
    with pytest.raises(Invalid):
        convert(BgpPeer, {**TOR, "accept": given[:1]})
    assert [canonical(p) for p in given[1:]] == ["10.0.0.0/8{9,24}", "fd00::/8+", "10.0.0.0/8"]


def test_the_clusters_secret_shows_nowhere() -> None:
    secret = BgpSecret(value="5e" * 32)
    assert decode(BgpSecret, encode(secret)) == secret
    assert "5e5e" not in f"{secret} {secret!r}"
    for wrong in ("", "5E" * 32, "5e" * 31, "٥" * 64):
        with pytest.raises(Invalid) as refused:
            BgpSecret(value=wrong)
        assert not wrong or wrong not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"asn": 65535}, "bgp: AS 65535 is none"),
        ({"hold_time": 0}, "bgp: hold-time 0 is outside 3 to 65535"),
        ({"graceful_restart": 4096}, "bgp: graceful-restart 4096 is outside 0 to 4095 seconds (RFC 4724)"),
    ],
)
def test_bad_settings(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message.replace("(", r"\(").replace(")", r"\)")):
        convert(BgpSettings, changed)
