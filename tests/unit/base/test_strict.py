"""What Python's own parsers take and the kernel, nft or BIRD do not."""

from __future__ import annotations

import pytest

from weft.base.errors import Invalid
from weft.base.names import check_texts
from weft.base.net import first_overlap, parse_address, parse_interface, parse_mac, parse_network
from weft.base.numbers import is_number, parse_number, parse_port
from weft.model.bandwidth import parse_burst, parse_rate
from weft.model.ports import parse as parse_published
from weft.model.selector import check as check_selector
from weft.model.selector import check_labels

SCOPED = ["fe80::1%eth0", "fd00::%x", "fd00::1%", "fd00::%25eth0"]
ODD = [
    "",
    " 10.1.0.1",
    "10.1.0.1\n",
    "10.1.0.١",
    "1O.1.0.1",
    "010.1.0.1",
    "10.1",
    "0x0a010001",
    "[fd00::1]",
    "a" * 10_000,
    "\0",
]


@pytest.mark.parametrize("text", [*SCOPED, *ODD])
def test_an_address_has_no_scope_and_no_foreign_digits(text: str) -> None:
    for value in (text, text + "/64", text + "/8"):
        with pytest.raises(Invalid):
            parse_network(value)
        with pytest.raises(Invalid):
            parse_interface(value)
    with pytest.raises(Invalid, match="is not an IP address") as caught:
        parse_address(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "10.1.0.0/١٦",
        "10.1.0.0/+16",
        "10.1.0.0/016",
        "10.1.0.0/255.255.0.0",
        "10.1.0.0/ 16",
        "10.1.0.0/33",
        "fd00::/129",
    ],
)
def test_a_prefix_length_is_a_plain_number(text: str) -> None:
    for parse in (parse_network, parse_interface):
        with pytest.raises(Invalid):
            parse(text)


@pytest.mark.parametrize("value", [5, 0, True, None, 1.5, ["10.1.0.0", 16], {"a": 1}, b"\x0a\x01\x00\x01"])
def test_only_text_is_an_address(value: object) -> None:
    """ipaddress makes 0.0.0.5 of the number 5."""
    for parse in (parse_address, parse_network, parse_interface):
        with pytest.raises(Invalid):
            parse(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "00:00:00:00:00:00",
        "01:00:5e:00:00:01",
        "02:42:0a:01:00",
        "02:42:0a:01:00:0５",
        "02:42:0a:01:00:05\n",
        "0242.0a01.0005",
    ],
)
def test_a_mac_address_is_one_of_a_device(text: str) -> None:
    with pytest.raises(Invalid):
        parse_mac(text)


@pytest.mark.parametrize("text", ["", "١", "²", "+1", "-1", "1_0", " 1", "1 ", "0x1", "1.0", "9" * 20])
def test_a_number_has_ascii_digits_only(text: str) -> None:
    assert not is_number(text)
    with pytest.raises(Invalid, match="is not a number from 1 to 9"):
        parse_number("it", text, 1, 9)
    with pytest.raises(Invalid):
        parse_burst(text)


@pytest.mark.parametrize("text", ["0", "65536", "99999999", "٨٠"])
def test_a_port(text: str) -> None:
    with pytest.raises(Invalid, match=r"metrics '.*' is not a number from 1 to 65535"):
        parse_port("metrics", text)
    assert parse_port("metrics", "65535") == 65535


@pytest.mark.parametrize("text", ["١٠mbit", "10\u212abit", "9" * 400, "9" * 400 + "tbit", "1.٥mbit", "1e9"])
def test_a_rate_is_ascii_and_finite(text: str) -> None:
    with pytest.raises(Invalid, match="is not a rate"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["٨٠٨٠:80", "8080:٨٠", "8" * 5000, "80:80/ｔcp", "80\n:80", "[fe80::1%x]:80:80"])
def test_a_published_port_is_ascii(text: str) -> None:
    with pytest.raises(Invalid):
        parse_published(text)


def test_labels_and_selectors_are_ascii() -> None:
    with pytest.raises(Invalid):
        check_labels("node", {"rack١": "a"})
    with pytest.raises(Invalid):
        check_selector("rack=١")


def test_a_container_s_labels_can_be_shown() -> None:
    check_texts("it", {"com.example/Größe": "schön: a=1, b"})
    for labels in ({"a": "\x1b]0;x\x07"}, {"a\n": ""}, {"": "a"}, {"a": "x" * 5000}, {str(n): "" for n in range(257)}):
        with pytest.raises(Invalid):
            check_texts("it", labels)


def test_the_first_overlap_is_found_in_the_order_given() -> None:
    nets = [parse_network(n) for n in ("10.2.0.0/16", "fd00::/48", "10.1.0.0/16", "10.1.7.0/24", "fd00::/64")]
    assert first_overlap(nets[:3]) is None
    assert first_overlap(nets) == (nets[2], nets[3])
    assert first_overlap([nets[3], nets[2]]) == (nets[3], nets[2])
    assert first_overlap([nets[0], nets[0]]) == (nets[0], nets[0])
