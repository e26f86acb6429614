"""The lab with Weft's own agents in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.labs import WEFT
from weft.base.errors import Failed, NotFound
from weft.lab import Lab, flat, matrix


def test_containers_of_two_hosts_reach_each_other(base: Path) -> None:
    with Lab.up(flat(2)) as lab:
        create = "network create blue --driver vxlan --subnet 10.40.0.0/16 --subnet fd40::/48"
        lab.host("node-1").run([*WEFT, *create.split()], check=True, timeout=30)
        lab.run("node-1", "c1", network="blue")
        lab.run("node-2", "c2", network="blue")
        pings = matrix.measure(matrix.containers(lab, "blue"))
        assert [(p.source, p.family, p.ok) for p in pings] == [
            (source, family, True) for source in ("node-1/c1", "node-2/c2") for family in (4, 6)
        ]
        lab.rm("node-1", "c1")
        assert lab.host("node-1").containers() == []
    assert not base.exists()


def test_what_the_agent_refuses_leaves_no_container() -> None:
    with Lab.up(flat(1)) as lab:
        with pytest.raises((NotFound, Failed), match=r"node-1: .*nosuch"):
            lab.run("node-1", "c1", network="nosuch")
        assert lab.host("node-1").containers() == []
