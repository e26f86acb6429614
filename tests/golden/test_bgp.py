"""BIRD's configuration for small models: `bgp/CASE.toml` beside `bgp/CASE.conf`. `UPDATE_GOLDEN=1 pytest tests/golden`
writes them anew: read the difference."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support import lab
from weft.base.net import parse_address
from weft.bgp.config import render, render_end
from weft.bgp.plan import Model, speaker
from weft.model import BgpPeer, BgpSettings, Endpoint, Lease, Network
from weft.model.codec import convert

HERE = Path(__file__).parent / "bgp"
CASES = sorted(path.stem for path in HERE.glob("*.toml"))
LOG = "/run/weft/bird.log"
SECRET = "5e" * 32


def configuration(given: dict[str, Any]) -> str:
    """`nodes`: of those in `support.lab`, the first being this host; `node.NAME`: what is different about one."""
    changed = given.get("node", {})
    guards = {"bgp_guards": ("ttl", "password")}
    nodes = {name: lab.node(name, **{**guards, **changed.get(name, {})}) for name in given["nodes"]}
    networks = [convert(Network, n) for n in given.get("networks", ())]
    leases: dict[str, dict[str, Lease]] = {}
    for values in given.get("leases", ()):
        lease = convert(Lease, values)
        leases.setdefault(lease.network, {})[lease.node] = lease
    model = Model(
        nodes=nodes,
        networks={n.name: n for n in networks},
        leases=leases,
        endpoints=[convert(Endpoint, e) for e in given.get("endpoints", ())],
        settings=convert(BgpSettings, given.get("settings", {})),
        peers={p.name: p for p in (convert(BgpPeer, v) for v in given.get("peers", ()))},
        floating=[(parse_address(address), node) for address, node in given.get("floating", {}).items()],
        secret=SECRET,
    )
    found = speaker(nodes[given["nodes"][0]], model)
    assert found is not None
    return "".join(f"# problem: {p}\n" for p in found.problems) + render(found, LOG)


@pytest.mark.parametrize("case", CASES)
def test_configuration(case: str, tmp_path: Path) -> None:
    got = configuration(tomllib.loads((HERE / f"{case}.toml").read_text()))
    expected = HERE / f"{case}.conf"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(got)
    assert got == expected.read_text()
    _accepted(got, tmp_path)


def test_the_last_one_too(tmp_path: Path) -> None:
    _accepted(render_end(LOG), tmp_path)


def _accepted(text: str, folder: Path) -> None:
    """By BIRD itself, where it is installed."""
    bird = shutil.which("bird", path="/usr/sbin:/usr/bin")
    if bird is None:
        return
    file = folder / "bird.conf"
    file.write_text(text.replace(LOG, str(folder / "bird.log")))
    said = subprocess.run([bird, "-p", "-c", str(file)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
