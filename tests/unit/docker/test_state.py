from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest

from weft.base.errors import Denied, Invalid
from weft.docker.state import PluginState
from weft.model import Network

BLUE = Network(name="blue", driver="vxlan", subnets=(ip_network("10.1.0.0/16"),), options={"vni": 7}, internal=True)


def test_kept_over_a_restart(tmp_path: Path) -> None:
    state = PluginState(tmp_path / "docker.json")
    state.put("a", BLUE)
    state.put("b", BLUE)
    state.drop("b")
    state.drop("nosuch")
    again = PluginState(tmp_path / "docker.json")
    assert again.networks() == {"a": BLUE} and again.with_pool(ip_network("10.1.0.0/16")) == BLUE
    assert again.with_pool(ip_network("10.2.0.0/16")) is None
    assert [p.name for p in tmp_path.iterdir()] == ["docker.json"]


def test_from_many_threads(tmp_path: Path) -> None:
    state = PluginState(tmp_path / "docker.json")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: state.put(str(n), BLUE), range(50)))
    assert set(PluginState(tmp_path / "docker.json").networks()) == {str(n) for n in range(50)}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"networks": {"a": {"name": "blue"}}}'])
def test_what_cannot_be_read_is_not_overwritten(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "docker.json"
    path.write_bytes(data)
    with pytest.raises(Invalid, match="move it away, and Docker is asked"):
        PluginState(path)
    assert path.read_bytes() == data


def test_what_cannot_be_written_is_not_taken_for_kept(tmp_path: Path) -> None:
    state = PluginState(tmp_path / "nosuch/docker.json")
    with pytest.raises(Denied, match="cannot be written"):
        state.put("a", BLUE)
    assert state.networks() == {}
