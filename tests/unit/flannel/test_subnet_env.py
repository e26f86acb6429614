"""The files by which other programs know the subnet."""

from __future__ import annotations

import stat
from ipaddress import ip_network
from pathlib import Path

import pytest

from weft.base.net import IPNetwork
from weft.flannel.subnet_env import EnvFiles, docker_opts, former, subnet_env
from weft.model import Lease, Network

V4: tuple[IPNetwork, ...] = (ip_network("40.15.0.0/16"),)
BOTH: tuple[IPNetwork, ...] = (*V4, ip_network("fd40:15::/48"))


def network(subnets: tuple[IPNetwork, ...] = V4) -> Network:
    return Network(name="blue", driver="vxlan", subnets=subnets)


def lease(*subnets: str) -> Lease:
    return Lease(network="blue", node="node-1", subnets=tuple(map(ip_network, subnets)))


def test_as_flanneld_writes_it() -> None:
    assert subnet_env(network(), lease("40.15.43.0/24"), 1450, False) == (
        "FLANNEL_NETWORK=40.15.0.0/16\nFLANNEL_SUBNET=40.15.43.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    )
    assert subnet_env(network(BOTH), lease("40.15.43.0/24", "fd40:15:0:43::/64"), 1500, True).splitlines() == [
        "FLANNEL_NETWORK=40.15.0.0/16",
        "FLANNEL_SUBNET=40.15.43.1/24",
        "FLANNEL_IPV6_NETWORK=fd40:15::/48",
        "FLANNEL_IPV6_SUBNET=fd40:15:0:43::1/64",
        "FLANNEL_MTU=1500",
        "FLANNEL_IPMASQ=true",
    ]


def test_as_mk_docker_opts_writes_it() -> None:
    assert docker_opts(lease("40.15.43.0/24"), 1450, True).splitlines() == [
        'DOCKER_OPT_BIP="--bip=40.15.43.1/24"',
        'DOCKER_OPT_IPMASQ="--ip-masq=false"',
        'DOCKER_OPT_MTU="--mtu=1450"',
        'DOCKER_OPTS=" --bip=40.15.43.1/24 --ip-masq=false --mtu=1450"',
    ]


def test_the_subnet_of_before(tmp_path: Path) -> None:
    path = tmp_path / "subnet.env"
    assert former(str(path)) == ()
    path.write_text(subnet_env(network(BOTH), lease("40.15.43.0/24", "fd40:15:0:43::/64"), 1450, True))
    assert former(str(path)) == (ip_network("40.15.43.0/24"), ip_network("fd40:15:0:43::/64"))
    for strange in ("FLANNEL_SUBNET=", "FLANNEL_SUBNET=x", "nothing", "FLANNEL_SUBNET"):
        path.write_text(strange)
        assert former(str(path)) == ()
    path.write_bytes(b"\xff\xfe")
    assert former(str(path)) == ()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "flannel" / "subnet.env"


def test_a_file_comes_changes_and_goes(tmp_path: Path, path: Path) -> None:
    files = EnvFiles(tmp_path / "state")
    files.keep({str(path): "A=1\n"})
    assert path.read_text() == "A=1\n" and stat.S_IMODE(path.stat().st_mode) == 0o644
    EnvFiles(tmp_path / "state").keep({str(path): "A=2\n"})  # the agent was started again
    assert path.read_text() == "A=2\n" and [p.name for p in path.parent.iterdir()] == ["subnet.env"]
    files.keep({})
    assert not path.exists() and not list((tmp_path / "state" / "flannel").iterdir())


def test_what_a_flanneld_wrote_stays(tmp_path: Path, path: Path) -> None:
    files = EnvFiles(tmp_path / "state")
    path.parent.mkdir(parents=True)
    path.write_text("FLANNEL_SUBNET=40.15.9.1/24\n")
    files.keep({str(path): "A=1\n"})
    assert path.read_text() == "FLANNEL_SUBNET=40.15.9.1/24\n"
    assert list(files.problems()) == [
        f"{path} is somebody else's, and stays as it is: remove it if no flanneld runs here"
    ]
    files.keep({})
    assert path.exists() and list(files.problems()) == []
    path.write_text("")
    files.keep({str(path): "A=1\n"})
    assert path.read_text() == ""
    path.unlink()
    files.keep({str(path): "A=1\n"})
    path.write_text("FLANNEL_SUBNET=40.15.9.1/24\n")  # a flanneld was started on this host
    files.keep({str(path): "A=1\n"})
    assert path.read_text().startswith("FLANNEL_SUBNET") and list(files.problems())
    files.keep({})
    assert path.exists()


def test_an_end_in_the_middle_of_writing(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says what it said; it is still ours afterwards."""
    files = EnvFiles(tmp_path / "state")
    files.keep({str(path): "A=1\n"})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        files.keep({str(path): "A=2\n"})
        assert list(files.problems()) == [f"{path} cannot be written: No space left on device"]
    assert path.read_text() == "A=1\n"
    files.keep({str(path): "A=2\n"})
    assert path.read_text() == "A=2\n" and list(files.problems()) == []
