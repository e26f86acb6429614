"""How many blocks a node has in hand."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from weft.alloc import stock

A, B, C = (ip_network(f"10.0.0.{n}/28") for n in (0, 16, 32))


def of(*used: int, room: int = 10) -> stock.Filled:
    return {block: (n, room) for block, n in zip((A, B, C), used, strict=False)}


@pytest.mark.parametrize(
    ("used", "short"), [((), True), ((7,), False), ((8,), True), ((10, 5), False), ((10, 6), True)]
)
def test_low_water(used: tuple[int, ...], short: bool) -> None:
    assert stock.short(of(*used)) is short


@pytest.mark.parametrize(
    ("used", "scarce", "spare"),
    [
        ((0,), False, []),
        ((0,), True, [A]),
        ((0, 0, 0), False, [A, B]),
        ((5, 0), False, [B]),
        ((6, 0), False, []),
        ((6, 0), True, [B]),
        ((6, 0, 0), False, [B]),
        ((6, 4), True, []),
    ],
)
def test_high_water(used: tuple[int, ...], scarce: bool, spare: list[object]) -> None:
    assert list(stock.spare(of(*used), scarce=scarce)) == spare


def test_what_is_given_back_is_not_taken_again() -> None:
    for used in range(11):
        for more in range(11):
            blocks = dict(of(used, more, 0))
            for block in list(stock.spare(blocks, scarce=False)):
                del blocks[block]
            assert len(blocks) == 3 or not stock.short(blocks)


def test_what_nobody_gets_is_no_room() -> None:
    used = [ip_address("10.0.0.1"), ip_address("10.0.0.17"), ip_address("fd00::1")]
    reserved = [ip_network("10.0.0.0/32"), ip_network("10.0.0.0/30"), ip_network("10.0.0.16/28")]
    assert stock.filled([A, B], used, reserved) == {A: (1, 12), B: (1, 0)}
