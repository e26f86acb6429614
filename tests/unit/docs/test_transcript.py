"""What a page shows against what came."""

from __future__ import annotations

import pytest

from support.transcript import Meanings, difference, fits


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("a  b", "a     b"),
        ("a … b", "a x y b"),
        ("one\n…\nfour", "one\ntwo\nthree\nfour"),
        ("…", ""),
        ("web  10.20.24.2  weft0123456789a  02:42:0a:14:18:02", "web  10.20.7.2  weftba9876543210  02:42:0a:14:07:02"),
        ("to fd00:20:0:9b86::4 port 44092", "to fd00:20:0:1::7 port 51123"),
        ("0.66 ms after 27 µs, 338 B, at 23:31:52.799, 2 h ago", "1.5 ms after 3 µs, 1.6 KiB, at 01:02:03, 5 s ago"),
        ("(nft inet weft x handle 96) eth0@if4", "(nft inet weft x handle 7) eth0@if19"),
        ("NODE    SINCE  VOTER\na *     2 s    yes", "NODE    SINCE   VOTER\na *     12 min  yes"),  # a wider column
        ("NODE    ADDRESS     MTU\na       10.20.24.2  9", "NODE  ADDRESS        MTU\na     10.20.124.222  9"),
    ],
)
def test_it_fits(expected: str, printed: str) -> None:
    assert fits(expected.splitlines(), printed.splitlines(), Meanings())


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("a", "b"),
        ("a", "a\nb"),
        ("a\nb", "a"),
        ("a … b", "a x c"),
        ("web 10.20.24.2", "web 10.30.24.2"),  # another network
        ("web fd00:20::2", "web fd00:30::2"),
        ("10.20.24.2 10.20.24.2", "10.20.7.2 10.20.8.2"),  # stands for two
        ("10.20.24.2 10.20.24.3", "10.20.7.2 10.20.7.2"),  # two stand for one
        ("VNI 1", "VNI 2"),
        ("port 8472", "port 4789"),
        ("MTU 1450", "MTU 1400"),
        ("TTL 62", "TTL 64"),
    ],
)
def test_it_does_not_fit(expected: str, printed: str) -> None:
    assert not fits(expected.splitlines(), printed.splitlines(), Meanings())


def test_a_value_means_the_same_all_through_the_page_also_in_commands() -> None:
    meanings = Meanings()
    assert fits(["web 10.20.24.2"], ["web 10.20.7.3"], meanings)
    assert meanings.real_command("ping 10.20.24.2") == "ping 10.20.7.3"
    assert fits(["from 10.20.24.2"], ["from 10.20.7.3"], meanings)
    assert not fits(["from 10.20.24.2"], ["from 10.20.7.4"], meanings)
    assert meanings.shown("10.20.7.3  x") == "10.20.24.2  x"
    assert meanings.shown("10.20.7.3     x") == "10.20.24.2    x"  # columns stay


def test_what_a_command_names_first_means_itself() -> None:
    meanings = Meanings()
    assert meanings.real_command("weft attach web --ip 10.20.0.9") == "weft attach web --ip 10.20.0.9"
    assert not fits(["10.20.0.9"], ["10.20.0.8"], meanings)
    meanings.fix("192.168.1.68")
    assert not fits(["192.168.1.68"], ["192.168.1.254"], meanings)
    assert not fits(["192.168.1.99"], ["192.168.1.68"], meanings)


def test_a_difference_reads_as_one() -> None:
    assert difference(["a", "b"], ["a", "c"], Meanings()) == "  a\n- b\n+ c"
    assert difference(["a", "b"], [], Meanings()) == "- a\n- b"


def test_a_difference_shows_nothing_that_fits() -> None:
    expected = ["at 192.168.1.68", "NODE  SINCE  VOTER", "a     2 s    yes", "…"]
    printed = ["at 192.168.1.254", "NODE  SINCE   VOTER", "a     12 min  yes", "else"]
    meanings = Meanings()
    meanings.fix("192.168.1.68", "192.168.1.254")
    shown = "- at 192.168.1.68\n+ at 192.168.1.254\n  NODE  SINCE  VOTER\n  a     2 s    yes\n- …\n+ else"
    assert difference(expected, printed, meanings) == shown
