"""Limits of bandwidth: how they are written, what is refused, what labels add."""

from __future__ import annotations

import pytest

from weft.base.errors import Invalid
from weft.model.bandwidth import Bandwidth, labelled, parse_burst, parse_rate, rate_text


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("64000", 64_000),
        ("8kbit", 8_000),
        ("100mbit", 10**8),
        ("1.5gbit", 15 * 10**8),
        ("1Tbit", 10**12),
        ("999bit", 999),
    ],
)
def test_rates(text: str, rate: int) -> None:
    assert parse_rate(text) == rate
    assert parse_rate(rate_text(rate)) == rate


@pytest.mark.parametrize("text", ["", "fast", "100mbps", "-1mbit", "1.5", "1mbit/s", "0x10", "1e6bit"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(Invalid, match=r"' is not a rate: write it like 100mbit"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["", "64k", "-1", "1.5", "²"])
def test_what_is_no_burst(text: str) -> None:
    with pytest.raises(Invalid, match="is not a burst: write it in octets"):
        parse_burst(text)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ingress": 999}, "ingress 999 bit/s: a limit is from 1kbit to 1tbit"),
        ({"egress": 10**12 + 1}, "egress 1000000000001 bit/s: a limit is"),
        ({"egress_burst": 5}, "egress burst 5: a burst is one of a limit: give the egress rate too"),
        ({"ingress": 1000, "ingress_burst": 0}, "ingress burst 0 octets: it is from 1 to 4294967295"),
        ({"ingress": 1000, "ingress_burst": 2**32}, "ingress burst 4294967296 octets: it is from"),
    ],
)
def test_refused(values: dict[str, int], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        Bandwidth(**values)


def test_in_words() -> None:
    both = Bandwidth(ingress=10**8, egress=50 * 10**6, egress_burst=65536)
    assert str(both) == "ingress 100mbit, egress 50mbit (burst 65536)"


def test_labels_fill_in_what_is_left_open() -> None:
    labels = {
        "weft.bandwidth/ingress": "1mbit",
        "weft.bandwidth/ingress-burst": "40000",
        "weft.bandwidth/egress": "2mbit",
        "tier": "front",
    }
    assert labelled({"tier": "front"}, None) is None
    assert labelled({"tier": "front"}, Bandwidth()) is None
    assert labelled(labels, None) == Bandwidth(ingress=10**6, ingress_burst=40_000, egress=2 * 10**6)
    assert labelled(labels, Bandwidth(ingress=5000)) == Bandwidth(ingress=5000, egress=2 * 10**6)


@pytest.mark.parametrize(
    ("label", "value", "reason"),
    [
        ("weft.bandwidth/ingres", "1mbit", "known are weft.bandwidth/ingress, weft.bandwidth/ingress-burst"),
        ("weft.bandwidth/ingress", "much", "'much' is not a rate"),
        ("weft.bandwidth/ingress-burst", "5", "give the ingress rate too"),
    ],
)
def test_labels_that_say_nothing(label: str, value: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        labelled({label: value}, None)
