"""How two nodes encrypt what they send each other."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from support import lab
from weft.base.net import parse_network
from weft.model import Node
from weft.model.ciphers import cipher, recipe, spi, trusts

WIREGUARD = {"ciphers": ("wireguard",), "wg_key": "a key"}
ESP = {"ciphers": ("esp",), "esp_salt": "salt", "esp_start": "start"}
BOTH = {**WIREGUARD, **ESP, "ciphers": ("wireguard", "esp")}
NONE: dict[str, object] = {}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (BOTH, BOTH, "wireguard"),
        (BOTH, ESP, "esp"),
        (WIREGUARD, BOTH, "wireguard"),
        (WIREGUARD, ESP, None),
        (BOTH, NONE, None),
        (BOTH, {**BOTH, "wg_key": ""}, "esp"),
        (BOTH, {**BOTH, "wg_key": "", "esp_start": ""}, None),
    ],
)
def test_both_ends_come_to_the_same(one: dict[str, object], other: dict[str, object], expected: str | None) -> None:
    ends = lab.node("node-1", **one), lab.node("node-2", **other)
    assert cipher(*ends) == cipher(*reversed(ends)) == expected


def test_an_older_version_tells_nothing_of_it() -> None:
    assert cipher(lab.node("node-1", **BOTH), lab.node("node-2")) is None


def test_both_ends_have_to_be_in_one_trusted_subnet() -> None:
    """node-1 and node-2 are on one segment, node-4 on another."""
    one, two, four = (lab.node(f"node-{n}") for n in (1, 2, 4))
    subnets = [parse_network(text) for text in ("192.168.1.0/24", "192.168.0.0/24", "fd01:b::/64")]
    assert trusts(one, two, 4, subnets) and not trusts(one, two, 6, subnets)
    assert not trusts(one, four, 4, subnets) and not trusts(one, four, 6, subnets)


def test_a_key_is_of_one_direction_and_one_draw() -> None:
    one, two = lab.node("node-1", **ESP), lab.node("node-2", **ESP)

    def made(sender: Node, receiver: Node, salt: str = "salt") -> str:
        return recipe(sender, receiver, salt)

    recipes = {made(one, two), made(two, one), made(one, two, "other"), made(replace(one, esp_start="other"), two)}
    assert len(recipes) == len({spi(each) for each in recipes}) == 4
    assert all(1 << 31 <= spi(each) < 1 << 32 for each in recipes)
