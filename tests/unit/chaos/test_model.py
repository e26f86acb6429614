"""Who reaches whom, as the chaos run expects it; and what it takes for leftovers in the store."""

from __future__ import annotations

import pytest

from chaos.model import STEADY, Box
from chaos.stored import left_over
from weft.model import claims

BOXES = STEADY.boxes


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("vx-a", "vx-b", True),
        ("in-a", "in-b", True),
        ("br-a", "br-b", True),
        ("hg-a", "hg-b", True),
        ("hg-b", "in-a", False),
        ("in-a", "hg-b", False),
        ("vx-a", "ov-a", False),
        ("ov-a", "vx-a", False),
        ("vx-a", "hg-a", False),
    ],
)
def test_who_reaches_whom(source: str, target: str, expected: bool) -> None:
    assert STEADY.reaches(BOXES[source], BOXES[target]) is expected


def test_by_driver_some_hosts_are_too_far() -> None:
    for net, host in (("br", "node-2"), ("hg", "node-4")):
        far = Box("far", host, net)
        assert STEADY.with_box(far).reaches(BOXES[f"{net}-a"], far) is False


@pytest.mark.parametrize(
    ("key", "value", "left"),
    [
        ("networks/vx", b"", False),
        ("networks/gone", b"", True),
        ("leases/gone/node-1", b"", True),
        ("leases/vx/node-1", b"", False),
        ("cursors/node-1/gone", b"", True),
        ("locations/gone/x", b"", True),
        ("claims/addresses/gone/10.0.0.1", b"c1 on node-1", True),
        ("claims/addresses/gone/10.0.0.1", claims.cooling("c1", "node-1"), False),
        ("claims/subnets/gone/10.0.0.0-24", b"node-1", True),
        ("claims/vni/1", b"gone", False),
        ("nodes/node-1", b"", False),
        ("nodes/node-9", b"", True),
    ],
)
def test_what_is_left_of_a_removed_network(key: str, value: bytes, left: bool) -> None:
    assert bool(left_over(key, value, STEADY)) is left
